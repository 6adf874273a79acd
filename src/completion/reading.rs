//! What one event of a stream is: an error, the last word, usage and nothing else. Pure.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::api::{Api, Dialect};
use super::meter;
use crate::upstream::native::failure;
use crate::wire::members::Members;

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static OUTPUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"output\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));

/// Members of a chunk that tells usage and nothing else.
const OF_USAGE: [&str; 8] =
    ["id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"];

/// Whether an event, or a body that was answered with 200, is an error, in any of its shapes.
#[must_use]
pub fn is_failure(dialect: Dialect, name: Option<&[u8]>, data: &[u8]) -> bool {
    if name == Some(b"error") {
        return true;
    }
    // A chunk says `error` only as a member's name: in a text its quotes are escaped.
    let suspect = ERROR.find(data).is_some() || dialect == Dialect::Dashscope && OUTPUT.find(data).is_none();
    if !suspect {
        return false;
    }
    let Some(members) = members(data) else { return false };
    let says = |members: &Members<'_>| {
        members.objects("error").next().is_some() || members.strings("error").any(|error| !error.is_empty())
    };
    says(&members)
        || members.strings("type").any(|kind| kind == "error")
        || members.objects("response").any(|response| says(&response))
        || dialect == Dialect::Dashscope && failure::is_failure(&members)
}

/// Whether an event is the last word: what was answered is whole.
#[must_use]
pub fn is_last(api: Api, name: Option<&[u8]>, data: &[u8]) -> bool {
    let ends: &[&[u8]] = match api {
        Api::Chat | Api::Embeddings => return data == b"[DONE]",
        Api::Responses => &[b"response.completed", b"response.incomplete", b"response.failed"],
        Api::Messages | Api::CountTokens => &[b"message_stop"],
        Api::Native => return false,
    };
    match name {
        Some(name) => ends.contains(&name),
        // Some servers leave the names to the data.
        None => {
            data == b"[DONE]"
                || members(data).is_some_and(|data| {
                    data.strings("type").any(|kind| ends.iter().any(|end| **end == *kind.as_bytes()))
                })
        }
    }
}

/// Whether an event that is not the last word shows that the answer is whole.
#[must_use]
pub fn finishes(api: Api, data: &[u8]) -> bool {
    match api {
        // Servers that forget the last word.
        Api::Chat => reason(data).is_some_and(|reason| !reason.is_empty()),
        // Services that have no such word end as they like.
        Api::Native => reason(data).is_none_or(|reason| reason != b"null"),
        Api::Embeddings | Api::Responses | Api::Messages | Api::CountTokens => false,
    }
}

/// The first `finish_reason` that is a text.
fn reason(data: &[u8]) -> Option<&[u8]> {
    FINISH.find_iter(data).find_map(|at| {
        let rest = data.get(at + 15..)?.trim_ascii_start().strip_prefix(b":")?;
        let text = rest.trim_ascii_start().strip_prefix(b"\"")?;
        text.get(..memchr::memchr(b'"', text)?)
    })
}

/// Whether a chunk tells usage and nothing else.
#[must_use]
pub fn is_usage_alone(data: &[u8]) -> bool {
    if !meter::mentions_usage(data) {
        return false;
    }
    members(data).is_some_and(|members| {
        let choices = members.all("choices").last().unwrap_or("null");
        let none =
            choices == "null" || choices.bytes().all(|byte| matches!(byte, b'[' | b']') || byte.is_ascii_whitespace());
        none && members.entries().all(|(name, _)| OF_USAGE.contains(&name))
    })
}

fn members(data: &[u8]) -> Option<Members<'_>> {
    std::str::from_utf8(data).ok().and_then(Members::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_any_shape() {
        for data in [
            r#"{"error":{"code":"x"}}"#,
            r#"{"error":"key"}"#,
            r#"{"type":"error","error":{}}"#,
            r#"{"type":"response.failed","response":{"error":{"code":"x"}}}"#,
        ] {
            assert!(is_failure(Dialect::Openai, None, data.as_bytes()), "{data}");
        }
        assert!(is_failure(Dialect::Dashscope, None, br#"{"code":"Arrearage","message":"m"}"#));
        assert!(is_failure(Dialect::Anthropic, Some(b"error"), b"{}"));
        for data in [
            r#"{"choices":[{"delta":{"content":"an \"error\""}}]}"#,
            r#"{"type":"response.completed","response":{"error":null}}"#,
            "[DONE]",
        ] {
            assert!(!is_failure(Dialect::Openai, None, data.as_bytes()), "{data}");
        }
        assert!(!is_failure(Dialect::Dashscope, None, br#"{"output":{"text":""},"usage":{}}"#));
    }

    #[test]
    fn last_words() {
        assert!(is_last(Api::Chat, None, b"[DONE]"));
        assert!(is_last(Api::Responses, None, br#"{"type":"response.completed"}"#));
        assert!(is_last(Api::Messages, Some(b"message_stop"), b"{}"));
        assert!(!is_last(Api::Messages, Some(b"message_delta"), br#"{"type":"message_stop"}"#));
        assert!(finishes(Api::Chat, br#"{"choices":[{"finish_reason": "stop"}]}"#));
        assert!(!finishes(Api::Chat, br#"{"choices":[{"finish_reason":""}]}"#));
        assert!(!finishes(Api::Chat, br#"{"choices":[{"finish_reason":null}]}"#));
        assert!(!finishes(Api::Native, br#"{"output":{"finish_reason":"null"}}"#));
        assert!(finishes(Api::Native, br#"{"output":{"audio":"x"}}"#));
    }

    #[test]
    fn usage_and_nothing_else() {
        let usage = |data: &str| is_usage_alone(data.as_bytes());
        assert!(usage(r#"{"id":"x","choices":[],"usage":{"prompt_tokens":1}}"#));
        assert!(usage("{\"choices\": null,\"usage\"\t:\n{\"prompt_tokens\":1}}"));
        assert!(!usage(r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#));
        assert!(!usage(r#"{"choices":[],"prompt_filter_results":[],"usage":{"prompt_tokens":1}}"#));
    }
}
