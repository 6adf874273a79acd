//! Anthropic's messages, as the provider words them: whole, or event by event.

use serde_json::{Value, json};

use super::answer::{Answer, Block, Step};
use super::call::Reply;
use super::calls::Usage;
use super::sse::{Frames, quoted};
use super::telling::{self, Event};

/// An answer to be worded.
#[derive(Debug, Clone)]
pub struct Words {
    /// What is answered.
    pub answer: Answer,
    /// `msg_<uuid>`.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Whether anything is said of usage.
    pub usage: bool,
}

impl Words {
    /// In one piece.
    #[must_use]
    pub fn whole(self) -> Reply {
        let answer = &self.answer;
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            content.push(json!({"type": "thinking", "thinking": answer.reasoning, "signature": ""}));
        }
        if answer.tools.is_empty() {
            content.push(json!({"type": "text", "text": answer.text}));
        }
        content.extend(answer.tools.iter().map(|call| {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            json!({"type": "tool_use", "id": format!("toolu_{}", call.id), "name": call.name, "input": input})
        }));
        let mut body = self.message(&answer.usage);
        if let Some(body) = body.as_object_mut() {
            body.insert("content".to_owned(), content.into());
            body.insert("stop_reason".to_owned(), self.reason().into());
        }
        Reply::Whole(body, answer.usage)
    }

    /// Event by event.
    #[must_use]
    pub fn frames(self) -> Frames {
        let answer = self.answer.clone();
        telling::frames(&answer, move |step, usage| {
            let (name, data) = self.event(step, usage)?;
            let told = self.usage && *step == Step::Finish;
            Some(Event { text: format!("event: {name}\ndata: {data}\n\n"), told })
        })
    }

    fn event(&self, step: &Step, usage: &Usage) -> Option<(&'static str, String)> {
        match step {
            Step::Open => {
                let event = json!({"type": "message_start", "message": self.message(usage)});
                Some(("message_start", event.to_string()))
            }
            Step::Begin(block) => {
                let event = json!({"type": "content_block_start", "index": self.index(*block),
                    "content_block": self.beginning(*block)});
                Some(("content_block_start", event.to_string()))
            }
            Step::Piece(block, range) => {
                let (index, piece) = (self.index(*block), quoted(self.answer.piece(*block, range)));
                let (kind, field) = match block {
                    Block::Reasoning => ("thinking_delta", "thinking"),
                    Block::Text => ("text_delta", "text"),
                    Block::Tool(_) => ("input_json_delta", "partial_json"),
                };
                let delta = format!(r#"{{"type":"{kind}","{field}":{piece}}}"#);
                let event = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
                Some(("content_block_delta", event))
            }
            Step::End(block) => {
                let event = json!({"type": "content_block_stop", "index": self.index(*block)});
                Some(("content_block_stop", event.to_string()))
            }
            Step::Finish => {
                let delta = json!({"stop_reason": self.reason(), "stop_sequence": null});
                let mut event = json!({"type": "message_delta", "delta": delta});
                self.tell(&mut event, usage);
                Some(("message_delta", event.to_string()))
            }
            Step::Usage => None,
            Step::Done => Some(("message_stop", json!({"type": "message_stop"}).to_string())),
        }
    }

    /// The message without its content yet.
    fn message(&self, usage: &Usage) -> Value {
        let mut message = json!({"id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null});
        self.tell(&mut message, usage);
        message
    }

    /// Adds the usage: what came from the cache is not among the input.
    fn tell(&self, event: &mut Value, usage: &Usage) {
        let told = json!({"input_tokens": usage.prompt - usage.cached, "output_tokens": usage.completion,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": usage.cached});
        if let Some(event) = event.as_object_mut().filter(|_| self.usage) {
            event.insert("usage".to_owned(), told);
        }
    }

    fn beginning(&self, block: Block) -> Value {
        match block {
            Block::Reasoning => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Tool(place) => {
                let call = self.answer.tools.get(place);
                let (id, name) = call.map_or(("", ""), |call| (&call.id, &call.name));
                json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": name, "input": {}})
            }
        }
    }

    fn index(&self, block: Block) -> usize {
        let before = usize::from(!self.answer.reasoning.is_empty());
        match block {
            Block::Reasoning => 0,
            Block::Text => before,
            Block::Tool(place) => before + place,
        }
    }

    fn reason(&self) -> &'static str {
        match (self.answer.tools.is_empty(), self.answer.cut) {
            (false, _) => "tool_use",
            (true, true) => "max_tokens",
            (true, false) => "end_turn",
        }
    }
}
