//! What an answer says that it cost, in each dialect. Pure.

use serde::Deserialize;

use super::api::Dialect;

/// Tokens of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// In, cached ones too.
    pub input: u64,
    /// Of these, cached.
    pub cached: u64,
    /// Out, reasoning too.
    pub output: u64,
    /// Of these, reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// In and out.
    #[must_use]
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The provider.
    Upstream,
    /// Nobody: guessed from the text.
    Estimated,
    /// Nobody: there is nothing to guess from, or the caller pays the provider.
    Unavailable,
}

impl Source {
    /// The word of usage rows.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Estimated => "estimated",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A `usage` object of any dialect; DashScope's multimodal models write numbers beside it that are not tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reported {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    total_tokens: Option<f64>,
    cache_read_input_tokens: Option<f64>,
    cache_creation_input_tokens: Option<f64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<f64>,
    reasoning_tokens: Option<f64>,
}

impl Reported {
    fn usage(&self, dialect: Dialect) -> Usage {
        let count = |number: Option<f64>| number.map_or(0, |number| number.max(0.0).ceil() as u64);
        let (input, output) = (self.prompt_tokens.or(self.input_tokens), self.completion_tokens.or(self.output_tokens));
        let total = self.total_tokens.filter(|_| input.is_none() && output.is_none());
        let details =
            |details: &Option<Details>, member: fn(&Details) -> Option<f64>| details.as_ref().and_then(member);
        let cached = |details: &Details| details.cached_tokens;
        let reasoning = |details: &Details| details.reasoning_tokens;
        let usage = Usage {
            input: count(input.or(total)),
            cached: count(details(&self.prompt_tokens_details, cached).or(details(&self.input_tokens_details, cached))),
            output: count(output),
            reasoning: count(
                details(&self.completion_tokens_details, reasoning).or(details(&self.output_tokens_details, reasoning)),
            ),
        };
        if dialect != Dialect::Anthropic {
            return usage;
        }
        // Anthropic counts cached tokens beside the input, not in it.
        let (read, written) = (count(self.cache_read_input_tokens), count(self.cache_creation_input_tokens));
        Usage { input: usage.input + read + written, cached: read, ..usage }
    }
}

/// Where a body or an event keeps its usage.
#[derive(Debug, Deserialize)]
struct Holder {
    #[serde(default)]
    usage: Option<Reported>,
    #[serde(default)]
    message: Option<Inner>,
    #[serde(default)]
    response: Option<Inner>,
}

#[derive(Debug, Deserialize)]
struct Inner {
    #[serde(default)]
    usage: Option<Reported>,
}

/// The usage in a body, or in the data of an event: at its top, in `message` (Anthropic's `message_start`) or in
/// `response` (OpenAI's `response.completed`).
#[must_use]
pub fn read(dialect: Dialect, json: &[u8]) -> Option<Usage> {
    let holder: Holder = serde_json::from_slice(json).ok()?;
    let inner = |inner: Option<Inner>| inner.and_then(|inner| inner.usage);
    let reported = holder.usage.or_else(|| inner(holder.message)).or_else(|| inner(holder.response))?;
    Some(reported.usage(dialect))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, cached: u64, output: u64, reasoning: u64) -> Option<Usage> {
        Some(Usage { input, cached, output, reasoning })
    }

    #[test]
    fn every_dialect() {
        let openai = br#"{"usage":{"completion_tokens":34,"completion_tokens_details":{"reasoning_tokens":29,"text_tokens":34},"prompt_tokens":56,"prompt_tokens_details":{"cached_tokens":8},"total_tokens":90}}"#;
        assert_eq!(read(Dialect::Openai, openai), usage(56, 8, 34, 29));
        let responses = br#"{"type":"response.completed","response":{"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":12}}}"#;
        assert_eq!(read(Dialect::Openai, responses), usage(5, 2, 7, 3));
        let embeddings = br#"{"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        assert_eq!(read(Dialect::Openai, embeddings), usage(4, 0, 0, 0));
        let native =
            br#"{"output":{},"usage":{"total_tokens":25,"input_tokens":24,"output_tokens":1,"image_tokens":3}}"#;
        assert_eq!(read(Dialect::Dashscope, native), usage(24, 0, 1, 0));
        assert_eq!(read(Dialect::Dashscope, br#"{"usage":{"total_tokens":25}}"#), usage(25, 0, 0, 0));
        let anthropic = br#"{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_creation_input_tokens":10,"cache_read_input_tokens":20,"output_tokens":1}}}"#;
        assert_eq!(read(Dialect::Anthropic, anthropic), usage(33, 20, 1, 0));
    }

    #[test]
    fn no_usage_is_none() {
        assert_eq!(read(Dialect::Openai, br#"{"usage":null}"#), None);
        assert_eq!(read(Dialect::Openai, b"[DONE]"), None);
        assert_eq!(
            read(Dialect::Openai, br#"{"usage":{"prompt_tokens":-1,"completion_tokens":2.5}}"#),
            usage(0, 0, 3, 0)
        );
    }
}
