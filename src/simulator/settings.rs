//! A session's settings: defaults per dialect, what `session.update` may change, the echo.

use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use super::events::{Refusal, set, with};
use super::phrases;

/// What the session does, read from its echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Whether the translation is spoken, too.
    pub spoken: bool,
    /// Input samples a second.
    pub rate: u32,
    /// Input is compressed: it can't be heard here.
    pub compressed: bool,
    /// Where sentences end by themselves; `None`: the client commits.
    pub turn: Option<Turn>,
    /// The language of source captions; `None`: none are made.
    pub source: Option<String>,
    /// The language to translate into.
    pub target: String,
}

/// Server-side turn detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Silence that ends a sentence.
    pub silence_ms: u64,
    /// Audio before the first loud window that belongs to the sentence.
    pub padding_ms: u64,
}

/// The settings as the provider shows them, and as read.
#[derive(Debug, Clone)]
pub struct Settings {
    dialect: Dialect,
    shown: Value,
    /// What they mean.
    pub view: View,
}

/// Where a dialect keeps its fields.
struct Places {
    modalities: &'static str,
    rate: &'static str,
    format: &'static str,
    turn: &'static str,
    voice: &'static str,
}

const FLAT: Places = Places {
    modalities: "/modalities",
    rate: "/sample_rate",
    format: "/input_audio_format",
    turn: "/turn_detection",
    voice: "/voice",
};
const NESTED: Places = Places {
    modalities: "/output_modalities",
    rate: "/audio/input/format/sample_rate",
    format: "/audio/input/format/type",
    turn: "/audio/input/turn_detection",
    voice: "/audio/output/voice",
};
const NESTED_OMNI: Places = Places { modalities: "/modalities", turn: "/turn_detection", ..NESTED };

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
            if known.split_whitespace().any(|name| name == field) {
                merge(&mut shown, field, value);
            }
        }
        self.view = read(self.dialect, &shown)?;
        self.shown = shown;
        Ok(())
    }
}

