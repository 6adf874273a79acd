//! Models that an account does not serve for now, each by itself: what one caller gets refused does not take the
//! account's other models from anybody. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::breaker::Call;
use super::cooling::{Cooling, Standing, Streak};

/// Models remembered at most; the one that failed longest ago goes first.
const REMEMBERED: usize = 200;
/// A provider's own `retry-after` is believed within these bounds.
const LIMITED_LEAST: Duration = Duration::from_secs(1);
const LIMITED_MOST: Duration = Duration::from_secs(300);
/// Without one: the first time, and at most.
const LIMITED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// After a refusal: the first time, and at most.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// No cool-down lasts longer, and no streak: a model that did not fail for so long is forgotten.
const KEPT: Duration = Duration::from_secs(1_200);
/// Models limited within so short a time are limited together.
const TOGETHER: Duration = Duration::from_secs(10);

/// An account's models that failed lately.
#[derive(Debug, Clone, Default)]
pub struct Models {
    by_name: BTreeMap<String, Model>,
}

#[derive(Debug, Clone)]
struct Model {
    cooling: Cooling,
    limited: Streak,
    refused: Streak,
    limited_at: Option<Instant>,
    failed_at: Instant,
}

impl Models {
    /// Whether the account may be asked for a model.
    #[must_use]
    pub fn standing(&self, model: &str, now: Instant) -> Standing {
        self.by_name.get(model).map_or(Standing::Ready, |model| model.cooling.standing(now))
    }

    /// Models that it is not asked for like any other.
    #[must_use]
    pub fn cooling(&self, now: Instant) -> usize {
        self.by_name.values().filter(|model| model.cooling.standing(now) != Standing::Ready).count()
    }

    /// Models that were limited just now, without a call served since.
    #[must_use]
    pub fn limited(&self, now: Instant) -> usize {
        let lately = |at: Instant| now.saturating_duration_since(at) < TOGETHER;
        self.by_name.values().filter(|model| model.limited_at.is_some_and(lately)).count()
    }

    /// Too many calls: barred for as long as the provider says, else spared, for longer each time.
    pub fn limit(&mut self, name: &str, wait: Option<Duration>, call: Call, now: Instant) {
        let model = self.failing(name, now);
        model.limited_at = Some(now);
        match wait {
            Some(wait) => model.cooling.bar(wait.clamp(LIMITED_LEAST, LIMITED_MOST), now),
            None => {
                let length = model.limited.next(call, now, LIMITED);
                model.cooling.spare(length, now);
            }
        }
    }

    /// The account may not use the model: spared, for longer each time. It may have been what was asked, so it is asked
    /// all the same where there is no other account.
    pub fn refuse(&mut self, name: &str, call: Call, now: Instant) {
        let model = self.failing(name, now);
        let length = model.refused.next(call, now, REFUSED);
        model.cooling.spare(length, now);
    }

    /// A call was served.
    pub fn served(&mut self, name: &str, call: Call, now: Instant) {
        let Some(model) = self.by_name.get_mut(name).filter(|model| call.begun >= model.failed_at) else { return };
        model.limited_at = None;
        model.limited.end(call);
        model.refused.end(call);
        model.cooling.served(call);
        if model.cooling.standing(now) == Standing::Ready {
            self.by_name.remove(name);
        }
    }

    /// The model, failing now; there is room for it.
    fn failing(&mut self, name: &str, now: Instant) -> &mut Model {
        self.by_name.retain(|_, model| now.saturating_duration_since(model.failed_at) < KEPT);
        if self.by_name.len() >= REMEMBERED && !self.by_name.contains_key(name) {
            let oldest = self.by_name.iter().min_by_key(|(_, model)| model.failed_at).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.by_name.remove(&name));
        }
        let (cooling, streak) = (Cooling::default(), Streak::default());
        let fresh = || Model { cooling, limited: streak, refused: streak, limited_at: None, failed_at: now };
        let model = self.by_name.entry(name.to_owned()).or_insert_with(fresh);
        model.failed_at = now;
        model
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::breaker::Breaker;

    const SECOND: Duration = Duration::from_secs(1);

