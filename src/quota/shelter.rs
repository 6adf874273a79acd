//! What carries the keeper through an absence of the store: the spool, the grace, and an eye on the disk.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::batch::Batch;
use crate::clock;
use crate::error::Error;
use crate::store::disk::Disk;
use crate::store::spool::Spool;

/// What lies beside the store on this machine.
#[derive(Clone, Default)]
pub struct Shelter {
    /// Where marks are kept while a shared store is away; a store on this machine has none.
    spool: Option<Arc<Mutex<Spool>>>,
    /// The disk that must have room for new work.
    disk: Option<Disk>,
}

impl Shelter {
    /// With a spool beside a shared store, or without.
    #[must_use]
    pub fn new(spool: Option<Spool>, disk: Disk) -> Self {
        Self { spool: spool.map(|spool| Arc::new(Mutex::new(spool))), disk: Some(disk) }
    }

    /// Whether there is a spool.
    #[must_use]
    pub fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// Does something with the spool, on a blocking thread.
    ///
    /// # Errors
    /// What `work` returns; `Internal` where there is no spool.
    pub async fn spool<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Spool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let spool = self.spool.clone().ok_or_else(|| Error::internal("there is no spool"))?;
        let done = tokio::task::spawn_blocking(move || work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner)));
        let done = done.await.map_err(Error::internal)?;
        self.note(done.as_ref().err());
        done
    }

    /// Whether new work may begin.
    ///
    /// # Errors
    /// `StorageUnavailable`, which names the disk.
    pub fn has_room(&self) -> Result<(), Error> {
        let full = self.disk.as_ref().filter(|disk| disk.is_full());
        full.map_or(Ok(()), |disk| Err(Error::storage(disk.complaint())))
    }

    /// How a write to the store went, where that is on this machine.
    pub fn note_store(&self, error: Option<&Error>) {
        if self.spool.is_none() {
            self.note(error);
        }
    }

    fn note(&self, error: Option<&Error>) {
        match (&self.disk, error) {
            (Some(disk), Some(error)) => disk.failed(error),
            (Some(disk), None) => disk.written(),
            (None, _) => {}
        }
    }
}

/// Whether the store is there, as the keeper finds it.
pub struct StoreWatch {
    grace: Duration,
    away: Option<Instant>,
    /// It failed, or has been silent for long; before that it is maybe only slow.
    surely: bool,
    shown: Away,
}

/// The same for everyone else; cheap to clone.
#[derive(Clone, Default)]
pub struct Away {
    since_us: Arc<AtomicI64>,
    over_us: Arc<AtomicI64>,
}

impl Away {
    /// Since when the store is away, if it is.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        let since_us = self.since_us.load(Ordering::Acquire);
        (since_us > 0).then(|| clock::at(since_us))
    }

    /// Whether sessions go on all the same.
    #[must_use]
    pub fn is_bridged(&self) -> bool {
        self.since_us.load(Ordering::Acquire) > 0
            && clock::now().as_microsecond() < self.over_us.load(Ordering::Acquire)
    }
}

impl StoreWatch {
    /// It is there, as far as is known.
    #[must_use]
    pub fn new(grace_seconds: u64) -> Self {
        Self { grace: Duration::from_secs(grace_seconds), away: None, surely: false, shown: Away::default() }
    }

    /// What everyone else may ask.
    #[must_use]
    pub fn shown(&self) -> Away {
        self.shown.clone()
    }

    /// Whether it has stopped answering.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Whether it is away beyond doubt.
    #[must_use]
    pub fn is_surely_away(&self) -> bool {
        self.surely
    }

    /// Whether sessions may go on without it.
    #[must_use]
    pub fn in_grace(&self, now: Instant) -> bool {
        self.away.is_some_and(|since| now.duration_since(since) < self.grace)
    }

    /// It has not answered for a while.
    pub fn silent(&mut self, now: Instant) {
        self.away.get_or_insert(now);
    }

    /// It failed, or has not answered for long.
    pub fn failed(&mut self, cause: &str, now: Instant) {
        let since = *self.away.get_or_insert(now);
        if std::mem::replace(&mut self.surely, true) {
            return;
        }
        let begun = clock::now().as_microsecond() - micros(now.duration_since(since));
        self.shown.over_us.store(begun.saturating_add(micros(self.grace)), Ordering::Release);
        self.shown.since_us.store(begun, Ordering::Release);
        log::error!("the store is away; sessions go on for {} s at most: {cause}", self.grace.as_secs());
    }

    /// It answered. True if it was away.
    pub fn answered(&mut self, now: Instant) -> bool {
        let Some(since) = self.away.take() else { return false };
        if std::mem::take(&mut self.surely) {
            self.shown.since_us.store(0, Ordering::Release);
            log::warn!("the store is back after {} s", now.duration_since(since).as_secs());
        }
        true
    }
}

/// The transaction that runs.
pub struct Running {
    /// Counted from 1.
    pub number: u64,
    /// What it writes.
    pub batch: Arc<Batch>,
    /// Since when.
    pub since: Instant,
    /// With it the store has everything that is in the spool.
    pub empties_spool: bool,
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
