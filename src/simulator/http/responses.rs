//! OpenAI's responses, as the provider serves them: reads a request. Earlier responses are not remembered.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::answer::Answer;
use super::call::{Call, Reply, serve};
use super::desk::Desk;
use super::prompt::Prompt;
use super::refusal::{Api, Refusal};
use super::responses_words::Words;

/// `POST …/responses`.
pub async fn responses(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    serve(&desk, &request, Api::Responses, |call| respond(call, &body)).await
}

fn respond(call: &Call, body: &[u8]) -> Result<Reply, Refusal> {
    let (asked, model) = call.read(body)?;
    let prompt = prompt(&asked)?;
    let list = |name: &str| asked.get(name).filter(|value| value.is_array()).cloned();
    let words = Words {
        answer: Answer::new(&prompt, call.faults.words, &call.id),
        id: call.id.clone(),
        created: call.created(),
        model,
        tools: list("tools").unwrap_or_else(|| Value::Array(Vec::new())),
        tool_choice: asked.get("tool_choice").filter(|choice| !choice.is_null()).cloned().unwrap_or("auto".into()),
        usage: !call.faults.no_usage,
    };
    let stream = asked.get("stream").and_then(Value::as_bool).unwrap_or(false);
    Ok(if stream { Reply::Stream(words.frames()) } else { words.whole() })
}

fn prompt(asked: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::new();
    prompt.aside(asked.get("instructions").unwrap_or(&Value::Null));
    match asked.get("input") {
        Some(Value::String(text)) if !text.is_empty() => prompt.message(true, &Value::String(text.clone())),
        Some(Value::Array(items)) if !items.is_empty() => items.iter().for_each(|item| add(&mut prompt, item)),
        _ => return Err(Refusal::invalid("Required parameter \"input\" missing from request.")),
    }
    prompt.tools(asked.get("tools"), asked.get("tool_choice"));
    prompt.most = asked.get("max_output_tokens").and_then(Value::as_u64);
    let effort = asked.pointer("/reasoning/effort").and_then(Value::as_str);
    let thinking = asked.get("enable_thinking").and_then(Value::as_bool);
    if thinking.unwrap_or_else(|| effort.is_some_and(|effort| effort != "none")) {
        prompt.thought = Some(u64::MAX);
    }
    Ok(prompt)
}

/// A message, or what a tool said. Its calls and earlier thoughts say nothing.
fn add(prompt: &mut Prompt, item: &Value) {
    let text = |name: &str| item.get(name).unwrap_or(&Value::Null);
    match item.get("role").and_then(Value::as_str) {
        Some(role) => prompt.message(role == "user", text("content")),
        None => prompt.message(false, text("output")),
    }
}

#[cfg(test)]
#[path = "responses_tests.rs"]
mod tests;
