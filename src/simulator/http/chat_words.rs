//! OpenAI's chat, as the provider words it: whole, or chunk by chunk.

use serde_json::{Value, json};

use super::answer::{Answer, Block, Step};
use super::call::Reply;
use super::calls::Usage;
use super::sse::{Frames, quoted};
use super::telling::{self, Event};

/// An answer to be worded.
#[derive(Debug)]
pub struct Words {
    /// What is answered.
    pub answer: Answer,
    /// `chatcmpl-<uuid>`.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Whether thoughts were asked for.
    pub thinking: bool,
    /// Whether anything is said of usage.
    pub usage: bool,
    /// Whether a stream's last chunk tells the usage.
    pub include_usage: bool,
    /// The model's name.
    pub model: String,
}

impl Words {
    /// In one piece.
    #[must_use]
    pub fn whole(self) -> Reply {
        let answer = &self.answer;
        let mut message = json!({"role": "assistant", "content": answer.text});
        if let Some(message) = message.as_object_mut() {
            if self.thinking {
                message.insert("reasoning_content".to_owned(), answer.reasoning.as_str().into());
            }
            if !answer.tools.is_empty() {
                let calls = answer.tools.iter().enumerate().map(|(index, call)| {
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    json!({"function": function, "id": format!("call_{}", call.id), "index": index, "type": "function"})
                });
                message.insert("tool_calls".to_owned(), calls.collect());
            }
        }
        let choice = json!({"finish_reason": self.reason(), "index": 0, "message": message});
        let body = json!({"choices": [choice], "created": self.created, "id": self.id, "model": self.model,
            "object": "chat.completion", "system_fingerprint": null, "usage": usage(&answer.usage)});
        Reply::Whole(body, answer.usage)
    }

    /// Chunk by chunk.
    #[must_use]
    pub fn frames(self) -> Frames {
        let (model, answer) = (quoted(&self.model), self.answer.clone());
        telling::frames(&answer, move |step, _| {
            self.step(&model, step).map(|text| Event { text, told: *step == Step::Usage })
        })
    }

    fn step(&self, model: &str, step: &Step) -> Option<String> {
        let silent = if self.thinking { "\"\"" } else { "null" };
        let word = |block: Block, range| quoted(self.answer.piece(block, range));
        let delta = match step {
            Step::Open => {
                let delta = format!(r#"{{"content":"","role":"assistant","reasoning_content":{silent}}}"#);
                let (id, created, usage) = (&self.id, self.created, self.usage_null());
                return Some(format!(
                    "data: {{\"model\":{model},\"id\":\"{id}\",\"created\":{created},\"object\":\"chat.completion.chunk\"\
                     {usage},\"choices\":[{{\"logprobs\":null,\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
                ));
            }
            Step::Begin(Block::Tool(place)) => {
                let call = self.answer.tools.get(*place)?;
                let (id, name) = (&call.id, quoted(&call.name));
                let function = format!(r#"{{"arguments":"","name":{name}}}"#);
                tool(
                    &format!(r#""content":null,"reasoning_content":{silent},"#),
                    &function,
                    &format!("call_{id}"),
                    *place,
                )
            }
            Step::Piece(Block::Tool(place), range) => {
                tool("", &format!(r#"{{"arguments":{}}}"#, word(Block::Tool(*place), range)), "", *place)
            }
            Step::End(Block::Tool(place)) => tool("", r#"{"arguments":""}"#, "", *place),
            Step::Piece(Block::Text, range) => {
                format!(r#"{{"content":{},"reasoning_content":{silent}}}"#, word(Block::Text, range))
            }
            Step::Piece(Block::Reasoning, range) => {
                format!(r#"{{"content":"","reasoning_content":{}}}"#, word(Block::Reasoning, range))
            }
            Step::Finish if self.answer.tools.is_empty() => format!(r#"{{"content":"","reasoning_content":{silent}}}"#),
            Step::Finish => "{}".to_owned(),
            Step::Usage => return self.usage_chunk(),
            Step::Done => return Some("data: [DONE]\n\n".to_owned()),
            Step::Begin(_) | Step::End(_) => return None,
        };
        let reason = if *step == Step::Finish { quoted(self.reason()) } else { "null".to_owned() };
        let (id, created, usage) = (&self.id, self.created, self.usage_null());
        Some(format!(
            "data: {{\"model\":{model},\"id\":\"{id}\",\"choices\":[{{\"delta\":{delta},\"index\":0,\"finish_reason\":{reason},\
             \"logprobs\":null}}],\"created\":{created},\"object\":\"chat.completion.chunk\"{usage}}}\n\n"
        ))
    }

    fn usage_null(&self) -> &'static str {
        if self.usage { ",\"usage\":null" } else { "" }
    }

    fn usage_chunk(&self) -> Option<String> {
        let chunk = || {
            json!({"choices": [], "created": self.created, "id": self.id, "model": self.model,
                "object": "chat.completion.chunk", "usage": usage(&self.answer.usage)})
        };
        (self.usage && self.include_usage).then(|| format!("data: {}\n\n", chunk()))
    }

    fn reason(&self) -> &'static str {
        match (self.answer.tools.is_empty(), self.answer.cut) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        }
    }
}

fn tool(before: &str, function: &str, id: &str, index: usize) -> String {
    format!(r#"{{{before}"tool_calls":[{{"function":{function},"id":"{id}","index":{index},"type":"function"}}]}}"#)
}

/// The usage, as the compatible API tells it.
#[must_use]
pub fn usage(usage: &Usage) -> Value {
    let mut read = json!({"cached_tokens": usage.cached, "text_tokens": usage.prompt - usage.image - usage.audio});
    if let Some(read) = read.as_object_mut() {
        let other = [("image_tokens", usage.image), ("audio_tokens", usage.audio)];
        read.extend(
            other.iter().filter(|(_, tokens)| *tokens > 0).map(|(name, tokens)| ((*name).to_owned(), (*tokens).into())),
        );
    }
    json!({"prompt_tokens": usage.prompt, "prompt_tokens_details": read, "completion_tokens": usage.completion,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "text_tokens": usage.completion},
        "total_tokens": usage.total()})
}
