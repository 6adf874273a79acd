//! The conversation: OpenAI's messages in the form that each of the two native endpoints takes.

use crate::error::Error;
use crate::wire::members::{Members, string};

use super::fault;
use super::json::{Object, array, list, quoted};
use super::parts::{self, Part};

/// What OpenAI's answers carry and clients send back, but DashScope doesn't know.
const ECHOED: [&str; 2] = ["refusal", "annotations"];

/// One message, read.
#[derive(Debug)]
pub struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
    /// `tool_calls`, `tool_call_id`, `reasoning_content`, `partial`, `name`, …: names and JSON texts.
    others: Vec<(String, &'a str)>,
}

#[derive(Debug)]
enum Content<'a> {
    /// Nothing, as beside `tool_calls`.
    Empty,
    /// A string, as JSON text.
    Text(&'a str),
    /// A list.
    Parts(Vec<Part>),
}

/// Reads the value of `messages`.
///
/// # Errors
/// `InvalidRequest` with the member's path, e.g. `messages[1].content`.
pub fn read(json: Option<&str>) -> Result<Vec<Message<'_>>, Error> {
    let messages = json.and_then(list).ok_or_else(|| fault::wrong("messages", "must be a list of messages"))?;
    if messages.is_empty() {
        return Err(fault::wrong("messages", "must hold at least one message"));
    }
    messages.into_iter().enumerate().map(|(at, message)| one(message, &format!("messages[{at}]"))).collect()
}

fn one<'a>(json: &'a str, path: &str) -> Result<Message<'a>, Error> {
    let members =
        Members::read(json).ok_or_else(|| fault::wrong(path, "must be an object with `role` and `content`"))?;
    let wrong = |member: &str, message: &str| fault::wrong(&format!("{path}.{member}"), message);
    fault::no_repeats(&members, path)?;
    let role = members.last("role").and_then(string);
    let role = match role.as_deref() {
        Some("system" | "developer") => "system",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some("tool") => "tool",
        _ => return Err(wrong("role", "must be system, developer, user, assistant or tool")),
    };
    for name in ["tool_calls", "tool_call_id"] {
        let Some(value) = members.last(name) else { continue };
        let right = if name == "tool_calls" { value.starts_with('[') } else { value.starts_with('"') };
        if !right {
            return Err(wrong(name, if name == "tool_calls" { "must be a list" } else { "must be a string" }));
        }
    }
    let content = content(members.last("content"), role, path)?;
    let others = members
        .entries()
        .filter(|(name, value)| !["role", "content"].contains(name) && !ECHOED.contains(name) && *value != "null");
    Ok(Message { role, content, others: others.map(|(name, value)| (name.to_owned(), value)).collect() })
}

fn content<'a>(json: Option<&'a str>, role: &str, path: &str) -> Result<Content<'a>, Error> {
    let path = format!("{path}.content");
    let Some(json) = json else {
        let may_be_silent = role == "assistant";
        let missing = || fault::wrong(&path, "is missing; send a string or a list of parts");
        return may_be_silent.then_some(Content::Empty).ok_or_else(missing);
    };
    if string(json).is_some() {
        return Ok(Content::Text(json));
    }
    let parts = list(json).ok_or_else(|| fault::wrong(&path, "must be a string or a list of parts"))?;
    let parts = parts.into_iter().enumerate().map(|(at, part)| parts::read(part, &format!("{path}[{at}]")));
    parts.collect::<Result<_, _>>().map(Content::Parts)
}

impl Message<'_> {
    /// Whether there is more in it than text.
    #[must_use]
    pub fn has_media(&self) -> bool {
        matches!(&self.content, Content::Parts(parts) if parts.iter().any(|part| part.text.is_none()))
    }

    /// The message for `text-generation`, or for `multimodal-generation`, as JSON text.
    #[must_use]
    pub fn native(&self, multimodal: bool) -> String {
        let mut message = Object::default();
        message.text("role", self.role);
        let content = if multimodal { self.content.as_list() } else { self.content.as_text() };
        message.raw("content", &content);
        for (name, value) in &self.others {
            message.raw(name, value);
        }
        message.finish()
    }
}

impl Content<'_> {
    /// A list of parts even where it was a string: recorded multimodal requests have no other form.
    fn as_list(&self) -> String {
        match self {
            Self::Empty | Self::Text("\"\"") => "[]".to_owned(),
            Self::Text(text) => format!(r#"[{{"text":{text}}}]"#),
            Self::Parts(parts) => array(&parts.iter().map(|part| part.json.clone()).collect::<Vec<_>>()),
        }
    }

    /// A string; a list only where a part says more than its text, as `cache_control` does.
    fn as_text(&self) -> String {
        match self {
            Self::Empty => r#""""#.to_owned(),
            Self::Text(text) => (*text).to_owned(),
            Self::Parts(parts) if parts.iter().all(|part| part.plain) => {
                quoted(&parts.iter().filter_map(|part| part.text.as_deref()).collect::<String>())
            }
            Self::Parts(parts) => {
                let typed = |part: &Part| {
                    let members = part.json.strip_prefix('{').unwrap_or_default();
                    format!(r#"{{"type":"text",{members}"#)
                };
                array(&parts.iter().map(typed).collect::<Vec<_>>())
            }
        }
    }
}
