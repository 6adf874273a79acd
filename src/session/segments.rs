//! The stretches of speech that a leg has found: which of them are answered for, which must be heard again. Pure.
//!
//! Times are milliseconds on the session's line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Heard again before a stretch of speech, where the pause before it was not heard out.
const LOOK_BACK_MS: u64 = 2_000;
/// A new leg finds the same stretch of speech within this.
const SAME_SPEECH_MS: u64 = 1_500;
/// A stretch whose answer is over waits no longer for its other captions.
const LATE_CAPTION: Duration = Duration::from_secs(5);
/// A stretch that is over waits no longer for an answer.
const NO_ANSWER: Duration = Duration::from_secs(15);

/// A stretch of speech that a lost leg had answered in part: a new leg must not say that part again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rerun {
    start_ms: u64,
    source_done: bool,
    translation_done: bool,
}

#[derive(Debug)]
struct Segment {
    item: String,
    start_ms: u64,
    stopped: Option<(u64, Instant)>,
    response: Option<String>,
    source_done: bool,
    translation_done: bool,
    response_done: Option<Instant>,
    /// What the client has from a lost leg.
    known: Rerun,
}

impl Segment {
    fn rerun(&self) -> Rerun {
        Rerun {
            start_ms: self.start_ms,
            source_done: self.source_done || self.known.source_done,
            translation_done: self.translation_done || self.known.translation_done,
        }
    }

    fn answered(&self, transcribes: bool, now: Instant) -> bool {
        let Some((_, stopped)) = self.stopped else { return false };
        match self.response_done {
            Some(at) => self.source_done || !transcribes || now.duration_since(at) >= LATE_CAPTION,
            None => self.response.is_none() && now.duration_since(stopped) >= NO_ANSWER,
        }
    }
}

/// The stretches of speech of one leg that are not answered for, oldest first.
#[derive(Debug, Default)]
pub struct Segments {
    open: VecDeque<Segment>,
    /// The end of the last stretch that was answered for.
    answered_ms: u64,
    /// The model writes down the source.
    transcribes: bool,
    reruns: Vec<Rerun>,
}

/// What of a stretch of speech the client has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// The caption of its source.
    pub source: bool,
    /// The caption of its translation.
    pub translation: bool,
}

impl Segments {
    /// A leg that begins at `origin_ms` and hears `reruns` again.
    #[must_use]
    pub fn new(origin_ms: u64, reruns: Vec<Rerun>) -> Self {
        Self { answered_ms: origin_ms, reruns, ..Self::default() }
    }

    /// Somebody speaks.
    pub fn started(&mut self, item: &str, at_ms: u64) -> Known {
        let same = |rerun: &Rerun| rerun.start_ms.abs_diff(at_ms) <= SAME_SPEECH_MS;
        let known = match self.reruns.iter().position(same) {
            Some(index) => self.reruns.remove(index),
            None => Rerun { start_ms: at_ms, source_done: false, translation_done: false },
        };
        self.open.push_back(Segment {
            item: item.to_owned(),
            start_ms: at_ms,
            stopped: None,
            response: None,
            source_done: false,
            translation_done: false,
            response_done: None,
            known,
        });
        Known { source: known.source_done, translation: known.translation_done }
    }

    /// He stopped.
    pub fn stopped(&mut self, item: &str, at_ms: u64, now: Instant) {
        if let Some(segment) = self.open.iter_mut().find(|segment| segment.item == item) {
            segment.stopped = Some((at_ms, now));
        }
    }

    /// A partial caption of the source came: its final one is awaited too.
    pub fn transcribing(&mut self) {
        self.transcribes = true;
    }

    /// The source's caption is final.
    pub fn source_done(&mut self, item: &str) {
        self.transcribes = true;
        if let Some(segment) = self.open.iter_mut().find(|segment| segment.item == item) {
            segment.source_done = true;
        }
    }

    /// An answer begins; it is for the oldest stretch without one. Tells whether the client has its caption.
    pub fn responding(&mut self, response: &str) -> bool {
        let Some(segment) = self.open.iter_mut().find(|segment| segment.response.is_none()) else { return false };
        segment.response = Some(response.to_owned());
        segment.known.translation_done
    }

    /// A stretch has no answer yet.
    #[must_use]
    pub fn awaits_response(&self) -> bool {
        self.open.iter().any(|segment| segment.response.is_none())
    }

    /// The translation's caption is final.
    pub fn translation_done(&mut self, response: &str) {
        if let Some(segment) = self.of_response(response) {
            segment.translation_done = true;
        }
    }

    /// An answer is over.
    pub fn response_done(&mut self, response: &str, now: Instant) {
        if let Some(segment) = self.of_response(response) {
            segment.response_done = Some(now);
            segment.translation_done = true;
        }
    }

    fn of_response(&mut self, response: &str) -> Option<&mut Segment> {
        self.open.iter_mut().find(|segment| segment.response.as_deref() == Some(response))
    }

