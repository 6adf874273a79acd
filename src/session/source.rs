//! What the client said that the provider has not yet answered for: a new leg hears it again. Pure.

use std::collections::VecDeque;

use super::frames::Frame;

/// Audio kept at most, milliseconds: a little less than what a client keeps, some of whose is on its way.
const LONGEST_MS: u64 = 58_000;

/// A session's audio line, and the end of it that may be needed again. Positions are bytes of PCM16 since
/// the session began, at the client's own rate.
#[derive(Debug)]
pub struct Source {
    frames: VecDeque<Kept>,
    /// The first byte kept.
    start: u64,
    /// The bytes forwarded so far.
    end: u64,
    /// Samples a second.
    rate: u64,
    /// Length of all frames kept.
    memory: usize,
    keeps: bool,
}

#[derive(Debug)]
struct Kept {
    from: u64,
    end: u64,
    frame: Frame,
}

impl Source {
    /// A line that begins at `start`. One that doesn't keep only counts.
    #[must_use]
    pub fn new(start: u64, rate: u64, keeps: bool) -> Self {
        Self { frames: VecDeque::new(), start, end: start, rate, memory: 0, keeps }
    }

    /// The input has another rate from here on.
    pub fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// A frame goes upstream, with so many bytes of audio in it.
    pub fn push(&mut self, frame: &Frame, bytes: u64) {
        let from = self.end;
        self.end += bytes;
        if !self.keeps {
            self.start = self.end;
            return;
        }
        self.memory += frame.len();
        self.frames.push_back(Kept { from, end: self.end, frame: frame.clone() });
        let longest = self.bytes(LONGEST_MS);
        if self.end - self.start > longest {
            self.forget(self.end - longest);
        }
    }

    /// Everything before this position is done with.
    pub fn forget(&mut self, position: u64) {
        while let Some(first) = self.frames.front().filter(|first| first.end <= position) {
            self.memory -= first.frame.len();
            self.frames.pop_front();
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

    /// The frames from this position on.
    pub fn from(&self, position: u64) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(move |kept| kept.from >= position).map(|kept| &kept.frame)
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
        position * 1_000 / (2 * self.rate)
    }

    /// A time as a position, at a whole sample.
    #[must_use]
    pub fn bytes(&self, ms: u64) -> u64 {
        2 * (ms * self.rate / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::Text(text.into())
    }

    fn texts(source: &Source, position: u64) -> Vec<String> {
        source.from(position).map(|frame| format!("{frame:?}").replace("Text(\"", "").replace("\")", "")).collect()
    }

    #[test]
    fn a_new_leg_hears_whole_frames_in_order() {
        let mut source = Source::new(0, 16_000, true);
        for (text, bytes) in [("a", 3_200), ("image", 0), ("b", 3_200), ("commit", 0), ("c", 3_200)] {
            source.push(&frame(text), bytes);
        }
        assert_eq!((source.ms(source.end()), source.bytes(100)), (300, 3_200));
        assert_eq!(source.boundary(4_000), 3_200);
        assert_eq!(texts(&source, source.boundary(4_000)), ["image", "b", "commit", "c"]);
        source.forget(3_300);
        assert_eq!(texts(&source, 0), ["b", "commit", "c"]);
        source.forget(6_400);
        assert_eq!((texts(&source, 0), source.memory()), (vec!["c".to_owned()], 1));
        source.forget(100_000);
        assert_eq!((source.boundary(0), source.memory()), (9_600, 0));
    }

    #[test]
    fn a_minute_is_kept() {
        let mut source = Source::new(32_000, 8_000, true);
        for _ in 0..2_000 {
            source.push(&frame("a"), 1_600);
        }
        assert_eq!(source.memory(), 580);
        assert_eq!(source.boundary(0), 32_000 + 1_420 * 1_600);
    }
}
