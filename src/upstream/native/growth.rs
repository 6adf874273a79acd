//! A text that grows frame by frame, where frames bring its next piece, or all of it again.

/// How the frames of one text are to be read. For models that never accumulate it is `Pieces` from the start; for the
/// others the first frame that differs from what was said decides: one that begins with all of it and goes on is a
/// repetition, any other a piece. This is the only place where that is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Frames bring what is new.
    Pieces,
    /// Frames bring everything so far.
    Whole,
    /// Not known yet.
    Open,
}

/// One text and what was said of it.
#[derive(Debug)]
pub struct Growth {
    reading: Reading,
    /// Everything so far; kept only while frames may repeat it.
    said: String,
    /// While open: how often all of it came again, unchanged. A piece may equal what came before it.
    again: usize,
}

impl Growth {
    /// A text of which nothing is known. `may_accumulate`: its frames may repeat it.
    #[must_use]
    pub fn new(may_accumulate: bool) -> Self {
        let reading = if may_accumulate { Reading::Open } else { Reading::Pieces };
        Self { reading, said: String::new(), again: 0 }
    }

    /// What a frame adds. `last`: the text ends with this frame.
    pub fn add(&mut self, frame: &str, last: bool) -> String {
        match self.reading {
            Reading::Pieces => frame.to_owned(),
            Reading::Whole => self.rest(frame),
            Reading::Open => self.decide(frame, last),
        }
    }

    fn decide(&mut self, frame: &str, last: bool) -> String {
        if self.said.is_empty() {
            frame.clone_into(&mut self.said);
            return frame.to_owned();
        }
        if frame == self.said {
            self.again += 1;
            return String::new();
        }
        if frame.starts_with(&self.said) {
            self.reading = Reading::Whole;
            return self.rest(frame);
        }
        // An empty frame at the end belongs to pieces: a repetition would have said it all once more.
        if frame.is_empty() && !last {
            return String::new();
        }
        self.reading = Reading::Pieces;
        let mut new = self.said.repeat(self.again);
        new.push_str(frame);
        new
    }

    /// What comes after everything that was said. What was said can't be unsaid: of a text that was rewritten, only
    /// what is longer is new.
    fn rest(&mut self, frame: &str) -> String {
        let mut from = self.said.len().min(frame.len());
        while !frame.is_char_boundary(from) {
            from += 1;
        }
        let new = frame.get(from..).unwrap_or_default().to_owned();
        self.said.push_str(&new);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(may_accumulate: bool, frames: &[&str]) -> String {
        let mut growth = Growth::new(may_accumulate);
        frames.iter().enumerate().map(|(at, frame)| growth.add(frame, at + 1 == frames.len())).collect()
    }

    #[test]
    fn pieces_and_repetitions_come_to_the_same() {
        for (may_accumulate, frames, text) in [
            (true, &["I", "I did", "I did laugh", "I did laugh"][..], "I did laugh"),
            (true, &["I", " did", " laugh", ""], "I did laugh"),
            (true, &["ha", "ha", "ha", "!", ""], "hahaha!"),
            (true, &["ha", "ha", ""], "haha"),
            (true, &["ha", "ha", "haha", "haha"], "haha"),
            (true, &["", "é", "éa", "éaü"], "éaü"),
            (true, &["天", "天天", "日月山"], "天天山"),
            (true, &["ab", "abcd", "aé漢"], "abcd"),
            (false, &["ha", "haha", "ha"], "hahahaha"),
        ] {
            assert_eq!(grown(may_accumulate, frames), text, "{frames:?}");
        }
    }
}
