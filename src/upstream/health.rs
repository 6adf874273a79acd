//! How an account is doing: what its calls came to, and until when it, or one of its models, is spared. Pure.

use std::time::{Duration, Instant};

use super::breaker::{Breaker, Call, Phase};
use super::cooling::{Cooling, Standing, Streak};
use super::models::Models;
use super::outcome::Outcome;

/// After a failure that may have been a single one.
const SOFT: Duration = Duration::from_millis(250);
/// Where so many models are limited at once, it may be the account that is: then it is spared for so long.
const MANY_MODELS: usize = 3;
const LIMITED: Duration = Duration::from_secs(5);
const BAD_KEY: Duration = Duration::from_secs(300);
/// Whoever served a call so lately has a good key, unless more than one caller hears otherwise.
const LATELY: Duration = Duration::from_secs(30);
const ARREARS: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(1_800));

/// An account's health.
#[derive(Debug, Clone, Default)]
pub struct Health {
    breaker: Breaker,
    cooling: Cooling,
    arrears: Streak,
    models: Models,
    served_at: Option<Instant>,
    /// Who was first told that the key is bad, and when: no call that began since was served.
    key_doubted: Option<(u64, Instant)>,
    /// [`Outcome::word`] of the latest failure.
    pub last_failure: Option<&'static str>,
}

