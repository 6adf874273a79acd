//! Removes what is old enough: once an hour, a bounded number of rows at a time, so that nobody waits for it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock;
use crate::config::Config;
use crate::error::Error;
use crate::store::backend::AnyConnection;
use crate::store::connection::Store;
use crate::store::retention;
use crate::store::usage_span::down;
use crate::store::usage_sums::QUARTER_US;

/// From the end of one sweep to the next.
const EVERY: Duration = Duration::from_secs(3_600);
/// After a start there is more urgent work.
const AFTER_START: Duration = Duration::from_secs(60);
/// Rows removed by one statement.
const AT_ONCE: i64 = 2_000;
/// Others come in between two statements.
const PAUSE: Duration = Duration::from_millis(50);

/// Removes rows from before a time, so many at most; tells how many there were.
type Remove = fn(&mut AnyConnection, i64, i64) -> Result<usize, Error>;

/// Rows of one kind.
struct Kind {
    name: &'static str,
    /// How old they become.
    age: SignedDuration,
    remove: Remove,
}

/// Everything that goes by itself: one line for each kind. The sums of usage stay for ever.
fn kinds(config: &Config) -> Vec<Kind> {
    let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
    let hours = SignedDuration::from_hours;
    let usage = days(config.store.usage_retention_days);
    vec![
        Kind { name: "rows of usage", age: usage, remove: remove_usage },
        Kind { name: "ended sessions", age: usage, remove: remove_sessions },
        Kind { name: "remembered requests", age: hours(24), remove: retention::remove_idempotency_keys },
        Kind { name: "audit entries", age: days(config.store.audit_retention_days), remove: retention::remove_audit },
        Kind { name: "unused tickets", age: SignedDuration::ZERO, remove: retention::remove_tickets },
        Kind { name: "jobs at providers", age: hours(48), remove: retention::remove_upstream_tasks },
    ]
}

/// First says from when on rows are kept, so that reports don't begin within what is half gone.
fn remove_usage(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    let before_us = down(before_us, QUARTER_US);
    if retention::kept_from(connection)? < before_us {
        retention::keep_from(connection, before_us)?;
    }
    retention::remove_usage(connection, before_us, most)
}

/// A quarter of an hour keeps its sessions as long as its usage: reports count both.
fn remove_sessions(connection: &mut AnyConnection, before_us: i64, most: i64) -> Result<usize, Error> {
    retention::remove_sessions(connection, down(before_us, QUARTER_US), most)
}

/// Goes on removing, until it is dropped.
pub async fn keep(store: Store, config: std::sync::Arc<Config>) {
    tokio::time::sleep(AFTER_START).await;
    loop {
        if let Err(error) = sweep(&store, &config, clock::now()).await {
            let cause = error.cause().unwrap_or_default();
            log::warn!("old rows are not removed, and will be tried again in an hour: {cause}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Removes all that is old enough at `now`; tells how many rows there were.
///
/// # Errors
/// `StorageUnavailable`; what was removed by then is gone.
pub async fn sweep(store: &Store, config: &Config, now: Timestamp) -> Result<usize, Error> {
    let mut total = 0;
    for Kind { name, age, remove } in kinds(config) {
        let before_us = now.saturating_sub(age).map_or(i64::MIN, Timestamp::as_microsecond);
        let mut removed = 0;
        loop {
            let some = store.run(move |connection| remove(connection, before_us, AT_ONCE)).await?;
            removed += some;
            if i64::try_from(some).unwrap_or(i64::MAX) < AT_ONCE {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if removed > 0 {
            log::info!("removed {removed} {name} that were old enough");
        }
        total += removed;
    }
    Ok(total)
}
