//! One account's circuit breaker: after too many failures nothing goes through, then a trial now and then. Bad answers
//! to a single caller neither open it nor keep it open: they may lie in what that caller asks. Pure.

use std::time::{Duration, Instant};

use super::failures::Failures;
use super::window::Window;

/// Failures of this weight one after the other open it.
const IN_A_ROW: u32 = 5;
/// How long it stays open: the first time, and at most.
const OPEN: Duration = Duration::from_secs(5);
const LONGEST_OPEN: Duration = Duration::from_secs(60);
/// A trial that takes longer keeps no other waiting; a caller whose trial was answered badly waits as long for its next.
const TRIAL: Duration = Duration::from_secs(5);
/// While a trial is under way nobody knows for how long: callers are told to come back after this.
const SOON: Duration = Duration::from_secs(1);

/// A call as the breaker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When it began.
    pub begun: Instant,
    /// Whose it is; 0 where that isn't known.
    pub caller: u64,
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
        /// Whether a trial is under way, and not for long yet.
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
    failures_in_a_row: Failures,
    window: Window,
    trials: u64,
}

#[derive(Debug, Clone)]
struct Open {
    until: Instant,
    span: Duration,
    /// The number of its first trial; all its trials are heard, and those of earlier times are not.
    first_trial: u64,
    trial: Option<Trial>,
    /// The caller whose trial was answered badly, and until when it waits.
    doubted: Option<(u64, Instant)>,
}

/// The latest trial, while it is under way.
#[derive(Debug, Clone, Copy)]
struct Trial {
    number: u64,
    since: Instant,
}

