//! One line of captions that grows with the audio heard: words, guesses that are taken back, the end.

use super::phrases;

/// Audio time for one spoken word, or for one ideograph.
const WORD_MS: u64 = 300;
const IDEOGRAPH_MS: u64 = 200;

/// What a refresh shows: `text` stands, `stash` may be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The confirmed beginning.
    pub text: String,
    /// The guess that follows it.
    pub stash: String,
}

/// A segment's line in one language.
#[derive(Debug, Clone)]
pub struct Caption {
    language: String,
    number: usize,
    line: String,
    /// Where each word ends in `line`, and whether it ends a sentence.
    ends: Vec<(usize, bool)>,
    sentences: usize,
    shown: usize,
    refreshes: usize,
}

impl Caption {
    /// The line of segment `number` (from 1).
    #[must_use]
    pub fn new(language: &str, number: usize) -> Self {
        Self {
            language: language.to_owned(),
            number,
            line: String::new(),
            ends: Vec::new(),
            sentences: 0,
            shown: 0,
            refreshes: 0,
        }
    }

    /// The line's language.
    #[must_use]
    pub fn language(&self) -> &str {
        &self.language
    }

    /// The whole line as a refresh after `heard_ms` of the segment. Every third one guesses an end too early.
    pub fn refresh(&mut self, heard_ms: u64) -> Refresh {
        self.show(heard_ms);
        self.refreshes += 1;
        let ends = self.ends.get(..self.shown).unwrap_or_default();
        let end = ends.last().map_or(0, |(end, _)| *end);
        let confirmed = ends.iter().rev().find(|(_, last)| *last).map_or(0, |(end, _)| *end);
        let text = self.line.get(..confirmed).unwrap_or_default().to_owned();
        let mut stash = self.line.get(confirmed..end).unwrap_or_default().to_owned();
        if self.refreshes % 3 == 2 && !stash.is_empty() {
            stash.push_str(self.stop());
        }
        Refresh { text, stash }
    }

    /// What came new after `heard_ms` of the segment.
    pub fn delta(&mut self, heard_ms: u64) -> String {
        let before = self.shown_bytes();
        self.show(heard_ms);
        self.line.get(before..self.shown_bytes()).unwrap_or_default().to_owned()
    }

    /// Ends the line with the sentence it is in and returns what hadn't been shown.
    pub fn finish(&mut self) -> String {
        let before = self.shown_bytes();
        self.shown = self.shown.max(1);
        while self.ends.len() < self.shown {
            self.extend();
        }
        let open = self.ends.iter().skip(self.shown - 1).position(|(_, last)| *last).unwrap_or(0);
        self.shown += open;
        self.line.truncate(self.shown_bytes());
        self.line.get(before..).unwrap_or_default().to_owned()
    }

    /// All that was shown.
    #[must_use]
    pub fn line(&self) -> &str {
        self.line.get(..self.shown_bytes()).unwrap_or_default()
    }

    /// The words shown, in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).take(self.shown).map(|(start, (end, _))| self.line.get(start..*end).unwrap_or_default())
    }

    fn show(&mut self, heard_ms: u64) {
        let each = if phrases::unspaced(&self.language) { IDEOGRAPH_MS } else { WORD_MS };
        let count = usize::try_from(heard_ms / each).unwrap_or(usize::MAX);
        while self.ends.len() < count {
            self.extend();
        }
        self.shown = self.shown.max(count);
    }

    fn shown_bytes(&self) -> usize {
        self.shown.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |(end, _)| *end)
    }

    fn extend(&mut self) {
        let sentence = phrases::sentence(&self.language, self.number, self.sentences);
        self.sentences += 1;
        if phrases::unspaced(&self.language) {
            for letter in sentence.chars() {
                self.line.push(letter);
                self.ends.push((self.line.len(), false));
            }
        } else {
            for word in sentence.split(' ') {
                if !self.line.is_empty() {
                    self.line.push(' ');
                }
                self.line.push_str(word);
                self.ends.push((self.line.len(), false));
            }
        }
        if let Some((_, last)) = self.ends.last_mut() {
            *last = true;
        }
    }

    fn stop(&self) -> &'static str {
        if phrases::unspaced(&self.language) { "。" } else { "." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refreshes_take_guesses_back_and_confirm_in_jumps() {
        let mut caption = Caption::new("en", 1);
        let seen: Vec<Refresh> = (1..=8).map(|step| caption.refresh(step * 400)).collect();
        let stashes: Vec<&str> = seen.iter().map(|refresh| refresh.stash.as_str()).collect();
        assert_eq!(stashes[..3], ["This", "This is.", "This is the simulator"]);
        assert!(seen[..5].iter().all(|refresh| refresh.text.is_empty()));
        assert_eq!(seen[7].text, "This is the simulator speaking, segment 1.");
        assert!(seen[7].stash.starts_with(' '), "{}", seen[7].stash);
    }

    #[test]
    fn deltas_and_the_rest_make_the_line() {
        for language in ["en", "zh", "ja", "fr"] {
            let mut caption = Caption::new(language, 3);
            let mut joined: String = (1..=10).map(|step| caption.delta(step * 400)).collect();
            joined.push_str(&caption.finish());
            assert_eq!(joined, caption.line());
            assert_eq!(caption.words().collect::<String>(), joined);
            assert!(joined.ends_with(['.', '。']), "{joined}");
        }
    }

    #[test]
    fn a_line_that_was_never_shown_is_one_sentence() {
        let mut caption = Caption::new("de", 2);
        assert_eq!(caption.finish(), "Hier spricht der Simulator, Abschnitt 2.");
        assert_eq!(caption.line(), "Hier spricht der Simulator, Abschnitt 2.");
    }
}
