//! A setting's value out of text or out of a file, checked against its kind.
//! Each error is the end of a sentence that begins with the setting's name; no secret is repeated in it.

use std::net::IpAddr;

use config::{Value, ValueKind};
use ipnet::IpNet;

use super::address;
use super::names::Kind;

/// A value as the environment and `.env` give it: always text, never empty.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<ValueKind, String> {
    if text.contains('\u{FFFD}') {
        return Err("must be UTF-8".to_owned());
    }
    let textual = match kind {
        Kind::Text | Kind::Secret => Ok(text.to_owned()),
        Kind::Host => address::host(text),
        Kind::Domain => address::domain(text),
        Kind::Listen => address::listen(text),
        Kind::HttpBase => address::http_base(text),
        Kind::WebSocketBase => address::websocket_base(text),
        Kind::AnthropicBase => address::anthropic_base(text),
        Kind::StoreUrl => address::store_url(text),
        Kind::RedisUrl => address::redis_url(text),
        Kind::Level => level(text),
        Kind::Word(words) => word(words, text),
        Kind::Whole(..) => return whole(kind, text.parse().ok(), text).map(ValueKind::I64),
        Kind::Flag => return flag(text).map(ValueKind::Boolean),
        Kind::Origins => return origins(text.split(',').map(str::trim).filter(|part| !part.is_empty())),
        Kind::Networks => return networks(text.split(',').map(str::trim).filter(|part| !part.is_empty())),
        Kind::Models => Err("can only be set in a file".to_owned()),
    };
    textual.map(ValueKind::String)
}

/// A value as a TOML file gives it; `None` for an empty text, which counts as not set.
pub(super) fn from_file(kind: Kind, value: &Value) -> Result<Option<ValueKind>, String> {
    let found = match (&kind, &value.kind) {
        (Kind::Whole(..), ValueKind::I64(number)) => ValueKind::I64(whole(kind, Some(*number), &number.to_string())?),
        (Kind::Whole(..), other) => return Err(expected(kind, &shown(other))),
        (Kind::Flag, ValueKind::Boolean(flag)) => ValueKind::Boolean(*flag),
        (Kind::Flag, other) => return Err(format!("must be true or false, without quotes, not {}", shown(other))),
        (Kind::Origins, ValueKind::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(text_of).collect();
            origins(texts.ok_or("must be a list of texts such as [\"https://app.example.com\"]")?.into_iter())?
        }
        (Kind::Origins, _) => return Err("must be a list such as [\"https://app.example.com\"]".to_owned()),
        (Kind::Networks, ValueKind::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(text_of).collect();
            networks(texts.ok_or("must be a list of texts such as [\"10.0.0.0/8\"]")?.into_iter())?
        }
        (Kind::Networks, _) => return Err("must be a list such as [\"10.0.0.0/8\"]".to_owned()),
        (Kind::Models, ValueKind::Array(_)) => value.kind.clone(),
        (Kind::Models, _) => return Err("must be a list of tables, [[realtime.models]]".to_owned()),
        (_, ValueKind::String(text)) if text.trim().is_empty() => return Ok(None),
        (_, ValueKind::String(text)) => from_text(kind, text.trim())?,
        (Kind::Secret, _) => return Err("must be text in quotes".to_owned()),
        (_, other) => return Err(format!("must be text in quotes, not {}", shown(other))),
    };
    Ok(Some(found))
}

fn text_of(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

fn whole(kind: Kind, number: Option<i64>, text: &str) -> Result<i64, String> {
    match (kind, number) {
        (Kind::Whole(least, most), Some(number)) if (least..=most).contains(&number) => Ok(number),
        _ => Err(expected(kind, &format!("`{text}`"))),
    }
}

fn expected(kind: Kind, found: &str) -> String {
    match kind {
        Kind::Whole(least, i64::MAX) => format!("must be a whole number, {least} or more, not {found}"),
        Kind::Whole(least, most) => format!("must be a whole number from {least} to {most}, not {found}"),
        _ => format!("can't be {found}"),
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("must be true or false (or 1 or 0), not `{text}`")),
    }
}

