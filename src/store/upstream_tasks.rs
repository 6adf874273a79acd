//! The sentences about asynchronous jobs at the provider: whose they are, and which account has them.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::upstream_tasks;
use crate::error::Error;

/// Notes a job, and forgets those that began before `oldest_us`.
///
/// # Errors
/// The store's; `Conflict` when the id is taken.
pub fn insert(
    connection: &mut AnyConnection,
    (id, license_id, account): (&str, &str, &str),
    created_at_us: i64,
    oldest_us: i64,
) -> Result<(), Error> {
    let old = upstream_tasks::table.filter(upstream_tasks::created_at_us.lt(oldest_us));
    diesel::delete(old).execute(connection)?;
    let row = (
        upstream_tasks::id.eq(id),
        upstream_tasks::license_id.eq(license_id),
        upstream_tasks::account.eq(account),
        upstream_tasks::created_at_us.eq(created_at_us),
    );
    diesel::insert_into(upstream_tasks::table).values(row).execute(connection)?;
    Ok(())
}

/// The account that has a license's job.
///
/// # Errors
/// The store's.
pub fn account_of(connection: &mut AnyConnection, id: &str, license_id: &str) -> Result<Option<String>, Error> {
    let row = upstream_tasks::table.find(id).filter(upstream_tasks::license_id.eq(license_id));
    Ok(row.select(upstream_tasks::account).first(connection).optional()?)
}
