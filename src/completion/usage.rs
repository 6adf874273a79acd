//! What an answer says that it cost, in each dialect. Pure.

use super::api::Dialect;
use crate::wire::members::Members;

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

/// The usage in a body, or in the data of an event: at its top, in `message` (Anthropic's `message_start`) or in
/// `response` (OpenAI's `response.completed`).
#[must_use]
pub fn read(dialect: Dialect, json: &[u8]) -> Option<Usage> {
    let holder = Members::read(std::str::from_utf8(json).ok()?)?;
    let inner = |name| holder.objects(name).find_map(|inner| usage_of(dialect, &inner));
    usage_of(dialect, &holder).or_else(|| inner("message")).or_else(|| inner("response"))
}

fn usage_of(dialect: Dialect, holder: &Members<'_>) -> Option<Usage> {
    let reported = holder.objects("usage").last()?;
    let either = |names: [&str; 2]| names.into_iter().find_map(|name| reported.number(name));
    let (input, output) = (either(["prompt_tokens", "input_tokens"]), either(["completion_tokens", "output_tokens"]));
    let total = || reported.number("total_tokens").filter(|_| output.is_none());
    let detail = |names: [&str; 2], name: &str| {
        let details = |object| reported.objects(object).last()?.number(name);
        names.into_iter().find_map(details).unwrap_or(0)
    };
    let usage = Usage {
        input: input.or_else(total).unwrap_or(0),
        cached: detail(["prompt_tokens_details", "input_tokens_details"], "cached_tokens"),
        output: output.unwrap_or(0),
        reasoning: detail(["completion_tokens_details", "output_tokens_details"], "reasoning_tokens"),
    };
    if dialect != Dialect::Anthropic {
        return Some(usage);
    }
    // Anthropic counts cached tokens beside the input, not in it.
    let beside = |name| reported.number(name).unwrap_or(0);
    let (read, written) = (beside("cache_read_input_tokens"), beside("cache_creation_input_tokens"));
    Some(Usage { input: usage.input.saturating_add(read).saturating_add(written), cached: read, ..usage })
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
