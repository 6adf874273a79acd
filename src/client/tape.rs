//! The speech that is still needed: not sent yet, or sent and not acknowledged. Pure.
//!
//! Positions count samples of the speech. What had to be skipped the gateway never hears of: it counts without it.

use std::collections::VecDeque;

/// A stretch of speech, some of it sent.
#[derive(Debug)]
pub struct Tape {
    kept: VecDeque<i16>,
    /// Where the kept speech begins.
    start: u64,
    /// The next sample to send.
    cursor: u64,
    /// The most that was ever sent.
    sent: u64,
    skipped: Vec<Skip>,
}

/// Speech that was gone when it was asked for.
#[derive(Debug, Clone, Copy)]
struct Skip {
    at: u64,
    samples: u64,
}

impl Tape {
    /// An empty tape.
    #[must_use]
    pub fn new() -> Self {
        Self { kept: VecDeque::new(), start: 0, cursor: 0, sent: 0, skipped: Vec::new() }
    }

    /// Adds speech at the end; where more than `limit` samples are kept then, the oldest go. Answers how many went.
    pub fn push(&mut self, frame: &[i16], limit: usize) -> u64 {
        self.kept.extend(frame);
        let excess = self.kept.len().saturating_sub(limit);
        self.drop_front(excess);
        excess as u64
    }

    /// The next samples to send, `longest` at most; `None` when all was sent.
    pub fn next(&mut self, longest: usize) -> Option<Vec<i16>> {
        let from = self.offset();
        let to = self.kept.len().min(from + longest);
        if from >= to {
            return None;
        }
        let frame: Vec<i16> = self.kept.range(from..to).copied().collect();
        self.cursor += frame.len() as u64;
        self.sent = self.sent.max(self.cursor);
        Some(frame)
    }

    /// What the gateway counts as its first `samples` may be forgotten, as far as it was sent.
    pub fn release(&mut self, samples: u64) {
        let done = self.position(samples).min(self.cursor).saturating_sub(self.start);
        self.drop_front(usize::try_from(done).unwrap_or(usize::MAX));
    }

    /// Forgets all that was sent.
    pub fn release_sent(&mut self) {
        self.drop_front(self.offset());
    }

    /// Goes back (or forth) to what the gateway counts as sample `samples`. Answers how much of the speech from
    /// there on is gone; sending goes on behind it.
    pub fn rewind(&mut self, samples: u64) -> u64 {
        let wanted = self.position(samples).min(self.end());
        let before = self.missing();
        if wanted < self.start {
            // What was skipped behind it is part of what is skipped now.
            self.skipped.retain(|skip| skip.at < wanted);
            self.skipped.push(Skip { at: wanted, samples: self.start - wanted });
        }
        self.cursor = wanted.max(self.start);
        self.missing() - before
    }

    /// The place in the speech of what the gateway counts as sample `samples`.
    #[must_use]
    pub fn position(&self, samples: u64) -> u64 {
        let pass = |place: u64, skip: &Skip| if skip.at <= place { place + skip.samples } else { place };
        self.skipped.iter().fold(samples, pass)
    }

    /// Samples that could not be sent when they were asked for, in all.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.skipped.iter().map(|skip| skip.samples).sum()
    }

    /// The most that was ever sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Samples that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Samples that wait to be sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.kept.len() - self.offset()
    }

    fn end(&self) -> u64 {
        self.start + self.kept.len() as u64
    }

    fn offset(&self) -> usize {
        usize::try_from(self.cursor.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.kept.len())
    }

    fn drop_front(&mut self, samples: usize) {
        let samples = samples.min(self.kept.len());
        self.kept.drain(..samples);
        self.start += samples as u64;
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taped(samples: std::ops::Range<i16>) -> Tape {
        let mut tape = Tape::new();
        tape.push(&samples.collect::<Vec<_>>(), usize::MAX);
        tape
    }

    #[test]
    fn speech_is_sent_again_from_inside_a_frame_until_it_is_acknowledged() {
        let mut tape = taped(0..10);
        assert_eq!((tape.next(4), tape.next(4)), (Some(vec![0, 1, 2, 3]), Some(vec![4, 5, 6, 7])));
        assert_eq!(tape.rewind(5), 0);
        assert_eq!((tape.next(4), tape.next(4), tape.next(4)), (Some(vec![5, 6, 7, 8]), Some(vec![9]), None));
        tape.release(8);
        assert_eq!((tape.kept(), tape.sent(), tape.missing()), (2, 10, 0));
        tape.release(100);
        assert_eq!((tape.kept(), tape.unsent()), (0, 0));
    }

    #[test]
    fn what_was_not_sent_is_not_released() {
        let mut tape = taped(0..10);
        tape.next(3);
        tape.release(7);
        assert_eq!((tape.next(1), tape.unsent()), (Some(vec![3]), 6));
    }

    #[test]
    fn the_oldest_goes_and_the_gateway_counts_without_it() {
        let mut tape = taped(0..10);
        tape.next(10);
        assert_eq!(tape.push(&[10, 11, 12, 13], 6), 8);
        // The gateway has 5; 5, 6 and 7 are gone.
        assert_eq!(tape.rewind(5), 3);
        assert_eq!(tape.next(3), Some(vec![8, 9, 10]));
        assert_eq!(tape.position(6), 9);
        // It has 7 now: up to sample 9 of the speech.
        assert_eq!((tape.rewind(7), tape.next(9)), (0, Some(vec![10, 11, 12, 13])));
        // After a crash it wants what was skipped already, and more.
        assert_eq!((tape.rewind(3), tape.missing(), tape.next(1)), (2, 5, Some(vec![8])));
        assert_eq!((tape.position(2), tape.position(3)), (2, 8));
    }

    #[test]
    fn speech_dropped_before_it_was_ever_sent_is_missing_too() {
        let mut tape = taped(0..4);
        tape.next(2);
        tape.push(&[4, 5, 6, 7], 3);
        assert_eq!((tape.rewind(2), tape.next(9), tape.sent()), (3, Some(vec![5, 6, 7]), 8));
    }
}
