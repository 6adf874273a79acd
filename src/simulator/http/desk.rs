//! What all HTTP calls share: the right key, the faults to come, the ledger.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::calls::Calls;
use super::faults::HttpFaults;
use crate::simulator::ledger::locked;

/// The simulator's HTTP side.
#[derive(Debug, Default)]
pub struct Desk {
    /// The only key that is right; `None`: every one.
    pub api_key: Option<String>,
    /// What was asked and answered.
    pub calls: Calls,
    usual: HttpFaults,
    queue: Mutex<VecDeque<HttpFaults>>,
    number: AtomicU64,
}

impl Desk {
    /// A desk; `usual` befalls each call that has no faults of its own.
    #[must_use]
    pub fn new(api_key: Option<String>, usual: HttpFaults) -> Self {
        Self { api_key, usual, ..Self::default() }
    }

    /// Faults for the next call that has none yet; first in, first out. Returns how many wait.
    pub fn queue(&self, faults: HttpFaults) -> usize {
        let mut queue = locked(&self.queue);
        queue.push_back(faults);
        queue.len()
    }

    /// The faults of a call that has just come.
    pub fn faults(&self) -> HttpFaults {
        let faults = locked(&self.queue).pop_front().unwrap_or_else(|| self.usual.clone());
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        if faults.hit(number) { faults } else { HttpFaults::default() }
    }
}
