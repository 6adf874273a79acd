//! How what is left of a budget is shared among the sessions that ask for it. Pure.

/// The longest frame that may pass the end of a budget: one second of audio, in samples.
/// A longer frame must fit.
pub const LONGEST_LAST_FRAME: i64 = 16_000;

/// One session's request for audio, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// What must be granted for the session to go on; 0 for a top-up that can wait.
    pub need: i64,
    /// What it would like at most.
    pub want: i64,
    /// Sessions of the license that share the budget, this one included.
    pub sharers: i64,
}

/// The answer to one [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many samples more; 0 only where nothing was needed.
    Granted(i64),
    /// Nothing now, but others still hold leases that they may give back.
    Wait,
    /// Nothing, and nothing will come back.
    UsedUp,
}

/// Shares `available` samples among `asks`, first come first served; shares shrink with what is left,
/// so that the last seconds go to whoever speaks. `held` is what other leases hold.
///
/// The last grant may pass the end by less than one frame, and by [`LONGEST_LAST_FRAME`] at most:
/// the sum of all grants never exceeds `available` by more.
#[must_use]
pub fn allot(available: i64, held: i64, asks: &[Ask]) -> Vec<Share> {
    let mut left = available;
    let mut granted = 0;
    asks.iter()
        .map(|ask| {
            let share = left.max(0) / (2 * ask.sharers.max(1));
            let amount = share.min(ask.want).max(ask.need);
            let fits = amount <= left;
            let last_frame = left > 0 && ask.need > 0 && ask.need <= LONGEST_LAST_FRAME;
            if fits || last_frame {
                let amount = if fits { amount } else { ask.need };
                left -= amount;
                granted += amount;
                Share::Granted(amount)
            } else if ask.need == 0 {
                Share::Granted(0)
            } else if held + granted > 0 {
                Share::Wait
            } else {
                Share::UsedUp
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(need: i64) -> Ask {
        Ask { need, want: 80_000, sharers: 4 }
    }

    #[test]
    fn a_rich_budget_gives_whole_leases() {
        assert_eq!(allot(10_000_000, 0, &[ask(1_600)]), [Share::Granted(80_000)]);
    }

    #[test]
    fn shares_shrink_to_a_frame() {
        assert_eq!(allot(16_000, 0, &[ask(1_600)]), [Share::Granted(2_000)]);
        assert_eq!(allot(3_200, 0, &[ask(1_600)]), [Share::Granted(1_600)]);
    }

    #[test]
    fn the_last_frame_may_pass_the_end_once() {
        let asks = [ask(1_600), ask(1_600), ask(0)];
        assert_eq!(allot(100, 0, &asks), [Share::Granted(1_600), Share::Wait, Share::Granted(0)]);
        assert_eq!(allot(0, 0, &[ask(1)]), [Share::UsedUp]);
        assert_eq!(allot(0, 5, &[ask(1)]), [Share::Wait]);
    }

    #[test]
    fn a_huge_frame_must_fit() {
        assert_eq!(allot(100_000, 0, &[ask(100_001)]), [Share::UsedUp]);
        assert_eq!(allot(100_001, 0, &[ask(100_001)]), [Share::Granted(100_001)]);
    }

    proptest! {
        #[test]
        fn never_more_than_one_frame_over(
            available in 0_i64..200_000,
            held in 0_i64..100_000,
            asks in prop::collection::vec((0_i64..20_000, 0_i64..100_000, 1_i64..50), 0..50),
        ) {
            let asks: Vec<Ask> = asks.into_iter().map(|(need, want, sharers)| Ask { need, want, sharers }).collect();
            let shares = allot(available, held, &asks);
            let total: i64 = shares.iter().map(|share| match share { Share::Granted(amount) => *amount, _ => 0 }).sum();
            prop_assert!(total < available.max(1) + LONGEST_LAST_FRAME);
            for (ask, share) in asks.iter().zip(&shares) {
                match share {
                    Share::Granted(amount) => prop_assert!(*amount >= ask.need && *amount <= ask.need.max(ask.want)),
                    Share::Wait | Share::UsedUp => prop_assert!(ask.need > 0),
                }
            }
            // Nobody is refused a frame that fits into what was left for all.
            if total == 0 && held == 0 && available > 0 {
                prop_assert!(asks.iter().all(|ask| ask.need == 0 || ask.need > available));
            }
        }
    }
}
