//! A session's hold on its license's budgets: what the link asks before each frame.

use std::sync::Arc;

use actix::Recipient;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::ask::Ask;
use super::standing::Remaining;
use super::tally::{Ack, Presence, Tally};
use crate::error::Error;

/// What a session's settings may measure, bytes.
const LONGEST_SETTINGS: usize = 64 << 10;

/// One session's lease. The link owns it from admission until it is settled or released; dropping it releases
/// a resumable session, and settles any other.
pub struct Lease {
    session_id: String,
    epoch: u64,
    tally: Arc<Tally>,
    /// Input and output tokens that were reported to instances before this one.
    tokens_before: (u64, u64),
    // One recipient for the lease's life: a clone per message would escape the mailbox's bound.
    keeper: Recipient<Ask>,
    settled: bool,
}

impl Lease {
    pub(super) fn new(session_id: String, epoch: u64, tally: Arc<Tally>, keeper: Recipient<Ask>) -> Self {
        let tokens_before = tally.tokens();
        Self { session_id, epoch, tally, tokens_before, keeper, settled: false }
    }

    /// Samples that may be forwarded now.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.tally.granted().saturating_sub(self.tally.forwarded())
    }

    /// Samples forwarded so far: since the session began, whichever instances it was on. What a client sends
    /// again below this mark is not forwarded, and not counted.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.tally.forwarded()
    }

    /// Whether a token budget of the license is used up, and until when.
    #[must_use]
    pub fn used_up(&self) -> Option<Option<Timestamp>> {
        self.tally.used_up()
    }

    /// Whether another instance has the session now, or ended it: nothing is booked here any more, and the
    /// session ends without a word to the store.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.tally.lost()
    }

    /// Counts samples as forwarded: the high-water mark rises.
    pub fn forward(&self, samples: u64) {
        self.tally.forward(samples);
    }

    /// Sets the token totals since this lease was given; they never fall. What instances before this one booked
    /// is added.
    pub fn report_tokens(&self, input: u64, output: u64) {
        let (input_before, output_before) = self.tokens_before;
        self.tally.report_tokens(input_before + input, output_before + output);
    }

    /// Everything of a resumable session before this point is done: it is written with the next transaction.
    pub fn finish_through(&self, ack: Ack) {
        self.tally.finish_through(ack);
    }

    /// The point of a resumable session that the store has: its client may forget everything before.
    #[must_use]
    pub fn acknowledged(&self) -> Ack {
        self.tally.acknowledged()
    }

    /// What is left of the license's budgets, by unit: the tightest. A second or two old while audio flows; empty
    /// where there is no limit, and before it is known.
    #[must_use]
    pub fn remaining(&self) -> Vec<Remaining> {
        self.tally.remaining().to_vec()
    }

    /// The client left, or came back: written with the next transaction. A session whose client is away gives way
    /// to a new one of its license.
    pub fn set_away(&self, away: bool) {
        self.tally.set_presence(if away { Presence::Away } else { Presence::Here });
    }

    /// The client left for good: the session only hears the provider out. It can't be resumed any more, and it
    /// doesn't count towards `max_sessions`.
    pub fn leave(&self) {
        self.tally.set_presence(Presence::Left);
    }

    /// The client's settings changed: JSON, all of them, for whoever takes the session over. Written by the next
    /// transaction; beyond 64 KiB they are not kept.
    pub fn configure(&self, settings: String) {
        if settings.len() > LONGEST_SETTINGS || settings.contains('\0') {
            log::warn!(session_id = self.session_id.as_str(); "settings of {} bytes are not kept", settings.len());
            return;
        }
        self.tally.configure(settings);
        // With a full mailbox the next tick writes them.
        let _asked = self.keeper.try_send(Ask::Write { session_id: self.session_id.clone() });
    }

    /// Asks for at least `need` samples. Until it answers, the session must forward nothing:
    /// what is left of the lease goes back to the budget meanwhile.
    ///
    /// The future resolves to `InsufficientQuota` when the budget is used up, `StorageUnavailable` when
    /// the store doesn't answer for 10 s, `SessionGone` when the lease is [`Lease::lost`].
    pub fn demand(&self, need: u64) -> impl Future<Output = Result<(), Error>> + use<> {
        let (reply, answer) = oneshot::channel();
        let (session_id, epoch) = (self.session_id.clone(), self.epoch);
        let request = self.keeper.send(Ask::Demand { session_id, epoch, need, reply });
        async move {
            request.await.map_err(Error::internal)?;
            answer.await.map_err(Error::internal)?
        }
    }

    /// Books what was used, gives the rest back and closes the account for good, whether anybody waits or not;
    /// resolves when it is written.
    pub fn settle(self, reason: &'static str) -> impl Future<Output = ()> + use<> {
        self.close(reason, false)
    }

    /// The same, but a resumable session can be resumed for RESUME_WINDOW_SECONDS from then, here or elsewhere.
    pub fn release(self, reason: &'static str) -> impl Future<Output = ()> + use<> {
        self.close(reason, true)
    }

    fn close(mut self, reason: &'static str, parks: bool) -> impl Future<Output = ()> + use<> {
        let (reply, answer) = oneshot::channel();
        self.say_last(reason, parks, Some(reply));
        async move {
            let _written = answer.await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the last word of a session must arrive, whatever waits")]
    fn say_last(&mut self, reason: &'static str, parks: bool, reply: Option<super::ask::Reply>) {
        self.settled = true;
        let session_id = std::mem::take(&mut self.session_id);
        // An actor doesn't read a request that nobody waits for any more: this one must be read.
        self.keeper.do_send(Ask::Settle { session_id, epoch: self.epoch, reason, parks, reply });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            self.say_last("dropped", true, None);
        }
    }
}