fn places(dialect: Dialect) -> &'static Places {
    match dialect {
        Dialect::G2 => &NESTED,
        Dialect::OmniNested => &NESTED_OMNI,
        Dialect::G1Three | Dialect::G1ThreeFive | Dialect::Omni => &FLAT,
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

fn read(dialect: Dialect, shown: &Value) -> Result<View, Refusal> {
    let places = places(dialect);
    let spoken = spoken(places, shown)?;
    let rate = shown.pointer(places.rate).map_or(Some(16_000), Value::as_u64);
    let rate = match rate {
        Some(8_000) => 8_000,
        Some(16_000) => 16_000,
        _ => return Err(refuse(places.rate, "Supported sample rates are: 8000 and 16000.")),
    };
    let format = shown.pointer(places.format).map_or(Some("pcm"), Value::as_str);
    let compressed = match format {
        Some("pcm" | "pcm16") => false,
        Some("opus") if dialect.refreshes() => true,
        _ => return Err(refuse(places.format, "Unsupported input audio format.")),
    };
    let named = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    let voice = shown.pointer(places.voice).and_then(Value::as_str).unwrap_or_default();
    if voice.is_empty() || !voice.chars().all(named) {
        return Err(refuse(places.voice, &format!("Voice '{voice}' is not supported.")));
    }
    clone_options(shown, voice == "default" || !dialect.refreshes())?;
    let turn = turn(dialect, places, shown)?;
    let target = target(dialect, shown, spoken)?;
    let source = source(dialect, shown, &target)?;
    Ok(View { spoken, rate, compressed, turn, source, target })
}

fn refuse(place: &str, message: &str) -> Refusal {
    Refusal::value(&format!("session{}", place.replace('/', ".")), message)
}

fn spoken(places: &Places, shown: &Value) -> Result<bool, Refusal> {
    let given = shown.pointer(places.modalities).unwrap_or(&Value::Null);
    let list: Vec<&str> = given.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match list.as_slice() {
        ["text"] => Ok(false),
        ["text", "audio"] | ["audio", "text"] => Ok(true),
        _ => {
            let quoted: Vec<String> = list.iter().map(|name| format!("'{name}'")).collect();
            let message = format!(
                "Invalid modalities: [{}]. Supported combinations are: ['text'] and ['audio', 'text'].",
                quoted.join(", ")
            );
            Err(refuse(places.modalities, &message))
        }
    }
}

fn clone_options(shown: &Value, allowed: bool) -> Result<(), Refusal> {
    const PLACE: &str = "/voice_clone_options/frequency";
    match shown.pointer(PLACE).map_or(Some("never"), Value::as_str) {
        Some("never") => Ok(()),
        Some("once" | "always") if allowed => Ok(()),
        Some("once" | "always") => Err(refuse(PLACE, "Voice cloning needs the voice 'default'.")),
        _ => Err(refuse(PLACE, "Supported frequencies are: 'never', 'once' and 'always'.")),
    }
}

fn turn(dialect: Dialect, places: &Places, shown: &Value) -> Result<Option<Turn>, Refusal> {
    let Some(given) = shown.pointer(places.turn).filter(|given| !given.is_null()) else { return Ok(None) };
    let kinds: &[&str] = match dialect {
        Dialect::G1Three | Dialect::G1ThreeFive => &["server_vad"],
        Dialect::G2 => &["speaker_detection"],
        Dialect::Omni | Dialect::OmniNested => &["server_vad", "semantic_vad"],
    };
    let kind = given.get("type").and_then(Value::as_str).unwrap_or_default();
    if !kinds.contains(&kind) {
        return Err(refuse(places.turn, &format!("Unsupported turn detection type '{kind}'.")));
    }
    let threshold = given.get("threshold").map_or(Some(0.0), Value::as_f64);
    if !threshold.is_some_and(|value| (-1.0..=1.0).contains(&value)) {
        return Err(refuse(places.turn, "The threshold must be from -1.0 to 1.0."));
    }
    let silence_ms = given.get("silence_duration_ms").map_or(Some(1000), Value::as_u64);
    let Some(silence_ms) = silence_ms.filter(|value| (200..=6000).contains(value)) else {
        return Err(refuse(places.turn, "silence_duration_ms must be from 200 to 6000."));
    };
    let padding_ms = given.get("prefix_padding_ms").and_then(Value::as_u64).unwrap_or(200).min(2000);
    Ok(Some(Turn { silence_ms, padding_ms }))
}

fn target(dialect: Dialect, shown: &Value, spoken: bool) -> Result<String, Refusal> {
    const PLACE: &str = "/translation/language";
    if !dialect.translates() {
        return Ok("en".to_owned());
    }
    let language = shown.pointer(PLACE).and_then(Value::as_str).unwrap_or_default();
    if !phrases::translates_into(language, dialect == Dialect::G1Three) {
        return Err(refuse(PLACE, &format!("Unsupported target language '{language}'.")));
    }
    if spoken && !phrases::has_voice(language) {
        return Err(refuse(PLACE, &format!("The target language '{language}' has text output only.")));
    }
    Ok(language.to_owned())
}

fn source(dialect: Dialect, shown: &Value, target: &str) -> Result<Option<String>, Refusal> {
    const PLACE: &str = "/input_audio_transcription";
    let given = shown.pointer(PLACE).filter(|given| !given.is_null());
    if given.is_some_and(|given| !given.is_object()) {
        return Err(refuse(PLACE, "input_audio_transcription must be an object or null."));
    }
    let model = given.and_then(|given| given.get("model"));
    let language = given.and_then(|given| given.get("language")).and_then(Value::as_str);
    let on = match dialect {
        Dialect::G2 => true,
        Dialect::G1Three => model.is_some_and(Value::is_string),
        Dialect::G1ThreeFive | Dialect::Omni | Dialect::OmniNested => {
            shown.pointer(PLACE).is_none_or(Value::is_object) && !model.is_some_and(Value::is_null)
        }
    };
    let assumed = if dialect == Dialect::G1Three { "en" } else { phrases::assumed_source(target) };
    Ok(on.then(|| language.filter(|code| *code != "auto").unwrap_or(assumed).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
