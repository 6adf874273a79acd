//! One account's circuit breaker: after too many failures nothing goes through, then one trial at a time. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many failures one after the other open it.
const IN_A_ROW: u32 = 5;
/// Beyond half of at least so many calls within [`WINDOW`], failures open it as well.
const JUDGED: u32 = 10;
const WINDOW: Duration = Duration::from_secs(30);
const SLICE: Duration = Duration::from_secs(1);
/// How long it stays open: the first time, and at most.
const OPEN: Duration = Duration::from_secs(5);
const LONGEST_OPEN: Duration = Duration::from_secs(60);

/// A call as the breaker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When it began.
    pub begun: Instant,
    /// The trial that it is.
    trial: Option<u64>,
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Everything.
    Closed,
    /// Nothing, until then.
    Open(Instant),
    /// One trial.
    HalfOpen {
        /// Whether the trial is under way.
        trying: bool,
    },
}

impl Phase {
    /// The word that people read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// The breaker.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    open: Option<Open>,
    /// When it last opened or closed: calls from before then don't count any more.
    turned: Option<Instant>,
    failures_in_a_row: u32,
    window: VecDeque<Slice>,
    trials: u64,
}

#[derive(Debug, Clone)]
struct Open {
    until: Instant,
    span: Duration,
    trial: Option<u64>,
}

/// What came of the calls of one second.
#[derive(Debug, Clone)]
struct Slice {
    since: Instant,
    served: u32,
    failed: u32,
}

