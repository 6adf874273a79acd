//! A session's settings: defaults per dialect, what `session.update` may change, the echo.

use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use super::events::{Refusal, set, with};
use super::view::{NESTED, View, places, read};

/// The settings as the provider shows them, and as read.
#[derive(Debug, Clone)]
pub struct Settings {
    dialect: Dialect,
    shown: Value,
    /// What they mean.
    pub view: View,
}

const TRANSLATE_FIELDS: &str = "modalities voice enable_voice_clone voice_clone_options sample_rate \
    input_audio_format output_audio_format input_audio_transcription turn_detection translation";
const G2_FIELDS: &str = "output_modalities audio translation enable_voice_clone voice_clone_options";
const OMNI_FIELDS: &str = "modalities audio voice sample_rate input_audio_format output_audio_format \
    input_audio_transcription turn_detection instructions smooth_output tools enable_search search_options temperature \
    top_p top_k max_tokens repetition_penalty presence_penalty seed";

impl Settings {
    /// The settings of a new session.
    #[must_use]
    pub fn new(dialect: Dialect, model: &str, id: &str) -> Self {
        let shown = with(defaults(dialect), &json!({"id": id, "model": model, "object": "realtime.session"}));
        let view = read(dialect, &shown).unwrap_or(View {
            spoken: true,
            rate: 16_000,
            compressed: false,
            turn: None,
            source: None,
            target: "en".to_owned(),
        });
        Self { dialect, shown, view }
    }

    /// The dialect spoken.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The `session` of `session.created`.
    #[must_use]
    pub fn created(&self) -> &Value {
        &self.shown
    }

    /// The voice, as shown in responses.
    #[must_use]
    pub fn voice(&self) -> &str {
        self.shown.pointer(places(self.dialect).voice).and_then(Value::as_str).unwrap_or_default()
    }

    /// The `session` of `session.updated`: all of it, with what only this event shows.
    #[must_use]
    pub fn updated(&self) -> Value {
        let mut echo = self.shown.clone();
        if let Some(turn) = echo.pointer_mut(places(self.dialect).turn).filter(|turn| turn.is_object()) {
            set(turn, "create_response", true);
            set(turn, "interrupt_response", true);
        }
        if self.dialect == Dialect::G2 {
            let turn = echo.pointer(NESTED.turn).cloned().unwrap_or(Value::Null);
            set(&mut echo, "turn_detection", turn);
        }
        if self.dialect == Dialect::G1ThreeFive && echo.get("input_audio_transcription").is_none() {
            set(&mut echo, "input_audio_transcription", json!({"model": "qwen3-asr-flash-realtime"}));
        }
        echo
    }

    /// Applies the `session` of a `session.update`, all of it or nothing. Fields the dialect doesn't know are left out.
    ///
    /// # Errors
    /// The first field that is not allowed.
    pub fn update(&mut self, patch: &Map<String, Value>) -> Result<(), Refusal> {
        let known = match self.dialect {
            Dialect::G1Three | Dialect::G1ThreeFive => TRANSLATE_FIELDS,
            Dialect::G2 => G2_FIELDS,
            Dialect::Omni | Dialect::OmniNested => OMNI_FIELDS,
        };
        let mut shown = self.shown.clone();
        for (field, value) in patch {
            // The vendor's SDK sends a null where its user named no voice.
            if field == "voice" && value.is_null() {
                continue;
            }
            if known.split_whitespace().any(|name| name == field) {
                merge(&mut shown, field, value);
            }
        }
        self.view = read(self.dialect, &shown)?;
        self.shown = shown;
        Ok(())
    }
}

fn defaults(dialect: Dialect) -> Value {
    let flat = |voice: &str, threshold: f64, silence_ms: u64| {
        json!({
            "sample_rate": 16000, "modalities": ["text", "audio"], "voice": voice,
            "input_audio_format": "pcm", "output_audio_format": "pcm",
            "turn_detection": {"type": "server_vad", "threshold": threshold, "silence_duration_ms": silence_ms},
        })
    };
    let nested = || {
        json!({
            "input": {"format": {"type": "pcm", "sample_rate": 16000}},
            "output": {"format": {"type": "pcm", "sample_rate": 24000}, "voice": "Tina"},
        })
    };
    let english = json!({"translation": {"language": "en"}});
    match dialect {
        Dialect::G1Three => with(flat("Cherry", 0.2, 1000), &english),
        Dialect::G1ThreeFive => with(flat("Tina", 0.2, 1000), &english),
        Dialect::G2 => {
            let mut audio = nested();
            if let Some(input) = audio.get_mut("input") {
                let turn = json!({"type": "speaker_detection", "threshold": 0.5, "silence_duration_ms": 2500});
                set(input, "turn_detection", turn);
            }
            let modalities = json!({"input_modalities": ["audio"], "output_modalities": ["text", "audio"]});
            with(with(json!({"audio": audio}), &modalities), &english)
        }
        Dialect::Omni => flat("Tina", 0.5, 800),
        Dialect::OmniNested => json!({
            "audio": nested(), "modalities": ["text", "audio"],
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 800},
        }),
    }
}

