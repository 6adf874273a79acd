//! How much audio an instance keeps for a license's sessions, so that they go on while the store is away. Pure.

/// A budget with less left, in samples, is all for those who speak now: two minutes.
const LOW: i64 = 120 * 16_000;
/// Of what is left one instance keeps so much at most: a quarter.
const SHARE: i64 = 4;
/// Below this, in samples, a cushion is given back whole: ten seconds.
const CRUMB: i64 = 160_000;

/// The cushion for so many live sessions, in samples: each could speak through the grace. `free` is what the
/// license's budgets have left when nothing is kept here.
#[must_use]
pub fn target(free: i64, sessions: u64, grace_seconds: u64) -> i64 {
    if free < LOW {
        return 0;
    }
    let wished = sessions.saturating_mul(grace_seconds).saturating_mul(16_000);
    i64::try_from(wished).unwrap_or(i64::MAX).min(free / SHARE)
}

/// The next cushion: the one there is where it is about right, never below `floor`.
#[must_use]
pub fn next(now: i64, target: i64, floor: i64) -> i64 {
    let grows = target > now + now / 4 + CRUMB;
    if grows || target < now { target.max(floor) } else { now }
}

/// What a transaction must leave of a cushion: whoever made it may not know for long whether it was written, and
/// goes on from that. All of it while there is plenty, else a quarter; nothing where nobody needs it any more.
#[must_use]
pub fn floor(now: i64, left: i64, sessions: u64) -> i64 {
    if sessions == 0 || now < CRUMB {
        0
    } else if left >= LOW.max(2 * now) {
        now
    } else {
        now / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 16_000;

    #[test]
    fn a_session_could_speak_through_the_grace() {
        assert_eq!(target(3_600 * SECOND, 1, 300), 300 * SECOND);
        assert_eq!(target(3_600 * SECOND, 100, 300), 900 * SECOND, "a quarter at most");
        assert_eq!(target(119 * SECOND, 1, 300), 0, "the last minutes are for who speaks now");
        assert_eq!(target(3_600 * SECOND, 0, 300), 0);
    }

    #[test]
    fn a_cushion_that_is_about_right_stays() {
        assert_eq!(next(100 * SECOND, 110 * SECOND, 0), 100 * SECOND);
        assert_eq!(next(100 * SECOND, 200 * SECOND, 0), 200 * SECOND);
        assert_eq!(next(100 * SECOND, 50 * SECOND, 0), 50 * SECOND);
        assert_eq!(next(100 * SECOND, 50 * SECOND, 100 * SECOND), 100 * SECOND);
        assert_eq!(next(0, 5 * SECOND, 0), 0);
    }

    proptest! {
        #[test]
        fn others_never_wait_for_long(free in 0_i64..LOW, start in 0_i64..1_000_000_000) {
            let mut cushion = start;
            for _ in 0..10 {
                let left = free - cushion;
                cushion = next(cushion, target(free, 5, 300), floor(cushion, left, 5));
            }
            prop_assert_eq!(cushion, 0);
        }

        #[test]
        fn a_cushion_never_falls_below_what_was_said(now in 0_i64..1 << 40, left in 0_i64..1 << 40, sessions in 0_u64..100) {
            let floor = floor(now, left, sessions);
            prop_assert!(floor <= now);
            prop_assert!(next(now, target(now + left, sessions, 300), floor) >= floor);
        }
    }
}
