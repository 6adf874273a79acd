//! What a server event means to the customer's client; both dialects, read loosely.
//!
//! Source: the vendor's event references and recorded sessions. What is not understood is [`Event::Other`].

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::wire::continuity::OWN_ID;

/// A server event, reduced to what captions, audio and the session's end need.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `session.created`, with the provider's session id.
    SessionCreated(String),
    /// `session.updated`
    SessionUpdated,
    /// `session.finished`
    SessionFinished,
    /// Someone began to speak, milliseconds into the audio sent.
    SpeechStarted {
        /// The input item.
        item: String,
        /// Milliseconds into the audio sent.
        at_ms: u64,
    },
    /// The speech of an input item ended.
    SpeechStopped {
        /// The input item.
        item: String,
        /// Milliseconds into the audio sent.
        at_ms: u64,
    },
    /// An item stands in the conversation, after another one.
    ItemCreated {
        /// The new item.
        item: String,
        /// The item before it, where it is told.
        previous: Option<String>,
    },
    /// A translation begins.
    ResponseCreated(String),
    /// A translation's item.
    OutputItem {
        /// The response.
        response: String,
        /// The item that it fills.
        item: String,
    },
    /// The caption of what was said.
    Source {
        /// The input item.
        item: String,
        /// What becomes of the caption.
        change: Change,
    },
    /// The caption of the translation.
    Translation {
        /// The response.
        response: String,
        /// What becomes of the caption.
        change: Change,
    },
    /// Translated speech.
    Audio {
        /// The response.
        response: String,
        /// 24 kHz, mono.
        samples: Vec<i16>,
    },
    /// A translation's end.
    ResponseDone {
        /// The response.
        response: String,
        /// Not cut short.
        completed: bool,
        /// Tokens, as the model reports them.
        usage: Option<Usage>,
    },
    /// Something went wrong.
    Error {
        /// Code, or else type, of the error; empty where neither is told.
        code: String,
        /// The sentence.
        message: String,
        /// The request was wrong, the session goes on.
        recoverable: bool,
        /// The gateway's own; it closes next.
        by_gateway: bool,
    },
    /// Anything else.
    Other,
}

/// What becomes of a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This is the whole line now; its tail may still be taken back.
    Refresh(String),
    /// This is added.
    Append(String),
    /// This is the whole line for good.
    Final(String),
}

/// Tokens of a `response.done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
}

impl Event {
    /// Reads a text frame.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let Ok(event) = serde_json::from_str::<Value>(text) else { return Self::Other };
        let item = || string(&event, "/item_id");
        let response = || string(&event, "/response_id");
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "session.created" => Self::SessionCreated(string(&event, "/session/id")),
            "session.updated" => Self::SessionUpdated,
            "session.finished" => Self::SessionFinished,
            "input_audio_buffer.speech_started" => {
                Self::SpeechStarted { item: item(), at_ms: number(&event, "/audio_start_ms") }
            }
            "input_audio_buffer.speech_stopped" => {
                Self::SpeechStopped { item: item(), at_ms: number(&event, "/audio_end_ms") }
            }
            "conversation.item.created" => Self::ItemCreated {
                item: string(&event, "/item/id"),
                previous: event.get("previous_item_id").and_then(Value::as_str).map(str::to_owned),
            },
            "response.created" => Self::ResponseCreated(string(&event, "/response/id")),
            "response.output_item.added" => Self::OutputItem { response: response(), item: string(&event, "/item/id") },
            "response.audio.delta" => match samples(&string(&event, "/delta")) {
                Some(samples) => Self::Audio { response: response(), samples },
                None => Self::Other,
            },
            "response.done" => Self::ResponseDone {
                response: string(&event, "/response/id"),
                completed: event.pointer("/response/status").and_then(Value::as_str) == Some("completed"),
                usage: usage(&event),
            },
            "error" => error(&event),
            kind => caption(kind, &event),
        }
    }
}

/// Captions: the ending says what the event is, the fields say how it changes the line.
fn caption(kind: &str, event: &Value) -> Event {
    let source = kind.strip_prefix("conversation.item.input_audio_transcription.");
    let translation = kind.strip_prefix("response.text.").or_else(|| kind.strip_prefix("response.audio_transcript."));
    let Some(change) = source.or(translation).and_then(|ending| change(ending, event)) else { return Event::Other };
    match source {
        Some(_) => Event::Source { item: string(event, "/item_id"), change },
        None => Event::Translation { response: string(event, "/response_id"), change },
    }
}

