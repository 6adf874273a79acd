//! A native answer as a `chat.completion`.

use crate::error::Error;
use crate::wire::members::{Members, string};

use super::about::About;
use super::json::{Object, array, quoted};
use super::output::{Choice, Output};
use super::usage;

/// Translates the body of a native 200.
///
/// # Errors
/// `UpstreamUnavailable` for what is no answer: no JSON object, no choices, or an error under a 200.
pub fn translate(body: &[u8], about: &About) -> Result<Vec<u8>, Error> {
    let body = std::str::from_utf8(body).map_err(|_| Error::upstream("the answer is not UTF-8"))?;
    let members = Members::read(body).ok_or_else(|| Error::upstream("the answer is no JSON object"))?;
    let output = members.last("output").and_then(Output::read).filter(|output| !output.choices.is_empty());
    let output = output.ok_or_else(|| {
        let code = members.last("code").and_then(string).unwrap_or_default();
        Error::upstream(format!("the answer has no choices; its code is `{code}`"))
    })?;
    let mut answer = Object::default();
    answer.text("id", &about.id);
    answer.raw("object", r#""chat.completion""#);
    answer.raw("created", &about.created.to_string());
    answer.text("model", &about.model);
    answer.raw("choices", &array(&output.choices.iter().map(|choice| said(choice, about)).collect::<Vec<_>>()));
    if let Some(usage) = members.last("usage").and_then(usage::translate) {
        answer.raw("usage", &usage);
    }
    for (name, value) in &output.others {
        answer.raw(name, value);
    }
    if let Some(request_id) = members.last("request_id") {
        answer.raw("request_id", request_id);
    }
    Ok(answer.finish().into_bytes())
}

fn said(choice: &Choice<'_>, about: &About) -> String {
    let mut message = Object::default();
    message.raw("role", r#""assistant""#);
    message.text("content", &choice.content);
    if let Some(reasoning) = &choice.reasoning {
        message.text("reasoning_content", reasoning);
    }
    let calls: Vec<String> =
        choice.calls.iter().enumerate().filter_map(|(at, json)| call(json, choice, about, at)).collect();
    if !calls.is_empty() {
        message.raw("tool_calls", &array(&calls));
    }
    for (name, value) in &choice.others {
        message.raw(name, value);
    }
    let mut said = Object::default();
    said.raw("index", &choice.index.to_string());
    said.raw("message", &message.finish());
    said.raw("logprobs", choice.logprobs.unwrap_or("null"));
    said.raw("finish_reason", &choice.finish.as_deref().map_or("null".to_owned(), quoted));
    said.finish()
}

/// A tool call as it came, with an id and a type in any case.
fn call(json: &str, choice: &Choice<'_>, about: &About, at: usize) -> Option<String> {
    let members = Members::read(json)?;
    let id = members.last("id").and_then(string).filter(|id| !id.is_empty());
    let mut call = Object::default();
    call.text("id", &id.map_or_else(|| about.call_id(choice.index, at), String::from));
    call.raw("type", members.last("type").unwrap_or(r#""function""#));
    for (name, value) in members.entries().filter(|(name, _)| !["id", "type"].contains(name)) {
        call.raw(name, value);
    }
    Some(call.finish())
}
