//! One record as one line, whatever it holds: line breaks and control characters are escaped.

use std::fmt::Write as _;

use jiff::Timestamp;
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};

/// What a message may have at most, bytes; the rest is cut off.
const LONGEST: usize = 8 * 1024;
/// Members that a record's own fields can't replace.
const OURS: &[&str] = &["ts", "level", "target", "message"];

/// A JSON object: `ts` (RFC 3339, UTC), `level`, `target`, `message`, and the record's fields beside them.
pub(super) fn json(now: Timestamp, record: &Record<'_>) -> String {
    let mut line = Line(String::with_capacity(384));
    // Neither a string nor our own visitor ever fails.
    let _ = write!(line.0, "{{\"ts\":\"{now:.6}\",\"level\":\"{}\",\"target\":", level(record.level()));
    line.quote(record.target());
    line.0.push_str(",\"message\":");
    match record.args().as_str() {
        Some(message) => line.quote(message),
        None => line.quote(&record.args().to_string()),
    }
    let _ = record.key_values().visit(&mut line);
    line.0.push('}');
    line.0
}

/// The same for people, without the level: time, target, message, `name=value` pairs.
pub(super) fn text(now: Timestamp, record: &Record<'_>) -> String {
    let mut line = format!("{now:.3} {} {}", record.target(), shortened(record.args().to_string()));
    let _ = record.key_values().visit(&mut Pairs(&mut line));
    line.chars()
        .map(|letter| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() })
        .collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// A JSON object that is being written.
struct Line(String);

impl Line {
    /// Adds a text as a JSON string, cut off where it is too long.
    fn quote(&mut self, text: &str) {
        let shortened = (text.len() > LONGEST).then(|| shortened(text.to_owned()));
        let text = shortened.as_deref().unwrap_or(text);
        let plain = |byte: u8| byte >= b' ' && !matches!(byte, b'"' | b'\\');
        if text.bytes().all(plain) {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        } else {
            let _ = self.add(serde_json::Value::from(text));
        }
    }

    fn add(&mut self, value: impl std::fmt::Display) -> Result<(), kv::Error> {
        Ok(write!(self.0, "{value}")?)
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push(',');
        let name = key.as_str();
        if OURS.contains(&name) {
            self.quote(&format!("{name}_"))
        } else {
            self.quote(name)
        }
        self.0.push(':');
        value.visit(self)
    }
}

impl<'value> VisitValue<'value> for Line {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.quote(&value.to_string());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.add("null")
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.add(value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.add(value)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.add(serde_json::Value::from(value))
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.add(value)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.quote(value);
        Ok(())
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST {
        message.truncate(message.floor_char_boundary(LONGEST));
        message.push('…');
    }
    message
}

/// Fields that are being added to a line for people.
struct Pairs<'line>(&'line mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut written = Line(String::new());
        value.visit(&mut written)?;
        Ok(write!(self.0, " {key}={}", written.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(message: &str, fields: &[(&str, Value<'_>)]) -> (String, String) {
        let now = Timestamp::from_microsecond(1_764_000_000_123_456).unwrap();
        let arguments = format_args!("{message}");
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("livetranslate::api")
            .key_values(&fields)
            .args(arguments)
            .build();
        (json(now, &record), text(now, &record))
    }

    #[test]
    fn fields_stand_beside_the_message() {
        let fields =
            [("request_id", Value::from("r-1")), ("status", Value::from(200_u16)), ("live", Value::from(true))];
        let (json, text) = rendered("done", &fields);
        assert_eq!(
            json,
            r#"{"ts":"2025-11-24T16:00:00.123456Z","level":"warn","target":"livetranslate::api","message":"done","request_id":"r-1","status":200,"live":true}"#
        );
        assert_eq!(text, r#"2025-11-24T16:00:00.123Z livetranslate::api done request_id="r-1" status=200 live=true"#);
    }

    #[test]
    fn no_record_makes_two_lines_or_another_member() {
        let forged = "a\nb\r\u{1b}[31m\",\"level\":\"error";
        let (json, text) = rendered(forged, &[("message", Value::from("x\ny"))]);
        assert!(!json.contains(['\n', '\r', '\u{1b}']) && !text.contains(['\n', '\r', '\u{1b}']), "{json} {text}");
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&parsed["level"], &parsed["message"]), (&"warn".into(), &forged.into()));
        assert_eq!(parsed["message_"], "x\ny");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let (json, _) = rendered(&"é".repeat(20_000), &[]);
        assert!(json.len() < LONGEST + 200);
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
}
