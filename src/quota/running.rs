//! The HTTP calls that run here: a call whose license or key may not be used any more is told so, and ends.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::clock;
use crate::error::Error;
use crate::license::{self, ApiKey, License};
use crate::store::connection::Store;
use crate::store::rights::{self, Right};

/// A call that has run for so long is looked at once: what changed while it was let in was not told to it.
const SETTLED: Duration = Duration::from_millis(500);
/// Between two looks at whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);

/// The calls of this instance; cheap to clone, shared by all threads.
#[derive(Clone, Default)]
pub struct RunningCalls {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    doubted: Notify,
}

#[derive(Default)]
struct Known {
    last: u64,
    calls: HashMap<u64, Entry>,
}

/// Lives as long as its call.
struct Entry {
    license_id: String,
    key_id: Option<String>,
    expires_at: Option<Timestamp>,
    began: Instant,
    /// When the store was asked about it, or is being asked.
    looked: Looked,
    end: watch::Sender<Option<Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    NotYet,
    /// Something changed: it must be looked at now.
    Doubted,
    Done,
}

impl RunningCalls {
    /// A call begins that its license, and key, allow now.
    #[must_use]
    pub fn begin(&self, license: &License, key: Option<&ApiKey>) -> Running {
        let (end, ending) = watch::channel(None);
        let entry = Entry {
            license_id: license.id.clone(),
            key_id: key.map(|key| key.id.clone()),
            expires_at: license.expires_at.into_iter().chain(key.and_then(|key| key.expires_at)).min(),
            began: Instant::now(),
            looked: Looked::NotYet,
            end,
        };
        let mut known = self.known();
        known.last += 1;
        let number = known.last;
        known.calls.insert(number, entry);
        Running { number: Some((number, self.clone())), ending: Ending(ending) }
    }

    /// A license, or a key of it, was changed here: the next look is at once.
    pub fn doubt(&self, license_id: &str) {
        let mut known = self.known();
        let concerned = known.calls.values_mut().filter(|call| call.license_id == license_id);
        concerned.for_each(|call| call.looked = Looked::Doubted);
        self.shared.doubted.notify_one();
    }

    /// Until a license is in doubt.
    pub async fn doubted(&self) {
        self.shared.doubted.notified().await;
    }

    /// Ends calls whose license's or key's time is over, as it is known here, until this is dropped.
    pub async fn keep_time(self) {
        loop {
            tokio::time::sleep(EXPIRE_EVERY).await;
            self.expire(clock::now());
        }
    }

    fn expire(&self, now: Timestamp) {
        self.known().end_where(|call| call.expires_at.is_some_and(|end| end <= now).then_some(Error::LicenseExpired));
    }

    /// Asks the store, in one question, whether calls may go on: all of them, or those that are in doubt. Asks nothing
    /// where there are none.
    ///
    /// # Errors
    /// `StorageUnavailable`: they stay in doubt.
    pub async fn look(&self, store: &Store, all: bool) -> Result<(), Error> {
        let (licenses, keys) = self.known().doubtful(all, Instant::now());
        if licenses.is_empty() {
            return Ok(());
        }
        let (asked, of_keys): (Vec<String>, Vec<String>) =
            (licenses.iter().cloned().collect(), keys.into_iter().collect());
        let found = store.run(move |connection| rights::of(connection, &asked, &of_keys)).await;
        let mut known = self.known();
        match found {
            Ok(found) => known.judge(&found, clock::now()),
            Err(error) => {
                let concerned = known.calls.values_mut().filter(|call| licenses.contains(&call.license_id));
                concerned.for_each(|call| call.looked = Looked::Doubted);
                return Err(error);
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The licenses and keys of calls that must be looked at; they count as looked at from now on.
    fn doubtful(&mut self, all: bool, now: Instant) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut licenses, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for call in self.calls.values_mut() {
            let due = match call.looked {
                Looked::NotYet => now.saturating_duration_since(call.began) >= SETTLED,
                Looked::Doubted => true,
                Looked::Done => false,
            };
            if all || due {
                call.looked = Looked::Done;
                licenses.insert(call.license_id.clone());
                keys.extend(call.key_id.clone());
            }
        }
        (licenses, keys)
    }

    fn judge(&mut self, found: &[Right], now: Timestamp) {
        let of_license: HashMap<&str, &Right> = found.iter().map(|right| (right.license_id.as_str(), right)).collect();
        let of_key: HashMap<&str, &Right> =
            found.iter().filter_map(|right| Some((right.key_id.as_deref()?, right))).collect();
        self.end_where(|call| {
            if call.looked != Looked::Done {
                // It began, or something changed, meanwhile: its look comes.
                return None;
            }
            let right = *of_license.get(call.license_id.as_str())?;
            let of_key = match call.key_id.as_deref() {
                // What becomes of its key was not asked: its own look comes.
                Some(key_id) => Some(*of_key.get(key_id)?),
                None => None,
            };
            let key_status = of_key.and_then(|right| right.key_status.as_deref());
            if let Err(why) = license::may_go_on(&right.license_status, key_status) {
                return Some(why);
            }
            let of_key = of_key.and_then(|right| right.key_expires_at_us);
            call.expires_at = right.license_expires_at_us.into_iter().chain(of_key).min().map(clock::at);
            call.expires_at.is_some_and(|end| end <= now).then_some(Error::LicenseExpired)
        });
    }

    fn end_where(&mut self, mut over: impl FnMut(&mut Entry) -> Option<Error>) {
        self.calls.retain(|_, call| match over(call) {
            Some(why) => {
                call.end.send_replace(Some(why));
                false
            }
            None => true,
        });
    }
}

/// A call that runs, until this is dropped.
pub struct Running {
    /// None: nobody's, which nothing ends.
    number: Option<(u64, RunningCalls)>,
    ending: Ending,
}

/// Hears when a call must end.
#[derive(Clone)]
pub struct Ending(watch::Receiver<Option<Error>>);

impl Running {
    /// A call without a license.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self { number: None, ending: Ending(watch::channel(None).1) }
    }

    /// Another who hears when it must end.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.clone()
    }

