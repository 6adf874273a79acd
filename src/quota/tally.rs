//! A session's counters, shared by its link and the keeper without a message.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::standing::Remaining;
use crate::clock;

/// A point of a resumable session up to which everything is done: heard, booked, its captions delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ack {
    /// Samples since the session began, at the client's own rate.
    pub samples: u64,
    /// What was metered up to there, samples of 1/16,000 s.
    pub metered: u64,
}

/// Whether a session's client is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// It is connected.
    #[default]
    Here,
    /// It may come back; until then its session gives way to a new one of the license.
    Away,
    /// It won't come back: the session only hears the provider out, and counts no more.
    Left,
}

/// What a session has used and may use: written by the link, read by the keeper every second, and
/// the other way round for `granted`. All in samples of 1/16,000 s and tokens, since the session began.
#[derive(Debug, Default)]
pub struct Tally {
    forwarded: AtomicU64,
    granted: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// 0: no; [`NO_RESET`]; else when the budget has something again, microseconds since 1970.
    used_up: AtomicI64,
    lost: AtomicBool,
    progress: Mutex<Progress>,
}

/// A budget is used up, and it isn't known when it has something again.
const NO_RESET: i64 = -1;

/// What changes once a second at most.
#[derive(Debug, Default)]
struct Progress {
    presence: Presence,
    /// What the link found done.
    finished: Ack,
    /// What of it the store has.
    acknowledged: Ack,
    /// What the client has set and the store doesn't have.
    settings: Option<Arc<str>>,
    /// What the license's budgets have left.
    remaining: Arc<[Remaining]>,
}

impl Tally {
    /// The counters of a session that was taken over: what is booked is forwarded, and granted, already.
    #[must_use]
    pub fn restored(samples: u64, (input_tokens, output_tokens): (u64, u64), ack: Ack) -> Self {
        Self {
            forwarded: samples.into(),
            granted: samples.into(),
            input_tokens: input_tokens.into(),
            output_tokens: output_tokens.into(),
            progress: Mutex::new(Progress { finished: ack, acknowledged: ack, ..Progress::default() }),
            ..Self::default()
        }
    }

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

    /// Samples that the session may reach.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Acquire)
    }

    /// Counts samples as forwarded.
    pub fn forward(&self, samples: u64) {
        self.forwarded.fetch_add(samples, Ordering::AcqRel);
    }

    /// Sets the token totals; they never fall.
    pub fn report_tokens(&self, input: u64, output: u64) {
        self.input_tokens.fetch_max(input, Ordering::AcqRel);
        self.output_tokens.fetch_max(output, Ordering::AcqRel);
    }

    /// Whether a token budget is used up, and until when: the session ends, though it asks for no audio.
    #[must_use]
    pub fn used_up(&self) -> Option<Option<Timestamp>> {
        match self.used_up.load(Ordering::Acquire) {
            0 => None,
            NO_RESET => Some(None),
            resets_at_us => Some(Some(clock::at(resets_at_us))),
        }
    }

    /// A token budget is used up.
    pub fn use_up(&self, resets_at: Option<Timestamp>) {
        self.used_up.store(resets_at.map_or(NO_RESET, Timestamp::as_microsecond), Ordering::Release);
    }

    /// Sets how far the session may go.
    pub fn grant(&self, through: u64) {
        self.granted.store(through, Ordering::Release);
    }

    /// Whether its client is there.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.progress().presence
    }

    /// The client went, or came back; who left for good has left.
    pub fn set_presence(&self, presence: Presence) {
        let mut progress = self.progress();
        if progress.presence != Presence::Left {
            progress.presence = presence;
        }
    }

    /// Whether another instance has the session now, or ended it.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Another instance has the session: nothing more may be forwarded here.
    pub fn lose(&self) {
        self.grant(0);
        self.lost.store(true, Ordering::Release);
    }

    /// The session is done with everything before this point; the keeper writes it.
    pub fn finish_through(&self, ack: Ack) {
        self.progress().finished = ack;
    }

    /// What the keeper is to write.
    #[must_use]
    pub fn finished_through(&self) -> Ack {
        self.progress().finished
    }

    /// The store has it: the client may forget everything before this point.
    pub fn acknowledge(&self, ack: Ack) {
        self.progress().acknowledged = ack;
    }

    /// What the store has.
    #[must_use]
    pub fn acknowledged(&self) -> Ack {
        self.progress().acknowledged
    }

    /// What is left of the license's budgets, by the last transaction.
    #[must_use]
    pub fn remaining(&self) -> Arc<[Remaining]> {
        self.progress().remaining.clone()
    }

    /// A transaction told what is left of the license's budgets.
    pub fn remain(&self, remaining: Arc<[Remaining]>) {
        self.progress().remaining = remaining;
    }

    /// The client's settings changed; the keeper writes them.
    pub fn configure(&self, settings: String) {
        self.progress().settings = Some(settings.into());
    }

    /// Settings that the keeper is to write.
    #[must_use]
    pub fn settings(&self) -> Option<Arc<str>> {
        self.progress().settings.clone()
    }

    /// The store has these settings; others may have come meanwhile.
    pub fn configured(&self, written: &Arc<str>) {
        let mut progress = self.progress();
        if progress.settings.as_ref().is_some_and(|settings| Arc::ptr_eq(settings, written)) {
            progress.settings = None;
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
