//! `output`, as native answers and frames carry it, in either of its two forms.

use crate::wire::members::{Members, string};

use super::json::list;

/// Members of a message that are read one by one.
const READ: [&str; 6] = ["role", "content", "reasoning_content", "tool_calls", "text", "type"];

/// What an answer says, or one frame of it.
#[derive(Debug, Default)]
pub struct Output<'a> {
    /// One, or `n` of them.
    pub choices: Vec<Choice<'a>>,
    /// `search_info` and other members beside the choices: names and JSON texts.
    pub others: Vec<(String, &'a str)>,
}

/// One of the answers, or its part in a frame.
#[derive(Debug, Default)]
pub struct Choice<'a> {
    /// Which of the answers.
    pub index: u64,
    /// The text; of a list of parts, their texts joined.
    pub content: String,
    /// The thoughts.
    pub reasoning: Option<String>,
    /// Tool calls as JSON texts.
    pub calls: Vec<&'a str>,
    /// Other members of the message, and of its parts: names and JSON texts.
    pub others: Vec<(String, &'a str)>,
    /// JSON text.
    pub logprobs: Option<&'a str>,
    /// Why it ended; `None` while it hasn't, where the protocol says the string `"null"`.
    pub finish: Option<String>,
}

impl<'a> Output<'a> {
    /// Reads the value of `output`; `None` for what is no object.
    #[must_use]
    pub fn read(json: &'a str) -> Option<Self> {
        let members = Members::read(json)?;
        let choices = members.last("choices").and_then(list);
        let beside = members.entries().filter(|(name, value)| !is_reserved(name) && *value != "null");
        let others = beside.map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some(choices) = choices {
            let choices = choices.into_iter().zip(0..).filter_map(|(choice, at)| Choice::read(choice, at));
            return Some(Self { choices: choices.collect(), others });
        }
        let text = members.last("text").and_then(string);
        let choice = text.map(|text| Choice {
            content: text.into_owned(),
            logprobs: members.last("logprobs"),
            finish: finish(&members),
            ..Choice::default()
        });
        Some(Self { choices: choice.into_iter().collect(), others })
    }
}

/// Names that mean something else at the top of an OpenAI answer, or are read here.
fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "request_id",
        "error",
        "text",
        "finish_reason",
        "logprobs",
        "output",
    ];
    NAMES.contains(&name)
}

fn finish(members: &Members<'_>) -> Option<String> {
    let reason = members.last("finish_reason").and_then(string);
    reason.filter(|reason| !reason.is_empty() && reason != "null").map(String::from)
}

impl<'a> Choice<'a> {
    fn read(json: &'a str, at: u64) -> Option<Self> {
        let members = Members::read(json)?;
        let mut choice = Self {
            index: members.number("index").unwrap_or(at),
            logprobs: members.last("logprobs"),
            finish: finish(&members),
            ..Self::default()
        };
        if let Some(message) = members.last("message").and_then(Members::read) {
            choice.listen(&message);
        }
        Some(choice)
    }

    fn listen(&mut self, message: &Members<'a>) {
        self.reasoning = message.last("reasoning_content").and_then(string).map(String::from);
        self.calls = message.last("tool_calls").and_then(list).unwrap_or_default();
        self.keep(message);
        let content = message.last("content").unwrap_or_default();
        if let Some(text) = string(content) {
            self.content = text.into_owned();
        }
        for part in list(content).unwrap_or_default().into_iter().filter_map(Members::read) {
            self.content.extend(part.last("text").and_then(string));
            self.keep(&part);
        }
    }

    /// Keeps the members that aren't read, one of each name.
    fn keep(&mut self, members: &Members<'a>) {
        for (name, value) in members.entries().filter(|(name, value)| !READ.contains(name) && *value != "null") {
            self.others.retain(|(known, _)| known != name);
            self.others.push((name.to_owned(), value));
        }
    }
}
