//! The JSON events of realtime sessions: LiveTranslate 3/3.5 and 3.8, Omni and its siblings.
//!
//! Frames are relayed as they are; what is read here is only what metering and the session's end need.
//! Source: the vendor's client and server event references, and recorded sessions.

use std::borrow::Cow;

use bytestring::ByteString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audio;
use super::members::Members;

/// What a client's text frame means to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFrame<'a> {
    /// Bytes of audio that it carries, from the length of its base64.
    pub audio_bytes: u64,
    /// The base64 itself, where the frame has the usual form.
    pub audio: Option<&'a str>,
    /// New settings, from `session.update`.
    pub update: Option<Settings>,
    /// It is `session.finish`.
    pub finish: bool,
    /// It is `input_audio_buffer.commit`.
    pub commit: bool,
    /// It belongs to the audio around it: `input_image_buffer.append`, `input_audio_buffer.clear`.
    pub beside_audio: bool,
}

/// Settings of a session that change how it is metered and watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Samples a second of the input.
    pub sample_rate: Option<u64>,
    /// An input format that is not PCM.
    pub compressed: Option<String>,
    /// Turns are ended by the client's commit, not by the server's voice detection.
    pub manual: Option<bool>,
}

/// Reads a client's text frame. Never fails: what can't be read counts by its length.
#[must_use]
pub fn client_frame(text: &str) -> ClientFrame<'_> {
    if let Some(audio) = usual_append(text) {
        return ClientFrame { audio_bytes: audio::decoded_length(audio), audio: Some(audio), ..ClientFrame::default() };
    }
    let Some(members) = Members::read(text) else {
        // Another parser might still find audio in it.
        return ClientFrame { audio_bytes: audio::decoded_length(text), ..ClientFrame::default() };
    };
    let is = |name: &str| members.strings("type").any(|kind| kind == name);
    let update = is("session.update")
        .then(|| members.objects("session").fold(Settings::default(), |known, session| settings(known, &session)));
    ClientFrame {
        audio_bytes: members.strings("audio").map(|audio| audio::decoded_length(&audio)).sum(),
        audio: None,
        update,
        finish: is("session.finish"),
        commit: is("input_audio_buffer.commit"),
        beside_audio: is("input_image_buffer.append") || is("input_audio_buffer.clear"),
    }
}

/// The audio of an `input_audio_buffer.append` in its usual form: an object of `event_id`, `type` and
/// `audio`, each once, plain strings. Anything else is for the full parser.
fn usual_append(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('{')?;
    let (mut audio, mut typed, mut identified) = (None, false, false);
    loop {
        let (name, after) = plain_string(rest)?;
        let after = after.strip_prefix(':')?;
        let (value, after) = plain_string(after.strip_prefix(' ').unwrap_or(after))?;
        match name {
            "event_id" if !identified => identified = true,
            "type" if !typed && value == "input_audio_buffer.append" => typed = true,
            "audio" if audio.is_none() => audio = Some(value),
            _ => return None,
        }
        if after == "}" {
            return audio.filter(|_| typed);
        }
        let after = after.strip_prefix(',')?;
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
}

/// A JSON string without escapes at the start of `text`, and what follows it.
fn plain_string(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let end = memchr::memchr2(b'"', b'\\', inside.as_bytes())?;
    let after = inside.get(end..)?.strip_prefix('"')?;
    Some((inside.get(..end)?, after))
}

/// Adds one `session` object to what is known, later members winning.
fn settings(mut known: Settings, session: &Members<'_>) -> Settings {
    let mut format = |value: Cow<'_, str>| {
        if !value.to_ascii_lowercase().starts_with("pcm") {
            known.compressed = Some(value.into_owned());
        }
    };
    session.strings("input_audio_format").for_each(&mut format);
    let inputs: Vec<Members<'_>> = session.objects("audio").flat_map(|audio| objects(&audio, "input")).collect();
    let formats: Vec<Members<'_>> = inputs.iter().flat_map(|input| objects(input, "format")).collect();
    formats.iter().flat_map(|nested| nested.strings("type").collect::<Vec<_>>()).for_each(&mut format);
    inputs.iter().flat_map(|input| input.strings("format").collect::<Vec<_>>()).for_each(&mut format);
    // The lowest of several rates makes the most seconds: nobody can say which of them the provider takes.
    let rates = formats.iter().chain(std::iter::once(session)).flat_map(|place| place.numbers("sample_rate"));
    known.sample_rate = rates.chain(known.sample_rate).min();
    let turns = inputs.iter().chain(std::iter::once(session)).flat_map(|place| place.all("turn_detection").last());
    known.manual = turns.map(|value| value.trim() == "null").next_back().or(known.manual);
    known
}

