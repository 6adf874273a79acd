//! What sessions ask of the keeper.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::batch::{Opening, Restored};
use super::tally::Tally;
use crate::error::Error;

/// Where an answer goes.
pub type Reply = oneshot::Sender<Result<(), Error>>;

/// Takes a restored session's account to who asked for it, or gives it up if nobody waits any more.
pub type Handover = Box<dyn FnOnce(Result<(Restored, Arc<Tally>), Error>) + Send>;

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
    /// Take a session over, from wherever it is.
    Resume {
        /// SHA-256 of its resume token, hex.
        resume_hash: String,
        /// Told when it is here, or refused.
        reply: Handover,
    },
    /// Grant at least `need` samples; 0 takes the lease back. The session stands still meanwhile.
    Demand {
        /// Who.
        session_id: String,
        /// In which epoch.
        epoch: u64,
        /// Samples.
        need: u64,
        /// Told when there is room, or none.
        reply: Reply,
    },
    /// Write what the session's tally holds at once.
    Write {
        /// Who.
        session_id: String,
    },
    /// Book the HTTP calls that wait.
    BookCalls,
    /// Book and close every account: the process is about to end.
    SettleAll,
    /// Book the rest and close the account.
    Settle {
        /// Who.
        session_id: String,
        /// In which epoch.
        epoch: u64,
        /// Why it ended.
        reason: &'static str,
        /// Whether it ended here alone, and may be resumed.
        parks: bool,
        /// Told when it is written.
        reply: Option<Reply>,
    },
}
