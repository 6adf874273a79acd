//! Says every few seconds that this instance is there, and settles what others have left behind.

use std::time::Instant;

use super::call_ledger;
use super::healing::{self, Watch};
use super::instance::Instance;
use crate::clock;
use crate::error::Error;
use crate::store::backend::AnyConnection;
use crate::store::connection::Store;
use crate::store::{accounting, call_holds, instances};

/// Says for the first time that this instance is there: before its first session, which others would take for one
/// that was left behind. Settles at once the sessions of `predecessor`, a process that is known to have ended. Blocks.
///
/// # Errors
/// `StorageUnavailable`.
pub fn begin(connection: &mut AnyConnection, instance: &Instance, predecessor: Option<String>) -> Result<(), Error> {
    let now = clock::now();
    instances::see(connection, &instance.id, now.as_microsecond())?;
    let ended: Vec<(String, i64)> = predecessor.map(|id| (id, healing::ENDED)).into_iter().collect();
    let mut healed = 0;
    loop {
        match healing::heal(connection, &ended, instance, now)? {
            0 => break,
            count => healed += count,
        }
    }
    if healed > 0 {
        log::warn!("{healed} sessions that a crash has left behind were settled");
    }
    Ok(())
}

/// Goes on saying so, until it is dropped. Its own statement, in nobody's queue: whoever is late is taken for dead.
pub async fn keep(store: Store, instance: Instance) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(healing::EVERY).await;
        let id = instance.id.clone();
        let seen = store.run(move |connection| {
            instances::see(connection, &id, clock::now().as_microsecond())?;
            instances::known(connection)
        });
        let known = match seen.await {
            Ok(mut known) => {
                known.retain(|(id, _)| *id != instance.id);
                known
            }
            Err(error) => {
                log::warn!("this instance could not say that it is there: {}", error.cause().unwrap_or_default());
                continue;
            }
        };
        let gone = watch.look(&known, Instant::now());
        let healing = instance.clone();
        let healed = store.run(move |connection| healing::heal(connection, &gone, &healing, clock::now()));
        match healed.await {
            Ok(0) => {}
            Ok(count) => log::warn!("{count} sessions of instances that are gone were settled"),
            Err(error) => log::warn!("looking after other instances failed: {}", error.cause().unwrap_or_default()),
        }
    }
}

/// Says that this instance goes away, with no session and no call left behind, and gives back what it held for calls.
/// Blocks.
///
/// # Errors
/// `StorageUnavailable`.
pub fn end(connection: &mut AnyConnection, instance: &Instance) -> Result<(), Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let held = call_holds::take_over_due(connection, i64::MIN, std::slice::from_ref(&instance.id))?;
        call_ledger::give_back(connection, &held, clock::now())?;
        instances::forget(connection, &instance.id, i64::MAX).map(|_| ())
    })
}
