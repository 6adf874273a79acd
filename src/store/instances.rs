//! Which processes are on this store, and what those that are gone have left behind.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::continuity::SessionRow;
use super::schema::{instances, sessions};
use crate::error::Error;

/// Left-behind sessions that are looked at in one go.
const AT_ONCE: i64 = 500;

/// Says that an instance is there.
///
/// # Errors
/// The store's.
pub fn see(connection: &mut AnyConnection, id: &str, now_us: i64) -> Result<(), Error> {
    let known = diesel::update(instances::table.find(id)).set(instances::seen_at_us.eq(now_us)).execute(connection)?;
    if known == 0 {
        let row = (instances::id.eq(id), instances::seen_at_us.eq(now_us));
        diesel::insert_into(instances::table).values(row).execute(connection)?;
    }
    Ok(())
}

/// Forgets an instance, if it was not seen again after `seen_at_us`. False if it was, or is not known.
///
/// # Errors
/// The store's.
pub fn forget(connection: &mut AnyConnection, id: &str, seen_at_us: i64) -> Result<bool, Error> {
    let unseen = instances::table.filter(instances::id.eq(id)).filter(instances::seen_at_us.le(seen_at_us));
    Ok(diesel::delete(unseen).execute(connection)? > 0)
}

/// Every instance that is known, and when it last said that it is there, by its own clock.
///
/// # Errors
/// The store's.
pub fn known(connection: &mut AnyConnection) -> Result<Vec<(String, i64)>, Error> {
    Ok(instances::table.select((instances::id, instances::seen_at_us)).load(connection)?)
}

/// Live sessions whose instance is not known any more, oldest first.
///
/// # Errors
/// The store's.
pub fn left_behind(connection: &mut AnyConnection) -> Result<Vec<SessionRow>, Error> {
    let known = instances::table.select(instances::id);
    Ok(sessions::table
        .filter(sessions::status.eq("live"))
        .filter(sessions::instance_id.ne_all(known))
        .order(sessions::id)
        .limit(AT_ONCE)
        .select(SessionRow::as_select())
        .load(connection)?)
}
