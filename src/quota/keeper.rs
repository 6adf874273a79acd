//! The QuotaKeeper: serializes all accounting of this instance into the store.
//!
//! While one transaction runs, requests queue; the next transaction takes all of them. Once a second
//! every live session's usage goes into it too. Nothing is held back to wait for company.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use super::ask::{Ask, Reply};
use super::book::{Answer, Batch, Book, Opening, Outcome};
use super::healing;
use super::lease::Lease;
use super::ledger;
use super::tally::Tally;
use crate::clock;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::connection::Store;
use crate::wire::audio::METERED_RATE;

/// Live usage is written this often: a crash loses less than this of it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// After a failed transaction.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a session waits for its account to be opened.
const OPENING_PATIENCE: Duration = Duration::from_secs(15);
/// Requests that fit into the mailbox beyond one per sender.
const MAILBOX: usize = 4_096;

/// The handle that the rest of the house holds.
#[derive(Clone)]
pub struct Quota {
    keeper: Addr<QuotaKeeper>,
    open_accounts: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
}

impl Quota {
    /// Starts the keeper on the current arbiter. `instance_id` tells this process from others on the store.
    #[must_use]
    pub fn start(store: Store, instance_id: String, metrics: Metrics) -> Self {
        let (open_accounts, failing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let keeper = QuotaKeeper {
            store,
            instance_id,
            metrics,
            book: Book::default(),
            replies: HashMap::new(),
            settling: HashMap::new(),
            open_accounts: open_accounts.clone(),
            failing: failing.clone(),
            busy: false,
            asked: false,
            tick_due: false,
        };
        Self { keeper: keeper.start(), open_accounts, failing }
    }

    /// Opens a session's account and returns its lease, still empty.
    ///
    /// # Errors
    /// `InsufficientQuota` when a budget of the license is used up, `StorageUnavailable`.
    pub async fn open(&self, opening: Opening) -> Result<Lease, Error> {
        let session_id = opening.session_id.clone();
        let tally = Arc::new(Tally::default());
        let (reply, answer) = oneshot::channel();
        let lease = Lease::new(session_id, tally.clone(), self.keeper.clone().recipient());
        self.keeper.send(Ask::Open { opening, tally, reply }).await.map_err(Error::internal)?;
        let answer = tokio::time::timeout(OPENING_PATIENCE, answer).await;
        answer.map_err(|_| Error::storage("no account was opened in time"))?.map_err(Error::internal)??;
        Ok(lease)
    }

    /// Stub.
    ///
    /// # Errors
    /// Always.
    pub async fn resume(&self, _resume_hash: String) -> Result<Resumed, Error> {
        Err(Error::SessionGone)
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

    /// Whether the last transaction was written.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.failing.load(Ordering::Acquire) == 0
    }
}

/// Stub.
pub struct Resumed {
    /// x
    pub opening: Opening,
    /// x
    pub lease: Lease,
    /// x
    pub epoch: u64,
    /// x
    pub ack: super::tally::Ack,
    /// x
    pub settings: Option<String>,
}

/// The actor behind the handle; it lives as long as the process.
pub struct QuotaKeeper {
    store: Store,
    instance_id: String,
    metrics: Metrics,
    book: Book,
    replies: HashMap<String, Reply>,
    settling: HashMap<String, Option<Reply>>,
    open_accounts: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
    busy: bool,
    /// Somebody asked while a transaction was running.
    asked: bool,
    tick_due: bool,
}

impl Actor for QuotaKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(FLUSH_EVERY, |keeper, ctx| {
            keeper.tick_due = true;
            if keeper.busy {
                // The running transaction may hang for as long as the store's host is away.
                let error = Error::storage("the running transaction takes too long");
                let answers = keeper.book.tired(&error, Instant::now());
                keeper.answer(answers);
            }
            keeper.turn(ctx);
        });
        self.look_after(ctx);
        ctx.run_interval(healing::EVERY, |keeper, ctx| keeper.look_after(ctx));
    }
}

