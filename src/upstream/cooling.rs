//! Cool-downs: until when somebody is spared or barred, and for how much longer each time. Pure.

use std::time::{Duration, Instant};

use super::breaker::Call;

/// Whether somebody may be asked; what forbids more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Yes.
    Ready,
    /// Only where nobody else is ready.
    Spared(Instant),
    /// No, until then.
    Barred(Instant),
}

/// A cool-down, or none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cooling {
    latest: Option<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    since: Instant,
    until: Instant,
    /// Nobody is let through, even where there is no other account.
    hard: bool,
}

impl Cooling {
    /// Whether it is over, and what it allows.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        match self.latest.filter(|span| now < span.until) {
            None => Standing::Ready,
            Some(span) if span.hard => Standing::Barred(span.until),
            Some(span) => Standing::Spared(span.until),
        }
    }

    /// Only where nobody else is ready, for so long.
    pub fn spare(&mut self, length: Duration, now: Instant) {
        self.cool(length, false, now);
    }

    /// Not at all, for so long.
    pub fn bar(&mut self, length: Duration, now: Instant) {
        self.cool(length, true, now);
    }

    /// A call was served: whoever was let through all the same has shown that sparing is needless.
    pub fn served(&mut self, call: Call) {
        self.latest = self.latest.filter(|span| span.hard || call.begun < span.since);
    }

    /// A harder cool-down is not shortened by a softer one.
    fn cool(&mut self, length: Duration, hard: bool, now: Instant) {
        let until = now + length;
        let present = self.latest.filter(|span| now < span.until);
        self.latest = match present {
            Some(present) if present.hard && !hard => Some(present),
            Some(present) if present.hard == hard => Some(Span { since: now, until: until.max(present.until), hard }),
            _ => Some(Span { since: now, until, hard }),
        };
    }
}

/// Failures of one kind, each after the one before was known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Streak {
    count: u32,
    latest: Option<Instant>,
}

impl Streak {
    /// The cool-down after one more; those of calls that were under way already are the same failure.
    pub fn next(&mut self, call: Call, now: Instant, (first, most): (Duration, Duration)) -> Duration {
        if self.latest.is_some_and(|latest| now.saturating_duration_since(latest) > most * 2) {
            *self = Self::default();
        }
        if self.latest.is_none_or(|latest| call.begun >= latest) {
            self.count = self.count.saturating_add(1);
            self.latest = Some(now);
        }
        first.saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1))).min(most)
    }

    /// A call was served.
    pub fn end(&mut self, call: Call) {
        if self.latest.is_some_and(|latest| call.begun >= latest) {
            *self = Self::default();
        }
    }
}
