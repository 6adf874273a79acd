//! Server events as text: ids, envelope, the shapes that dialects share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use serde_json::{Map, Value, json};

/// What a pure part wants sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A text frame.
    Event {
        /// Its `type` (realtime) or `header.event` (task protocol).
        name: &'static str,
        /// The whole JSON.
        text: String,
    },
    /// A close frame; nothing follows it.
    Close {
        /// The close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: String,
    },
}

impl Output {
    /// The event's name; `close` for a close frame.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event { name, .. } => name,
            Self::Close { .. } => "close",
        }
    }
}

/// Why a client event was not obeyed. The socket stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The provider's code, where one is known.
    pub code: Option<&'static str>,
    /// For people.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
}

impl Refusal {
    /// A field that holds what it must not.
    #[must_use]
    pub fn value(param: &str, message: impl Into<String>) -> Self {
        Self { code: Some("invalid_value"), message: message.into(), param: Some(param.to_owned()) }
    }

    /// An event that doesn't fit; several of the provider's have no code.
    #[must_use]
    pub fn plain(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), param: None }
    }

    /// The `error` event that names the client's own `event_id`, if it gave one.
    #[must_use]
    pub fn event(&self, client_event: Option<&str>) -> Output {
        let mut error = json!({"type": "invalid_request_error", "message": self.message});
        if let Some(code) = self.code {
            set(&mut error, "code", code);
        }
        if let Some(param) = &self.param {
            set(&mut error, "param", param.as_str());
        }
        if let Some(event) = client_event {
            set(&mut error, "event_id", event);
        }
        event("error", &json!({"error": error}))
    }
}

/// A random id as the provider makes them: `prefix` and 21 characters of `[A-Za-z0-9_-]`.
#[must_use]
pub fn id(prefix: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let mut id = String::with_capacity(prefix.len() + 21);
    id.push_str(prefix);
    let mut bits: [u8; 21] = [0; 21];
    rand::rng().fill(&mut bits);
    for byte in bits {
        id.push(LETTERS.get(usize::from(byte & 63)).copied().map_or('_', char::from));
    }
    id
}

/// The padding beside a delta of 3.8: 14 random characters.
#[must_use]
pub fn obfuscation() -> String {
    id("").chars().take(14).collect()
}

/// An event with its envelope before `fields`, as the provider orders them.
#[must_use]
pub fn event(name: &'static str, fields: &Value) -> Output {
    let body = fields.to_string();
    let rest = body.strip_prefix('{').unwrap_or("}");
    let comma = if rest == "}" { "" } else { "," };
    Output::Event { name, text: format!(r#"{{"event_id":"{}","type":"{name}"{comma}{rest}"#, id("event_")) }
}

/// A message of the task protocol; `more` goes into its header.
#[must_use]
pub fn message(name: &'static str, task: &str, more: &Value, payload: &Value) -> Output {
    let header = with(json!({"task_id": task, "event": name, "attributes": {}}), more);
    Output::Event { name, text: json!({"header": header, "payload": payload}).to_string() }
}

/// `response.audio.delta` around raw PCM16LE.
#[must_use]
pub fn audio_delta(response: &str, item: &str, pcm: &[u8]) -> Output {
    let mut text = String::with_capacity(pcm.len().div_ceil(3) * 4 + 256);
    text.push_str(r#"{"type":"response.audio.delta","response_id":""#);
    text.push_str(response);
    text.push_str(r#"","item_id":""#);
    text.push_str(item);
    text.push_str(r#"","output_index":0,"content_index":0,"delta":""#);
    STANDARD.encode_string(pcm, &mut text);
    text.push_str(r#"","event_id":""#);
    text.push_str(&id("event_"));
    text.push_str("\"}");
    Output::Event { name: "response.audio.delta", text }
}

/// `a` with the fields of `b` beside its own.
#[must_use]
pub fn with(mut a: Value, b: &Value) -> Value {
    if let (Some(own), Some(more)) = (a.as_object_mut(), b.as_object()) {
        own.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    a
}

/// Sets one field of an object; anything else becomes an object first.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(output: &Output) -> Value {
        let Output::Event { text, .. } = output else { panic!("{output:?}") };
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_envelope_comes_first() {
        let Output::Event { text, .. } = event("session.finished", &json!({})) else { panic!() };
        assert!(
            text.starts_with(r#"{"event_id":"event_"#) && text.ends_with(r#","type":"session.finished"}"#),
            "{text}"
        );
        assert_eq!(parsed(&event("x", &json!({"a": 1})))["a"], 1);
    }

    #[test]
    fn ids_are_nanoids() {
        let made = id("sess_");
        assert_eq!(made.len(), 26);
        assert!(made.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
        assert_eq!(obfuscation().len(), 14);
    }

    #[test]
    fn a_full_delta_has_the_recorded_length() {
        let delta = parsed(&audio_delta("resp_1", "item_1", &vec![0; super::super::voice::CHUNK * 2]));
        assert_eq!(delta["delta"].as_str().unwrap().len(), 20_692);
    }

    #[test]
    fn refusals_name_the_clients_event() {
        let error = parsed(&Refusal::value("session.modalities", "no").event(Some("mine")));
        assert_eq!(
            error["error"],
            json!({
                "type": "invalid_request_error", "code": "invalid_value", "message": "no",
                "param": "session.modalities", "event_id": "mine",
            })
        );
    }
}
