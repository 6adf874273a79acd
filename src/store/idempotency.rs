//! The sentences about repeated requests: which key made which thing.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::idempotency_keys;
use crate::error::Error;

/// What a request with an `Idempotency-Key` made.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = idempotency_keys)]
pub struct Made {
    /// Hash of route and key.
    pub id: String,
    /// Hash of the body.
    pub body_hash: String,
    /// The id of what was made.
    pub subject: String,
    /// When.
    pub created_at_us: i64,
}

/// Remembers what a request makes, and forgets what was made before `oldest_us`.
///
/// # Errors
/// The store's; `Conflict` when the same request is remembered already.
pub fn insert(connection: &mut AnyConnection, made: &Made, oldest_us: i64) -> Result<(), Error> {
    let old = idempotency_keys::table.filter(idempotency_keys::created_at_us.lt(oldest_us));
    diesel::delete(old).execute(connection)?;
    diesel::insert_into(idempotency_keys::table).values(made).execute(connection)?;
    Ok(())
}

/// What the same request made since `oldest_us`.
///
/// # Errors
/// The store's.
pub fn find(connection: &mut AnyConnection, id: &str, oldest_us: i64) -> Result<Option<Made>, Error> {
    let query = idempotency_keys::table.find(id).filter(idempotency_keys::created_at_us.ge(oldest_us));
    Ok(query.select(Made::as_select()).first(connection).optional()?)
}
