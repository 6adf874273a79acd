//! The HTTP calls of this instance: each takes a share of its license's [`Purse`] before it begins and is written
//! to the journal when it is answered; the keeper books what has gathered, in one transaction for all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::call_ledger::{self, CallBatch};
use super::purse::{Amounts, CallStanding, Purse};
use super::standing::Warning;
use crate::error::Error;
use crate::payer;
use crate::store::calls::CallRow;
use crate::store::connection::Store;
use crate::store::journal::{self, Journal, Orphan};

/// How long a call waits for what others have reserved, or for the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls that were answered and are not booked, at most: beyond it new calls are refused until the store takes some.
const UNBOOKED: usize = 200_000;
/// Calls booked in one transaction at most.
const AT_ONCE: usize = 10_000;
/// Licenses looked at in one transaction, beside those whose calls are booked or wait.
const LOOKED_AT: usize = 5_000;
/// Licenses remembered at most, beside those with something in hand.
const LICENSES: usize = 50_000;

/// The calls of this instance; cheap to clone, shared by all threads.
#[derive(Clone, Default)]
pub struct Calls {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    purses: HashMap<String, Purse>,
    waiting: VecDeque<Waiting>,
    /// Answered and not booked, in the order of their answers.
    answered: VecDeque<CallRow>,
    /// So many more are in the transaction that runs.
    being_booked: usize,
    /// How many of these the transaction with an unknown outcome may have booked.
    doubtful: usize,
    journal: Option<Journal>,
    /// Journal's segments whose lines are all among the answered.
    segments: Vec<PathBuf>,
    /// Somebody waits to read what was used.
    readers: Vec<oneshot::Sender<()>>,
    running: usize,
}

/// A call that waits for its share.
struct Waiting {
    payer: String,
    need: Amounts,
    since: Instant,
    reply: oneshot::Sender<Result<Share, Error>>,
}

/// A transaction's work, and who waits for it.
pub struct Booking {
    /// What is written.
    pub batch: Arc<CallBatch>,
    spent: HashMap<String, Amounts>,
    waiting: Vec<Vec<Waiting>>,
    segments: Vec<PathBuf>,
    readers: Vec<oneshot::Sender<()>>,
    prepared: Instant,
}

impl Calls {
    /// Keeps answered calls in a journal from now on.
    pub fn keep_in(&self, journal: Journal) {
        self.shared().journal = Some(journal);
    }

    /// Ends the journal: everything is booked.
    pub fn end_journal(&self) {
        if let Some(journal) = self.shared().journal.take() {
            journal.remove();
        }
    }

    /// Takes a call's share, if it is at hand. `bridged`: the store is away, and calls go on without it.
    #[must_use]
    pub fn take(&self, payer: &str, need: Amounts, bridged: bool) -> Option<Share> {
        let mut shared = self.shared();
        let taken = shared.purses.get_mut(payer)?.take(need, bridged, Instant::now());
        taken.then(|| self.share(&mut shared, payer, need))
    }

