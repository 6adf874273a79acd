//! Which processes are on this store, and what those that are gone have left behind.

use diesel::prelude::*;

use super::backend::AnyConnection;
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

/// Forgets instances that were last seen before `seen_before_us`.
///
/// # Errors
/// The store's.
pub fn forget(connection: &mut AnyConnection, seen_before_us: i64) -> Result<(), Error> {
    diesel::delete(instances::table.filter(instances::seen_at_us.lt(seen_before_us))).execute(connection)?;
    Ok(())
}

/// A live session without an instance, as its last transaction left it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct LeftBehind {
    /// The session.
    pub id: String,
    /// Who pays.
    pub license_id: String,
    /// The API key it came with.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// High-water mark, samples.
    pub booked: i64,
    /// Lease, samples.
    pub leased: i64,
    /// Input tokens booked.
    pub input_tokens: i64,
    /// Output tokens booked.
    pub output_tokens: i64,
    /// Samples in the usage ledger.
    pub recorded: i64,
    /// Input tokens in the usage ledger.
    pub recorded_input: i64,
    /// Output tokens in the usage ledger.
    pub recorded_output: i64,
}

/// Live sessions whose instance is not known any more, oldest first.
///
/// # Errors
/// The store's.
pub fn left_behind(connection: &mut AnyConnection) -> Result<Vec<LeftBehind>, Error> {
    let known = instances::table.select(instances::id);
    Ok(sessions::table
        .filter(sessions::status.eq("live"))
        .filter(sessions::instance_id.ne_all(known))
        .order(sessions::id)
        .limit(AT_ONCE)
        .select((
            sessions::id,
            sessions::license_id,
            sessions::key_id,
            sessions::model,
            sessions::booked_samples,
            sessions::leased_samples,
            sessions::booked_input_tokens,
            sessions::booked_output_tokens,
            sessions::recorded_samples,
            sessions::recorded_input_tokens,
            sessions::recorded_output_tokens,
        ))
        .load(connection)?)
}
