//! How an account is doing: what its calls came to, and until when it is spared. Pure.

use std::time::{Duration, Instant};

use super::breaker::{Breaker, Call, Phase};
use super::outcome::Outcome;

/// After a failure that may have been a single one.
const SOFT: Duration = Duration::from_millis(250);
/// A provider's own `retry-after` is believed within these bounds.
const LIMITED_LEAST: Duration = Duration::from_secs(1);
const LIMITED_MOST: Duration = Duration::from_secs(300);
/// Without one: the first time, and at most.
const LIMITED: Duration = Duration::from_secs(5);
const LONGEST_LIMITED: Duration = Duration::from_secs(60);
const BAD_KEY: Duration = Duration::from_secs(300);
const ARREARS: Duration = Duration::from_secs(120);
const LONGEST_ARREARS: Duration = Duration::from_secs(1_800);

/// Whether an account may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Ready,
    /// Only where nobody else is ready.
    Spared(Instant),
    /// No, until then.
    Barred(Instant),
}

/// An account's health.
#[derive(Debug, Clone, Default)]
pub struct Health {
    breaker: Breaker,
    cooling: Option<Cooling>,
    limited: Streak,
    arrears: Streak,
    /// [`Outcome::word`] of the latest failure.
    pub last_failure: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
struct Cooling {
    since: Instant,
    until: Instant,
    /// Nobody is let through, even where there is no other account.
    hard: bool,
}

/// Failures of one kind, each after the one before was known.
#[derive(Debug, Clone, Copy, Default)]
struct Streak {
    count: u32,
    latest: Option<Instant>,
}

impl Streak {
    /// The cool-down after one more; those of calls that were under way already are the same failure.
    fn next(&mut self, call: Call, now: Instant, (first, most): (Duration, Duration)) -> Duration {
        if self.latest.is_some_and(|latest| now.saturating_duration_since(latest) > most * 2) {
            *self = Self::default();
        }
        if self.latest.is_none_or(|latest| call.begun >= latest) {
            self.count = self.count.saturating_add(1);
            self.latest = Some(now);
        }
        first.saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1))).min(most)
    }

    fn end(&mut self, call: Call) {
        if self.latest.is_some_and(|latest| call.begun >= latest) {
            *self = Self::default();
        }
    }
}

