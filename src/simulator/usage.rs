//! Counts tokens as `response.done` reports them.

use serde_json::{Value, json};

use super::dialect::Dialect;

/// Tokens for each second of translated audio.
const OUTPUT_TOKENS_PER_SECOND: f64 = 12.5;
/// Text tokens of the prompt: of the first response, and of each that follows, as recorded.
const FIRST_PROMPT: u64 = 50;
const NEXT_PROMPT: u64 = 63;

/// One response's part, or the session's sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt and context.
    pub text_in: u64,
    /// Source audio.
    pub audio_in: u64,
    /// Written translation.
    pub text_out: u64,
    /// Spoken translation.
    pub audio_out: u64,
}

/// The session's running account.
#[derive(Debug, Clone)]
pub struct Usage {
    input_rate: f64,
    cumulative: bool,
    responses: u64,
    sum: Tokens,
    output_ms: u64,
}

impl Usage {
    /// An empty account; 3.5 adds up over the session unless told otherwise.
    #[must_use]
    pub fn new(dialect: Dialect, cumulative: Option<bool>) -> Self {
        let cumulative = cumulative.unwrap_or(dialect == Dialect::G1ThreeFive);
        let input_rate = dialect.input_tokens_per_second();
        Self { input_rate, cumulative, responses: 0, sum: Tokens::default(), output_ms: 0 }
    }

    /// Closes a response: `heard_ms` is all audio taken in so far, `spoken_ms` what this response says,
    /// `text` its translation.
    pub fn respond(&mut self, heard_ms: u64, spoken_ms: u64, text: &str) -> Tokens {
        let before = self.sum;
        self.output_ms += spoken_ms;
        self.sum.text_in += if self.responses == 0 { FIRST_PROMPT } else { NEXT_PROMPT };
        self.sum.text_out += text_tokens(text);
        self.sum.audio_in = audio_tokens(self.input_rate, heard_ms);
        self.sum.audio_out = audio_tokens(OUTPUT_TOKENS_PER_SECOND, self.output_ms);
        self.responses += 1;
        if self.cumulative {
            return self.sum;
        }
        Tokens {
            text_in: self.sum.text_in - before.text_in,
            audio_in: self.sum.audio_in - before.audio_in,
            text_out: self.sum.text_out - before.text_out,
            audio_out: self.sum.audio_out - before.audio_out,
        }
    }
}

impl Tokens {
    /// The `usage` object; `spoken`: with the audio tokens of the output.
    #[must_use]
    pub fn body(self, spoken: bool) -> Value {
        let (input, output) = (self.text_in + self.audio_in, self.text_out + self.audio_out);
        let details = if spoken {
            json!({"text_tokens": self.text_out, "audio_tokens": self.audio_out})
        } else {
            json!({"text_tokens": self.text_out})
        };
        json!({
            "total_tokens": input + output, "input_tokens": input, "output_tokens": output,
            "input_tokens_details": {"text_tokens": self.text_in, "audio_tokens": self.audio_in},
            "output_tokens_details": details,
        })
    }
}

fn audio_tokens(rate: f64, milliseconds: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "minutes")]
    let tokens = (rate * milliseconds as f64 / 1000.0).ceil() as u64;
    tokens
}

/// About four Latin letters or one ideograph a token.
fn text_tokens(text: &str) -> u64 {
    let (wide, narrow) = text.trim_end().chars().fold((0_u64, 0_u64), |(wide, narrow), letter| {
        if letter >= '\u{2e80}' { (wide + 1, narrow) } else { (wide, narrow + 1) }
    });
    wide + narrow.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_five_adds_up_and_the_others_do_not() {
        let mut adding = Usage::new(Dialect::G1ThreeFive, None);
        let mut single = Usage::new(Dialect::G1Three, None);
        let first = adding.respond(5000, 4080, "abcdefgh  ");
        assert_eq!(first, Tokens { text_in: 50, audio_in: 35, text_out: 2, audio_out: 51 });
        let second = adding.respond(12_000, 4000, "今天");
        assert_eq!(second, Tokens { text_in: 113, audio_in: 84, text_out: 4, audio_out: 101 });
        single.respond(4000, 4000, "abcd");
        let second = single.respond(6000, 2000, "abcd");
        assert_eq!(second, Tokens { text_in: 63, audio_in: 25, text_out: 1, audio_out: 25 });
        assert_eq!(second.body(true)["total_tokens"], 114);
        assert!(second.body(false)["output_tokens_details"].get("audio_tokens").is_none());
    }

    #[test]
    fn an_option_overrides_the_model() {
        let mut usage = Usage::new(Dialect::G1ThreeFive, Some(false));
        usage.respond(1000, 0, "a");
        assert_eq!(usage.respond(2000, 0, "a").audio_in, 7);
    }
}
