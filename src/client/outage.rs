//! When to try again after a lost connection: at once, then ever more seldom, until the gateway forgets. Pure.

use std::time::{Duration, Instant};

/// The first try comes within this, so that many clients don't come at once.
const FIRST: Duration = Duration::from_millis(300);
/// Tries are never further apart on average than half of this.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that held so long ends an outage, also when nothing was said on it.
const HELD: Duration = Duration::from_secs(5);

/// A time without a connection, or with one that brings nothing.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    since: Instant,
    deadline: Instant,
    tries: u32,
    resumed: Option<Instant>,
}

impl Outage {
    /// Begins now; the gateway keeps the session for `window`.
    #[must_use]
    pub fn new(now: Instant, window: Duration) -> Self {
        Self { since: now, deadline: now + window, tries: 0, resumed: None }
    }

    /// When to try next: `roll` (0 to 1) of the longest delay that the number of tries allows (full jitter).
    /// `None` when the window is over.
    pub fn next_try(&mut self, now: Instant, roll: f64) -> Option<Instant> {
        if now >= self.deadline {
            return None;
        }
        let longest = FIRST.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(LONGEST);
        self.tries += 1;
        Some((now + longest.mul_f64(roll.clamp(0.0, 1.0))).min(self.deadline))
    }

    /// A connection stands again; answers how long there was none.
    pub fn resumed(&mut self, now: Instant) -> Duration {
        self.resumed = Some(now);
        now.duration_since(self.since)
    }

    /// After another loss: the same outage goes on unless the connection between was of use.
    #[must_use]
    pub fn again(self, now: Instant, window: Duration, progress: bool) -> Self {
        match self.resumed {
            Some(resumed) if progress || now.duration_since(resumed) >= HELD => Self::new(now, window),
            Some(_) | None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(120);

    proptest! {
        #[test]
        fn tries_are_near_at_first_and_within_the_window(rolls in prop::collection::vec(0.0..=1.0_f64, 1..100)) {
            let start = Instant::now();
            let mut outage = Outage::new(start, WINDOW);
            let mut now = start;
            for (index, roll) in rolls.into_iter().enumerate() {
                let Some(next) = outage.next_try(now, roll) else {
                    prop_assert!(now >= start + WINDOW);
                    break;
                };
                let delay = next.duration_since(now);
                let longest = if index == 0 { FIRST } else { LONGEST };
                prop_assert!(delay <= longest);
                prop_assert!(next >= now && next <= start + WINDOW);
                now = next;
            }
        }
    }

    #[test]
    fn delays_double_up_to_five_seconds() {
        let start = Instant::now();
        let mut outage = Outage::new(start, WINDOW);
        let delays = (0..7).map(|_| outage.next_try(start, 1.0).unwrap().duration_since(start).as_millis());
        assert_eq!(delays.collect::<Vec<_>>(), [300, 600, 1_200, 2_400, 4_800, 5_000, 5_000]);
        assert_eq!(outage.next_try(start + WINDOW, 0.0), None);
    }

    #[test]
    fn connections_of_no_use_do_not_prolong_an_outage() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut outage = Outage::new(start, WINDOW);
        assert_eq!(outage.resumed(at(1.5)), Duration::from_millis(1_500));
        let mut same = outage.again(at(2.0), WINDOW, false);
        assert_eq!(same.next_try(at(120.0), 0.0), None);
        let mut other = outage.again(at(2.0), WINDOW, true);
        assert_eq!(other.next_try(at(120.0), 0.0), Some(at(120.0)));
        let mut held = outage.again(at(7.0), WINDOW, false);
        assert_eq!(held.resumed(at(7.5)), Duration::from_millis(500));
    }
}
