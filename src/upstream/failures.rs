//! Failures, weighed by whose calls they befell: one caller alone proves nothing against an account. Pure.

/// Callers told apart at most; the failures of more are counted with one of them.
const TOLD_APART: usize = 64;

/// Some failures. What was not answered at all counts as it is. A bad answer may lie in what was asked: one caller's
/// weigh at most twice as much as those of all others together, and nothing by themselves.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    unanswered: u32,
    bad_answers: Vec<(u64, u32)>,
}

impl Failures {
    /// One call that was not answered.
    #[must_use]
    pub fn unanswered() -> Self {
        Self { unanswered: 1, bad_answers: Vec::new() }
    }

    /// One bad answer to a caller.
    #[must_use]
    pub fn bad_answer(caller: u64) -> Self {
        Self { unanswered: 0, bad_answers: vec![(caller, 1)] }
    }

    /// These, and others.
    pub fn add(&mut self, others: &Self) {
        self.unanswered += others.unanswered;
        for (caller, count) in &others.bad_answers {
            let known = self.bad_answers.iter().position(|(known, _)| known == caller);
            let full = self.bad_answers.len() >= TOLD_APART;
            match self.bad_answers.get_mut(known.unwrap_or(TOLD_APART - 1)).filter(|_| known.is_some() || full) {
                Some((_, known)) => *known = known.saturating_add(*count),
                None => self.bad_answers.push((*caller, *count)),
            }
        }
    }

    /// How much they say against the account.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let all = self.bad_answers.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
        let most = self.bad_answers.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let others = all - most;
        self.unanswered + others + most.min(others.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failures(unanswered: u32, bad_answers: &[u64]) -> Failures {
        let mut failures = Failures { unanswered, ..Failures::default() };
        bad_answers.iter().for_each(|caller| failures.add(&Failures::bad_answer(*caller)));
        failures
    }

    #[test]
    fn one_caller_weighs_by_the_others() {
        for (unanswered, bad_answers, weight) in [
            (0, &[][..], 0),
            (5, &[], 5),
            (0, &[1, 1, 1, 1, 1, 1, 1, 1], 0),
            (4, &[1, 1, 1, 1, 1, 1, 1, 1], 4),
            (0, &[1, 1, 1, 1, 1, 1, 1, 2], 3),
            (0, &[1, 2, 1, 2, 1], 5),
            (0, &[1, 2, 3, 4, 5], 5),
            (1, &[0, 0, 0, 0, 7], 4),
        ] {
            assert_eq!(failures(unanswered, bad_answers).weight(), weight, "{unanswered} {bad_answers:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_adds_more_than_twice_the_others(others in prop::collection::vec(2_u64..200, 0..100), own in 0_usize..1_000) {
            let before = others.len() as u32;
            let mut all = others;
            all.extend(std::iter::repeat_n(1, own));
            let together = failures(0, &all);
            prop_assert!(together.bad_answers.len() <= TOLD_APART);
            prop_assert!(together.weight() <= before * 3);
            prop_assert!(together.weight() <= all.len() as u32);
        }
    }
}
