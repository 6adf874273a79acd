//! A session's hold on its license's budgets: what the link asks before each frame.

use std::sync::Arc;

use actix::Recipient;
use tokio::sync::oneshot;

use super::ask::Ask;
use super::tally::{Ack, Tally};
use crate::error::Error;

/// One session's lease. The link owns it from admission until it is settled; dropping it settles too.
pub struct Lease {
    session_id: String,
    tally: Arc<Tally>,
    // One recipient for the lease's life: a clone per message would escape the mailbox's bound.
    keeper: Recipient<Ask>,
    settled: bool,
}

impl Lease {
    pub(super) fn new(session_id: String, tally: Arc<Tally>, keeper: Recipient<Ask>) -> Self {
        Self { session_id, tally, keeper, settled: false }
    }

    /// Samples that may be forwarded now.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.tally.granted().saturating_sub(self.tally.forwarded())
    }

    /// Samples forwarded so far.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.tally.forwarded()
    }

    /// Whether a token budget of the license is used up.
    #[must_use]
    pub fn used_up(&self) -> bool {
        self.tally.used_up()
    }

    /// Counts samples as forwarded: the high-water mark rises.
    pub fn forward(&self, samples: u64) {
        self.tally.forward(samples);
    }

    /// Sets the session's token totals; they never fall.
    pub fn report_tokens(&self, input: u64, output: u64) {
        self.tally.report_tokens(input, output);
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

    /// Asks for at least `need` samples. Until it answers, the session must forward nothing:
    /// what is left of the lease goes back to the budget meanwhile.
    ///
    /// The future resolves to `InsufficientQuota` when the budget is used up, `StorageUnavailable` when
    /// the store doesn't answer for 10 s.
    pub fn demand(&self, need: u64) -> impl Future<Output = Result<(), Error>> + use<> {
        let (reply, answer) = oneshot::channel();
        let request = self.keeper.send(Ask::Demand { session_id: self.session_id.clone(), need, reply });
        async move {
            request.await.map_err(Error::internal)?;
            answer.await.map_err(Error::internal)?
        }
    }

    /// Stub.
    pub fn configure(&self, _settings: String) {}

    /// Stub.
    pub fn set_away(&self, _away: bool) {}

    /// Stub.
    #[must_use]
    pub fn lost(&self) -> bool {
        false
    }

    /// Stub.
    pub fn release(self, reason: &'static str) -> impl Future<Output = ()> + use<> {
        self.settle(reason)
    }

    /// Books what was used, gives the rest back and closes the account, whether anybody waits or not;
    /// resolves when it is written.
    #[expect(clippy::disallowed_methods, reason = "the last word of a session must arrive, whatever waits")]
    pub fn settle(mut self, reason: &'static str) -> impl Future<Output = ()> + use<> {
        self.settled = true;
        let (reply, answer) = oneshot::channel();
        // An actor doesn't read a request that nobody waits for any more: this one must be read.
        self.keeper.do_send(Ask::Settle { session_id: self.session_id.clone(), reason, reply: Some(reply) });
        async move {
            let _written = answer.await;
        }
    }
}

impl Drop for Lease {
    #[expect(clippy::disallowed_methods, reason = "the last word of a session must arrive, whatever waits")]
    fn drop(&mut self) {
        if !self.settled {
            let session_id = std::mem::take(&mut self.session_id);
            self.keeper.do_send(Ask::Settle { session_id, reason: "dropped", reply: None });
        }
    }
}
