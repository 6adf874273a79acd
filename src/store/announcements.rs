//! How instances on one store tell each other that something changed for live sessions: a version in the store,
//! and on PostgreSQL a notification with it.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::announcements;
use crate::error::Error;

/// The announcement that live sessions heed.
const SESSIONS: &str = "sessions";

/// Says, when the transaction commits, that a license, a key or a session changed.
///
/// # Errors
/// The store's.
pub fn announce(connection: &mut AnyConnection) -> Result<(), Error> {
    diesel::update(announcements::table.find(SESSIONS))
        .set(announcements::version.eq(announcements::version + 1))
        .execute(connection)?;
    if let AnyConnection::Postgres(postgres) = connection {
        diesel::sql_query("NOTIFY livetranslate_sessions").execute(postgres)?;
    }
    Ok(())
}

/// How often something was announced.
///
/// # Errors
/// The store's.
pub fn version(connection: &mut AnyConnection) -> Result<i64, Error> {
    Ok(announcements::table.find(SESSIONS).select(announcements::version).first(connection)?)
}