impl Breaker {
    /// What it lets through now.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        match &self.open {
            None => Phase::Closed,
            Some(open) if now < open.until => Phase::Open(open.until),
            Some(open) => {
                let fresh = |trial: Trial| now.saturating_duration_since(trial.since) < TRIAL;
                Phase::HalfOpen { trying: open.trial.is_some_and(fresh) }
            }
        }
    }

    /// Until when it lets nothing through, or nothing of this caller; `None`: it does now.
    #[must_use]
    pub fn shut_until(&self, caller: Option<u64>, now: Instant) -> Option<Instant> {
        let doubted = self.open.as_ref().and_then(|open| open.doubted).filter(|(_, until)| now < *until);
        match self.phase(now) {
            Phase::Closed => None,
            Phase::Open(until) => Some(until),
            Phase::HalfOpen { trying: true } => Some(now + SOON),
            Phase::HalfOpen { trying: false } => {
                doubted.filter(|(doubted, _)| Some(*doubted) == caller).map(|(_, until)| until)
            }
        }
    }

    /// Lets a call through: while half open it is a trial, unless there is a fresh one.
    pub fn begin(&mut self, caller: u64, now: Instant) -> Call {
        let half_open = self.phase(now) == Phase::HalfOpen { trying: false };
        let Some(open) = self.open.as_mut().filter(|_| half_open) else {
            return Call { begun: now, caller, trial: None };
        };
        self.trials += 1;
        open.trial = Some(Trial { number: self.trials, since: now });
        Call { begun: now, caller, trial: Some(self.trials) }
    }

    /// The provider answered as it should: a trial closes the breaker.
    pub fn served(&mut self, call: Call, now: Instant) {
        if self.is_trial(call) {
            *self = Self { turned: Some(now), trials: self.trials, ..Self::default() };
        } else if self.counts(call) {
            self.failures_in_a_row = Failures::default();
            self.window.served(now);
        }
    }

    /// There was no answer, whatever was asked: a trial opens the breaker again, for longer.
    pub fn unanswered(&mut self, call: Call, now: Instant) {
        if self.is_trial(call) {
            self.open_again(now);
        } else {
            self.failed(call, &Failures::unanswered(), now);
        }
    }

    /// The answer was bad, which may lie in what was asked: only trials of two callers open the breaker again.
    pub fn answered_badly(&mut self, call: Call, now: Instant) {
        if !self.is_trial(call) {
            return self.failed(call, &Failures::bad_answer(call.caller), now);
        }
        self.release(call);
        let doubted = self.open.as_mut().and_then(|open| open.doubted.replace((call.caller, now + TRIAL)));
        if doubted.is_some_and(|(caller, _)| caller != call.caller) {
            self.open_again(now);
        }
    }

    /// The call is over without a word on the provider: where it was the latest trial, there may be another.
    pub fn release(&mut self, call: Call) {
        if let Some(open) = &mut self.open
            && open.trial.is_some_and(|trial| call.trial == Some(trial.number))
        {
            open.trial = None;
        }
    }

    fn failed(&mut self, call: Call, failure: &Failures, now: Instant) {
        if !self.counts(call) {
            return;
        }
        self.failures_in_a_row.add(failure);
        self.window.failed(failure, now);
        if self.failures_in_a_row.weight() >= IN_A_ROW || self.window.is_mostly_failing() {
            self.open(OPEN, now);
        }
    }

    fn open_again(&mut self, now: Instant) {
        let span = self.open.as_ref().map_or(OPEN, |open| (open.span * 2).min(LONGEST_OPEN));
        self.open(span, now);
    }

    fn open(&mut self, span: Duration, now: Instant) {
        let first_trial = self.trials + 1;
        self.open = Some(Open { until: now + span, span, first_trial, trial: None, doubted: None });
        self.turned = Some(now);
        self.failures_in_a_row = Failures::default();
        self.window = Window::default();
    }

    fn is_trial(&self, call: Call) -> bool {
        self.open.as_ref().is_some_and(|open| call.trial.is_some_and(|number| number >= open.first_trial))
    }

    /// What began before the last turn says nothing about how the provider is since.
    fn counts(&self, call: Call) -> bool {
        self.open.is_none() && self.turned.is_none_or(|turned| call.begun >= turned)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALICE: u64 = 1;
    const BOB: u64 = 2;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            let call = breaker.begin(ALICE, start);
            breaker.unanswered(call, start);
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
        let trial = breaker.begin(ALICE, now);
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
                let call = breaker.begin(ALICE, now);
                breaker.served(call, now);
            }
            for _ in 0..IN_A_ROW - 1 {
                let call = breaker.begin(ALICE, now);
                breaker.unanswered(call, now);
            }
            assert_eq!(breaker.phase(now), Phase::Closed, "round {round}: half is not more than half");
        }
        let call = breaker.begin(ALICE, now);
        breaker.served(call, now);
        for opens in [false, true] {
            let call = breaker.begin(ALICE, now);
            breaker.unanswered(call, now);
            assert_eq!(matches!(breaker.phase(now), Phase::Open(_)), opens, "more than half is");
        }
    }

    #[test]
    fn it_stays_open_for_longer_each_time() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [5, 10, 20, 40, 60, 60] {
            let Phase::Open(until) = breaker.phase(now) else { panic!("it is open") };
            assert_eq!(until - now, Duration::from_secs(seconds));
            now = until;
            let trial = breaker.begin(ALICE, now);
            breaker.unanswered(trial, now);
        }
    }

    #[test]
    fn calls_from_before_are_not_heard() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        let old: Vec<Call> = (0..20).map(|_| breaker.begin(ALICE, start)).collect();
        for call in &old[..5] {
            breaker.unanswered(*call, at(start, 10));
        }
        breaker.served(old[5], at(start, 20));
        assert!(matches!(breaker.phase(at(start, 20)), Phase::Open(_)));
        let trial = breaker.begin(ALICE, at(start, 6_000));
        breaker.served(trial, at(start, 6_000));
        for call in &old[6..] {
            breaker.unanswered(*call, at(start, 7_000));
        }
        assert_eq!(breaker.phase(at(start, 7_000)), Phase::Closed);
    }

    fn bad_answers(breaker: &mut Breaker, callers: &[u64], now: Instant) -> Phase {
        for caller in callers {
            let call = breaker.begin(*caller, now);
            breaker.answered_badly(call, now);
        }
        breaker.phase(now)
    }

    #[test]
    fn bad_answers_to_one_caller_do_not_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(bad_answers(&mut breaker, &[ALICE; 1_000], now), Phase::Closed);
        assert_eq!(bad_answers(&mut breaker, &[BOB], now), Phase::Closed, "one more is chance");
        assert!(matches!(bad_answers(&mut breaker, &[BOB], now), Phase::Open(_)));
        assert!(matches!(bad_answers(&mut Breaker::default(), &[ALICE, BOB, ALICE, BOB, ALICE], now), Phase::Open(_)));
    }

    #[test]
    fn a_trial_of_one_caller_alone_does_not_keep_it_open() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = at(start, 5_000);
        for round in 0..20 {
            assert_eq!(breaker.shut_until(Some(ALICE), at(now, round * 5_000)), None);
            bad_answers(&mut breaker, &[ALICE], at(now, round * 5_000));
            let soon = at(now, round * 5_000 + 1);
            assert_eq!(breaker.shut_until(Some(ALICE), soon), Some(at(now, (round + 1) * 5_000)), "others come first");
            assert_eq!((breaker.shut_until(Some(BOB), soon), breaker.shut_until(None, soon)), (None, None));
        }
        let later = at(now, 100_000);
        let mut healed = breaker.clone();
        let trial = healed.begin(BOB, later);
        healed.served(trial, later);
        assert_eq!(healed.phase(later), Phase::Closed);
        assert_eq!(bad_answers(&mut breaker, &[BOB], later), Phase::Open(at(later, 10_000)), "two callers said so");
    }

    #[test]
    fn a_slow_trial_holds_nobody_up_and_is_heard_all_the_same() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = at(start, 5_000);
        let slow = breaker.begin(ALICE, now);
        assert_eq!(breaker.shut_until(Some(BOB), at(now, 4_999)), Some(at(now, 5_999)));
        assert_eq!(breaker.shut_until(Some(BOB), at(now, 5_000)), None);
        let other = breaker.begin(BOB, at(now, 5_000));
        assert!(breaker.shut_until(Some(BOB), at(now, 5_001)).is_some(), "one in five seconds");
        breaker.release(slow);
        assert!(breaker.shut_until(Some(BOB), at(now, 5_001)).is_some(), "the other is still under way");
        let mut failed = breaker.clone();
        failed.unanswered(slow, at(now, 6_000));
        failed.served(other, at(now, 7_000));
        assert_eq!(failed.phase(at(now, 7_000)), Phase::Open(at(now, 16_000)), "that one began before");
        breaker.served(slow, at(now, 6_000));
        assert_eq!(breaker.phase(at(now, 6_000)), Phase::Closed);
        breaker.unanswered(other, at(now, 7_000));
        assert_eq!(breaker.phase(at(now, 7_000)), Phase::Closed);
    }

    proptest! {
        #[test]
        fn there_is_one_trial_at_a_time(
            steps in prop::collection::vec((0_u8..6, 0_usize..8, 0_u64..3, 0_u64..4_000), 1..200)
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            let mut calls: Vec<Call> = Vec::new();
            for (step, index, caller, ms) in steps {
                match (step, calls.is_empty()) {
                    // Callers begin nothing that is not let through.
                    (0 | 1, _) | (_, true) => {
                        if breaker.shut_until(Some(caller), now).is_none() {
                            calls.push(breaker.begin(caller, now));
                        }
                    }
                    (2, _) => breaker.unanswered(calls.swap_remove(index % calls.len()), now),
                    (3, _) => breaker.answered_badly(calls.swap_remove(index % calls.len()), now),
                    (4, _) => breaker.served(calls.swap_remove(index % calls.len()), now),
                    (_, _) => breaker.release(calls.swap_remove(index % calls.len())),
                }
                let fresh = |call: &&Call| breaker.is_trial(**call) && now - call.begun < TRIAL;
                let trials = calls.iter().filter(fresh).count();
                prop_assert!(trials <= 1);
                let trying = breaker.phase(now) == Phase::HalfOpen { trying: true };
                prop_assert_eq!(trials == 1, trying, "a trial that is over holds nobody up");
                now += Duration::from_millis(ms);
            }
        }

        #[test]
        fn nobody_opens_it_by_bad_answers_alone(steps in prop::collection::vec((any::<bool>(), 0_u64..4_000), 1..200)) {
            let (mut now, mut breaker) = (Instant::now(), Breaker::default());
            for (served, ms) in steps {
                let call = breaker.begin(ALICE, now);
                if served {
                    breaker.served(call, now);
                } else {
                    breaker.answered_badly(call, now);
                }
                prop_assert_eq!(breaker.phase(now), Phase::Closed);
                now += Duration::from_millis(ms);
            }
        }
    }
}
