//! How instances on one store tell each other that something changed, for live sessions or of upstream accounts: a
//! version in the store, and for sessions on PostgreSQL a notification with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::connection::{Location, impatient};
use super::schema::announcements;
use crate::error::Error;

/// The announcement that live sessions heed.
const SESSIONS: &str = "sessions";
/// The one that pools of upstream accounts heed.
const ACCOUNTS: &str = "accounts";
/// Between two looks at what has arrived: the client library has no other way than to look.
const LISTEN_EVERY: Duration = Duration::from_millis(100);
/// After a connection failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says, when the transaction commits, that a license, a key or a session changed.
///
/// # Errors
/// The store's.
pub fn announce(connection: &mut AnyConnection) -> Result<(), Error> {
    raise(connection, SESSIONS)?;
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
    version_of(connection, SESSIONS)
}

/// Says, when the transaction commits, that an upstream account changed. There are seconds to hear of it: instances
/// look, nobody is notified.
///
/// # Errors
/// The store's.
pub fn announce_accounts(connection: &mut AnyConnection) -> Result<(), Error> {
    raise(connection, ACCOUNTS)
}

/// How often a change of accounts was announced.
///
/// # Errors
/// The store's.
pub fn accounts_version(connection: &mut AnyConnection) -> Result<i64, Error> {
    version_of(connection, ACCOUNTS)
}

fn raise(connection: &mut AnyConnection, id: &str) -> Result<(), Error> {
    diesel::update(announcements::table.find(id))
        .set(announcements::version.eq(announcements::version + 1))
        .execute(connection)?;
    Ok(())
}

fn version_of(connection: &mut AnyConnection, id: &str) -> Result<i64, Error> {
    Ok(announcements::table.find(id).select(announcements::version).first(connection)?)
}

/// Calls `heard` at each announcement, on a thread with a connection of its own that it renews by itself, until
/// the listener is dropped. Only PostgreSQL notifies: on SQLite there is no listener, and whoever wants to know
/// looks at the [`version`].
///
/// # Errors
/// `Internal` when the system gives no thread.
pub fn listen(location: &Location, heard: impl Fn() + Send + 'static) -> Result<Option<Listener>, Error> {
    let Location::Postgres(url) = location else { return Ok(None) };
    let (url, stopped) = (impatient(url), Arc::new(AtomicBool::new(false)));
    let seen = stopped.clone();
    let listener = thread::Builder::new().name("announcements".to_owned()).spawn(move || {
        let listening = AtomicBool::new(true);
        let heard = || {
            listening.store(true, Ordering::Relaxed);
            heard();
        };
        while !seen.load(Ordering::Acquire) {
            if let Err(error) = hear(&url, &heard, &seen) {
                // Said once for each time that it broke off, not for each try.
                if listening.swap(false, Ordering::Relaxed) {
                    log::warn!("announcements of other instances are found by looking alone: {error}");
                }
                thread::sleep(RETRY_AFTER);
            }
        }
    });
    listener.map_err(Error::internal)?;
    Ok(Some(Listener { stopped }))
}

/// Hears announcements until it is dropped.
pub struct Listener {
    stopped: Arc<AtomicBool>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
    }
}

fn hear(url: &str, heard: &impl Fn(), stopped: &AtomicBool) -> Result<(), Box<dyn std::error::Error>> {
    let mut connection = PgConnection::establish(url)?;
    diesel::sql_query("LISTEN livetranslate_sessions").execute(&mut connection)?;
    // Something may have been announced while there was no connection.
    heard();
    while !stopped.load(Ordering::Acquire) {
        let announced = connection.notifications_iter().collect::<QueryResult<Vec<_>>>()?;
        if !announced.is_empty() {
            heard();
        }
        thread::sleep(LISTEN_EVERY);
    }
    Ok(())
}