    fn call(now: Instant) -> Call {
        Breaker::default().begin(0, now)
    }

    #[test]
    fn each_refusal_has_its_cool_down() {
        for (wait, seconds) in [(20, 20), (0, 1), (86_400, 300)] {
            let (mut models, now) = (Models::default(), Instant::now());
            models.limit("a", Some(SECOND * wait), call(now), now);
            assert_eq!(models.standing("a", now), Standing::Barred(now + SECOND * seconds));
            assert_eq!(models.standing("a", now + SECOND * seconds), Standing::Ready);
            assert_eq!((models.standing("b", now), models.cooling(now)), (Standing::Ready, 1));
        }
        let limit: fn(&mut Models, Instant) = |models, now| models.limit("a", None, call(now), now);
        let refuse: fn(&mut Models, Instant) = |models, now| models.refuse("a", call(now), now);
        for (fail, spans) in [(limit, [5, 10, 20, 40, 60, 60]), (refuse, [60, 120, 240, 480, 600, 600])] {
            let (mut models, mut now) = (Models::default(), Instant::now());
            for seconds in spans {
                fail(&mut models, now);
                assert_eq!(models.standing("a", now), Standing::Spared(now + SECOND * seconds));
                now += SECOND * seconds;
            }
            models.served("a", call(now), now);
            assert!(models.by_name.is_empty(), "it is over");
            fail(&mut models, now);
            assert_eq!(models.standing("a", now), Standing::Spared(now + SECOND * spans[0]));
        }
    }

    #[test]
    fn a_burst_that_is_limited_is_limited_once() {
        let (mut models, now) = (Models::default(), Instant::now());
        (0..20).for_each(|_| models.limit("a", None, call(now), now + SECOND));
        assert_eq!(models.standing("a", now + SECOND), Standing::Spared(now + SECOND * 6));
        models.served("a", call(now), now + SECOND);
        assert_eq!(models.cooling(now + SECOND), 1, "that call began before");
        models.served("a", call(now + SECOND), now + SECOND);
        assert_eq!((models.cooling(now + SECOND), models.limited(now + SECOND)), (0, 0));
    }

    #[test]
    fn models_limited_together_are_counted() {
        let (mut models, now) = (Models::default(), Instant::now());
        for (name, wait) in [("a", None), ("b", Some(SECOND)), ("a", None), ("c", None)] {
            models.limit(name, wait, call(now), now);
        }
        models.refuse("d", call(now), now);
        assert_eq!((models.limited(now), models.limited(now + TOGETHER)), (3, 0));
    }

    #[test]
    fn the_oldest_goes_first() {
        let (mut models, now) = (Models::default(), Instant::now());
        for number in 0..250 {
            let now = now + Duration::from_millis(number);
            models.refuse(&format!("{number}"), call(now), now);
        }
        let later = now + SECOND;
        assert_eq!(models.cooling(later), REMEMBERED);
        assert_eq!(models.standing("49", later), Standing::Ready);
        assert_ne!(models.standing("50", later), Standing::Ready);
        models.refuse("x", call(now + KEPT + SECOND), now + KEPT + SECOND);
        assert_eq!(models.by_name.len(), 1, "what is over is forgotten");
    }

    proptest! {
        #[test]
        fn one_model_says_nothing_about_another(
            steps in prop::collection::vec((0_u8..4, 0_u16..300, 0_u64..60_000), 1..300)
        ) {
            let (mut now, mut models) = (Instant::now(), Models::default());
            for (step, number, ms) in steps {
                let (name, call) = (format!("{number}"), call(now));
                match step {
                    0 => models.limit(&name, None, call, now),
                    1 => models.limit(&name, Some(Duration::from_millis(ms)), call, now),
                    2 => models.refuse(&name, call, now),
                    _ => models.served(&name, call, now),
                }
                prop_assert!(models.by_name.len() <= REMEMBERED);
                prop_assert_eq!(models.standing("another", now), Standing::Ready);
                prop_assert_eq!(models.standing(&name, now + REFUSED.1), Standing::Ready);
                now += Duration::from_millis(ms);
            }
        }
    }
}
