//! OpenAI's responses, as the provider words them: whole, or event by event.

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
    /// Seconds since 1970.
    pub created: i64,
    /// The model's name.
    pub model: String,
    /// The tools, as they came.
    pub tools: Value,
    /// The choice of a tool, as it came.
    pub tool_choice: Value,
    /// Whether anything is said of usage.
    pub usage: bool,
}

impl Words {
    /// In one piece.
    #[must_use]
    pub fn whole(self) -> Reply {
        Reply::Whole(self.response(Some(&self.answer.usage)), self.answer.usage)
    }

    /// Event by event, numbered from 0.
    #[must_use]
    pub fn frames(self) -> Frames {
        let (answer, mut number) = (self.answer.clone(), 0_u64);
        telling::frames(&answer, move |step, usage| {
            let mut events = self.events(step, usage);
            for (name, event) in &mut events {
                if let Some(event) = event.as_object_mut() {
                    event.insert("type".to_owned(), (*name).into());
                    event.insert("sequence_number".to_owned(), number.into());
                }
                number += 1;
            }
            let told = self.usage && *step == Step::Finish;
            events
                .into_iter()
                .map(move |(name, event)| Event { text: format!("event: {name}\ndata: {event}\n\n"), told })
        })
    }

    fn events(&self, step: &Step, usage: &Usage) -> Vec<(&'static str, Value)> {
        match step {
            Step::Open => {
                let response = json!({"response": self.response(None)});
                vec![("response.created", response.clone()), ("response.in_progress", response)]
            }
            Step::Begin(block) => self.begin(*block),
            Step::Piece(block, range) => {
                let name = match block {
                    Block::Reasoning => "response.reasoning_summary_text.delta",
                    Block::Text => "response.output_text.delta",
                    Block::Tool(_) => "response.function_call_arguments.delta",
                };
                vec![(name, self.of(*block, &[("delta", self.answer.piece(*block, range).into())]))]
            }
            Step::End(block) => self.end(*block),
            Step::Finish => {
                let name = if self.answer.cut { "response.incomplete" } else { "response.completed" };
                vec![(name, json!({"response": self.response(Some(usage))}))]
            }
            Step::Usage | Step::Done => Vec::new(),
        }
    }

    fn begin(&self, block: Block) -> Vec<(&'static str, Value)> {
        let mut events = vec![("response.output_item.added", self.item_event(block, false))];
        match block {
            Block::Reasoning => {
                let part = self.of(block, &[("part", summary(""))]);
                events.push(("response.reasoning_summary_part.added", part));
            }
            Block::Text => events.push(("response.content_part.added", self.of(block, &[("part", output_text(""))]))),
            Block::Tool(_) => {}
        }
        events
    }

    fn end(&self, block: Block) -> Vec<(&'static str, Value)> {
        let whole = self.answer.whole(block);
        let mut events = match block {
            Block::Reasoning => vec![
                ("response.reasoning_summary_text.done", self.of(block, &[("text", whole.into())])),
                ("response.reasoning_summary_part.done", self.of(block, &[("part", summary(whole))])),
            ],
            Block::Text => vec![
                ("response.output_text.done", self.of(block, &[("text", whole.into())])),
                ("response.content_part.done", self.of(block, &[("part", output_text(whole))])),
            ],
            Block::Tool(place) => {
                let name = self.answer.tools.get(place).map_or("", |call| &call.name);
                let done = self.of(block, &[("arguments", whole.into()), ("name", name.into())]);
                vec![("response.function_call_arguments.done", done)]
            }
        };
        events.push(("response.output_item.done", self.item_event(block, true)));
        events
    }

    /// An event about a block: where it belongs, and these fields.
    fn of(&self, block: Block, fields: &[(&str, Value)]) -> Value {
        let mut event = json!({"output_index": self.index(block), "item_id": self.item_id(block)});
        if let Some(event) = event.as_object_mut() {
            event.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            match block {
                Block::Reasoning => drop(event.insert("summary_index".to_owned(), 0.into())),
                Block::Text => {
                    event.insert("content_index".to_owned(), 0.into());
                    if !event.contains_key("part") {
                        event.insert("logprobs".to_owned(), json!([]));
                    }
                }
                Block::Tool(_) => {}
            }
        }
        event
    }

    fn item_event(&self, block: Block, done: bool) -> Value {
        json!({"output_index": self.index(block), "item": self.item(block, done)})
    }

    fn item(&self, block: Block, done: bool) -> Value {
        let (id, whole) = (self.item_id(block), if done { self.answer.whole(block) } else { "" });
        let status = match (done, self.answer.cut) {
            (false, _) => "in_progress",
            (true, true) => "incomplete",
            (true, false) => "completed",
        };
        match block {
            Block::Reasoning => {
                json!({"id": id, "type": "reasoning", "summary": if done { vec![summary(whole)] } else { Vec::new() }})
            }
            Block::Text => json!({"id": id, "type": "message", "role": "assistant", "status": status,
                "content": if done { vec![output_text(whole)] } else { Vec::new() }}),
            Block::Tool(place) => {
                let call = self.answer.tools.get(place);
                let (call_id, name) = call.map_or(("", ""), |call| (&call.id, &call.name));
                json!({"id": id, "type": "function_call", "status": status, "call_id": format!("call_{call_id}"),
                    "name": name, "arguments": whole})
            }
        }
    }

    /// The response; without a usage, as it begins.
    fn response(&self, usage: Option<&Usage>) -> Value {
        let (status, details) = match (usage, self.answer.cut) {
            (None, _) => ("in_progress", Value::Null),
            (Some(_), true) => ("incomplete", json!({"reason": "max_output_tokens"})),
            (Some(_), false) => ("completed", Value::Null),
        };
        let blocks = self.blocks().into_iter().filter(|_| usage.is_some());
        let output: Value = blocks.map(|block| self.item(block, true)).collect();
        let mut response = json!({"id": format!("resp_{}", self.id), "object": "response", "created_at": self.created,
            "status": status, "model": self.model, "output": output, "error": null, "incomplete_details": details,
            "instructions": null, "metadata": {}, "parallel_tool_calls": true, "tools": self.tools,
            "tool_choice": self.tool_choice, "temperature": null, "top_p": null});
        if let Some(response) = response.as_object_mut().filter(|_| self.usage) {
            response.insert("usage".to_owned(), usage.map_or(Value::Null, told));
        }
        response
    }

    fn blocks(&self) -> Vec<Block> {
        let reasoning = (!self.answer.reasoning.is_empty()).then_some(Block::Reasoning);
        let text = self.answer.tools.is_empty().then_some(Block::Text);
        let tools = (0..self.answer.tools.len()).map(Block::Tool);
        reasoning.into_iter().chain(text).chain(tools).collect()
    }

    fn index(&self, block: Block) -> usize {
        self.blocks().iter().position(|known| *known == block).unwrap_or(0)
    }

    fn item_id(&self, block: Block) -> String {
        match block {
            Block::Reasoning => format!("rs_{}", self.id),
            Block::Text => format!("msg_{}", self.id),
            Block::Tool(place) => format!("fc_{}_{place}", self.id),
        }
    }
}

fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn told(usage: &Usage) -> Value {
    json!({"input_tokens": usage.prompt, "output_tokens": usage.completion, "total_tokens": usage.total(),
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning}})
}
