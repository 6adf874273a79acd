//! How the keeper books HTTP calls: all that has gathered in one transaction, a few times a second, and at once when
//! somebody waits.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::ask::Ask;
use super::call_ledger;
use super::calls::{Calls, Share};
use super::keeper::{OPENING_PATIENCE, Quota, QuotaKeeper};
use super::purse::Amounts;
use crate::clock;
use crate::error::Error;

/// How long somebody who reads what was used waits for what is not booked yet.
const READERS_PATIENCE: Duration = Duration::from_secs(3);
/// Whoever waits looks this often whether the store is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After a failed transaction.
const RETRY_AFTER: Duration = Duration::from_millis(500);

impl Quota {
    /// Takes a call's share of its payer's budgets: mostly at hand, else from the store.
    ///
    /// # Errors
    /// `InsufficientQuota` when a budget in tokens or requests is used up, or all that is left of it is reserved by
    /// calls that don't end within some seconds; `StorageUnavailable`.
    pub async fn reserve(&self, payer: &str, need: Amounts) -> Result<Share, Error> {
        self.shelter.has_room()?;
        self.counter.calls.has_room()?;
        let away = self.away.since().is_some();
        if let Some(share) = self.counter.calls.take(payer, need, away && self.away.is_bridged()) {
            return Ok(share);
        }
        if away {
            return Err(Error::storage("the store is away, and nothing is held for this license"));
        }
        let mut answer = self.counter.calls.wait(payer, need);
        self.tell_of_calls();
        let patience = Instant::now() + OPENING_PATIENCE;
        while Instant::now() < patience {
            if let Ok(answer) = tokio::time::timeout(LOOK_EVERY, &mut answer).await {
                return answer.map_err(Error::internal)?;
            }
            // The store may have gone away meanwhile.
            if self.away.since().is_some() {
                let share = self.counter.calls.take(payer, need, self.away.is_bridged());
                return share.ok_or_else(|| Error::storage("the store is away, and nothing is held for this license"));
            }
        }
        Err(Error::storage("no share was given in time"))
    }

    /// Resolves when all calls that were answered by now are booked, or after some seconds.
    pub async fn calls_booked(&self) {
        let booked = self.counter.calls.booked();
        self.tell_of_calls();
        let _in_time = tokio::time::timeout(READERS_PATIENCE, booked).await;
    }

    /// Calls that run, or are answered and not booked.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.counter.calls.open()
    }

    /// The calls of this instance.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.counter.calls
    }

    #[expect(clippy::disallowed_methods, reason = "never more than one of these waits in the mailbox")]
    fn tell_of_calls(&self) {
        if !self.counter.told.swap(true, Ordering::AcqRel) {
            self.keeper.do_send(Ask::BookCalls);
        }
    }
}

impl QuotaKeeper {
    /// Somebody waits.
    pub(super) fn asked_to_book(&mut self, ctx: &mut Context<Self>) {
        self.desk.counter.told.store(false, Ordering::Release);
        self.book_calls(ctx);
    }

    /// Starts a transaction with all calls that wait, unless one is running.
    pub(super) fn book_calls(&mut self, ctx: &mut Context<Self>) {
        if self.desk.booking {
            self.desk.asked = true;
            return;
        }
        let Some(booking) = self.desk.counter.calls.prepare(Instant::now()) else { return };
        self.desk.booking = true;
        let (store, instance, batch) = (self.store.clone(), self.instance.clone(), booking.batch.clone());
        let timer = self.metrics.calls.flush_seconds.start_timer();
        let write = async move {
            store
                .run_to_the_end(move |connection| call_ledger::write(connection, &batch, &instance, clock::now()))
                .await
        };
        ctx.spawn(write.into_actor(self).map(move |outcome, keeper, ctx| {
            timer.observe_duration();
            keeper.shelter.note_store(outcome.as_ref().err());
            match outcome {
                Ok(standings) => {
                    keeper.desk.booking = false;
                    keeper.desk.counter.calls.enter(booking, &standings, Instant::now());
                    // Where nobody waits, more is gathered first. Where somebody does, those who were just answered
                    // go first: many of them come again, and are booked in one go with those who waited.
                    if std::mem::take(&mut keeper.desk.asked) {
                        let others = tokio::task::yield_now().into_actor(keeper);
                        ctx.spawn(others.map(|(), keeper, ctx| keeper.book_calls(ctx)));
                    }
                }
                Err(error) => {
                    let cause = error.cause().map_or_else(|| error.to_string(), str::to_owned);
                    log::warn!("calls could not be booked and will be tried again: {cause}");
                    keeper.metrics.quota_flush_failures.inc();
                    // It is soon known whether the store is there.
                    keeper.book.look_again();
                    if matches!(error, Error::StorageUnavailable { .. }) {
                        keeper.presence.failed(&cause, Instant::now());
                    }
                    let away = keeper.presence.is_surely_away();
                    keeper.desk.counter.calls.fail(booking, &Error::storage(cause), away, Instant::now());
                    ctx.run_later(RETRY_AFTER, |keeper, ctx| {
                        keeper.desk.booking = false;
                        keeper.book_calls(ctx);
                    });
                }
            }
        }));
    }
}
