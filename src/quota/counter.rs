//! Where calls are told of to the keeper.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::calls::Calls;

/// Calls that nobody waits for are booked this often.
pub const BOOK_EVERY: Duration = Duration::from_millis(200);
/// Calls, as the keeper and its handles share them.
#[derive(Clone, Default)]
pub struct Counter {
    /// The calls.
    pub calls: Calls,
    /// Somebody's word about them waits in the mailbox.
    pub told: Arc<AtomicBool>,
}

/// The keeper's side of it.
#[derive(Default)]
pub struct Desk {
    /// What it shares with its handles.
    pub counter: Counter,
    /// A transaction with calls is running.
    pub booking: bool,
    /// Somebody asked while it was.
    pub asked: bool,
}
