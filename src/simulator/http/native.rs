//! The provider's own text and multimodal generation: reads a request.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, Reply, serve};
use super::chat;
use super::desk::Desk;
use super::native_words::Words;
use super::prompt::Prompt;
use super::refusal::{Api, Refusal};

/// `POST …/text-generation/generation`.
pub async fn text(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let sse = wants_events(&request);
    serve(&desk, &request, Api::Native, |call| generate(call, &body, sse, false)).await
}

/// `POST …/multimodal-generation/generation`: contents are lists.
pub async fn multimodal(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let sse = wants_events(&request);
    serve(&desk, &request, Api::Native, |call| generate(call, &body, sse, true)).await
}

fn wants_events(request: &HttpRequest) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header("x-dashscope-sse").eq_ignore_ascii_case("enable") || header("accept").contains("text/event-stream")
}

fn generate(call: &Call, body: &[u8], sse: bool, lists: bool) -> Result<Reply, Refusal> {
    call.streams(sse);
    let (asked, model) = call.read(body)?;
    let parameter = |name: &str| asked.pointer("/parameters").and_then(|parameters| parameters.get(name));
    let is = |name: &str| parameter(name).and_then(Value::as_bool).unwrap_or(false);
    let mut prompt = Prompt::new();
    match asked.pointer("/input/prompt") {
        Some(Value::String(text)) => prompt.message(true, &json!(text)),
        _ => prompt.messages(asked.pointer("/input/messages")).map_err(Refusal::invalid)?,
    }
    prompt.tools(parameter("tools"), parameter("tool_choice"));
    prompt.most = parameter("max_tokens").and_then(Value::as_u64);
    if is("enable_thinking") {
        prompt.thought = Some(parameter("thinking_budget").and_then(Value::as_u64).unwrap_or(u64::MAX));
    }
    chat::judge(asked.get("parameters").unwrap_or(&Value::Null), &model, asked.pointer("/input/messages"), &prompt)?;
    let answer = Answer::new(&prompt, call.faults.words, &call.id);
    let format = parameter("result_format").and_then(Value::as_str);
    let words = Words {
        // Calls of tools and thoughts have no place in a text.
        message: lists || format == Some("message") || !answer.tools.is_empty() || prompt.thought.is_some(),
        answer,
        id: call.id.clone(),
        lists,
        incremental: is("incremental_output"),
        usage: !call.faults.no_usage,
    };
    Ok(if sse { Reply::Stream(words.frames()) } else { words.whole() })
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
