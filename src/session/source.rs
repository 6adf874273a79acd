//! What the client said that the provider has not yet answered for: a new leg hears it again. Pure.

use std::collections::VecDeque;

use super::frames::Frame;

/// Audio kept at most, milliseconds: a little less than what a client keeps, some of whose is on its way.
const LONGEST_MS: u64 = 58_000;

/// Memory for it at most, bytes: a minute in frames of the usual size.
const MEMORY_LIMIT: usize = 3 << 20;
/// What a frame costs beside its content.
const OVERHEAD: usize = 128;

/// A session's audio line, and the end of it that may be needed again. Positions are bytes of PCM16 since
/// the session began, at the client's own rate.
#[derive(Debug)]
pub struct Source {
    frames: VecDeque<Kept>,
    /// The first byte kept.
    start: u64,
    /// The bytes forwarded so far.
    end: u64,
    /// Samples a second, and since which position and time.
    rate: u64,
    since: (u64, u64),
    /// Samples a second before that.
    rate_before: u64,
    /// Length of all frames kept.
    memory: usize,
    keeps: bool,
}

#[derive(Debug)]
struct Kept {
    from: u64,
    end: u64,
    frame: Frame,
    commit: bool,
}

impl Source {
    /// A line that begins at `start`. One that doesn't keep only counts.
    #[must_use]
    pub fn new(start: u64, rate: u64, keeps: bool) -> Self {
        Self { frames: VecDeque::new(), start, end: start, rate, since: (0, 0), rate_before: rate, memory: 0, keeps }
    }

    /// The input has another rate from here on.
    pub fn set_rate(&mut self, rate: u64) {
        if rate != self.rate {
            self.since = (self.end, self.ms(self.end));
            self.rate_before = self.rate;
            self.rate = rate;
        }
    }

    /// A frame goes upstream, with so many bytes of audio in it. `commit`: it ends a turn.
    pub fn push(&mut self, frame: &Frame, bytes: u64, commit: bool) {
        let from = self.end;
        self.end += bytes;
        if !self.keeps {
            self.start = self.end;
            return;
        }
        self.memory += frame.len() + OVERHEAD;
        self.frames.push_back(Kept { from, end: self.end, frame: frame.clone(), commit });
        let longest = 2 * LONGEST_MS * self.rate / 1_000;
        if self.end - self.start > longest {
            self.forget(self.end - longest);
        }
        while self.memory > MEMORY_LIMIT {
            self.spare();
        }
    }

    /// Everything before this position is done with.
    pub fn forget(&mut self, position: u64) {
        while self.frames.front().is_some_and(|first| first.end <= position) {
            self.drop_first();
        }
    }

    /// Pictures go before audio.
    fn spare(&mut self) {
        let picture = |kept: &Kept| kept.from == kept.end && !kept.commit;
        match self.frames.iter().position(picture).and_then(|index| self.frames.remove(index)) {
            Some(dropped) => self.memory -= dropped.frame.len() + OVERHEAD,
            None => self.drop_first(),
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.frames.pop_front() {
            self.memory -= first.frame.len() + OVERHEAD;
        }
        self.start = self.frames.front().map_or(self.end, |first| first.from);
    }

    /// Where a leg that must hear everything from `position` on begins: the start of a frame.
    #[must_use]
    pub fn boundary(&self, position: u64) -> u64 {
        self.frames.iter().find(|kept| kept.end > position).map_or(self.end, |kept| kept.from)
    }

    /// The first start of a frame that is not before `position`.
    #[must_use]
    pub fn boundary_after(&self, position: u64) -> u64 {
        self.frames.iter().find(|kept| kept.from >= position).map_or(self.end, |kept| kept.from)
    }

    /// The first position kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The frames from this position on, and the positions of those that end a turn. A turn's end without the turn
    /// means nothing.
    pub fn from(&self, position: u64) -> impl Iterator<Item = (&Frame, Option<u64>)> {
        let wanted = move |kept: &&Kept| kept.from >= position && !(kept.commit && kept.end <= position);
        self.frames.iter().filter(wanted).map(|kept| (&kept.frame, kept.commit.then_some(kept.end)))
    }

    /// The bytes forwarded so far.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What it holds, bytes of memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// A position in milliseconds.
    #[must_use]
    pub fn ms(&self, position: u64) -> u64 {
        let (since, since_ms) = self.since;
        match position.checked_sub(since) {
            Some(after) => since_ms + after * 1_000 / (2 * self.rate),
            None => since_ms.saturating_sub((since - position) * 1_000 / (2 * self.rate_before)),
        }
    }

    /// A time as a position, at a whole sample.
    #[must_use]
    pub fn bytes(&self, ms: u64) -> u64 {
        let (since, since_ms) = self.since;
        match ms.checked_sub(since_ms) {
            Some(after) => since + 2 * (after * self.rate / 1_000),
            None => since.saturating_sub(2 * ((since_ms - ms) * self.rate_before / 1_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::Text(text.into())
    }

    fn texts(source: &Source, position: u64) -> Vec<String> {
        source.from(position).map(|(frame, _)| format!("{frame:?}").replace("Text(\"", "").replace("\")", "")).collect()
    }

    #[test]
    fn a_new_leg_hears_whole_frames_in_order() {
        let mut source = Source::new(0, 16_000, true);
        for (text, bytes) in [("a", 3_200), ("image", 0), ("b", 3_200), ("commit", 0), ("c", 3_200)] {
            source.push(&frame(text), bytes, text == "commit");
        }
        assert_eq!((source.ms(source.end()), source.bytes(100)), (300, 3_200));
        assert_eq!(source.boundary(4_000), 3_200);
        assert_eq!(texts(&source, source.boundary(4_000)), ["image", "b", "commit", "c"]);
        source.forget(3_300);
        assert_eq!(texts(&source, 0), ["b", "commit", "c"]);
        source.forget(6_400);
        assert_eq!((texts(&source, 0), source.memory()), (vec!["c".to_owned()], 1 + OVERHEAD));
        source.forget(100_000);
        assert_eq!((source.boundary(0), source.memory()), (9_600, 0));
    }

    #[test]
    fn a_change_of_rate_moves_nothing_that_was_said() {
        let mut source = Source::new(0, 16_000, true);
        source.push(&frame("a"), 32_000, false);
        source.set_rate(8_000);
        source.push(&frame("b"), 16_000, false);
        assert_eq!((source.ms(16_000), source.ms(32_000), source.ms(48_000)), (500, 1_000, 2_000));
        assert_eq!((source.bytes(500), source.bytes(1_000), source.bytes(2_000)), (16_000, 32_000, 48_000));
    }

    #[test]
    fn pictures_go_before_audio() {
        let mut source = Source::new(0, 16_000, true);
        source.push(&frame("a"), 3_200, false);
        for _ in 0..8 {
            source.push(&frame(&"p".repeat(1 << 20)), 0, false);
        }
        assert!(source.memory() <= MEMORY_LIMIT);
        assert_eq!(source.start(), 0, "the audio is still there");
    }

    #[test]
    fn a_minute_is_kept() {
        let mut source = Source::new(32_000, 8_000, true);
        for _ in 0..2_000 {
            source.push(&frame("a"), 1_600, false);
        }
        assert_eq!(source.memory(), 580 * (1 + OVERHEAD));
        assert_eq!(source.boundary(0), 32_000 + 1_420 * 1_600);
    }
}
