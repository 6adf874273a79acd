//! What outlives a connection: how to resume, which events came, and which speech is still to be sent. Pure.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::input::FRAME_SAMPLES;
use super::tape::Tape;
use crate::config::settings::Secret;
use crate::wire::continuity::frame_counts;

/// Speech that is kept at most: 60 s.
pub const LONGEST_KEPT: usize = 600 * FRAME_SAMPLES;
/// Speech that waits for the socket at most where nothing is kept for a resume.
const WAITING: usize = 4 * FRAME_SAMPLES;
/// Fast speech waits so long for an acknowledgement before the oldest is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is tried to open a session that was lost before it told its own window.
const OPENING_WINDOW: Duration = Duration::from_secs(30);

/// How the speech comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// As fast as it is accepted.
    pub fast: bool,
    /// It can't wait: what isn't taken in time is lost.
    pub live: bool,
}

/// What to send next.
#[derive(Debug, Clone, PartialEq)]
pub enum Sending {
    /// An event, as it is.
    Event(Value),
    /// Speech.
    Audio(Vec<i16>),
    /// The speech is over.
    Finish,
    /// Events up to this one arrived.
    Received(u64),
}

/// How to come back to a session.
#[derive(Debug, Clone)]
pub enum Way {
    /// It never came about: a new one is opened.
    Anew,
    /// By its token.
    Resume {
        /// Authorizes the resume.
        token: Secret,
        /// The last event that arrived.
        last_seq: u64,
    },
}

/// What a resume found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// The gateway remembers the session only up to its last acknowledgement.
    pub forgotten: bool,
    /// Samples that it asked for and that are gone.
    pub missing: u64,
}

/// What an event is to a client that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was not there before.
    New,
    /// It was taken before.
    Known,
    /// The gateway has yet to tell where both go on.
    TooEarly,
}

/// The state between connections.
pub struct Continuity {
    wanted: bool,
    pace: Pace,
    grant: Option<Grant>,
    stage: Stage,
    tape: Tape,
    events: Vec<Value>,
    over: bool,
    /// On the connection that stands.
    finish_sent: bool,
    /// On any, to a gateway that remembers it if it arrived.
    finish_said: bool,
    seq: u64,
    /// Events up to this one were taken before; the gateway may not know and send them again.
    known: u64,
    told: u64,
    receipt_due: bool,
    /// Something came of the connection that stands.
    progress: bool,
    acked_at: Instant,
    overflowing: bool,
}

struct Grant {
    token: Secret,
    window: Duration,
    epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The session is not configured yet: speech waits.
    Opening,
    Open,
    /// There is no connection.
    Away,
    /// There is one, and `gateway.resumed` is awaited.
    Resuming,
    /// The gateway takes no more.
    Leaving,
}

impl Continuity {
    /// Before the first connection; `wanted`: it may be resumed.
    #[must_use]
    pub fn new(wanted: bool, pace: Pace, now: Instant) -> Self {
        Self {
            wanted,
            pace,
            grant: None,
            stage: Stage::Opening,
            tape: Tape::new(),
            events: Vec::new(),
            over: false,
            finish_sent: false,
            finish_said: false,
            seq: 0,
            known: 0,
            told: 0,
            receipt_due: false,
            progress: false,
            acked_at: now,
            overflowing: false,
        }
    }

    /// The gateway grants resumes.
    pub fn granted(&mut self, token: Secret, window_ms: u64, epoch: u64) {
        self.grant = Some(Grant { token, window: Duration::from_millis(window_ms), epoch });
    }

    /// An event arrived that is not an announcement.
    pub fn count(&mut self, text: &str) -> Arrival {
        if !frame_counts(text) {
            return Arrival::New;
        }
        if self.stage == Stage::Resuming {
            return Arrival::TooEarly;
        }
        self.seq += 1;
        self.progress = true;
        if self.seq > self.known { Arrival::New } else { Arrival::Known }
    }

    /// Events up to `to_seq` don't come any more.
    pub fn skip_to(&mut self, to_seq: u64) {
        self.seq = self.seq.max(to_seq);
    }

    /// Speech before the gateway's `samples` needs not be kept.
    pub fn acknowledged(&mut self, samples: u64, now: Instant) {
        let before = self.tape.kept();
        self.tape.release(samples);
        if self.tape.kept() < before {
            (self.acked_at, self.overflowing, self.progress) = (now, false, true);
        }
    }

    /// Audio may flow.
    pub fn opened(&mut self, now: Instant) {
        (self.stage, self.acked_at) = (Stage::Open, now);
    }

    /// The gateway takes no more speech on this connection.
    pub fn leave(&mut self) {
        self.stage = Stage::Leaving;
    }

    /// To be sent before any more speech.
    pub fn queue(&mut self, event: Value) {
        self.events.push(event);
    }