    /// Takes leave of what is answered for; earlier stretches that nobody answered go with it.
    pub fn settle(&mut self, now: Instant) {
        let transcribes = self.transcribes;
        let Some(last) = self.open.iter().rposition(|segment| segment.answered(transcribes, now)) else { return };
        // A response that runs still is awaited, whatever came after it.
        let running = |segment: &Segment| segment.response.is_some() && segment.response_done.is_none();
        let first = self.open.iter().position(running).unwrap_or(self.open.len());
        for segment in self.open.drain(..(last + 1).min(first)) {
            let end_ms = segment.stopped.map_or(segment.start_ms, |(end_ms, _)| end_ms);
            self.answered_ms = self.answered_ms.max(end_ms);
        }
    }

    /// Everything before it needs not be heard again. `silent_ms`: up to there nothing was said, as far as is known.
    #[must_use]
    pub fn finished_ms(&self, silent_ms: u64) -> u64 {
        match self.open.front() {
            Some(first) => self.answered_ms.max(first.start_ms.saturating_sub(LOOK_BACK_MS)).min(first.start_ms),
            None => self.answered_ms.max(silent_ms),
        }
    }

    /// The end of the last stretch that was heard, answered for or not.
    #[must_use]
    pub fn quiet_since_ms(&self) -> u64 {
        let ends = self.open.iter().filter_map(|segment| segment.stopped.map(|(end_ms, _)| end_ms));
        ends.max().unwrap_or(0).max(self.answered_ms)
    }

    /// Somebody speaks now.
    #[must_use]
    pub fn speaking(&self) -> bool {
        self.open.iter().any(|segment| segment.stopped.is_none())
    }

    /// Since when somebody speaks.
    #[must_use]
    pub fn speaking_since_ms(&self) -> Option<u64> {
        self.open.iter().find(|segment| segment.stopped.is_none()).map(|segment| segment.start_ms)
    }

    /// Gives up the stretches that begin at this time or later: the items and responses of theirs, and what the client
    /// has of them.
    pub fn give_up_from(&mut self, at_ms: u64) -> (Vec<String>, Vec<Rerun>) {
        let first = self.open.iter().position(|segment| segment.start_ms >= at_ms).unwrap_or(self.open.len());
        let given_up: Vec<Segment> = self.open.drain(first..).collect();
        let reruns = given_up.iter().map(Segment::rerun).collect();
        let names = given_up.into_iter().flat_map(|segment| std::iter::once(segment.item).chain(segment.response));
        (names.collect(), reruns)
    }

    /// Something is left to be answered for.
    #[must_use]
    pub fn unanswered(&self) -> bool {
        !self.open.is_empty()
    }

    /// What a new leg hears again and the client has in part.
    #[must_use]
    pub fn reruns(&self) -> Vec<Rerun> {
        let open = self.open.iter().map(Segment::rerun).chain(self.reruns.iter().copied());
        open.filter(|rerun| rerun.source_done || rerun.translation_done).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_finished_when_all_its_captions_are() {
        let now = Instant::now();
        let mut segments = Segments::new(0, Vec::new());
        assert_eq!(segments.finished_ms(700), 700);
        segments.started("a", 5_000);
        segments.transcribing();
        assert_eq!(segments.finished_ms(4_900), 3_000, "a little silence is heard again");
        segments.responding("r");
        segments.stopped("a", 8_000, now);
        segments.translation_done("r");
        segments.response_done("r", now);
        segments.settle(now);
        assert!(segments.unanswered(), "the source's caption is still to come");
        segments.started("b", 9_000);
        segments.source_done("a");
        segments.settle(now);
        assert_eq!(segments.finished_ms(0), 8_000, "the pause was heard out");
        assert!(segments.speaking());
    }

    #[test]
    fn what_nobody_answers_is_given_up() {
        let now = Instant::now();
        let mut segments = Segments::new(0, Vec::new());
        segments.started("a", 1_000);
        segments.stopped("a", 2_000, now);
        segments.settle(now + Duration::from_secs(14));
        assert!(segments.unanswered());
        segments.settle(now + Duration::from_secs(15));
        assert_eq!(segments.finished_ms(0), 2_000);
    }

    #[test]
    fn a_running_answer_is_never_given_up_for_a_later_one() {
        let now = Instant::now();
        let mut segments = Segments::new(0, Vec::new());
        for (item, response, at_ms) in [("a", "r", 1_000), ("b", "s", 3_000)] {
            segments.started(item, at_ms);
            segments.responding(response);
            segments.stopped(item, at_ms + 1_000, now);
        }
        segments.response_done("s", now);
        segments.settle(now);
        assert_eq!(segments.finished_ms(0), 0, "heard again from before it");
        segments.response_done("r", now);
        segments.settle(now);
        assert_eq!(segments.finished_ms(0), 4_000);
    }

    #[test]
    fn a_new_leg_knows_what_the_client_has() {
        let mut lost = Segments::new(0, Vec::new());
        lost.started("a", 1_000);
        lost.responding("r");
        lost.source_done("a");
        lost.started("b", 4_000);
        let mut next = Segments::new(0, lost.reruns());
        assert_eq!(next.started("c", 1_100), Known { source: true, translation: false });
        assert!(!next.responding("s"));
        assert_eq!(next.started("d", 4_100), Known::default());
        assert_eq!(next.reruns().len(), 1, "and tells the next one");
    }
}
