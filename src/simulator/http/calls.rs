//! What was asked and answered over HTTP, call by call, for tests to compare.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;

use crate::simulator::ledger::{locked, masked};

/// Calls remembered; older ones are forgotten first.
const LONGEST: usize = 200_000;

/// Tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All that was read, cached or not.
    pub prompt: u64,
    /// Those among `prompt` that came from the cache.
    pub cached: u64,
    /// Those among `prompt` that stand for pictures and films.
    pub image: u64,
    /// Those among `prompt` that stand for sound.
    pub audio: u64,
    /// All that was written, thoughts included.
    pub completion: u64,
    /// Those among `completion` that are thoughts.
    pub reasoning: u64,
}

impl Usage {
    /// What was read alone.
    #[must_use]
    pub fn read(&self) -> Self {
        Self { completion: 0, reasoning: 0, ..*self }
    }

    /// What was read and written.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt + self.completion
    }
}

/// One HTTP call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// Its `x-request-id`.
    pub id: String,
    /// The path.
    pub path: String,
    /// The query; empty: none.
    pub query: String,
    /// The model asked for; empty while unread.
    pub model: String,
    /// Whether events were asked for.
    pub stream: bool,
    /// The status of the answer; 0 while there is none.
    pub status: u16,
    /// The key that was given. As JSON, its last four characters only.
    #[serde(serialize_with = "masked")]
    pub api_key: String,
    /// Tokens read, cached ones included: those that the answer so far has cost.
    pub prompt_tokens: u64,
    /// Cached ones among them.
    pub cached_tokens: u64,
    /// Tokens written, thoughts included.
    pub completion_tokens: u64,
    /// Thoughts among them.
    pub reasoning_tokens: u64,
    /// Whether a usage with these tokens was told; never with the fault `no_usage`, nor in a stream that didn't ask.
    pub usage_told: bool,
    /// Whether the whole answer was handed to the socket. Never for a refusal or a stream that ended in an error.
    pub finished: bool,
    /// Events handed to the socket; 1 for an answer in one piece.
    pub chunks_sent: u64,
    /// `X-DashScope-WorkSpace`.
    pub x_dashscope_workspace: Option<String>,
    /// `X-DashScope-DataInspection`.
    pub data_inspection: Option<String>,
    /// `X-DashScope-SSE`.
    pub sse: Option<String>,
    /// `anthropic-version`.
    pub anthropic_version: Option<String>,
    /// `anthropic-beta`, several joined by commas.
    pub anthropic_beta: Option<String>,
}

/// Sums over all calls, forgotten ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallTotals {
    /// Calls that came.
    pub calls: u64,
    /// Calls answered with a status of 400 or above.
    pub refused: u64,
    /// Calls answered wholly.
    pub finished: u64,
    /// Calls whose records were dropped, the oldest ones.
    pub forgotten: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Cached ones among them.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Thoughts among them.
    pub reasoning_tokens: u64,
    /// Events handed to sockets.
    pub chunks_sent: u64,
}

/// A call's page in the ledger, written on as the answer goes out.
#[derive(Debug, Clone)]
pub struct CallPage {
    record: Arc<Mutex<CallRecord>>,
    totals: Arc<Mutex<CallTotals>>,
}

impl CallPage {
    /// The record, to read or to note what came; hold it briefly.
    pub fn record(&self) -> MutexGuard<'_, CallRecord> {
        locked(&self.record)
    }

    /// Notes that an answer with this status begins.
    pub fn answered(&self, status: u16) {
        self.record().status = status;
        if status >= 400 {
            locked(&self.totals).refused += 1;
        }
    }

    /// Notes an event handed to the socket: what it adds to the usage, and whether it tells the usage.
    pub fn sent(&self, usage: &Usage, told: bool) {
        let mut record = self.record();
        record.chunks_sent += 1;
        record.prompt_tokens += usage.prompt;
        record.cached_tokens += usage.cached;
        record.completion_tokens += usage.completion;
        record.reasoning_tokens += usage.reasoning;
        record.usage_told |= told;
        let mut totals = locked(&self.totals);
        totals.chunks_sent += 1;
        totals.prompt_tokens += usage.prompt;
        totals.cached_tokens += usage.cached;
        totals.completion_tokens += usage.completion;
        totals.reasoning_tokens += usage.reasoning;
    }

    /// Notes that the whole answer was handed over.
    pub fn finish(&self) {
        self.record().finished = true;
        locked(&self.totals).finished += 1;
    }
}

/// All calls, oldest first.
#[derive(Debug, Default)]
pub struct Calls {
    pages: Mutex<VecDeque<Arc<Mutex<CallRecord>>>>,
    totals: Arc<Mutex<CallTotals>>,
}

impl Calls {
    /// Opens a page.
    pub fn add(&self, record: CallRecord) -> CallPage {
        let page = CallPage { record: Arc::new(Mutex::new(record)), totals: self.totals.clone() };
        let mut pages = locked(&self.pages);
        let mut totals = locked(&self.totals);
        totals.calls += 1;
        if pages.len() == LONGEST {
            pages.pop_front();
            totals.forgotten += 1;
        }
        pages.push_back(page.record.clone());
        page
    }

    /// A copy of every record kept.
    #[must_use]
    pub fn records(&self) -> Vec<CallRecord> {
        let pages: Vec<_> = locked(&self.pages).iter().cloned().collect();
        pages.iter().map(|record| locked(record).clone()).collect()
    }

    /// The sums.
    #[must_use]
    pub fn totals(&self) -> CallTotals {
        *locked(&self.totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_records_are_forgotten_and_their_tokens_are_not() {
        let calls = Calls::default();
        for _ in 0..LONGEST + 2 {
            calls.add(CallRecord::default()).sent(&Usage { prompt: 2, ..Usage::default() }, false);
        }
        assert_eq!((calls.records().len(), calls.totals().forgotten), (LONGEST, 2));
        assert_eq!(calls.totals().prompt_tokens, 2 * (LONGEST as u64 + 2));
    }
}