    /// The connection is lost. How to come back, and within which time; `None`: there is no way.
    pub fn lost(&mut self) -> Option<(Way, Duration)> {
        let way = match &self.grant {
            Some(grant) => {
                (Way::Resume { token: grant.token.clone(), last_seq: self.seq.max(self.known) }, grant.window)
            }
            None if self.wanted && self.seq == 0 => (Way::Anew, OPENING_WINDOW),
            None => return None,
        };
        self.stage = Stage::Away;
        self.events.clear();
        Some(way)
    }

    /// The connection before the loss was of use; the next one has yet to be.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// A new connection stands.
    pub fn connected(&mut self) {
        self.stage = if self.grant.is_some() { Stage::Resuming } else { Stage::Opening };
    }

    /// The gateway tells where both go on; `open`: the session was configured before.
    pub fn resumed(&mut self, (epoch, samples, seq): (u64, u64, u64), open: bool, now: Instant) -> Resumption {
        let forgotten = self.grant.as_ref().is_some_and(|grant| epoch > grant.epoch);
        if let Some(grant) = &mut self.grant {
            grant.epoch = epoch;
        }
        self.known = if forgotten { 0 } else { self.seq.max(self.known) };
        (self.seq, self.told) = (seq, seq);
        // It may not have arrived; a gateway that heard it drops a second one.
        self.finish_sent = false;
        self.finish_said &= !forgotten;
        let missing = self.tape.rewind(samples);
        (self.stage, self.acked_at) = (if open { Stage::Open } else { Stage::Opening }, now);
        Resumption { forgotten, missing }
    }

    /// About once a second: a receipt for the events since the last one is due.
    pub fn tick(&mut self) {
        self.receipt_due = self.grant.is_some() && self.seq > self.told;
    }

    /// Speech from the source; at its end `None`. Answers whether the oldest that is kept begins to go.
    pub fn speech(&mut self, frame: Option<&[i16]>) -> bool {
        let Some(frame) = frame else {
            self.over = true;
            return false;
        };
        let limit = if self.keeps() { LONGEST_KEPT } else { usize::MAX };
        let begins = self.tape.push(frame, limit) > 0 && !self.overflowing;
        self.overflowing |= begins;
        begins
    }

    /// Whether the source is to be asked for more.
    #[must_use]
    pub fn takes_speech(&self, now: Instant) -> bool {
        if self.over || matches!(self.stage, Stage::Opening | Stage::Leaving) {
            return false;
        }
        if !self.keeps() {
            return self.tape.unsent() < WAITING;
        }
        if self.tape.kept() + FRAME_SAMPLES <= LONGEST_KEPT {
            return true;
        }
        match self.stage {
            Stage::Away | Stage::Resuming => self.pace.live,
            // What was not sent yet is not given up while there is a connection.
            Stage::Open if self.tape.unsent() + 2 * FRAME_SAMPLES > LONGEST_KEPT => false,
            Stage::Open => !self.pace.fast || now.duration_since(self.acked_at) >= PATIENCE,
            Stage::Opening | Stage::Leaving => false,
        }
    }

    /// Whether [`Continuity::next_sending`] has something.
    #[must_use]
    pub fn has_next(&self) -> bool {
        match self.stage {
            Stage::Away | Stage::Resuming | Stage::Leaving => false,
            Stage::Opening => self.receipt_due || !self.events.is_empty(),
            Stage::Open => {
                let finish = self.over && !self.finish_sent;
                self.receipt_due || !self.events.is_empty() || self.tape.unsent() > 0 || finish
            }
        }
    }

    /// What to send next.
    pub fn next_sending(&mut self) -> Option<Sending> {
        if !self.has_next() {
            return None;
        }
        if !self.events.is_empty() {
            return Some(Sending::Event(self.events.remove(0)));
        }
        if std::mem::take(&mut self.receipt_due) {
            self.told = self.seq;
            return Some(Sending::Received(self.seq));
        }
        if let Some(frame) = self.tape.next(FRAME_SAMPLES) {
            if !self.keeps() {
                self.tape.release_sent();
            }
            return Some(Sending::Audio(frame));
        }
        (self.finish_sent, self.finish_said) = (true, true);
        Some(Sending::Finish)
    }

    /// All speech and its end were sent.
    #[must_use]
    pub fn all_sent(&self) -> bool {
        self.finish_said
    }

    /// `gateway.resumed` is awaited.
    #[must_use]
    pub fn is_resuming(&self) -> bool {
        self.stage == Stage::Resuming
    }

    /// Speech that was sent, each sample once.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.tape.sent()
    }

    /// Samples that the gateway asked for in vain.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.tape.missing()
    }

    /// The place in the speech that the gateway calls `milliseconds`.
    #[must_use]
    pub fn place_ms(&self, milliseconds: u64) -> u64 {
        const SAMPLES_PER_MS: u64 = FRAME_SAMPLES as u64 / 100;
        self.tape.position(milliseconds * SAMPLES_PER_MS) / SAMPLES_PER_MS
    }

    /// Only where a resume is possible.
    fn keeps(&self) -> bool {
        self.grant.is_some()
    }
}

#[cfg(test)]
#[path = "continuity_tests.rs"]
mod tests;