    /// As [`Ending::wait`].
    pub async fn ended(&mut self) -> Error {
        self.ending.wait().await
    }

    /// Why it must end, if it must.
    #[must_use]
    pub fn why(&self) -> Option<Error> {
        self.ending.0.borrow().clone()
    }
}

impl Ending {
    /// Until the call must end; then at once, again and again.
    pub async fn wait(&mut self) -> Error {
        let why = self.0.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // Nobody will say it any more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((number, calls)) = self.number.take() {
            calls.known().calls.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(calls: &RunningCalls, license: &str, key: Option<&str>, expires_at: Option<i64>) -> Running {
        let (end, ending) = watch::channel(None);
        let mut known = calls.known();
        known.last += 1;
        let number = known.last;
        let entry = Entry {
            license_id: license.to_owned(),
            key_id: key.map(str::to_owned),
            expires_at: expires_at.map(clock::at),
            began: Instant::now(),
            looked: Looked::NotYet,
            end,
        };
        known.calls.insert(number, entry);
        Running { number: Some((number, calls.clone())), ending: Ending(ending) }
    }

    fn right(license: (&str, &str, Option<i64>), key: Option<(&str, &str, Option<i64>)>) -> Right {
        Right {
            license_id: license.0.to_owned(),
            license_status: license.1.to_owned(),
            license_expires_at_us: license.2,
            key_id: key.map(|key| key.0.to_owned()),
            key_status: key.map(|key| key.1.to_owned()),
            key_expires_at_us: key.and_then(|key| key.2),
        }
    }

    fn code(call: &Running) -> &'static str {
        call.why().map_or("runs", |why| why.row().code)
    }

    #[test]
    fn who_may_not_go_on_is_told() {
        let calls = RunningCalls::default();
        let plain = call(&calls, "lic_1", None, None);
        let keyed = call(&calls, "lic_1", Some("k1"), None);
        let other_key = call(&calls, "lic_1", Some("k2"), None);
        let other = call(&calls, "lic_2", Some("k3"), None);
        let asked = calls.known().doubtful(true, Instant::now());
        assert_eq!(asked.0.into_iter().collect::<Vec<_>>(), ["lic_1", "lic_2"]);
        assert_eq!(asked.1.into_iter().collect::<Vec<_>>(), ["k1", "k2", "k3"]);
        let late = call(&calls, "lic_1", Some("k1"), None);
        let active = ("lic_1", "active", None);
        let found = [
            right(active, Some(("k1", "blocked", None))),
            right(active, Some(("k2", "active", Some(5)))),
            right(("lic_2", "revoked", None), Some(("k3", "active", None))),
        ];
        calls.known().judge(&found, clock::at(4));
        assert_eq!([&plain, &keyed, &other_key].map(code), ["runs", "license_suspended", "runs"]);
        assert_eq!([code(&other), code(&late)], ["license_revoked", "runs"]);
        // The key's end is known now.
        calls.expire(clock::at(5));
        assert_eq!([code(&plain), code(&other_key)], ["runs", "license_expired"]);
        drop((plain, late));
        assert!(calls.known().calls.is_empty());
    }

    #[test]
    fn each_call_is_looked_at_once_and_when_something_changed() {
        let (calls, now) = (RunningCalls::default(), Instant::now());
        let licenses = |all, now| calls.known().doubtful(all, now).0.len();
        let (_one, _other) = (call(&calls, "lic_1", None, None), call(&calls, "lic_2", None, None));
        assert_eq!(licenses(false, now), 0, "they have just begun");
        assert_eq!((licenses(false, now + 2 * SETTLED), licenses(false, now + 2 * SETTLED)), (2, 0));
        calls.doubt("lic_2");
        assert_eq!((licenses(false, now), licenses(false, now)), (1, 0));
        assert_eq!(licenses(true, now), 2);
    }

    #[tokio::test]
    async fn nobody_ends_what_is_nobodys() {
        let mut call = Running::of_nobody();
        assert!(tokio::time::timeout(Duration::from_millis(1), call.ended()).await.is_err());
    }
}
