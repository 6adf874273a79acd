//! The sentences that remove what is old enough, a bounded number of rows at a time.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::accounting;
use super::backend::AnyConnection;
use super::schema::retention_marks;
use crate::error::Error;

/// The mark of the usage ledger.
const USAGE: &str = "usage";

/// Since when the usage ledger has its rows: those before are gone, or go next.
///
/// # Errors
/// The store's.
pub fn kept_from(connection: &mut AnyConnection) -> Result<i64, Error> {
    let mark = retention_marks::table.find(USAGE).select(retention_marks::kept_from_us).first(connection);
    Ok(mark.optional()?.unwrap_or(0))
}

/// Says that rows of usage from before `from_us` may be removed; it never goes back. Under the ledger's lock: whoever
/// counts rows under it is not interrupted by this.
///
/// # Errors
/// The store's.
pub fn keep_from(connection: &mut AnyConnection, from_us: i64) -> Result<(), Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let mark = retention_marks::table.find(USAGE).filter(retention_marks::kept_from_us.lt(from_us));
        diesel::update(mark).set(retention_marks::kept_from_us.eq(from_us)).execute(connection)?;
        Ok(())
    })
}

/// Removes the oldest `most` rows of usage from before `before_us` at most; tells how many there were.
///
/// # Errors
/// The store's.
pub fn remove_usage(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    remove(
        connection,
        "DELETE FROM usage_events WHERE (session_id, mark_samples, mark_tokens) IN (SELECT session_id, mark_samples, \
         mark_tokens FROM usage_events WHERE occurred_at_us < $1 ORDER BY occurred_at_us LIMIT $2)",
        (before_us, most),
    )
}

/// Likewise sessions that began and ended before `before_us`.
///
/// # Errors
/// The store's.
pub fn remove_sessions(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    remove(
        connection,
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE started_at_us < $1 AND status = 'ended' \
         AND ended_at_us < $1 ORDER BY started_at_us LIMIT $2)",
        (before_us, most),
    )
}

/// Likewise notes of requests that were made once.
///
/// # Errors
/// The store's.
pub fn remove_idempotency_keys(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    remove(
        connection,
        "DELETE FROM idempotency_keys WHERE id IN (SELECT id FROM idempotency_keys WHERE created_at_us < $1 \
         ORDER BY created_at_us LIMIT $2)",
        (before_us, most),
    )
}

/// Likewise entries of the audit log.
///
/// # Errors
/// The store's.
pub fn remove_audit(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    remove(
        connection,
        "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE occurred_at_us < $1 \
         ORDER BY occurred_at_us LIMIT $2)",
        (before_us, most),
    )
}

/// Likewise tickets that could be used until then.
///
/// # Errors
/// The store's.
pub fn remove_tickets(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    remove(
        connection,
        "DELETE FROM tickets WHERE secret_hash IN (SELECT secret_hash FROM tickets WHERE expires_at_us < $1 \
         ORDER BY expires_at_us LIMIT $2)",
        (before_us, most),
    )
}

/// Likewise jobs that began before then.
///
/// # Errors
/// The store's.
pub fn remove_upstream_tasks(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    remove(
        connection,
        "DELETE FROM upstream_tasks WHERE id IN (SELECT id FROM upstream_tasks WHERE created_at_us < $1 \
         ORDER BY created_at_us LIMIT $2)",
        (before_us, most),
    )
}

fn remove(connection: &mut AnyConnection, statement: &str, (before_us, most): (i64, i64)) -> Result<usize, Error> {
    accounting::transaction(connection, |connection| {
        if let AnyConnection::Postgres(postgres) = connection {
            // Another instance that removes now removes the same rows.
            let free = diesel::dsl::sql::<Bool>("pg_try_advisory_xact_lock(5500641207338855796)");
            if !diesel::select(free).get_result::<bool>(postgres)? {
                return Ok(0);
            }
        }
        Ok(diesel::sql_query(statement).bind::<BigInt, _>(before_us).bind::<BigInt, _>(most).execute(connection)?)
    })
}