impl Health {
    /// Whether the account may be asked at all.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        self.but_for_models(None, now)
    }

    /// Whether the account may be asked for a model, by a caller.
    #[must_use]
    pub fn standing_for(&self, model: &str, caller: u64, now: Instant) -> Standing {
        self.but_for_models(Some(caller), now).max(self.models.standing(model, now))
    }

    fn but_for_models(&self, caller: Option<u64>, now: Instant) -> Standing {
        let shut = self.breaker.shut_until(caller, now).map_or(Standing::Ready, Standing::Barred);
        self.cooling.standing(now).max(shut)
    }

    /// Models that it is not asked for like any other.
    #[must_use]
    pub fn cooling_models(&self, now: Instant) -> usize {
        self.models.cooling(now)
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

    /// What came of a call for a model. A stream that breaks off may be reported after it was reported as served.
    pub fn report(&mut self, call: Call, model: &str, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Served => return self.served(call, model, now),
            Outcome::Failing => self.breaker.answered_badly(call, now),
            Outcome::TimedOut | Outcome::Unreachable => self.breaker.unanswered(call, now),
            Outcome::CallersFault
            | Outcome::Abandoned
            | Outcome::RateLimited(_)
            | Outcome::ModelRefused
            | Outcome::BadKey
            | Outcome::Arrears => self.breaker.release(call),
        }
        match outcome {
            Outcome::Served | Outcome::CallersFault | Outcome::Abandoned => return,
            Outcome::Failing | Outcome::TimedOut | Outcome::Unreachable => self.cooling.spare(SOFT, now),
            Outcome::RateLimited(wait) => self.limited(call, model, wait, now),
            Outcome::ModelRefused => self.models.refuse(model, call, now),
            Outcome::BadKey if self.has_a_bad_key(call, now) => self.cooling.bar(BAD_KEY, now),
            // One odd endpoint, or one odd request.
            Outcome::BadKey => self.models.refuse(model, call, now),
            Outcome::Arrears => self.cooling.bar(self.arrears.next(call, now, ARREARS), now),
        }
        self.last_failure = Some(outcome.word());
    }

    /// A call is over; whoever was told of it by [`Health::report`] already changes nothing.
    pub fn release(&mut self, call: Call) {
        self.breaker.release(call);
    }

    fn served(&mut self, call: Call, model: &str, now: Instant) {
        self.breaker.served(call, now);
        self.arrears.end(call);
        self.cooling.served(call);
        self.models.served(model, call, now);
        self.served_at = Some(now);
        self.key_doubted = self.key_doubted.filter(|(_, since)| call.begun < *since);
    }

    fn limited(&mut self, call: Call, model: &str, wait: Option<Duration>, now: Instant) {
        self.models.limit(model, wait, call, now);
        if self.models.limited(now) >= MANY_MODELS {
            self.cooling.spare(LIMITED, now);
        }
    }

    /// Whether it is the key: two callers say so, or one, and nobody was served lately.
    fn has_a_bad_key(&mut self, call: Call, now: Instant) -> bool {
        let (first, _) = *self.key_doubted.get_or_insert((call.caller, now));
        let serves = self.served_at.is_some_and(|at| now.saturating_duration_since(at) < LATELY);
        first != call.caller || !serves
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const MODEL: &str = "m";
    const ALICE: u64 = 1;
    const BOB: u64 = 2;

    fn again(health: &mut Health, outcome: Outcome, now: Instant) {
        said(health, (ALICE, MODEL), outcome, now);
    }

    fn said(health: &mut Health, (caller, model): (u64, &str), outcome: Outcome, now: Instant) {
        let call = health.begin(caller, now);
        health.report(call, model, outcome, now);
    }

    fn after(outcome: Outcome) -> (Health, Instant) {
        let (mut health, now) = (Health::default(), Instant::now());
        again(&mut health, outcome, now);
        (health, now)
    }

    #[test]
    fn each_failure_has_its_cool_down() {
        let (hard, soft) = (Standing::Barred as fn(Instant) -> Standing, Standing::Spared as fn(Instant) -> Standing);
        for (outcome, standing, span, of_model) in [
            (Outcome::RateLimited(Some(SECOND * 20)), hard, SECOND * 20, true),
            (Outcome::RateLimited(None), soft, SECOND * 5, true),
            (Outcome::ModelRefused, soft, SECOND * 60, true),
            (Outcome::BadKey, hard, SECOND * 300, false),
            (Outcome::Arrears, hard, SECOND * 120, false),
            (Outcome::Failing, soft, SOFT, false),
            (Outcome::TimedOut, soft, SOFT, false),
            (Outcome::Unreachable, soft, SOFT, false),
        ] {
            let (health, now) = after(outcome);
            let other = if of_model { Standing::Ready } else { standing(now + span) };
            assert_eq!(health.standing_for(MODEL, BOB, now), standing(now + span), "{outcome:?}");
            assert_eq!(health.standing_for(MODEL, BOB, now + span), Standing::Ready, "{outcome:?}");
            assert_eq!(health.standing_for("another", BOB, now), other, "{outcome:?}");
            assert_eq!((health.standing(now), health.cooling_models(now)), (other, usize::from(of_model)));
            assert_eq!(health.last_failure, Some(outcome.word()));
        }
        for outcome in [Outcome::Served, Outcome::CallersFault, Outcome::Abandoned] {
            let (health, now) = after(outcome);
            let standing = health.standing_for(MODEL, ALICE, now);
            assert_eq!((standing, health.last_failure), (Standing::Ready, None), "{outcome:?}");
        }
    }

    #[test]
    fn repeated_arrears_are_waited_out_for_longer() {
        let (mut now, mut health) = (Instant::now(), Health::default());
        for seconds in [120, 240, 480, 960, 1_800, 1_800] {
            again(&mut health, Outcome::Arrears, now);
            assert_eq!(health.standing(now), Standing::Barred(now + SECOND * seconds));
            now += SECOND * seconds;
        }
        again(&mut health, Outcome::Served, now);
        again(&mut health, Outcome::Arrears, now + SECOND);
        assert_eq!(health.standing(now + SECOND), Standing::Barred(now + SECOND * 121), "it began anew");
    }

    #[test]
    fn many_limited_models_spare_the_account() {
        let (now, mut health) = (Instant::now(), Health::default());
        for (model, standing) in [
            ("a", Standing::Ready),
            ("b", Standing::Ready),
            ("a", Standing::Ready),
            ("c", Standing::Spared(now + LIMITED)),
        ] {
            said(&mut health, (ALICE, model), Outcome::RateLimited(Some(SECOND * 60)), now);
            assert_eq!(health.standing_for("another", BOB, now), standing, "{model}");
        }
        said(&mut health, (BOB, "another"), Outcome::Served, now + SECOND);
        assert_eq!(health.standing_for("another", BOB, now + SECOND), Standing::Ready);
        assert_eq!(health.standing_for("a", BOB, now + SECOND), Standing::Barred(now + SECOND * 60));
    }

    #[test]
    fn a_softer_failure_does_not_shorten_a_harder_one() {
        let (mut health, now) = after(Outcome::BadKey);
        for outcome in [Outcome::Failing, Outcome::RateLimited(None), Outcome::RateLimited(Some(SECOND))] {
            again(&mut health, outcome, now);
        }
        again(&mut health, Outcome::Served, now);
        assert_eq!(health.standing_for(MODEL, ALICE, now), Standing::Barred(now + BAD_KEY));
    }

    #[test]
    fn a_key_is_bad_if_two_callers_hear_so_or_nobody_is_served() {
        let bad_key = |health: &mut Health, caller, now| {
            said(health, (caller, "odd"), Outcome::BadKey, now);
            matches!(health.standing(now), Standing::Barred(_))
        };
        let (serving, now) = after(Outcome::Served);
        let mut health = serving.clone();
        for second in 1..30 {
            assert!(!bad_key(&mut health, ALICE, now + SECOND * second), "others are served");
        }
        let then = now + SECOND * 29;
        assert_eq!(health.standing_for(MODEL, BOB, then), Standing::Ready);
        assert!(matches!(health.standing_for("odd", BOB, then), Standing::Spared(_)));
        assert!(bad_key(&mut health.clone(), BOB, then), "two callers say so");
        assert!(bad_key(&mut health.clone(), ALICE, now + LATELY), "nobody is served");
        let early = health.begin(BOB, now);
        health.report(early, MODEL, Outcome::Served, then);
        assert!(bad_key(&mut health.clone(), BOB, then + SECOND), "that call began before");
        said(&mut health, (ALICE, MODEL), Outcome::Served, then + SECOND);
        assert!(!bad_key(&mut health, BOB, then + SECOND * 2), "the key was good since");
        assert!(bad_key(&mut health, ALICE, then + SECOND * 3));
        assert!(bad_key(&mut Health::default(), ALICE, now));
    }

    #[test]
    fn bad_answers_to_one_caller_spare_the_account_for_a_moment() {
        let (now, mut health) = (Instant::now(), Health::default());
        (0..100).for_each(|_| again(&mut health, Outcome::Failing, now));
        assert_eq!((health.standing(now), health.phase(now)), (Standing::Spared(now + SOFT), Phase::Closed));
        (0..2).for_each(|_| said(&mut health, (BOB, MODEL), Outcome::Failing, now));
        assert_eq!(health.standing(now), Standing::Barred(now + SECOND * 5));
    }

    #[test]
    fn a_success_ends_the_sparing_unless_it_began_before() {
        let now = Instant::now();
        let mut health = Health::default();
        let early = health.begin(ALICE, now);
        again(&mut health, Outcome::TimedOut, now + SECOND);
        health.report(early, MODEL, Outcome::Served, now + SECOND);
        assert!(matches!(health.standing(now + SECOND), Standing::Spared(_)));
        again(&mut health, Outcome::Served, now + SECOND);
        assert_eq!(health.standing(now + SECOND), Standing::Ready);
    }

    #[test]
    fn a_trial_that_says_nothing_lets_another_in() {
        let now = Instant::now();
        for outcome in [None, Some(Outcome::CallersFault), Some(Outcome::Abandoned), Some(Outcome::ModelRefused)] {
            let mut health = Health::default();
            for _ in 0..5 {
                again(&mut health, Outcome::Unreachable, now);
            }
            let later = now + SECOND * 5;
            assert_eq!((health.standing(now), health.standing(later)), (Standing::Barred(later), Standing::Ready));
            let trial = health.begin(ALICE, later);
            assert!(matches!(health.standing(later), Standing::Barred(_)), "one trial at a time");
            match outcome {
                Some(outcome) => health.report(trial, MODEL, outcome, later),
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
            Just(Outcome::ModelRefused),
            Just(Outcome::Failing),
            Just(Outcome::TimedOut),
            Just(Outcome::Unreachable),
            Just(Outcome::BadKey),
            Just(Outcome::Arrears),
        ]
    }

    proptest! {
        #[test]
        fn no_account_is_given_up_for_good(
            steps in prop::collection::vec((outcome(), 0_u64..3, 0_u8..5, 0_u64..60_000), 1..100)
        ) {
            let (mut now, mut health) = (Instant::now(), Health::default());
            for (outcome, caller, model, ms) in steps {
                let model = format!("{model}");
                said(&mut health, (caller, &model), outcome, now);
                let standing = health.standing_for(&model, caller, now);
                if let Standing::Barred(until) | Standing::Spared(until) = standing {
                    prop_assert!(until > now && until <= now + ARREARS.1);
                }
                prop_assert!(standing >= health.standing(now), "a model is at most as well as its account");
                prop_assert_eq!(health.standing_for(&model, caller, now + ARREARS.1), Standing::Ready);
                now += Duration::from_millis(ms);
            }
        }

        #[test]
        fn who_gets_odd_answers_takes_nothing_from_others(
            steps in prop::collection::vec((0_usize..5, 0_u8..2, 0_u64..400), 1..200)
        ) {
            let odd = [
                Outcome::Failing,
                Outcome::BadKey,
                Outcome::ModelRefused,
                Outcome::RateLimited(None),
                Outcome::RateLimited(Some(SECOND * 60)),
            ];
            let (mut now, mut health) = (Instant::now(), Health::default());
            for (outcome, model, ms) in steps {
                said(&mut health, (BOB, MODEL), Outcome::Served, now);
                said(&mut health, (ALICE, &format!("odd-{model}")), odd[outcome], now);
                let standing = health.standing_for(MODEL, BOB, now);
                prop_assert!(standing <= Standing::Spared(now + SOFT), "{:?}", standing);
                now += Duration::from_millis(ms);
            }
        }
    }
}
