//! One record as one line, whatever it holds: line breaks and control characters are escaped.

use jiff::Timestamp;
use log::Record;
use log::kv::{self, Key, Value, VisitSource, VisitValue};

/// What a message may have at most, bytes; the rest is cut off.
const LONGEST: usize = 8 * 1024;
/// Members that a record's own fields can't replace.
const OURS: &[&str] = &["ts", "level", "target", "message"];

/// A JSON object: `ts` (RFC 3339, UTC), `level`, `target`, `message`, and the record's fields beside them.
pub(super) fn json(now: Timestamp, record: &Record<'_>) -> String {
    let mut fields = Fields::default();
    // Our own visitor never fails.
    let _ = record.key_values().visit(&mut fields);
    let mut line = String::with_capacity(256);
    line.push('{');
    member(&mut line, "ts", &format!("{now:.6}").into());
    member(&mut line, "level", &record.level().as_str().to_ascii_lowercase().into());
    member(&mut line, "target", &record.target().into());
    member(&mut line, "message", &shortened(record.args().to_string()).into());
    for (name, value) in &fields.pairs {
        if OURS.contains(&name.as_str()) {
            member(&mut line, &format!("{name}_"), value);
        } else {
            member(&mut line, name, value);
        }
    }
    line.push('}');
    line
}

/// The same for people, without the level: time, target, message, `name=value` pairs.
pub(super) fn text(now: Timestamp, record: &Record<'_>) -> String {
    let mut fields = Fields::default();
    let _ = record.key_values().visit(&mut fields);
    let mut line = format!("{now:.3} {} {}", record.target(), shortened(record.args().to_string()));
    for (name, value) in &fields.pairs {
        line.push_str(&format!(" {name}={value}"));
    }
    line.chars()
        .map(|letter| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() })
        .collect()
}

fn member(line: &mut String, name: &str, value: &serde_json::Value) {
    if !line.ends_with('{') {
        line.push(',');
    }
    line.push_str(&format!("{}:{value}", serde_json::Value::from(name)));
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST {
        message.truncate(message.floor_char_boundary(LONGEST));
        message.push('…');
    }
    message
}

/// A record's fields, in the order given.
#[derive(Default)]
struct Fields {
    pairs: Vec<(String, serde_json::Value)>,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut field = Field::default();
        value.visit(&mut field)?;
        self.pairs.push((key.as_str().to_owned(), field.value));
        Ok(())
    }
}

/// One field's value in JSON's terms.
#[derive(Default)]
struct Field {
    value: serde_json::Value,
}

impl<'value> VisitValue<'value> for Field {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.value = shortened(value.to_string()).into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.value = serde_json::Value::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.value = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.value = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.value = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.value = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.value = shortened(value.to_owned()).into();
        Ok(())
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
