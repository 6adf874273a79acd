//! What a session object means: its fields read and judged, dialect by dialect.

use serde_json::Value;

use super::dialect::Dialect;
use super::events::Refusal;
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

/// Where a dialect keeps its fields.
#[derive(Debug)]
pub struct Places {
    /// `["text"]` or `["text","audio"]`.
    pub modalities: &'static str,
    /// Input samples a second.
    pub rate: &'static str,
    /// Input format.
    pub format: &'static str,
    /// Turn detection.
    pub turn: &'static str,
    /// The voice's name.
    pub voice: &'static str,
}

const FLAT: Places = Places {
    modalities: "/modalities",
    rate: "/sample_rate",
    format: "/input_audio_format",
    turn: "/turn_detection",
    voice: "/voice",
};
/// LiveTranslate 3.8.
pub const NESTED: Places = Places {
    modalities: "/output_modalities",
    rate: "/audio/input/format/sample_rate",
    format: "/audio/input/format/type",
    turn: "/audio/input/turn_detection",
    voice: "/audio/output/voice",
};
const NESTED_OMNI: Places = Places { modalities: "/modalities", turn: "/turn_detection", ..NESTED };

/// Where this dialect keeps them.
#[must_use]
pub fn places(dialect: Dialect) -> &'static Places {
    match dialect {
        Dialect::G2 => &NESTED,
        Dialect::OmniNested => &NESTED_OMNI,
        Dialect::G1Three | Dialect::G1ThreeFive | Dialect::Omni => &FLAT,
    }
}

/// Reads a whole session object.
///
/// # Errors
/// The first field that is not allowed.
pub fn read(dialect: Dialect, shown: &Value) -> Result<View, Refusal> {
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