/// Objects are merged field by field, all else is replaced; `null` stays and means "off".
fn merge(into: &mut Value, field: &str, value: &Value) {
    let both = into.get_mut(field).filter(|old| old.is_object() && field != "phrases");
    match (both, value.as_object()) {
        (Some(old), Some(new)) => {
            for (name, inner) in new {
                merge(old, name, inner);
            }
        }
        _ => set(into, field, value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::view::Turn;

    fn update(dialect: Dialect, patch: &Value) -> Result<Settings, Refusal> {
        let mut settings = Settings::new(dialect, "model", "sess_1");
        settings.update(patch.as_object().unwrap()).map(|()| settings)
    }

    #[test]
    fn three_five_starts_as_recorded() {
        let settings = Settings::new(Dialect::G1ThreeFive, "qwen3.5-livetranslate-flash-realtime", "sess_1");
        assert_eq!(
            *settings.created(),
            json!({
                "sample_rate": 16000, "output_audio_format": "pcm", "modalities": ["text", "audio"], "id": "sess_1",
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 1000, "threshold": 0.2},
                "translation": {"language": "en"}, "model": "qwen3.5-livetranslate-flash-realtime", "voice": "Tina",
                "input_audio_format": "pcm", "object": "realtime.session",
            })
        );
        assert_eq!(settings.view.source.as_deref(), Some("zh"));
        assert_eq!(settings.updated()["turn_detection"]["interrupt_response"], true);
        assert_eq!(Settings::new(Dialect::G1Three, "m", "s").view.source, None);
    }

    #[test]
    fn three_eight_is_nested_and_echoes_its_turn_twice() {
        let patch = json!({
            "output_modalities": ["text"], "enable_voice_clone": true, "voice_clone_options": {"frequency": "once"},
            "audio": {"input": {"format": {"type": "pcm", "sample_rate": 8000}}}, "translation": {"language": "zh"},
        });
        let settings = update(Dialect::G2, &patch).unwrap();
        let echo = settings.updated();
        assert_eq!(echo["turn_detection"], echo["audio"]["input"]["turn_detection"]);
        assert_eq!(echo["audio"]["input"]["turn_detection"]["silence_duration_ms"], 2500);
        assert_eq!((settings.view.rate, settings.view.spoken), (8000, false));
        assert_eq!(settings.view.source.as_deref(), Some("en"));
    }

    #[test]
    fn what_the_vendors_sdk_sends_is_taken() {
        let patch = json!({
            "modalities": ["text", "audio"], "voice": "Cherry", "input_audio_format": "pcm16",
            "output_audio_format": "pcm16", "input_audio_transcription": {"model": null},
            "turn_detection": {"type": "server_vad", "threshold": 0.2, "prefix_padding_ms": 300, "silence_duration_ms": 800},
            "translation": {"language": "en", "corpus": {"phrases": {"人工智能": "AI"}}}, "made_up": 1,
        });
        let settings = update(Dialect::G1ThreeFive, &patch).unwrap();
        assert_eq!(settings.view.turn, Some(Turn { silence_ms: 800, padding_ms: 300 }));
        assert_eq!(settings.view.source, None);
        assert_eq!(settings.created()["translation"]["corpus"]["phrases"]["人工智能"], "AI");
        assert!(settings.created().get("made_up").is_none());
        assert_eq!(update(Dialect::G1Three, &json!({"turn_detection": null})).unwrap().view.turn, None);
        assert_eq!(update(Dialect::G1ThreeFive, &json!({"voice": null})).unwrap().voice(), "Tina");
    }

    #[test]
    fn a_wrong_field_changes_nothing() {
        let table = [
            (json!({"modalities": ["audio"]}), "session.modalities"),
            (json!({"sample_rate": 44100}), "session.sample_rate"),
            (json!({"input_audio_format": "mp3"}), "session.input_audio_format"),
            (json!({"voice": "No such voice!"}), "session.voice"),
            (json!({"voice": 3}), "session.voice"),
            (json!({"voice_clone_options": {"frequency": "once"}}), "session.voice_clone_options.frequency"),
            (json!({"turn_detection": {"type": "psychic"}}), "session.turn_detection"),
            (json!({"turn_detection": {"silence_duration_ms": 100}}), "session.turn_detection"),
            (json!({"turn_detection": {"threshold": 2}}), "session.turn_detection"),
            (json!({"translation": {"language": "tlh"}}), "session.translation.language"),
            (json!({"translation": {"language": "sw"}}), "session.translation.language"),
            (json!({"input_audio_transcription": 1}), "session.input_audio_transcription"),
        ];
        for (patch, param) in table {
            let refusal = update(Dialect::G1ThreeFive, &patch).map(|_| ()).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(param), "{patch}");
        }
        let message = update(Dialect::G1Three, &json!({"modalities": ["audio"]})).map(|_| ()).unwrap_err().message;
        assert_eq!(
            message,
            "Invalid modalities: ['audio']. Supported combinations are: ['text'] and ['audio', 'text']."
        );
    }
}
