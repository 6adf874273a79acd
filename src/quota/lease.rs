//! A session's hold on its license's budgets: what the link asks before each frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Addr;
use tokio::sync::oneshot;

use super::keeper::{Ask, QuotaKeeper};
use crate::error::Error;

/// What a session has used and may use: written by the link, read by the keeper every second, and
/// the other way round for `granted`. All in samples of 1/16,000 s and tokens, since the session began.
#[derive(Debug, Default)]
pub struct Tally {
    forwarded: AtomicU64,
    granted: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
}

impl Tally {
    /// Samples forwarded upstream.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.forwarded.load(Ordering::Acquire)
    }

    /// Input and output tokens reported by the provider.
    #[must_use]
    pub fn tokens(&self) -> (u64, u64) {
        (self.input_tokens.load(Ordering::Acquire), self.output_tokens.load(Ordering::Acquire))
    }

    /// Sets how far the session may go.
    pub fn grant(&self, through: u64) {
        self.granted.store(through, Ordering::Release);
    }
}

/// One session's lease. The link owns it from admission until it is settled; dropping it settles too.
pub struct Lease {
    session_id: String,
    tally: Arc<Tally>,
    // One address for the lease's life: a clone per message would escape the mailbox's bound.
    keeper: Addr<QuotaKeeper>,
    settled: bool,
}

impl Lease {
    pub(super) fn new(session_id: String, tally: Arc<Tally>, keeper: Addr<QuotaKeeper>) -> Self {
        Self { session_id, tally, keeper, settled: false }
    }

    /// Samples that may be forwarded now.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.tally.granted.load(Ordering::Acquire).saturating_sub(self.tally.forwarded())
    }

    /// Samples forwarded so far.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.tally.forwarded()
    }

    /// Counts samples as forwarded: the high-water mark rises.
    pub fn forward(&self, samples: u64) {
        self.tally.forwarded.fetch_add(samples, Ordering::AcqRel);
    }

    /// Sets the session's token totals; they never fall.
    pub fn report_tokens(&self, input: u64, output: u64) {
        self.tally.input_tokens.fetch_max(input, Ordering::AcqRel);
        self.tally.output_tokens.fetch_max(output, Ordering::AcqRel);
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

    /// Books what was used, gives the rest back and closes the account; resolves when it is written.
    pub fn settle(mut self, reason: &'static str) -> impl Future<Output = ()> + use<> {
        self.settled = true;
        let (reply, answer) = oneshot::channel();
        let request = self.keeper.send(Ask::Settle { session_id: self.session_id.clone(), reason, reply: Some(reply) });
        async move {
            if request.await.is_ok() {
                let _written = answer.await;
            }
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