    /// Waits for a call's share; the keeper must be told. The receiver hears `InsufficientQuota` when a budget is
    /// used up, `StorageUnavailable`.
    #[must_use]
    pub fn wait(&self, payer: &str, need: Amounts) -> oneshot::Receiver<Result<Share, Error>> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { payer: payer.to_owned(), need, since: Instant::now(), reply };
        self.shared().waiting.push_back(waiting);
        answer
    }

    /// Whether there is room for more calls that are not booked.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn has_room(&self) -> Result<(), Error> {
        let shared = self.shared();
        let full = shared.answered.len() + shared.being_booked >= UNBOOKED;
        if full { Err(Error::storage("too many calls wait to be booked")) } else { Ok(()) }
    }

    /// The budgets of a license changed: the store is asked before its next call.
    pub fn doubt(&self, license_id: &str) {
        let mut shared = self.shared();
        let theirs = shared.purses.iter_mut().filter(|(payer, _)| payer::license(payer) == license_id);
        theirs.for_each(|(_, purse)| purse.doubt());
    }

    /// What an answer may cost whose caller names no limit, going by the license's last ones.
    #[must_use]
    pub fn usual_output(&self, payer: &str) -> i64 {
        self.shared().purses.get(payer).map_or(0, Purse::usual_output)
    }

    /// A payer's budgets that are used beyond their soft limit, as last heard from the store.
    #[must_use]
    pub fn warnings(&self, payer: &str) -> Arc<[Warning]> {
        self.shared().purses.get(payer).map(Purse::warnings).unwrap_or_default()
    }

    /// The budgets of any license may have changed.
    pub fn doubt_all(&self) {
        self.shared().purses.values_mut().for_each(Purse::doubt);
    }

    /// Resolves when all that was answered by now is booked; the keeper must be told.
    pub fn booked(&self) -> oneshot::Receiver<()> {
        let (reader, done) = oneshot::channel();
        let mut shared = self.shared();
        // Whoever lost patience waits no more.
        shared.readers.retain(|reader| !reader.is_closed());
        shared.readers.push(reader);
        done
    }

    /// Calls that run, or are answered and not booked.
    #[must_use]
    pub fn open(&self) -> usize {
        let shared = self.shared();
        shared.running + shared.answered.len() + shared.being_booked
    }

    /// Takes together what the next transaction must write; `None` if there is nothing.
    #[must_use]
    pub fn prepare(&self, now: Instant) -> Option<Booking> {
        let mut shared = self.shared();
        let shared = &mut *shared;
        let crowded = shared.purses.len() > LICENSES;
        shared.purses.retain(|_, purse| !purse.is_idle(now, crowded));
        let some = shared.answered.len().min(AT_ONCE);
        let rows: Vec<CallRow> = shared.answered.drain(..some).collect();
        shared.being_booked = rows.len();
        let everything = shared.answered.is_empty();
        let mut spent: HashMap<String, Amounts> = HashMap::new();
        for row in &rows {
            *spent.entry(payer_of(row)).or_default() += used(row);
        }
        let mut waiting: HashMap<String, Vec<Waiting>> = HashMap::new();
        for call in shared.waiting.drain(..).filter(|call| !call.reply.is_closed()) {
            waiting.entry(call.payer.clone()).or_default().push(call);
        }
        let looks = shared.purses.iter().filter(|(_, purse)| purse.wants_look(now)).map(|(id, _)| id);
        let looks = looks.take(LOOKED_AT);
        let concerned: HashSet<String> = spent.keys().chain(waiting.keys()).chain(looks).cloned().collect();
        let readers = if everything { std::mem::take(&mut shared.readers) } else { Vec::new() };
        if concerned.is_empty() {
            // Whoever waits to read has nothing to wait for.
            for reader in readers {
                let _gone = reader.send(());
            }
            return None;
        }
        let (mut lines, mut waiters) = (Vec::with_capacity(concerned.len()), Vec::with_capacity(concerned.len()));
        for payer in concerned {
            let calls = waiting.remove(&payer).unwrap_or_default();
            let asks = calls.iter().map(|call| call.need).collect();
            let purse = shared.purses.entry(payer.clone()).or_default();
            lines.push(purse.line(&payer, spent.get(&payer).copied().unwrap_or_default(), asks));
            waiters.push(calls);
        }
        let segments = if everything { shared.turn_page() } else { Vec::new() };
        let batch = CallBatch { rows, lines, doubt: shared.doubtful > 0 };
        Some(Booking { batch: Arc::new(batch), spent, waiting: waiters, segments, readers, prepared: now })
    }

    /// A transaction was written.
    pub fn enter(&self, booking: Booking, standings: &[CallStanding], now: Instant) {
        let mut replies = Vec::new();
        let mut shared = self.shared();
        shared.being_booked = 0;
        shared.doubtful = shared.doubtful.saturating_sub(booking.batch.rows.len());
        for ((line, standing), calls) in booking.batch.lines.iter().zip(standings).zip(booking.waiting) {
            let purse = shared.purses.entry(line.payer.clone()).or_default();
            let spent = booking.spent.get(&line.payer).copied().unwrap_or_default();
            purse.enter(spent, standing, booking.prepared);
            for (call, grant) in calls.into_iter().zip(&standing.grants) {
                let patient = now.saturating_duration_since(call.since) < PATIENCE;
                match (grant, standing.used_up) {
                    (Some(grant), _) => {
                        let share = self.share(&mut shared, &line.payer, *grant);
                        replies.push((call.reply, Ok(share)));
                    }
                    (None, None) if patient => shared.waiting.push_back(call),
                    (None, Some(resets_at)) => {
                        replies.push((call.reply, Err(Error::InsufficientQuota { resets_at })));
                    }
                    // Something is left, but others that run have it.
                    (None, None) => {
                        replies.push((call.reply, Err(Error::RateLimited { retry_after_seconds: 2 })));
                    }
                }
            }
        }
        drop(shared);
        // Without the lock: whoever left meanwhile gives its share back here.
        for (reply, answer) in replies {
            drop(reply.send(answer));
        }
        for reader in booking.readers {
            let _gone = reader.send(());
        }
        booking.segments.iter().for_each(|path| journal::remove(path));
    }

    /// A transaction failed: its rows may be written or not. `away`: the store is away beyond doubt.
    pub fn fail(&self, booking: Booking, error: &Error, away: bool, now: Instant) {
        let mut refused = Vec::new();
        let mut shared = self.shared();
        shared.being_booked = 0;
        for row in booking.batch.rows.iter().rev() {
            shared.answered.push_front(row.clone());
        }
        shared.readers.extend(booking.readers.into_iter().filter(|reader| !reader.is_closed()));
        shared.doubtful = shared.doubtful.max(booking.batch.rows.len());
        shared.segments.extend(booking.segments);
        for line in &booking.batch.lines {
            shared.purses.entry(line.payer.clone()).or_default().lose_track();
        }
        for call in booking.waiting.into_iter().flatten().rev() {
            if away || now.saturating_duration_since(call.since) >= PATIENCE {
                refused.push(call.reply);
            } else {
                shared.waiting.push_front(call);
            }
        }
        drop(shared);
        for reply in refused {
            let _gone = reply.send(Err(error.clone()));
        }
    }

    fn share(&self, shared: &mut Shared, payer: &str, taken: Amounts) -> Share {
        shared.running += 1;
        Share { calls: self.clone(), payer: payer.to_owned(), taken, settled: false }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The segments that can go once everything answered by now is booked.
    fn turn_page(&mut self) -> Vec<PathBuf> {
        let turned = self.journal.as_mut().map(Journal::rotate);
        match turned {
            Some(Ok(segment)) => self.segments.extend(segment),
            Some(Err(error)) => {
                log::warn!("the journal goes on with its segment: {}", error.cause().unwrap_or_default());
            }
            None => {}
        }
        std::mem::take(&mut self.segments)
    }
}