fn change(ending: &str, event: &Value) -> Option<Change> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    match ending {
        "done" | "completed" => text("transcript").or_else(|| text("text")).map(|line| Change::Final(line.to_owned())),
        "text" | "delta" => match (text("text"), text("stash"), text("delta")) {
            (None, None, delta) => delta.map(|delta| Change::Append(delta.to_owned())),
            (sure, guess, _) => Some(Change::Refresh(format!("{}{}", sure.unwrap_or(""), guess.unwrap_or("")))),
        },
        _ => None,
    }
}

fn error(event: &Value) -> Event {
    let kind = string(event, "/error/type");
    let code = string(event, "/error/code");
    // The gateway's own errors always end the session, also those about the request.
    let by_gateway = string(event, "/event_id").starts_with(OWN_ID);
    Event::Error {
        recoverable: kind == "invalid_request_error" && !by_gateway,
        by_gateway,
        message: string(event, "/error/message"),
        code: if code.is_empty() { kind } else { code },
    }
}

fn usage(event: &Value) -> Option<Usage> {
    let usage = event.pointer("/response/usage").filter(|usage| usage.is_object())?;
    Some(Usage { input_tokens: number(usage, "/input_tokens"), output_tokens: number(usage, "/output_tokens") })
}

fn samples(base64: &str) -> Option<Vec<i16>> {
    let bytes = BASE64_STANDARD.decode(base64).ok()?;
    let (pairs, _) = bytes.as_chunks::<2>();
    Some(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

fn string(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(event: &Value, pointer: &str) -> u64 {
    event.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_decide_how_a_caption_changes() {
        let translation = |change| Event::Translation { response: "r".to_owned(), change };
        let source = |change| Event::Source { item: "i".to_owned(), change };
        let refresh = |line: &str| Change::Refresh(line.to_owned());
        let cases = [
            (r#"{"type":"response.text.text","response_id":"r","text":"a","stash":" b"}"#, translation(refresh("a b"))),
            (
                r#"{"type":"response.audio_transcript.text","response_id":"r","text":"","stash":"b"}"#,
                translation(refresh("b")),
            ),
            (
                r#"{"type":"response.text.delta","response_id":"r","delta":"b"}"#,
                translation(Change::Append("b".to_owned())),
            ),
            (
                r#"{"type":"response.text.done","response_id":"r","text":"b  "}"#,
                translation(Change::Final("b  ".to_owned())),
            ),
            (
                r#"{"type":"response.audio_transcript.done","response_id":"r","transcript":"b"}"#,
                translation(Change::Final("b".to_owned())),
            ),
            // Omni before 3.8: called delta, refreshed as a whole.
            (
                r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"i","text":"a","stash":"b"}"#,
                source(refresh("ab")),
            ),
            (
                r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","transcript":"c"}"#,
                source(Change::Final("c".to_owned())),
            ),
            (r#"{"type":"conversation.item.input_audio_transcription.failed","item_id":"i","error":{}}"#, Event::Other),
            (r#"{"type":"gateway.ack","samples":5}"#, Event::Other),
            ("[]", Event::Other),
            ("not JSON", Event::Other),
        ];
        for (text, event) in cases {
            assert_eq!(Event::read(text), event, "{text}");
        }
    }

    #[test]
    fn only_the_provider_s_request_errors_leave_the_session_alive() {
        let read = |id: &str, kind: &str| {
            let text = format!(r#"{{"type":"error","event_id":"{id}","error":{{"type":"{kind}","message":"m"}}}}"#);
            match Event::read(&text) {
                Event::Error { recoverable, code, .. } => (recoverable, code),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read("event_1", "invalid_request_error"), (true, "invalid_request_error".to_owned()));
        assert!(!read("event_1", "server_error").0);
        assert!(!read("event_gw_1", "invalid_request_error").0);
    }

    #[test]
    fn audio_is_little_endian() {
        let audio = Event::Audio { response: "r".to_owned(), samples: vec![1, -1] };
        assert_eq!(Event::read(r#"{"type":"response.audio.delta","response_id":"r","delta":"AQD//w=="}"#), audio);
        assert_eq!(Event::read(r#"{"type":"response.audio.delta","delta":"%%"}"#), Event::Other);
    }
}