impl Breaker {
    /// What it lets through now.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        match &self.open {
            None => Phase::Closed,
            Some(open) if now < open.until => Phase::Open(open.until),
            Some(open) => Phase::HalfOpen { trying: open.trial.is_some() },
        }
    }

    /// Lets a call through: while half open it is the trial, unless there is one.
    pub fn begin(&mut self, now: Instant) -> Call {
        let half_open = self.phase(now) == Phase::HalfOpen { trying: false };
        let trial = half_open.then(|| {
            self.trials += 1;
            self.trials
        });
        if let Some(open) = self.open.as_mut().filter(|_| half_open) {
            open.trial = trial;
        }
        Call { begun: now, trial }
    }

    /// The provider answered as it should: a trial closes the breaker.
    pub fn served(&mut self, call: Call, now: Instant) {
        if self.is_trial(call) {
            *self = Self { turned: Some(now), trials: self.trials, ..Self::default() };
        } else if self.counts(call) {
            self.failures_in_a_row = 0;
            self.count(1, 0, now);
        }
    }

    /// The provider failed: a trial opens the breaker again, for longer.
    pub fn failed(&mut self, call: Call, now: Instant) {
        if self.is_trial(call) {
            let span = self.open.as_ref().map_or(OPEN, |open| (open.span * 2).min(LONGEST_OPEN));
            return self.open(span, now);
        }
        if !self.counts(call) {
            return;
        }
        self.failures_in_a_row += 1;
        self.count(0, 1, now);
        let (served, failed) =
            self.window.iter().fold((0, 0), |sum, slice| (sum.0 + slice.served, sum.1 + slice.failed));
        if self.failures_in_a_row >= IN_A_ROW || (served + failed >= JUDGED && failed > served) {
            self.open(OPEN, now);
        }
    }

    /// The call is over without a word on the provider: where it was the trial, there may be another.
    pub fn release(&mut self, call: Call) {
        if self.is_trial(call)
            && let Some(open) = &mut self.open
        {
            open.trial = None;
        }
    }

    fn open(&mut self, span: Duration, now: Instant) {
        self.open = Some(Open { until: now + span, span, trial: None });
        self.turned = Some(now);
        self.failures_in_a_row = 0;
        self.window.clear();
    }

    fn is_trial(&self, call: Call) -> bool {
        call.trial.is_some() && self.open.as_ref().is_some_and(|open| open.trial == call.trial)
    }

    /// What began before the last turn says nothing about how the provider is since.
    fn counts(&self, call: Call) -> bool {
        self.open.is_none() && self.turned.is_none_or(|turned| call.begun >= turned)
    }

    fn count(&mut self, served: u32, failed: u32, now: Instant) {
        while self.window.front().is_some_and(|slice| now.saturating_duration_since(slice.since) >= WINDOW) {
            self.window.pop_front();
        }
        match self.window.back_mut() {
            Some(slice) if now.saturating_duration_since(slice.since) < SLICE => {
                slice.served += served;
                slice.failed += failed;
            }
            _ => self.window.push_back(Slice { since: now, served, failed }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            let call = breaker.begin(start);
            breaker.failed(call, start);
        }
        breaker
    }

    #[test]
    fn five_in_a_row_open_it_and_a_trial_closes_it() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert_eq!(breaker.phase(at(start, 4_999)), Phase::Open(at(start, 5_000)));
        let now = at(start, 5_000);
        assert_eq!(breaker.phase(now), Phase::HalfOpen { trying: false });
        let trial = breaker.begin(now);
        assert_eq!(breaker.phase(now), Phase::HalfOpen { trying: true });
        breaker.served(trial, now);
        assert_eq!(breaker.phase(now), Phase::Closed);
    }

    #[test]
    fn a_success_between_keeps_it_closed() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for round in 0..4 {
            for _ in 0..IN_A_ROW - 1 {
                let call = breaker.begin(now);
                breaker.served(call, now);
            }
            for _ in 0..IN_A_ROW - 1 {
                let call = breaker.begin(now);
                breaker.failed(call, now);
            }
            assert_eq!(breaker.phase(now), Phase::Closed, "round {round}: half is not more than half");
        }
    }

    #[test]
    fn more_than_half_of_the_last_thirty_seconds_open_it() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        let told = |breaker: &mut Breaker, served: bool, ms: u64| {
            let now = at(start, ms);
            let call = breaker.begin(now);
            if served {
                breaker.served(call, now)
            } else {
                breaker.failed(call, now)
            }
            breaker.phase(now)
        };
        for ms in 0..20 {
            told(&mut breaker, true, ms);
        }
        for round in 0..9 {
            assert_eq!(told(&mut breaker, round % 3 == 2, 31_000 + round), Phase::Closed, "the old ones are forgotten");
        }
        assert!(matches!(told(&mut breaker, false, 31_900), Phase::Open(_)));
    }

    #[test]
    fn it_stays_open_for_longer_each_time() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [5, 10, 20, 40, 60, 60] {
            let Phase::Open(until) = breaker.phase(now) else { panic!("it is open") };
            assert_eq!(until - now, Duration::from_secs(seconds));
            now = until;
            let trial = breaker.begin(now);
            breaker.failed(trial, now);
        }
    }

    #[test]
    fn calls_from_before_are_not_heard() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        let old: Vec<Call> = (0..20).map(|_| breaker.begin(start)).collect();
        for call in &old[..5] {
            breaker.failed(*call, at(start, 10));
        }
        breaker.served(old[5], at(start, 20));
        assert!(matches!(breaker.phase(at(start, 20)), Phase::Open(_)));
        let trial = breaker.begin(at(start, 6_000));
        breaker.served(trial, at(start, 6_000));
        for call in &old[6..] {
            breaker.failed(*call, at(start, 7_000));
        }
        assert_eq!(breaker.phase(at(start, 7_000)), Phase::Closed);
    }

    proptest! {
        #[test]
        fn there_is_one_trial_at_most(steps in prop::collection::vec((0_u8..5, 0_usize..8, 0_u64..4_000), 1..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            let mut calls: Vec<Call> = Vec::new();
            for (step, index, ms) in steps {
                let phase = breaker.phase(now);
                match (step, calls.is_empty()) {
                    // Callers begin nothing that is not let through.
                    (0 | 1, _) | (_, true) => {
                        if matches!(phase, Phase::Closed | Phase::HalfOpen { trying: false }) {
                            calls.push(breaker.begin(now));
                        }
                    }
                    (2, _) => breaker.failed(calls.swap_remove(index % calls.len()), now),
                    (3, _) => breaker.served(calls.swap_remove(index % calls.len()), now),
                    (_, _) => breaker.release(calls.swap_remove(index % calls.len())),
                }
                let trials = calls.iter().filter(|call| breaker.is_trial(**call)).count();
                prop_assert!(trials <= 1);
                let trying = breaker.phase(now) == Phase::HalfOpen { trying: true };
                prop_assert!(trials == 1 || !trying, "a trial that is over holds nobody up");
                prop_assert!(breaker.window.len() <= 31);
                now += Duration::from_millis(ms);
            }
        }
    }
}
