//! Where a session stands.

use std::time::Instant;

use crate::error::Error;

/// Where a session stands.
#[derive(Debug)]
pub enum Phase {
    /// Both sides speak.
    Open,
    /// No more audio goes in; what is being said comes out.
    Ending {
        /// Why.
        why: Error,
        /// How long that may take.
        until: Instant,
    },
    /// All is over, but the client is away and may still come to hear it.
    Parted {
        /// Why.
        why: Error,
    },
    /// The client is gone for good; the last usage is awaited.
    ClientLeft {
        /// How long that may take.
        until: Instant,
        /// Why, for the ledger.
        reason: &'static str,
    },
    /// Nothing happens any more.
    Over,
}
