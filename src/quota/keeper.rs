//! The QuotaKeeper: serializes all accounting of this instance into the store.
//!
//! While one transaction runs, requests queue; the next transaction takes all of them. Once a second
//! every live session's usage goes into it too. Nothing is held back to wait for company.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use super::ask::{Ask, Handover, Reply};
use super::batch::{Batch, Opening, Outcome, Restored, Verdict};
use super::book::{Answer, Book};
use super::counter::{BOOK_EVERY, Counter, Desk};
use super::instance::Instance;
use super::lease::Lease;
use super::ledger;
use super::resumption::{self, Resumed};
use super::shelter::{Away, Running, Shelter, StoreWatch};
use super::tally::Tally;
use crate::clock;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::connection::Store;
use crate::wire::audio::METERED_RATE;

/// Live usage is written this often: a crash loses less than this of it.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// After a failed transaction.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a session waits for its account to be opened.
pub(super) const OPENING_PATIENCE: Duration = Duration::from_secs(15);
/// Requests that fit into the mailbox beyond one per sender.
const MAILBOX: usize = 4_096;

/// The handle that the rest of the house holds.
#[derive(Clone)]
pub struct Quota {
    pub(super) keeper: Addr<QuotaKeeper>,
    open_accounts: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
    pub(super) shelter: Shelter,
    pub(super) away: Away,
    pub(super) counter: Counter,
}

impl Quota {
    /// Starts the keeper on the current arbiter, with nothing beside the store.
    #[must_use]
    pub fn start(store: Store, instance: Instance, metrics: Metrics) -> Self {
        Self::start_sheltered(store, instance, metrics, Shelter::default())
    }

    /// Starts the keeper on the current arbiter.
    #[must_use]
    pub fn start_sheltered(store: Store, instance: Instance, metrics: Metrics, shelter: Shelter) -> Self {
        let presence = StoreWatch::new(instance.grace_seconds);
        let away = presence.shown();
        let (open_accounts, failing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counter = Counter::default();
        let keeper = QuotaKeeper {
            store,
            instance,
            metrics,
            book: Book::default(),
            replies: HashMap::new(),
            resuming: HashMap::new(),
            settling: HashMap::new(),
            open_accounts: open_accounts.clone(),
            failing: failing.clone(),
            busy: false,
            asked: false,
            tick_due: false,
            shelter: shelter.clone(),
            presence,
            running: None,
            hopeless: 0,
            begun: 0,
            written_at: Instant::now(),
            spooling: false,
            spool_used: false,
            spool_broken: false,
            desk: Desk { counter: counter.clone(), ..Desk::default() },
        };
        Self { keeper: keeper.start(), open_accounts, failing, shelter, away, counter }
    }

    /// Opens a session's account and returns its lease, still empty.
    ///
    /// # Errors
    /// `InsufficientQuota` when a budget of the license is used up, `SessionLimit` when it has `max_sessions` on all
    /// instances and none of them is away, what its license and key are refused for, `StorageUnavailable`.
    pub async fn open(&self, opening: Opening) -> Result<Lease, Error> {
        self.shelter.has_room()?;
        let session_id = opening.session_id.clone();
        let tally = Arc::new(Tally::default());
        let (reply, answer) = oneshot::channel();
        let lease = Lease::new(session_id, 1, tally.clone(), self.keeper.clone().recipient());
        self.keeper.send(Ask::Open { opening, tally, reply }).await.map_err(Error::internal)?;
        let answer = tokio::time::timeout(OPENING_PATIENCE, answer).await;
        answer.map_err(|_| Error::storage("no account was opened in time"))?.map_err(Error::internal)??;
        Ok(lease)
    }

    /// Takes over a session whose instance died, went away or still has it, by the SHA-256 of its resume token.
    /// From then on nobody else books anything for it.
    ///
    /// # Errors
    /// `SessionGone` when it is not known, has ended, or its window is over; what its license and key are refused
    /// for; `StorageUnavailable`.
    pub async fn resume(&self, resume_hash: String) -> Result<Resumed, Error> {
        let (reply, answer) = resumption::handover(self.keeper.clone().recipient());
        self.keeper.send(Ask::Resume { resume_hash, reply }).await.map_err(Error::internal)?;
        let answer = tokio::time::timeout(OPENING_PATIENCE, answer).await;
        answer.map_err(|_| Error::storage("the session was not taken over in time"))?.map_err(Error::internal)?
    }

    /// Books and closes every account that is still open, whatever its session waits for.
    #[expect(clippy::disallowed_methods, reason = "said once, when the process is about to end")]
    pub fn settle_all(&self) {
        self.keeper.do_send(Ask::SettleAll);
    }

    /// Accounts that are open: 0 when everything is settled and written.
    #[must_use]
    pub fn open_accounts(&self) -> usize {
        self.open_accounts.load(Ordering::Acquire)
    }

    /// Since when the store is away, and whether sessions go on all the same.
    #[must_use]
    pub fn away(&self) -> &Away {
        &self.away
    }

    /// Whether there is room on the disk for new work.
    ///
    /// # Errors
    /// `StorageUnavailable`, which names the disk.
    pub fn has_room(&self) -> Result<(), Error> {
        self.shelter.has_room()
    }

    /// Whether the last transaction was written.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.failing.load(Ordering::Acquire) == 0
    }
}

