//! What came of an account's latest calls: served, or failed by weight. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::failures::Failures;

/// How long a call counts.
const LENGTH: Duration = Duration::from_secs(30);
/// Calls are counted by the second.
const SLICE: Duration = Duration::from_secs(1);
/// Fewer say nothing.
const JUDGED: u32 = 10;

/// The calls of the last 30 s.
#[derive(Debug, Clone, Default)]
pub struct Window {
    slices: VecDeque<Slice>,
}

#[derive(Debug, Clone)]
struct Slice {
    since: Instant,
    served: u32,
    failures: Failures,
}

impl Window {
    /// A call was served.
    pub fn served(&mut self, now: Instant) {
        self.count(1, &Failures::default(), now);
    }

    /// Calls failed.
    pub fn failed(&mut self, failures: &Failures, now: Instant) {
        self.count(0, failures, now);
    }

    /// Whether more than half of at least ten failed, failures counting by their weight.
    #[must_use]
    pub fn is_mostly_failing(&self) -> bool {
        let (mut served, mut failures) = (0, Failures::default());
        for slice in &self.slices {
            served += slice.served;
            failures.add(&slice.failures);
        }
        let failed = failures.weight();
        served + failed >= JUDGED && failed > served
    }

    fn count(&mut self, served: u32, failures: &Failures, now: Instant) {
        while self.slices.front().is_some_and(|slice| now.saturating_duration_since(slice.since) >= LENGTH) {
            self.slices.pop_front();
        }
        match self.slices.back_mut() {
            Some(slice) if now.saturating_duration_since(slice.since) < SLICE => {
                slice.served += served;
                slice.failures.add(failures);
            }
            _ => self.slices.push_back(Slice { since: now, served, failures: failures.clone() }),
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

    #[test]
    fn the_last_thirty_seconds_count() {
        let start = Instant::now();
        let mut window = Window::default();
        for ms in 0..20 {
            window.served(at(start, ms));
        }
        for round in 0..9 {
            let now = at(start, 31_000 + round);
            if round % 3 == 2 {
                window.served(now)
            } else {
                window.failed(&Failures::unanswered(), now)
            }
            assert!(!window.is_mostly_failing(), "nine are too few");
        }
        window.failed(&Failures::unanswered(), at(start, 31_900));
        assert!(window.is_mostly_failing(), "the old ones are forgotten");
    }

    #[test]
    fn bad_answers_weigh_by_all_their_callers() {
        let start = Instant::now();
        for (bobs, failing) in [(0, false), (6, false), (7, true)] {
            let mut window = Window::default();
            for second in 0..20 {
                window.served(at(start, second * 1_000));
                for _ in 0..50 {
                    window.failed(&Failures::bad_answer(1), at(start, second * 1_000));
                }
            }
            for second in 0..bobs {
                window.failed(&Failures::bad_answer(2), at(start, 20_000 + second * 1_000));
            }
            assert_eq!(window.is_mostly_failing(), failing, "{bobs} beside another's thousand");
        }
    }

    proptest! {
        #[test]
        fn it_is_small(steps in prop::collection::vec((any::<bool>(), 0_u64..2_000), 1..200)) {
            let (mut now, mut window) = (Instant::now(), Window::default());
            for (served, ms) in steps {
                if served { window.served(now) } else { window.failed(&Failures::bad_answer(ms), now) }
                prop_assert!(window.slices.len() <= 31);
                now += Duration::from_millis(ms);
            }
        }
    }
}
