//! What sessions ask of the keeper.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::book::Opening;
use super::tally::Tally;
use crate::error::Error;

/// Where an answer goes.
pub type Reply = oneshot::Sender<Result<(), Error>>;

/// What sessions ask of the keeper.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Ask {
    /// Open an account.
    Open {
        /// Whose.
        opening: Opening,
        /// Its counters.
        tally: Arc<Tally>,
        /// Told when it is open, or refused.
        reply: Reply,
    },
    /// Grant at least `need` samples; 0 takes the lease back. The session stands still meanwhile.
    Demand {
        /// Who.
        session_id: String,
        /// Samples.
        need: u64,
        /// Told when there is room, or none.
        reply: Reply,
    },
    /// Book and close every account: the process is about to end.
    SettleAll,
    /// Book the rest and close the account.
    Settle {
        /// Who.
        session_id: String,
        /// Why it ended.
        reason: &'static str,
        /// Told when it is written.
        reply: Option<Reply>,
    },
}