fn networks<'text>(texts: impl Iterator<Item = &'text str>) -> Result<ValueKind, String> {
    let network = |text: &str| {
        let single = || text.parse::<IpAddr>().map(IpNet::from).ok();
        text.parse::<IpNet>().ok().or_else(single).ok_or_else(|| {
            format!("must hold networks such as 10.0.0.0/8 or addresses, separated by commas; `{text}` is neither")
        })
    };
    let list: Result<Vec<String>, String> = texts.map(|text| network(text).map(|found| found.to_string())).collect();
    Ok(ValueKind::from(list?))
}

fn origins<'text>(texts: impl Iterator<Item = &'text str>) -> Result<ValueKind, String> {
    let list: Result<Vec<String>, String> = texts.map(address::origin).collect();
    Ok(ValueKind::from(list?))
}

fn level(text: &str) -> Result<String, String> {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "warning" => Ok("warn".to_owned()),
        bare if LEVELS.contains(&bare) => Ok(lower),
        _ if text.contains(['=', ',', '/']) => Ok(text.to_owned()),
        // env_logger would take it for a module's name and stay silent about all others.
        _ => Err(format!("must be {} or a filter such as info,actix_server=warn, not `{text}`", LEVELS.join(", "))),
    }
}

fn word(words: &[&str], text: &str) -> Result<String, String> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    found.map(ToString::to_string).ok_or_else(|| format!("must be {}, not `{text}`", words.join(" or ")))
}

fn shown(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::String(text) => format!("the text \"{text}\""),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_the_setting_takes() {
        for (kind, text, value) in [
            (Kind::Whole(0, 65_535), "0", ValueKind::I64(0)),
            (Kind::Flag, "TRUE", ValueKind::Boolean(true)),
            (Kind::Flag, "0", ValueKind::Boolean(false)),
            (Kind::Networks, "10.0.0.0/8, ::1", ValueKind::from(vec!["10.0.0.0/8", "::1/128"])),
            (Kind::Origins, "*, HTTPS://App.example:443", ValueKind::from(vec!["*", "https://app.example"])),
            (Kind::Level, "WARNING", ValueKind::from("warn")),
            (Kind::Level, "info,actix_web=debug", ValueKind::from("info,actix_web=debug")),
            (Kind::Word(&["json", "text"]), "JSON", ValueKind::from("json")),
        ] {
            assert_eq!(from_text(kind, text), Ok(value), "{text}");
        }
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_right() {
        for (kind, text, sentence) in [
            (Kind::Whole(0, 65_535), "65536", "must be a whole number from 0 to 65535, not `65536`"),
            (Kind::Whole(1, i64::MAX), "-1", "must be a whole number, 1 or more, not `-1`"),
            (Kind::Whole(1, i64::MAX), "ten", "must be a whole number, 1 or more, not `ten`"),
            (Kind::Flag, "yes please", "must be true or false (or 1 or 0), not `yes please`"),
            (Kind::Word(&["json", "text"]), "xml", "must be json or text, not `xml`"),
            (Kind::Secret, "a\u{FFFD}b", "must be UTF-8"),
        ] {
            assert_eq!(from_text(kind, text), Err(sentence.to_owned()), "{text}");
        }
        assert!(from_text(Kind::Networks, "10.0.0.0/8,elsewhere").unwrap_err().contains("`elsewhere`"));
        assert!(from_text(Kind::Level, "verbose").unwrap_err().contains("`verbose`"));
        assert!(from_text(Kind::Origins, "https://a.example,b.example").unwrap_err().contains("`b.example`"));
        let secret = from_file(Kind::Secret, &Value::new(None, 12_345)).unwrap_err();
        assert!(!secret.contains("12345"));
    }
}
