//! How the keeper carries its sessions through an absence of the store, and back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::book::STORE_PATIENCE;
use super::keeper::{FLUSH_EVERY, QuotaKeeper};
use super::shelter::Running;
use crate::clock;
use crate::error::Error;

/// After so long without an answer the store counts as away, not as slow.
const SURELY_AWAY: Duration = Duration::from_secs(4);
/// A transaction that takes longer is not waited for: its connection is dead.
const HOPELESS: Duration = Duration::from_secs(20);
/// Transactions that are not waited for any more, and hold a connection each, at most.
const HOPELESS_AT_ONCE: usize = 2;
/// An idle store is asked so often whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(5);

impl QuotaKeeper {
    /// Once a second: is the store there? If not, who goes on?
    pub(super) fn watch_store(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if let Some(running) = &self.running {
            let waited = now.duration_since(running.since);
            let silent = Error::storage("the running transaction takes too long");
            if waited >= FLUSH_EVERY {
                self.presence.silent(now);
            }
            if waited >= SURELY_AWAY {
                self.presence.failed("it doesn't answer", now);
            }
            if waited >= HOPELESS && self.hopeless < HOPELESS_AT_ONCE {
                self.give_up(&silent, ctx);
            }
            let answers = self.book.tired(&silent, STORE_PATIENCE, now);
            self.answer(answers);
        } else if now.duration_since(self.written_at) >= ASK_EVERY {
            self.book.look_again();
        }
        if self.presence.is_away() {
            self.go_on(None);
            self.spool(ctx);
        }
    }

    /// A transaction was written, or what the store has was read. A full disk can be read: only a write ends an absence.
    pub(super) fn answered(&mut self, running: &Running, ctx: &mut Context<Self>) {
        self.written_at = Instant::now();
        if running.empties_spool && !self.presence.is_away() {
            self.empty_spool(ctx);
        }
        // All that was granted without the store becomes lease before anything is given back.
        self.tick_due |= running.batch.doubt || self.presence.answered(self.written_at);
    }

    /// The store has everything.
    pub(super) fn nothing_to_write(&mut self, tick: bool, ctx: &mut Context<Self>) {
        self.presence.answered(Instant::now());
        if tick {
            self.empty_spool(ctx);
        }
    }

    /// The running transaction's outcome will not be heard.
    fn give_up(&mut self, error: &Error, ctx: &mut Context<Self>) {
        let Some(running) = self.running.take() else { return };
        running.batch.void.store(true, Ordering::Release);
        self.hopeless += 1;
        self.failed(&running.batch, error, ctx);
    }

    /// Without the store: grants and admits what was provided for, of one license or all; after the grace refuses
    /// who waits.
    pub(super) fn go_on(&mut self, license: Option<&str>) {
        let now = Instant::now();
        let mut answers = Vec::new();
        if self.presence.in_grace(now) && !self.spool_broken {
            answers.extend(self.book.admit_waiting(now));
            answers.extend(self.book.go_on(license));
        } else if self.presence.is_surely_away() {
            let over = Error::storage("the store is away, and the grace is over");
            answers.extend(self.book.tired(&over, Duration::ZERO, now));
        }
        if self.presence.is_surely_away() {
            let away = Error::storage("the store is away, and nothing is kept for this license");
            answers.extend(self.book.refuse_waiting(&away));
        }
        self.answer(answers);
    }

    /// Keeps in the spool what the store lacks.
    pub(super) fn spool(&mut self, ctx: &mut Context<Self>) {
        if self.spooling || !self.shelter.has_spool() {
            return;
        }
        let news = self.book.to_spool(&self.instance.id, clock::now().as_microsecond());
        if news.is_empty() {
            return;
        }
        (self.spooling, self.spool_used) = (true, true);
        let kept = self.shelter.clone().spool(move |spool| {
            let entries: Vec<_> = news.iter().map(|(entry, _)| entry.clone()).collect();
            spool.write(&entries).map(|()| news)
        });
        ctx.spawn(kept.into_actor(self).map(|kept, keeper, _| {
            keeper.spooling = false;
            keeper.spool_broken = kept.is_err();
            match kept {
                Ok(written) => {
                    let answers = keeper.book.spooled(&written);
                    keeper.answer(answers);
                }
                Err(error) => log::error!("usage can't be spooled: {}", error.cause().unwrap_or_default()),
            }
        }));
    }

    /// The store has everything: the spool is emptied.
    pub(super) fn empty_spool(&mut self, ctx: &mut Context<Self>) {
        if self.spooling || !self.spool_used {
            return;
        }
        self.spooling = true;
        let emptied = self.shelter.clone().spool(|spool| spool.clear());
        ctx.spawn(emptied.into_actor(self).map(|emptied, keeper, _| {
            keeper.spooling = false;
            match emptied {
                Ok(()) => {
                    (keeper.spool_used, keeper.spool_broken) = (false, false);
                    keeper.book.forget_spooled();
                }
                Err(error) => log::warn!("the spool could not be emptied: {}", error.cause().unwrap_or_default()),
            }
        }));
    }
}