fn objects<'a>(members: &Members<'a>, name: &str) -> Vec<Members<'a>> {
    members.objects(name).collect()
}

/// What an upstream's text frame means to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamEvent {
    /// `session.created`: the settings in force.
    Created(Settings),
    /// `session.updated`: the settings in force.
    Updated(Settings),
    /// `input_audio_buffer.speech_started`
    SpeechStarted(Speech),
    /// `input_audio_buffer.speech_stopped`
    SpeechStopped(Speech),
    /// `input_audio_buffer.committed`, with the item
    Committed(String),
    /// A partial caption of the source.
    SourcePart,
    /// The source's caption is final, or failed: `…input_audio_transcription.completed`, with the item.
    SourceDone(String),
    /// `response.created`, with the response
    ResponseCreated(String),
    /// A piece of translated speech.
    Audio,
    /// The translation's caption is final: `response.text.done`, `response.audio_transcript.done`, with the response.
    TranslationDone(String),
    /// `response.done`
    ResponseDone {
        /// The response.
        response: String,
        /// The tokens that it reports.
        usage: Option<Usage>,
    },
    /// `error`, with the id of the client's event that it answers, where it tells.
    Error(Option<String>),
    /// `session.finished`
    Finished,
    /// Anything else.
    Other,
}

/// Where speech began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speech {
    /// The input item.
    pub item: String,
    /// Milliseconds into the audio that the provider heard on this connection.
    pub at_ms: u64,
}

/// Tokens as `response.done` reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Usage {
    /// Tokens in.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens out.
    #[serde(default)]
    pub output_tokens: u64,
}

/// Reads an upstream's text frame. What can't be read is [`UpstreamEvent::Other`].
#[must_use]
pub fn upstream_event(text: &str) -> UpstreamEvent {
    match usual_type(text) {
        Some("response.audio.delta") => return UpstreamEvent::Audio,
        Some(
            "response.audio_transcript.delta"
            | "response.audio_transcript.text"
            | "response.text.delta"
            | "response.text.text",
        ) => return UpstreamEvent::Other,
        Some(
            "conversation.item.input_audio_transcription.text" | "conversation.item.input_audio_transcription.delta",
        ) => return UpstreamEvent::SourcePart,
        Some(_) | None => {}
    }
    let Some(members) = Members::read(text) else { return UpstreamEvent::Other };
    let kind = members.strings("type").last().unwrap_or_default();
    let named = |name: &str| members.strings(name).last().unwrap_or_default().into_owned();
    let speech = |at: &str| Speech { item: named("item_id"), at_ms: members.number(at).unwrap_or_default() };
    let response = || {
        let ids = members.objects("response").flat_map(|response| response.strings("id").last());
        ids.last().unwrap_or_default().into_owned()
    };
    let session = || members.objects("session").fold(Settings::default(), |known, session| settings(known, &session));
    match kind.as_ref() {
        "input_audio_buffer.speech_started" => UpstreamEvent::SpeechStarted(speech("audio_start_ms")),
        "input_audio_buffer.speech_stopped" => UpstreamEvent::SpeechStopped(speech("audio_end_ms")),
        "input_audio_buffer.committed" => UpstreamEvent::Committed(named("item_id")),
        "conversation.item.input_audio_transcription.completed"
        | "conversation.item.input_audio_transcription.failed" => UpstreamEvent::SourceDone(named("item_id")),
        "response.created" => UpstreamEvent::ResponseCreated(response()),
        "response.text.done" | "response.audio_transcript.done" => UpstreamEvent::TranslationDone(named("response_id")),
        "response.done" => {
            let usage = members.objects("response").filter_map(|response| response.all("usage").last()).last();
            let usage = usage.and_then(|usage| serde_json::from_str(usage).ok());
            UpstreamEvent::ResponseDone { response: response(), usage }
        }
        "session.created" => UpstreamEvent::Created(session()),
        "session.updated" => UpstreamEvent::Updated(session()),
        "session.finished" => UpstreamEvent::Finished,
        "error" => {
            let ids = members.objects("error").flat_map(|error| error.strings("event_id").last());
            UpstreamEvent::Error(ids.last().map(Cow::into_owned))
        }
        _ => UpstreamEvent::Other,
    }
}