fn payer_of(row: &CallRow) -> String {
    payer::name(&row.license_id, row.key_id.as_deref())
}

fn used(row: &CallRow) -> Amounts {
    Amounts { tokens: row.input_tokens + row.output_tokens, requests: 1 }
}

/// A call's share of its license's budgets. The call owns it until it is settled; dropped, nothing was used.
pub struct Share {
    calls: Calls,
    payer: String,
    taken: Amounts,
    settled: bool,
}

impl Share {
    /// The call was answered: what it used is kept in the journal when this returns, and booked soon.
    pub fn settle(mut self, row: CallRow) {
        self.settled = true;
        let mut shared = self.calls.shared();
        if let Some(journal) = &mut shared.journal
            && let Err(error) =
                serde_json::to_string(&row).map_err(Error::internal).and_then(|line| journal.append(&line))
        {
            log::error!("a call is not in the journal: {}", error.cause().unwrap_or_default());
        }
        let purse = shared.purses.entry(self.payer.clone()).or_default();
        purse.settle(self.taken, used(&row));
        purse.answered(row.output_tokens);
        shared.answered.push_back(row);
        shared.running -= 1;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.settled {
            let mut shared = self.calls.shared();
            shared.purses.entry(self.payer.clone()).or_default().settle(self.taken, Amounts::default());
            shared.running -= 1;
        }
    }
}

/// Books the calls in the journals of processes that are gone, and removes the journals. Returns how many there were;
/// those that the store has already count too. Blocks.
///
/// # Errors
/// `StorageUnavailable`; journals that are not booked stay.
pub fn book_orphans(store: &Store, folder: &Path, now: Timestamp) -> Result<usize, Error> {
    let mut found = 0;
    for orphan in Orphan::find(folder)? {
        let lines = orphan.lines()?;
        let rows: Vec<CallRow> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let unread = lines.len() - rows.len();
        for some in rows.chunks(AT_ONCE) {
            store.run_blocking(|connection| call_ledger::book_late(connection, some, now))?;
        }
        found += rows.len();
        if unread > 0 {
            log::error!("{unread} lines of a journal can't be read; it is kept as *.unread");
        }
        orphan.end(unread > 0);
    }
    Ok(found)
}
