//! OpenAI's chat, as the provider serves it: reads and judges a request.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::answer::Answer;
use super::call::{Call, Reply, serve};
use super::chat_words::Words;
use super::desk::Desk;
use super::prompt::Prompt;
use super::refusal::{Api, Refusal};

/// `POST …/chat/completions`.
pub async fn completions(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    serve(&desk, &request, Api::Compatible, |call| complete(call, &body)).await
}

fn complete(call: &Call, body: &[u8]) -> Result<Reply, Refusal> {
    let (asked, model) = call.read(body)?;
    let prompt = prompt(&asked, &model)?;
    let is = |place: &str| asked.pointer(place).and_then(Value::as_bool).unwrap_or(false);
    let answer = Answer::new(&prompt, call.faults.words, &call.id);
    let words = Words {
        answer,
        id: format!("chatcmpl-{}", call.id),
        created: call.created(),
        thinking: prompt.thought.is_some(),
        usage: !call.faults.no_usage,
        include_usage: is("/stream_options/include_usage"),
        model,
    };
    Ok(if is("/stream") { Reply::Stream(words.frames()) } else { words.whole() })
}

fn prompt(asked: &Value, model: &str) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::new();
    prompt.messages(asked.get("messages")).map_err(Refusal::invalid)?;
    prompt.tools(asked.get("tools"), asked.get("tool_choice"));
    prompt.most = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| asked.get(*name)?.as_u64());
    if asked.get("enable_thinking").and_then(Value::as_bool).unwrap_or(false) {
        prompt.thought = Some(asked.get("thinking_budget").and_then(Value::as_u64).unwrap_or(u64::MAX));
    }
    judge(asked, model, asked.get("messages"), &prompt)?;
    Ok(prompt)
}

/// Judges what else is asked for, wherever an API has it.
///
/// # Errors
/// The refusal.
pub fn judge(asked: &Value, model: &str, messages: Option<&Value>, prompt: &Prompt) -> Result<(), Refusal> {
    let temperature = asked.get("temperature").filter(|value| !value.is_null());
    if temperature.is_some_and(|value| !value.as_f64().is_some_and(|value| (0.0..2.0).contains(&value))) {
        return Err(Refusal::invalid("Temperature should be in [0.0, 2.0)"));
    }
    let choice = asked.get("tool_choice");
    let forced = choice.is_some_and(|choice| choice.is_object() || choice == "required");
    if forced && prompt.thought.is_some() {
        return Err(Refusal::invalid(
            "The tool_choice parameter does not support being set to required or object in thinking mode",
        ));
    }
    if model.starts_with("qwen-mt") && asked.get("translation_options").is_some() {
        return judge_translation(asked, messages);
    }
    Ok(())
}

/// A translation takes one message by the user and nothing else.
fn judge_translation(asked: &Value, messages: Option<&Value>) -> Result<(), Refusal> {
    let target = asked.pointer("/translation_options/target_lang").and_then(Value::as_str);
    if target.is_none_or(str::is_empty) {
        return Err(Refusal::invalid("Required parameter \"translation_options.target_lang\" missing from request."));
    }
    match messages.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        [only] if only.get("role").is_some_and(|role| role == "user") => Ok(()),
        _ => Err(Refusal::invalid("Role must be in [user, assistant] and only one user message is supported")),
    }
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
