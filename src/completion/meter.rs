//! Counts what a stream costs, event by event. Pure.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::api::Dialect;
use super::estimate;
use super::usage::{self, Source, Usage};

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// The meter of one stream.
#[derive(Debug)]
pub struct Meter {
    dialect: Dialect,
    reported: Option<Usage>,
    /// Of the events that passed: what is guessed from when nothing is reported.
    relayed: u64,
    input_guess: u64,
}

impl Meter {
    /// A meter for answers in a dialect; `input_guess`: tokens of the request, guessed.
    #[must_use]
    pub fn new(dialect: Dialect, input_guess: u64) -> Self {
        Self { dialect, reported: None, relayed: 0, input_guess }
    }

    /// Looks at an event's data; what it reports adds to what was reported before, which is never forgotten.
    pub fn see(&mut self, data: &[u8]) {
        if mentions_usage(data)
            && let Some(usage) = usage::read(self.dialect, data)
        {
            self.report(usage);
        } else {
            self.relayed += text_tokens(data);
        }
    }

    /// The provider's count so far: cumulative, in whichever pieces.
    pub fn report(&mut self, usage: Usage) {
        let before = self.reported.unwrap_or_default();
        self.reported = Some(Usage {
            input: usage.input.max(before.input),
            cached: usage.cached.max(before.cached),
            output: usage.output.max(before.output),
            reasoning: usage.reasoning.max(before.reasoning),
        });
    }

    /// What the stream has cost. `whole`: it came to its end, so that what was reported is all.
    #[must_use]
    pub fn sum(&self, whole: bool) -> (Usage, Source) {
        match self.reported {
            Some(usage) if whole || usage.output >= self.relayed => (usage, Source::Upstream),
            Some(usage) => (Usage { output: self.relayed, ..usage }, Source::Estimated),
            // Nothing was answered.
            None if self.relayed == 0 && !whole => (Usage::default(), Source::Unavailable),
            None => (Usage { input: self.input_guess, output: self.relayed, ..Usage::default() }, Source::Estimated),
        }
    }
}

/// Whether an event may tell usage.
#[must_use]
pub fn mentions_usage(data: &[u8]) -> bool {
    USAGE.find_iter(data).any(|at| {
        // DashScope writes `"usage":null` into every chunk; a tool may have that name.
        let rest = data.get(at + 7..).unwrap_or_default().trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"{"))
    })
}

/// About how many tokens of text an event carries.
fn text_tokens(data: &[u8]) -> u64 {
    static TEXTS: LazyLock<[Finder<'static>; 5]> = LazyLock::new(|| {
        ["\"content\":", "\"reasoning_content\":", "\"text\":", "\"delta\":", "\"arguments\":"].map(Finder::new)
    });
    let text = |finder: &Finder<'_>| {
        let start = finder.find(data)? + finder.needle().len();
        let value = data.get(start..)?.trim_ascii_start().strip_prefix(b"\"")?;
        let length = memchr::memchr(b'"', value).unwrap_or(value.len());
        value.get(..length)
    };
    TEXTS.iter().filter_map(text).map(estimate::tokens).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_counts() {
        let mut meter = Meter::new(Dialect::Openai, 9);
        meter.see(br#"{"choices":[{"delta":{"content":"Hello there"}}],"usage":null}"#);
        assert_eq!(meter.sum(true).1, Source::Estimated);
        meter.see(br#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#);
        assert_eq!(meter.sum(true), (Usage { input: 5, output: 2, ..Usage::default() }, Source::Upstream));
    }

    #[test]
    fn anthropic_reports_in_pieces() {
        let mut meter = Meter::new(Dialect::Anthropic, 9);
        meter.see(br#"{"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}"#);
        meter.see(br#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"abcdefgh ijklmnop"}}"#);
        let cut = meter.sum(false);
        assert_eq!(cut, (Usage { input: 5, output: 5, ..Usage::default() }, Source::Estimated));
        meter.see(br#"{"type":"message_delta","delta":{},"usage":{"output_tokens":15}}"#);
        assert_eq!(meter.sum(true), (Usage { input: 5, output: 15, ..Usage::default() }, Source::Upstream));
    }

    #[test]
    fn nothing_said_is_nothing_known() {
        let meter = Meter::new(Dialect::Openai, 9);
        assert_eq!(meter.sum(false), (Usage::default(), Source::Unavailable));
        assert_eq!(meter.sum(true).0.input, 9);
    }
}
