//! What moves from one connection to the provider to the next: settings, times, answers cut short.

use std::borrow::Cow;

use bytestring::ByteString;
use serde_json::{Value, json};

use super::members::Members;

/// The item and the response that an event is about, wherever it names them.
#[must_use]
pub fn subjects(text: &str) -> Vec<String> {
    let Some(members) = Members::read(text) else { return Vec::new() };
    let inner = ["item", "response"].into_iter().flat_map(|place| {
        let ids = members.objects(place).flat_map(|object| object.strings("id").last());
        ids.map(Cow::into_owned).collect::<Vec<_>>()
    });
    let outer = ["item_id", "response_id"].into_iter().flat_map(|name| members.strings(name).last());
    outer.map(Cow::into_owned).chain(inner).collect()
}

/// A speech event with its time moved by so many milliseconds, every other byte as it was.
#[must_use]
pub fn later(text: &str, by_ms: u64) -> Option<ByteString> {
    let name = if text.contains("\"audio_start_ms\"") { "\"audio_start_ms\"" } else { "\"audio_end_ms\"" };
    let (before, after) = text.split_once(name)?;
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = value.split_at_checked(digits)?;
    let moved = number.parse::<u64>().ok()?.checked_add(by_ms)?;
    Some(format!("{before}{name}:{moved}{rest}").into())
}

/// The end of a response that was cut short with the connection it came on.
#[must_use]
pub fn incomplete_response(event_id: &str, response_id: &str) -> ByteString {
    json!({
        "event_id": event_id, "type": "response.done",
        "response": { "id": response_id, "object": "realtime.response", "status": "incomplete", "output": [] },
    })
    .to_string()
    .into()
}

/// The settings of `before` with those of `update` laid over them; both are `session.update` events.
#[must_use]
pub fn merged_update(before: Option<&str>, update: &str) -> Option<String> {
    let mut update: Value = serde_json::from_str(update).ok()?;
    let session = update.get_mut("session").filter(|session| session.is_object())?.take();
    let before = before.and_then(|before| serde_json::from_str::<Value>(before).ok());
    let mut known = before.and_then(|mut before| before.get_mut("session").map(Value::take)).unwrap_or_default();
    lay_over(&mut known, session);
    Some(json!({ "type": "session.update", "session": known }).to_string())
}

/// Objects are merged member by member, all else is replaced.
fn lay_over(known: &mut Value, update: Value) {
    match (known, update) {
        (Value::Object(known), Value::Object(update)) => {
            for (name, value) in update {
                // Hot words are a list in the form of an object.
                if name == "phrases" {
                    known.insert(name, value);
                } else {
                    lay_over(known.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (known, update) => *known = update,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_move_and_nothing_else_does() {
        let event =
            r#"{"event_id":"e", "type":"input_audio_buffer.speech_started","audio_start_ms": 40,"item_id":"i"}"#;
        assert_eq!(
            later(event, 1_000).unwrap(),
            r#"{"event_id":"e", "type":"input_audio_buffer.speech_started","audio_start_ms":1040,"item_id":"i"}"#
        );
        assert_eq!(later(r#"{"audio_end_ms":-1}"#, 5), None);
    }

    #[test]
    fn updates_are_laid_over_each_other() {
        let first = r#"{"event_id":"e","type":"session.update","session":{"voice":"Tina","translation":{"language":"en","corpus":{"phrases":{"a":"b"}}}}}"#;
        let second = r#"{"type":"session.update","session":{"turn_detection":null,"translation":{"language":"fr","corpus":{"phrases":{"c":"d"}}}}}"#;
        let merged = merged_update(merged_update(None, first).as_deref(), second).unwrap();
        let expected = json!({
            "type": "session.update",
            "session": {
                "voice": "Tina", "turn_detection": null,
                "translation": { "language": "fr", "corpus": { "phrases": { "c": "d" } } },
            },
        });
        assert_eq!(serde_json::from_str::<Value>(&merged).unwrap(), expected);
    }

    #[test]
    fn events_name_their_subjects() {
        assert_eq!(subjects(r#"{"type":"response.created","response":{"id":"r"}}"#), ["r"]);
        assert_eq!(subjects(r#"{"type":"x","item_id":"i","response_id":"r","item":{"id":"j"}}"#), ["i", "r", "j"]);
    }
}
