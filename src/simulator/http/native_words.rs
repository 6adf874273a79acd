//! The provider's own generation, as it words it: whole, or event by event.

use serde_json::{Value, json};

use super::answer::{Answer, Block, Step};
use super::call::Reply;
use super::calls::Usage;
use super::sse::Frames;
use super::telling::{self, Event};

/// An answer to be worded.
#[derive(Debug, Clone)]
pub struct Words {
    /// What is answered.
    pub answer: Answer,
    /// The call's uuid.
    pub id: String,
    /// Whether it comes as a message, not as a text.
    pub message: bool,
    /// Whether contents are lists.
    pub lists: bool,
    /// Whether an event says what is new alone, not all that was said.
    pub incremental: bool,
    /// Whether anything is said of usage.
    pub usage: bool,
}

/// How much of a block has been said.
#[derive(Debug, Clone, Default)]
struct Said {
    reasoning: String,
    text: String,
    calls: Vec<Value>,
}

impl Words {
    /// In one piece.
    #[must_use]
    pub fn whole(self) -> Reply {
        let said = Said {
            reasoning: self.answer.reasoning.clone(),
            text: self.answer.text.clone(),
            calls: (0..self.answer.tools.len()).map(|place| self.call(place, true, None)).collect(),
        };
        let body = self.body(&said, self.reason(), &self.answer.usage);
        Reply::Whole(body, self.answer.usage)
    }

    /// Event by event, without a space after the colons and without a `[DONE]`.
    #[must_use]
    pub fn frames(self) -> Frames {
        let (answer, mut said, mut number) = (self.answer.clone(), Said::default(), 0_u64);
        telling::frames(&answer, move |step, usage| {
            if self.incremental {
                said = Said::default();
            }
            if !self.says(step, &mut said) {
                return None;
            }
            number += 1;
            let reason = if *step == Step::Finish { self.reason() } else { "null" };
            let body = self.body(&said, reason, usage);
            let text = format!("id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{body}\n\n");
            Some(Event { text, told: self.usage })
        })
    }

    /// Adds what a step says; `false`: nothing.
    fn says(&self, step: &Step, said: &mut Said) -> bool {
        match step {
            Step::Piece(Block::Reasoning, range) => said.reasoning += self.answer.piece(Block::Reasoning, range),
            Step::Piece(Block::Text, range) => said.text += self.answer.piece(Block::Text, range),
            Step::Begin(Block::Tool(place)) => said.calls.push(self.call(*place, true, Some(""))),
            Step::Piece(Block::Tool(place), range) => {
                if self.incremental {
                    let piece = self.answer.piece(Block::Tool(*place), range);
                    said.calls.push(self.call(*place, false, Some(piece)));
                } else {
                    let so_far = self.answer.piece(Block::Tool(*place), &(0..range.end));
                    said.calls.pop();
                    said.calls.push(self.call(*place, true, Some(so_far)));
                }
            }
            Step::Finish => {}
            Step::Open | Step::Begin(_) | Step::End(_) | Step::Usage | Step::Done => return false,
        }
        true
    }

    /// A call of a tool: named, or a later piece of it; with all arguments or these.
    fn call(&self, place: usize, named: bool, arguments: Option<&str>) -> Value {
        let Some(call) = self.answer.tools.get(place) else { return Value::Null };
        let arguments = arguments.unwrap_or(&call.arguments);
        if !named {
            return json!({"index": place, "id": "", "type": "function", "function": {"arguments": arguments}});
        }
        json!({"index": place, "id": format!("call_{}", call.id), "type": "function",
            "function": {"name": call.name, "arguments": arguments}})
    }

    fn body(&self, said: &Said, reason: &str, usage: &Usage) -> Value {
        let output = if self.message {
            json!({"choices": [{"message": self.message(said), "finish_reason": reason}]})
        } else {
            json!({"text": said.text, "finish_reason": reason})
        };
        let mut body = json!({"output": output, "request_id": self.id});
        if let Some(body) = body.as_object_mut().filter(|_| self.usage) {
            body.insert("usage".to_owned(), self.usage(usage));
        }
        body
    }

    fn message(&self, said: &Said) -> Value {
        let content = match (self.lists, said.text.is_empty()) {
            (true, true) => json!([]),
            (true, false) => json!([{"text": said.text}]),
            (false, _) => json!(said.text),
        };
        let mut message = json!({"role": "assistant", "content": content});
        if let Some(message) = message.as_object_mut() {
            if !self.answer.reasoning.is_empty() {
                message.insert("reasoning_content".to_owned(), said.reasoning.as_str().into());
            }
            if !said.calls.is_empty() {
                message.insert("tool_calls".to_owned(), said.calls.clone().into());
            }
        }
        message
    }

    fn usage(&self, usage: &Usage) -> Value {
        let mut told = json!({"input_tokens": usage.prompt, "output_tokens": usage.completion,
            "total_tokens": usage.total(), "prompt_tokens_details": {"cached_tokens": usage.cached}});
        if let Some(told) = told.as_object_mut() {
            if !self.answer.reasoning.is_empty() {
                let details = json!({"reasoning_tokens": usage.reasoning});
                told.insert("output_tokens_details".to_owned(), details);
            }
            let other = [("image_tokens", usage.image), ("audio_tokens", usage.audio)];
            let other = other.iter().filter(|(_, tokens)| *tokens > 0);
            told.extend(other.map(|(name, tokens)| ((*name).to_owned(), (*tokens).into())));
        }
        told
    }

    fn reason(&self) -> &'static str {
        match (self.answer.tools.is_empty(), self.answer.cut) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        }
    }
}