/// The actor behind the handle; it lives as long as the process.
pub struct QuotaKeeper {
    pub(super) store: Store,
    pub(super) instance: Instance,
    pub(super) metrics: Metrics,
    pub(super) book: Book,
    replies: HashMap<String, Reply>,
    /// Who waits for a session, by the hash of its resume token; first come, first served.
    resuming: HashMap<String, VecDeque<Handover>>,
    settling: HashMap<String, Option<Reply>>,
    open_accounts: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
    busy: bool,
    /// Somebody asked while a transaction was running.
    asked: bool,
    pub(super) tick_due: bool,
    pub(super) shelter: Shelter,
    pub(super) presence: StoreWatch,
    pub(super) running: Option<Running>,
    /// Transactions that nobody waits for any more.
    pub(super) hopeless: usize,
    /// Transactions begun, since start.
    begun: u64,
    /// When the store last answered.
    pub(super) written_at: Instant,
    /// The spool is being written or emptied.
    pub(super) spooling: bool,
    /// There is something in the spool.
    pub(super) spool_used: bool,
    /// The spool takes nothing: sessions can't go on without the store.
    pub(super) spool_broken: bool,
    /// HTTP calls.
    pub(super) desk: Desk,
}

impl Actor for QuotaKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(FLUSH_EVERY, |keeper, ctx| {
            keeper.tick_due = true;
            keeper.watch_store(ctx);
            keeper.turn(ctx);
        });
        ctx.run_interval(BOOK_EVERY, |keeper, ctx| keeper.book_calls(ctx));
    }
}

impl Handler<Ask> for QuotaKeeper {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) {
        match ask {
            Ask::Open { opening, tally, reply } => {
                self.replies.insert(opening.session_id.clone(), reply);
                self.book.open(opening, tally);
                if self.presence.is_away() {
                    self.go_on(Some(""));
                }
            }
            Ask::Resume { reply, .. } if self.presence.is_surely_away() => {
                reply(Err(Error::storage("the store is away: only it knows the session")));
            }
            Ask::Resume { resume_hash, reply } => {
                self.resuming.entry(resume_hash.clone()).or_default().push_back(reply);
                self.book.resume(resume_hash);
            }
            Ask::Demand { session_id, epoch, need, reply } => {
                let ours = !self.book.superseded(&session_id, epoch);
                if ours && self.book.demand(&session_id, need, Instant::now()) {
                    let payer = self.book.payer_of(&session_id).filter(|_| self.presence.is_away());
                    self.replies.insert(session_id, reply);
                    if let Some(payer) = payer {
                        self.go_on(Some(&payer));
                    }
                } else {
                    let _gone = reply.send(Err(Error::SessionGone));
                }
            }
            Ask::Write { session_id } => self.book.press(&session_id),
            Ask::BookCalls => return self.asked_to_book(ctx),
            Ask::SettleAll => self.book.close_all("draining"),
            Ask::Settle { session_id, epoch, .. } if self.book.superseded(&session_id, epoch) => {}
            Ask::Settle { session_id, reason, parks, reply, epoch: _ } => {
                // Nobody waits for another answer any more, not even for that of an opening.
                self.replies.remove(&session_id);
                let ending = if parks { Book::release } else { Book::close };
                if ending(&mut self.book, &session_id, reason) {
                    self.settling.insert(session_id, reply);
                }
            }
        }
        self.turn(ctx);
    }
}