/// The `type` of an event that begins with it, or with `event_id` and it.
fn usual_type(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('{')?;
    let (mut name, mut after) = plain_string(rest)?;
    if name == "event_id" {
        let (_, next) = plain_string(after.strip_prefix(':')?)?;
        (name, after) = plain_string(next.strip_prefix(',')?)?;
    }
    (name == "type").then(|| plain_string(after.strip_prefix(':')?).map(|(kind, _)| kind))?
}

/// The `error` event that precedes a close by the gateway, or answers a refused frame.
#[must_use]
pub fn error_event(event_id: &str, fault: &Fault<'_>) -> ByteString {
    json!({ "event_id": event_id, "type": "error", "error": fault }).to_string().into()
}

/// The inner object of an `error` event.
#[derive(Debug, Serialize)]
pub struct Fault<'a> {
    /// The group of errors.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The stable code that programs compare.
    pub code: &'a str,
    /// For people.
    pub message: &'a str,
    /// The field at fault.
    pub param: Option<&'a str>,
    /// Of a budget that is used up: when it has something again, null where that isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Option<Timestamp>>,
}

/// `session.finish`, sent when a client left without it, or may send no more.
#[must_use]
pub fn finish_event(event_id: &str) -> ByteString {
    json!({ "event_id": event_id, "type": "session.finish" }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> u64 {
        client_frame(text).audio_bytes
    }

    #[test]
    fn audio_is_counted_however_it_is_written() {
        for text in [
            r#"{"type":"input_audio_buffer.append","audio":"AAAAAAAA"}"#,
            r#"{"event_id":"event_1","type":"input_audio_buffer.append","audio":"AAAAAAAA"}"#,
            r#"{"event_id": "event_1", "type": "input_audio_buffer.append", "audio": "AAAAAAAA"}"#,
            r#"{"audio":"AAAAAAAA","type":"input_audio_buffer.append"}"#,
            r#" {"type":"input_audio_buffer.append","audio":"AAAAAAAA"}"#,
            r#"{"type":"input_audio_buffer.append","audio":"AAAA","audio":"AAAA"}"#,
            r#"{"type":"input_audio_buffer.append","\u0061udio":"AAAAAAAA"}"#,
            r#"{"type":"input_audio_buffer\u002eappend","audio":"AAAA\u0041AAA"}"#,
            r#"{"type":"x","type":"input_audio_buffer.append","audio":"AAAAAAAA","n":{"audio":"A"}}"#,
            r#"{"type":"unknown.event","audio":"AAAAAAAA"}"#,
            r#"{"type":"input_audio_buffer.append","audio":"!!!!!!!!"}"#,
        ] {
            assert_eq!(bytes(text), 6, "{text}");
        }
        assert_eq!(bytes(r#"{"type":"unknown.event","text":"AAAAAAAA"}"#), 0);
        assert_eq!(bytes("{'audio':'AAAAAA"), 12, "what can't be read counts by its length");
    }

    #[test]
    fn only_the_usual_form_skips_the_parser() {
        assert!(client_frame(r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#).audio.is_some());
        for text in [
            r#"{"type":"input_audio_buffer.append","audio":"AAAA","audio":"AAAAAAAA"}"#,
            r#"{"type":"input_audio_buffer.append","audio":"AA\u0041A"}"#,
            r#"{"type":"session.update","audio":"AAAA"}"#,
            r#"{"type":"input_audio_buffer.append","audio":"AAAA"}{"#,
        ] {
            assert!(client_frame(text).audio.is_none(), "{text}");
        }
    }

    #[test]
    fn settings_are_found_in_both_dialects() {
        let update = |text: &str| client_frame(text).update.unwrap();
        let flat = update(
            r#"{"type":"session.update","session":{"sample_rate":8000,"input_audio_format":"pcm16","turn_detection":null}}"#,
        );
        assert_eq!(flat, Settings { sample_rate: Some(8_000), compressed: None, manual: Some(true) });
        let nested = update(
            r#"{"type":"session.update","session":{"audio":{"input":{"format":{"type":"opus","sample_rate":16000},"turn_detection":{"type":"speaker_detection"}}}}}"#,
        );
        assert_eq!(
            nested,
            Settings { sample_rate: Some(16_000), compressed: Some("opus".into()), manual: Some(false) }
        );
        let twice = update(
            r#"{"type":"session.update","audio":"AAAA","session":{"input_audio_format":"opus"},"session":{"input_audio_format":"pcm"}}"#,
        );
        for text in [
            r#"{"type":"session.update","session":{"sample_rate":8000.0}}"#,
            r#"{"type":"session.update","session":{"sample_rate":8e3,"sample_rate":16000}}"#,
            r#"{"type":"session.update","session":{"sample_rate":16000,"audio":{"input":{"format":{"sample_rate":8000}}}}}"#,
            r#"{"type":"session.update","session":{"sample_rate":8000},"session":{"sample_rate":16000}}"#,
        ] {
            assert_eq!(update(text).sample_rate, Some(8_000), "{text}");
        }
        assert_eq!(twice.compressed.as_deref(), Some("opus"), "either could count upstream");
    }

    #[test]
    fn upstream_events() {
        let usage = Usage { input_tokens: 85, output_tokens: 33 };
        for (text, expected) in [
            (
                r#"{"event_id":"e","type":"input_audio_buffer.speech_started","audio_start_ms":7,"item_id":"i"}"#,
                UpstreamEvent::SpeechStarted(Speech { item: "i".into(), at_ms: 7 }),
            ),
            (r#"{"event_id":"e","type":"response.audio.delta","delta":"AAAA"}"#, UpstreamEvent::Audio),
            (
                r#"{"text":"\"type\":\"session.finished\"","type":"response.text.done","response_id":"r"}"#,
                UpstreamEvent::TranslationDone("r".into()),
            ),
            (
                r#"{"type":"response.done","response":{"id":"r","usage":{"total_tokens":118,"input_tokens":85,"output_tokens":33}}}"#,
                UpstreamEvent::ResponseDone { response: "r".into(), usage: Some(usage) },
            ),
            (
                r#"{"response":{"id":"r"},"type":"response.done"}"#,
                UpstreamEvent::ResponseDone { response: "r".into(), usage: None },
            ),
            (r#"{"type":"error","error":{"event_id":"e"}}"#, UpstreamEvent::Error(Some("e".into()))),
            (r#"{"type":"session.finished"}"#, UpstreamEvent::Finished),
            ("not json", UpstreamEvent::Other),
        ] {
            assert_eq!(upstream_event(text), expected, "{text}");
        }
    }
}
