//! The two spellings of `session.update` that LiveTranslate models take.

use serde_json::{Value, json};

/// Samples a second of the speech that is sent.
pub const INPUT_RATE: u32 = 16_000;
/// Samples a second of the translated speech that comes back, whatever the model.
pub const OUTPUT_RATE: u32 = 24_000;

/// How a model spells its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Flat fields; captions are refreshed as a whole (3 and 3.5).
    Flat,
    /// A nested `audio` object; captions grow by deltas (3.8).
    Nested,
}

/// What a session is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Language code to translate into.
    pub target: String,
    /// Language code that is spoken; `None` lets the model find out.
    pub source: Option<String>,
    /// Captions alone, no translated speech.
    pub text_only: bool,
}

impl Dialect {
    /// The dialect of a model, by its id.
    #[must_use]
    pub fn of(model: &str) -> Self {
        if model.starts_with("qwen3.8-livetranslate-") { Self::Nested } else { Self::Flat }
    }

    /// Whether the spoken language can be named at all; the others always find out themselves.
    #[must_use]
    pub fn takes_source_language(self) -> bool {
        self == Self::Flat
    }

    /// The `session.update` event for a wish.
    #[must_use]
    pub fn session_update(self, wish: &Wish) -> Value {
        let modalities = if wish.text_only { json!(["text"]) } else { json!(["text", "audio"]) };
        let session = match self {
            Self::Flat => {
                // Model 3 sends captions of the source only when a recogniser is named; 3.5 does by itself.
                let mut transcription = json!({"model": "qwen3-asr-flash-realtime"});
                if let (Some(language), Some(fields)) = (&wish.source, transcription.as_object_mut()) {
                    fields.insert("language".to_owned(), json!(language));
                }
                json!({
                    "modalities": modalities, "sample_rate": INPUT_RATE,
                    "input_audio_format": "pcm", "output_audio_format": "pcm",
                    "input_audio_transcription": transcription,
                    "translation": {"language": wish.target},
                })
            }
            Self::Nested => json!({
                "output_modalities": modalities,
                "audio": {
                    "input": {"format": {"type": "pcm", "sample_rate": INPUT_RATE}},
                    "output": {"format": {"type": "pcm", "sample_rate": OUTPUT_RATE}},
                },
                "translation": {"language": wish.target},
            }),
        };
        json!({"type": "session.update", "session": session})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(source: Option<&str>, text_only: bool) -> Wish {
        Wish { target: "en".to_owned(), source: source.map(str::to_owned), text_only }
    }

    #[test]
    fn three_and_three_five_are_flat() {
        for model in ["qwen3-livetranslate-flash-realtime", "qwen3.5-livetranslate-flash-realtime-2026-05-19"] {
            let update = Dialect::of(model).session_update(&wish(Some("zh"), true));
            assert_eq!(
                update,
                json!({"type": "session.update", "session": {
                    "modalities": ["text"], "sample_rate": 16000, "input_audio_format": "pcm",
                    "output_audio_format": "pcm", "translation": {"language": "en"},
                    "input_audio_transcription": {"model": "qwen3-asr-flash-realtime", "language": "zh"}}})
            );
        }
        let silent = Dialect::Flat.session_update(&wish(None, false));
        assert_eq!(silent.pointer("/session/input_audio_transcription/language"), None);
        assert_eq!(silent.pointer("/session/modalities"), Some(&json!(["text", "audio"])));
    }

    #[test]
    fn three_eight_is_nested_and_finds_the_language_itself() {
        let update = Dialect::of("qwen3.8-livetranslate-flash-realtime").session_update(&wish(Some("zh"), false));
        assert_eq!(
            update,
            json!({"type": "session.update", "session": {
                "output_modalities": ["text", "audio"],
                "audio": {"input": {"format": {"type": "pcm", "sample_rate": 16000}},
                          "output": {"format": {"type": "pcm", "sample_rate": 24000}}},
                "translation": {"language": "en"}}})
        );
    }
}
