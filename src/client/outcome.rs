//! What a translation brings: updates while it runs, and the outcome at its end.

use std::time::Duration;

use super::announcement::Announcement;
use super::captions::{Segment, Side};
use super::event::Usage;
use super::parting::{Parting, Told};

/// What happens while it is translated, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<'a> {
    /// Audio begins to flow.
    Open,
    /// So many samples were sent in all, at 16 kHz.
    Sent(u64),
    /// One of a segment's captions changed; for good if it is final.
    Caption(&'a Segment, Side),
    /// So many samples of translated speech arrived, at 24 kHz.
    Audio(usize),
    /// The provider didn't like something; it goes on.
    Notice(&'a str),
    /// The gateway says something of itself.
    Announced(&'a Announcement),
    /// The connection is lost, for this reason; it is resumed.
    Lost(&'a str),
    /// It stands again.
    Resumed {
        /// How long there was none.
        after: Duration,
        /// Samples that the gateway asked for and that were gone.
        missing: u64,
    },
    /// More speech waits for its acknowledgement than is kept: the oldest goes.
    Forgetting,
}

/// What a translation brought, also one that ended early.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Speech and captions, in order.
    pub segments: Vec<Segment>,
    /// Translated speech, 24 kHz mono.
    pub audio: Vec<i16>,
    /// Samples sent, at 16 kHz.
    pub samples_sent: u64,
    /// Tokens that the provider reported.
    pub tokens: Usage,
    /// The provider's `sess_…`.
    pub provider_session: Option<String>,
    /// How often a lost connection was resumed.
    pub resumes: u32,
    /// Samples that could not be sent again after a loss, at 16 kHz.
    pub samples_missing: u64,
    /// How it ended.
    pub ending: Ending,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All that was sent is translated.
    Finished,
    /// By an `error` event: its code and sentence, and the close code that followed.
    Error {
        /// The event's code, e.g. `insufficient_quota`.
        code: String,
        /// The event's sentence.
        message: String,
        /// The close code, e.g. 4029.
        close: Option<u16>,
    },
    /// The server closed without an error event.
    Closed {
        /// The close code.
        code: Option<u16>,
        /// The close frame's reason.
        reason: String,
    },
    /// The connection broke, or nothing came any more.
    Dropped(String),
    /// The speech could not be read to its end.
    Input(String),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => formatter.write_str("finished"),
            Self::Error { code, message, close } => {
                write!(formatter, "the gateway ended the session ({code}")?;
                close.map_or(Ok(()), |close| write!(formatter, ", close {close}"))?;
                write!(formatter, "): {message}")
            }
            Self::Closed { code: Some(code), reason } => {
                write!(formatter, "the gateway closed the connection ({code}) before the end {reason}")
            }
            Self::Closed { code: None, .. } => formatter.write_str("the gateway closed the connection before the end"),
            Self::Dropped(cause) => write!(formatter, "the connection was lost before the end: {cause}"),
            Self::Input(cause) => formatter.write_str(cause),
        }
    }
}

impl Ending {
    /// The end that a connection's end is, given the last error that was told.
    #[must_use]
    pub fn of(parting: Parting, told: Option<Told>) -> Self {
        match (parting, told) {
            (Parting::Closed(close, _), Some(Told { code, message, .. })) => Self::Error { code, message, close },
            (Parting::Lost(_), Some(Told { code, message, .. })) => Self::Error { code, message, close: None },
            (Parting::Closed(code, reason), None) => Self::Closed { code, reason },
            (Parting::Lost(cause), None) => Self::Dropped(cause),
        }
    }
}