impl QuotaKeeper {
    /// Starts a transaction with all that waits, unless one is running.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        self.open_accounts.store(self.book.open_accounts(), Ordering::Release);
        self.metrics.queue_depth.with_label_values(&["quota_waiting"]).set(count(self.book.waiting()));
        if self.busy {
            self.asked = true;
            return;
        }
        self.asked = false;
        let (now, tick) = (Instant::now(), std::mem::take(&mut self.tick_due));
        let (batch, tallies) = self.book.prepare(now, tick);
        if batch.is_empty() {
            self.nothing_to_write(tick, ctx);
            return;
        }
        self.busy = true;
        let batch = Arc::new(batch);
        self.begun += 1;
        let number = self.begun;
        // Nothing is spooled but while the store is away: a tick's batch after that has it all.
        let empties_spool = tick && !batch.doubt && !self.presence.is_away();
        self.running = Some(Running { number, batch: batch.clone(), since: now, empties_spool });
        let (written, instance) = (batch.clone(), self.instance.clone());
        let timer = self.metrics.quota_flush_seconds.start_timer();
        let store = self.store.clone();
        let write = async move {
            store.run_to_the_end(move |connection| ledger::write(connection, &written, &instance, clock::now())).await
        };
        ctx.spawn(write.into_actor(self).map(move |outcome, keeper, ctx| {
            timer.observe_duration();
            let Some(running) = keeper.running.take_if(|running| running.number == number) else {
                keeper.hopeless -= 1;
                return;
            };
            keeper.busy = false;
            keeper.shelter.note_store(outcome.as_ref().err());
            if outcome.is_ok() {
                keeper.answered(&running, ctx);
            }
            match outcome {
                Ok(outcome) => keeper.written(&batch, outcome, tallies, ctx),
                Err(error) => keeper.failed(&batch, &error, ctx),
            }
        }));
    }

    fn written(
        &mut self,
        batch: &Batch,
        mut outcome: Outcome,
        tallies: HashMap<String, Arc<Tally>>,
        ctx: &mut Context<Self>,
    ) {
        self.failing.store(0, Ordering::Release);
        let booked = batch.lines.iter().zip(&outcome.lines).filter(|(_, verdict)| **verdict != Verdict::Lost);
        let samples: u64 = booked.map(|(line, _)| line.to.samples - line.from.samples).sum();
        self.metrics.audio_seconds.inc_by(samples as f64 / METERED_RATE as f64);
        let doubted = !batch.unsure.is_empty() || !batch.stray.is_empty();
        let progressed = !batch.openings.is_empty() || !batch.resumptions.is_empty() || doubted || samples > 0;
        let resumptions = std::mem::take(&mut outcome.resumptions);
        let mut answers = self.book.enter(batch, outcome, tallies, Instant::now());
        for (hash, restored) in batch.resumptions.iter().zip(resumptions) {
            answers.extend(self.hand_over(hash, restored));
        }
        let answered = !answers.is_empty();
        let asked = self.asked || self.tick_due;
        self.answer(answers);
        // Those who wait for others ask again at the next tick, or when somebody gave something back.
        if progressed || answered || asked {
            self.turn(ctx);
        }
    }

    pub(super) fn failed(&mut self, batch: &Batch, error: &Error, ctx: &mut Context<Self>) {
        self.failing.fetch_add(1, Ordering::AcqRel);
        self.metrics.quota_flush_failures.inc();
        let (cause, now) = (error.cause().map_or_else(|| error.to_string(), str::to_owned), Instant::now());
        log::warn!("usage could not be written and will be tried again: {cause}");
        // A store that finds fault with what is written is there.
        if matches!(error, Error::StorageUnavailable { .. }) {
            self.presence.failed(&cause, now);
        }
        let error = &Error::storage(cause);
        if self.presence.in_grace(now) && !self.spool_broken {
            let answers = self.book.admit_waiting(now);
            self.answer(answers);
        }
        let answers = self.book.fail(batch, error, now);
        self.answer(answers);
        self.go_on(None);
        self.spool(ctx);
        for hash in &batch.resumptions {
            if let Some(reply) = self.next_in_line(hash) {
                reply(Err(error.clone()));
            }
        }
        self.busy = true;
        ctx.run_later(RETRY_AFTER, |keeper, ctx| {
            keeper.busy = false;
            keeper.tick_due = true;
            keeper.turn(ctx);
        });
    }

    /// Takes a session over from whoever has it, and gives it to who asked for it.
    fn hand_over(&mut self, hash: &str, restored: Result<Restored, Error>) -> Option<Answer> {
        let reply = self.next_in_line(hash)?;
        match restored {
            Ok(restored) => {
                let (tally, before) = self.book.take_over(&restored, Instant::now());
                reply(Ok((restored, tally)));
                before
            }
            Err(error) => {
                reply(Err(error));
                None
            }
        }
    }

    fn next_in_line(&mut self, hash: &str) -> Option<Handover> {
        let waiting = self.resuming.get_mut(hash)?;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.resuming.remove(hash);
        }
        next
    }

    pub(super) fn answer(&mut self, answers: Vec<Answer>) {
        for (session_id, answer) in answers {
            let reply = match self.settling.remove(&session_id) {
                Some(reply) => reply,
                None => self.replies.remove(&session_id),
            };
            if let Some(reply) = reply {
                let _session_gone = reply.send(answer);
            }
        }
        self.open_accounts.store(self.book.open_accounts(), Ordering::Release);
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