impl Health {
    /// Whether the account may be asked.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        self.cooled(self.breaker.shut_until(None, now), now)
    }

    /// Whether the account may be asked by this caller.
    #[must_use]
    pub fn standing_for(&self, caller: u64, now: Instant) -> Standing {
        self.cooled(self.breaker.shut_until(Some(caller), now), now)
    }

    fn cooled(&self, shut_until: Option<Instant>, now: Instant) -> Standing {
        let cooling = self.cooling.filter(|cooling| now < cooling.until);
        let barred_until = cooling.filter(|cooling| cooling.hard).map(|cooling| cooling.until).max(shut_until);
        match (barred_until, cooling) {
            (Some(until), _) => Standing::Barred(until),
            (None, Some(cooling)) => Standing::Spared(cooling.until),
            (None, None) => Standing::Ready,
        }
    }

    /// What the breaker lets through.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        self.breaker.phase(now)
    }

    /// A call begins; it was allowed by [`Health::standing_for`].
    pub fn begin(&mut self, caller: u64, now: Instant) -> Call {
        self.breaker.begin(caller, now)
    }

    /// What came of a call. A stream that breaks off may be reported after it was reported as served.
    pub fn report(&mut self, call: Call, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Served => self.served(call, now),
            Outcome::CallersFault | Outcome::Abandoned => self.breaker.release(call),
            Outcome::Failing => {
                self.breaker.answered_badly(call, now);
                self.cool(SOFT, false, now);
            }
            Outcome::TimedOut | Outcome::Unreachable => {
                self.breaker.unanswered(call, now);
                self.cool(SOFT, false, now);
            }
            Outcome::RateLimited(Some(wait)) => {
                self.breaker.release(call);
                self.cool(wait.clamp(LIMITED_LEAST, LIMITED_MOST), true, now);
            }
            Outcome::RateLimited(None) => {
                self.breaker.release(call);
                let span = self.limited.next(call, now, (LIMITED, LONGEST_LIMITED));
                self.cool(span, false, now);
            }
            Outcome::BadKey => {
                self.breaker.release(call);
                self.cool(BAD_KEY, true, now);
            }
            Outcome::Arrears => {
                self.breaker.release(call);
                let span = self.arrears.next(call, now, (ARREARS, LONGEST_ARREARS));
                self.cool(span, true, now);
            }
        }
        if outcome.is_failure() {
            self.last_failure = Some(outcome.word());
        }
    }

    /// A call is over; whoever was told of it by [`Health::report`] already changes nothing.
    pub fn release(&mut self, call: Call) {
        self.breaker.release(call);
    }

    fn served(&mut self, call: Call, now: Instant) {
        self.breaker.served(call, now);
        self.limited.end(call);
        self.arrears.end(call);
        // Whoever was let through all the same has shown that sparing is needless.
        self.cooling = self.cooling.filter(|cooling| cooling.hard || call.begun < cooling.since);
    }

    /// A harder cool-down is not shortened by a softer one.
    fn cool(&mut self, span: Duration, hard: bool, now: Instant) {
        let until = now + span;
        let present = self.cooling.filter(|cooling| now < cooling.until);
        self.cooling = match present {
            Some(present) if present.hard && !hard => Some(present),
            Some(present) if present.hard == hard => {
                Some(Cooling { since: now, until: until.max(present.until), hard })
            }
            _ => Some(Cooling { since: now, until, hard }),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(outcome: Outcome) -> (Health, Instant) {
        let now = Instant::now();
        let mut health = Health::default();
        let call = health.begin(0, now);
        health.report(call, outcome, now);
        (health, now)
    }

    fn again(health: &mut Health, outcome: Outcome, now: Instant) {
        let call = health.begin(0, now);
        health.report(call, outcome, now);
    }

    #[test]
    fn each_failure_has_its_cool_down() {
        let (hard, soft) = (Standing::Barred as fn(Instant) -> Standing, Standing::Spared as fn(Instant) -> Standing);
        for (outcome, standing, span) in [
            (Outcome::RateLimited(Some(SECOND * 20)), hard, SECOND * 20),
            (Outcome::RateLimited(Some(Duration::ZERO)), hard, SECOND),
            (Outcome::RateLimited(Some(SECOND * 86_400)), hard, SECOND * 300),
            (Outcome::RateLimited(None), soft, SECOND * 5),
            (Outcome::BadKey, hard, SECOND * 300),
            (Outcome::Arrears, hard, SECOND * 120),
            (Outcome::Failing, soft, SOFT),
            (Outcome::TimedOut, soft, SOFT),
            (Outcome::Unreachable, soft, SOFT),
        ] {
            let (health, now) = after(outcome);
            assert_eq!(health.standing(now), standing(now + span), "{outcome:?}");
            assert_eq!(health.standing(now + span), Standing::Ready, "{outcome:?}");
            assert_eq!(health.last_failure, Some(outcome.word()));
        }
        for outcome in [Outcome::Served, Outcome::CallersFault, Outcome::Abandoned] {
            let (health, now) = after(outcome);
            assert_eq!((health.standing(now), health.last_failure), (Standing::Ready, None), "{outcome:?}");
        }
    }

    #[test]
    fn repeated_limits_and_arrears_are_waited_out_for_longer() {
        for (outcome, spans) in [
            (Outcome::RateLimited(None), [5, 10, 20, 40, 60, 60]),
            (Outcome::Arrears, [120, 240, 480, 960, 1_800, 1_800]),
        ] {
            let (mut now, mut health) = (Instant::now(), Health::default());
            for seconds in spans {
                again(&mut health, outcome, now);
                let (Standing::Barred(until) | Standing::Spared(until)) = health.standing(now) else { panic!() };
                assert_eq!(until - now, SECOND * seconds, "{outcome:?}");
                now = until;
            }
            again(&mut health, Outcome::Served, now);
            again(&mut health, outcome, now + SECOND);
            let standing = health.standing(now + SECOND * (spans[0]));
            assert_ne!(standing, Standing::Ready, "{outcome:?}");
            assert_eq!(health.standing(now + SECOND * (spans[0] + 1)), Standing::Ready, "{outcome:?}: it began anew");
        }
    }

    #[test]
    fn a_burst_that_is_limited_is_limited_once() {
        let (now, mut health) = (Instant::now(), Health::default());
        let burst: Vec<Call> = (0..20).map(|_| health.begin(0, now)).collect();
        for call in burst {
            health.report(call, Outcome::RateLimited(None), now + SECOND);
        }
        assert_eq!(health.standing(now + SECOND), Standing::Spared(now + SECOND * 6));
    }

    #[test]
    fn a_softer_failure_does_not_shorten_a_harder_one() {
        let (mut health, now) = after(Outcome::BadKey);
        for outcome in [Outcome::Failing, Outcome::RateLimited(None), Outcome::RateLimited(Some(SECOND))] {
            again(&mut health, outcome, now);
        }
        again(&mut health, Outcome::Served, now);
        assert_eq!(health.standing(now), Standing::Barred(now + BAD_KEY));
    }

    #[test]
    fn a_success_ends_the_sparing_unless_it_began_before() {
        let now = Instant::now();
        let mut health = Health::default();
        let early = health.begin(0, now);
        again(&mut health, Outcome::RateLimited(None), now + SECOND);
        health.report(early, Outcome::Served, now + SECOND);
        assert!(matches!(health.standing(now + SECOND), Standing::Spared(_)));
        again(&mut health, Outcome::Served, now + SECOND);
        assert_eq!(health.standing(now + SECOND), Standing::Ready);
    }

    #[test]
    fn a_trial_that_says_nothing_lets_another_in() {
        let now = Instant::now();
        for outcome in [None, Some(Outcome::CallersFault), Some(Outcome::Abandoned)] {
            let mut health = Health::default();
            for _ in 0..5 {
                again(&mut health, Outcome::Unreachable, now);
            }
            let later = now + SECOND * 5;
            assert_eq!((health.standing(now), health.standing(later)), (Standing::Barred(later), Standing::Ready));
            let trial = health.begin(0, later);
            assert!(matches!(health.standing(later), Standing::Barred(_)), "one trial at a time");
            match outcome {
                Some(outcome) => health.report(trial, outcome, later),
                None => health.release(trial),
            }
            assert_eq!(health.standing(later), Standing::Ready, "{outcome:?}");
        }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Served),
            Just(Outcome::CallersFault),
            Just(Outcome::Abandoned),
            prop::option::of(0_u64..1_000).prop_map(|wait| Outcome::RateLimited(wait.map(Duration::from_secs))),
            Just(Outcome::Failing),
            Just(Outcome::TimedOut),
            Just(Outcome::Unreachable),
            Just(Outcome::BadKey),
            Just(Outcome::Arrears),
        ]
    }

    proptest! {
        #[test]
        fn no_account_is_given_up_for_good(steps in prop::collection::vec((outcome(), 0_u64..60_000), 1..100)) {
            let (mut now, mut health) = (Instant::now(), Health::default());
            for (outcome, ms) in steps {
                again(&mut health, outcome, now);
                if let Standing::Barred(until) | Standing::Spared(until) = health.standing(now) {
                    prop_assert!(until > now && until <= now + LONGEST_ARREARS);
                }
                prop_assert_eq!(health.standing(now + LONGEST_ARREARS), Standing::Ready);
                now += Duration::from_millis(ms);
            }
        }
    }
}
