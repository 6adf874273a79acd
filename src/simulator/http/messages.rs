//! Anthropic's messages, as the provider serves them: reads a request, counts its tokens.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, Reply, serve};
use super::calls::Usage;
use super::desk::Desk;
use super::messages_words::Words;
use super::prompt::Prompt;
use super::refusal::{Api, Refusal};

/// `POST …/v1/messages`.
pub async fn messages(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    serve(&desk, &request, Api::Anthropic, |call| answer(call, &body)).await
}

/// `POST …/v1/messages/count_tokens`: costs nothing.
pub async fn count_tokens(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let count = |call: &Call| {
        let (asked, _) = call.read(&body)?;
        Ok(Reply::Whole(json!({"input_tokens": prompt(&asked)?.usage.prompt}), Usage::default()))
    };
    serve(&desk, &request, Api::Anthropic, count).await
}

fn answer(call: &Call, body: &[u8]) -> Result<Reply, Refusal> {
    let (asked, model) = call.read(body)?;
    let prompt = prompt(&asked)?;
    if prompt.most.is_none() {
        return Err(Refusal::invalid("Missing required parameter: max_tokens."));
    }
    let answer = Answer::new(&prompt, call.faults.words, &call.id);
    let words = Words { answer, id: format!("msg_{}", call.id), model, usage: !call.faults.no_usage };
    let stream = asked.get("stream").and_then(Value::as_bool).unwrap_or(false);
    Ok(if stream { Reply::Stream(words.frames()) } else { words.whole() })
}

fn prompt(asked: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::new();
    if asked.get("messages").is_none_or(Value::is_null) {
        return Err(Refusal::invalid("Missing required parameter: messages."));
    }
    prompt.messages(asked.get("messages")).map_err(Refusal::invalid)?;
    prompt.aside(asked.get("system").unwrap_or(&Value::Null));
    prompt.tools(asked.get("tools"), asked.get("tool_choice"));
    prompt.most = asked.get("max_tokens").and_then(Value::as_u64);
    if asked.pointer("/thinking/type").is_some_and(|kind| kind == "enabled") {
        prompt.thought = Some(asked.pointer("/thinking/budget_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX));
    }
    Ok(prompt)
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
