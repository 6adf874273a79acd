//! What is said to live sessions, and what is known of them.

use std::time::Instant;

use actix::{Message, Recipient};
use jiff::Timestamp;

use super::messages::TakeUp;
use crate::error::Error;

/// What the roster tells a live session.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Control {
    /// End now, for this reason.
    End(Error),
    /// The license or the key ends at another time now: the sooner of both.
    ExpiresAt(Option<Timestamp>),
    /// This instance is going away: end after the running sentence, at the latest then.
    GoAway(Instant),
    /// Memory is short: audio that is kept for the client goes.
    SpareMemory,
}

/// A live session as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The session's id.
    pub id: String,
    /// Whose session it is.
    pub license_id: String,
    /// The API key it came with, if not the license itself.
    pub key_id: Option<String>,
    /// The model it speaks to.
    pub model: String,
    /// When it was admitted.
    pub started_at: Timestamp,
}

/// A live session that a client may take up.
#[derive(Clone)]
pub struct Found {
    /// Whose it is.
    pub view: SessionView,
    /// Where to ask.
    pub link: Recipient<TakeUp>,
}