impl Handler<Ask> for QuotaKeeper {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) {
        match ask {
            Ask::Open { opening, tally, reply } => {
                self.replies.insert(opening.session_id.clone(), reply);
                self.book.open(opening, tally);
            }
            Ask::Demand { session_id, need, reply } => {
                if self.book.demand(&session_id, need, Instant::now()) {
                    self.replies.insert(session_id, reply);
                } else {
                    let _gone = reply.send(Err(Error::SessionEnded));
                }
            }
            Ask::SettleAll => self.book.close_all("draining"),
            Ask::Settle { session_id, reason, reply } => {
                // Nobody waits for another answer any more, not even for that of an opening.
                self.replies.remove(&session_id);
                if self.book.close(&session_id, reason) {
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
        let (batch, tallies) = self.book.prepare(Instant::now(), std::mem::take(&mut self.tick_due));
        if batch.is_empty() {
            return;
        }
        self.busy = true;
        let batch = Arc::new(batch);
        let (written, instance_id) = (batch.clone(), self.instance_id.clone());
        let timer = self.metrics.quota_flush_seconds.start_timer();
        let store = self.store.clone();
        let write = async move {
            store
                .run_to_the_end(move |connection| ledger::write(connection, &written, &instance_id, clock::now()))
                .await
        };
        ctx.spawn(write.into_actor(self).map(move |outcome, keeper, ctx| {
            timer.observe_duration();
            keeper.busy = false;
            match outcome {
                Ok(outcome) => keeper.written(&batch, outcome, tallies, ctx),
                Err(error) => keeper.failed(&batch, &error, ctx),
            }
        }));
    }

    fn written(
        &mut self,
        batch: &Batch,
        outcome: Outcome,
        tallies: HashMap<String, Arc<Tally>>,
        ctx: &mut Context<Self>,
    ) {
        self.failing.store(0, Ordering::Release);
        let samples: u64 = batch.lines.iter().map(|line| line.to.samples - line.from.samples).sum();
        self.metrics.audio_seconds.inc_by(samples as f64 / METERED_RATE as f64);
        let progressed = !batch.openings.is_empty() || !batch.unsure.is_empty() || samples > 0;
        let answers = self.book.enter(batch, outcome, tallies, Instant::now());
        let answered = !answers.is_empty();
        let asked = self.asked || self.tick_due;
        self.answer(answers);
        // Those who wait for others ask again at the next tick, or when somebody gave something back.
        if progressed || answered || asked {
            self.turn(ctx);
        }
    }

    fn failed(&mut self, batch: &Batch, error: &Error, ctx: &mut Context<Self>) {
        self.failing.fetch_add(1, Ordering::AcqRel);
        self.metrics.quota_flush_failures.inc();
        log::error!("usage could not be written and will be tried again: {}", error.cause().unwrap_or_default());
        let answers = self.book.fail(batch, error, Instant::now());
        self.answer(answers);
        self.busy = true;
        ctx.run_later(RETRY_AFTER, |keeper, ctx| {
            keeper.busy = false;
            keeper.tick_due = true;
            keeper.turn(ctx);
        });
    }

    /// Says that this instance is there, and settles what others have left behind.
    fn look_after(&self, ctx: &mut Context<Self>) {
        let (store, instance_id) = (self.store.clone(), self.instance_id.clone());
        let heal = async move {
            let now = clock::now();
            let healed =
                store.run(move |connection| healing::heal(connection, &instance_id, now - healing::GONE_AFTER, now));
            match healed.await {
                Ok(0) => {}
                Ok(count) => log::warn!("{count} sessions of instances that are gone were settled"),
                Err(error) => log::warn!("looking after other instances failed: {}", error.cause().unwrap_or_default()),
            }
        };
        ctx.spawn(heal.into_actor(self));
    }

    fn answer(&mut self, answers: Vec<Answer>) {
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
