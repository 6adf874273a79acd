//! Clocks of a session: who was last heard, who is too slow, what has gone on for too long. Pure.

use std::time::{Duration, Instant};

use super::rules::Rules;
use super::sides::{Pressure, Side};
use crate::wire::audio;

/// Speech upstream for so long without any event back means a silent provider: it is to be found within ten seconds,
/// and looking at one frame a second misses some.
const SILENT_UPSTREAM: Duration = Duration::from_secs(8);
/// One frame in so long is looked into for speech.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// A provider that takes nothing for so long is given up.
const SLOW_UPSTREAM: Duration = Duration::from_secs(30);
/// A direction that has not moved for so long says nothing about its peer's life.
const PRESSED: Duration = Duration::from_secs(2);

/// Which legs are to be pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingsDue {
    /// The customer's.
    pub client: bool,
    /// The provider's.
    pub upstream: bool,
}

/// A session's clocks.
pub struct Watch {
    begun: Instant,
    longest: Option<Duration>,
    idle_after: Duration,
    ping_every: Duration,
    dead_after: Duration,
    slow_after: Duration,
    client_heard: Instant,
    upstream_heard: Instant,
    last_data: Instant,
    last_event: Instant,
    pinged: Instant,
    listened: Instant,
    /// Speech in the frames that were looked into since the last event.
    unanswered: Duration,
    last_speech: Instant,
    /// Turns are ended by the client: a long speech without an event is in order.
    pub manual: bool,
}

impl Watch {
    /// Clocks that start now.
    #[must_use]
    pub fn new(rules: &Rules, now: Instant) -> Self {
        let realtime = &rules.config.realtime;
        Self {
            begun: now,
            longest: rules.longest,
            idle_after: Duration::from_secs(realtime.session_idle_seconds),
            ping_every: Duration::from_secs(realtime.ping_seconds),
            dead_after: Duration::from_secs(realtime.dead_seconds),
            slow_after: Duration::from_secs(realtime.slow_client_seconds),
            client_heard: now,
            upstream_heard: now,
            last_data: now,
            last_event: now,
            pinged: now.checked_sub(rules.ping_phase).unwrap_or(now),
            listened: now,
            unanswered: Duration::ZERO,
            last_speech: now,
            manual: false,
        }
    }

    /// Any frame came on a leg.
    pub fn heard(&mut self, side: Side, now: Instant) {
        match side {
            Side::Client => self.client_heard = now,
            Side::Upstream => self.upstream_heard = now,
        }
    }

    /// The client sent data.
    pub fn client_spoke(&mut self, now: Instant) {
        self.client_heard = now;
        self.last_data = now;
    }

    /// The provider sent an event.
    pub fn upstream_spoke(&mut self, now: Instant) {
        self.upstream_heard = now;
        self.last_data = now;
        self.last_event = now;
        self.unanswered = Duration::ZERO;
    }

    /// Looks into one audio frame a second.
    pub fn listen(&mut self, base64: &str, now: Instant) {
        if self.manual || now.duration_since(self.listened) < LISTEN_EVERY {
            return;
        }
        let since = now.duration_since(self.listened).min(2 * LISTEN_EVERY);
        self.listened = now;
        if audio::is_speech(base64) {
            self.last_speech = now;
            self.unanswered += since;
        }
    }

    /// The session began so much earlier, elsewhere.
    pub fn began_before(&mut self, age: Duration) {
        self.begun = self.begun.checked_sub(age).unwrap_or(self.begun);
    }

    /// Whether speech went up and no event has come back since.
    #[must_use]
    pub fn unanswered(&self) -> bool {
        !self.unanswered.is_zero()
    }

    /// The provider is heard anew: its leg was replaced.
    pub fn upstream_replaced(&mut self, now: Instant) {
        self.upstream_heard = now;
        self.unanswered = Duration::ZERO;
    }

    /// The customer is back on a new socket.
    pub fn client_back(&mut self, now: Instant) {
        self.client_heard = now;
        self.last_data = now;
    }

    /// Whether the session reached the license's longest duration.
    #[must_use]
    pub fn capped(&self, now: Instant) -> bool {
        self.longest.is_some_and(|longest| now.duration_since(self.begun) >= longest)
    }

    /// Whether nothing was said either way for too long.
    #[must_use]
    pub fn idle(&self, now: Instant) -> bool {
        now.duration_since(self.last_data) >= self.idle_after
    }

    /// Whether the customer has taken nothing for too long.
    #[must_use]
    pub fn client_too_slow(&self, pressure: Pressure) -> bool {
        pressure.downlink >= self.slow_after
    }

    /// Whether the customer's leg is dead. Not to be known while it is stalled, or not read: it is neither
    /// pinged nor heard then, so its time begins when that is over.
    pub fn client_dead(&mut self, pressure: Pressure, now: Instant) -> bool {
        if pressure.downlink.max(pressure.uplink) >= PRESSED {
            self.client_heard = now;
        }
        now.duration_since(self.client_heard) >= self.dead_after
    }

    /// Whether the provider's leg is dead, or takes nothing. Not to be known while it is not read: its time
    /// begins when that is over.
    pub fn upstream_dead(&mut self, pressure: Pressure, now: Instant) -> bool {
        if pressure.downlink >= PRESSED {
            self.upstream_heard = now;
            self.unanswered = Duration::ZERO;
        }
        now.duration_since(self.upstream_heard) >= self.dead_after || pressure.uplink >= SLOW_UPSTREAM
    }

    /// Whether the provider has been spoken to for long without a word back.
    #[must_use]
    pub fn upstream_silent(&self, now: Instant) -> bool {
        self.unanswered >= SILENT_UPSTREAM && now.duration_since(self.last_speech) <= 2 * LISTEN_EVERY
    }

    /// Which legs are to be pinged now.
    pub fn pings_due(&mut self, pressure: Pressure, now: Instant) -> PingsDue {
        let due = now.duration_since(self.pinged) >= self.ping_every;
        if due {
            self.pinged = now;
        }
        PingsDue { client: due && pressure.downlink < PRESSED, upstream: due && pressure.uplink < PRESSED }
    }
}
