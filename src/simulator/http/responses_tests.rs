//! OpenAI's responses as a caller meets them: over HTTP.

use serde_json::json;

use crate::simulator::http::caller::Caller;
use crate::simulator::http::prompt::OVERHEAD;

const PATH: &str = "/compatible-mode/v1/responses";

#[actix_web::test]
async fn a_response_lists_what_was_thought_and_said() {
    let caller = Caller::start(json!({})).await;
    let mut asked = json!({"model": "qwen-plus", "instructions": "Be kind.", "reasoning": {"effort": "low"},
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hello there"}]}]});
    let body = caller.post(PATH, &asked).await.json();
    assert_eq!(
        body["output"][0]["summary"],
        json!([{"type": "summary_text", "text": "I shall say back what was said."}])
    );
    assert_eq!(body["output"][1]["content"][0]["text"], "You said: hello there");
    assert_eq!((&body["status"], &body["usage"]["input_tokens"]), (&json!("completed"), &json!(OVERHEAD + 4)));
    assert_eq!(body["usage"]["output_tokens_details"], json!({"reasoning_tokens": 7}));
    assert_eq!((caller.last().completion_tokens, caller.last().reasoning_tokens), (11, 7));
    asked["max_output_tokens"] = json!(1);
    let cut = caller.post("/v1/responses", &asked).await.json();
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!(caller.post(PATH, &json!({"model": "qwen-plus"})).await.status, 400);
}

#[actix_web::test]
async fn a_stream_is_numbered_and_ends_with_the_usage() {
    let caller = Caller::start(json!({})).await;
    let asked = json!({"model": "qwen-plus", "stream": true, "input": "hello there"});
    let answer = caller.post(PATH, &asked).await;
    assert!(answer.text().starts_with("event: response.created\ndata: {"));
    let events = answer.events();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let before = ["created", "in_progress", "output_item.added", "content_part.added"];
    let after = ["output_text.done", "content_part.done", "output_item.done", "completed"];
    let expected = before.iter().chain(&["output_text.delta"; 4]).chain(&after).map(|kind| format!("response.{kind}"));
    assert_eq!(kinds, expected.collect::<Vec<_>>());
    assert!((0..).zip(&events).all(|(number, event)| event["sequence_number"] == number));
    assert_eq!(answer.told("/delta"), "You said: hello there");
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["usage"]["output_tokens"], &last["output"][0]["status"]), (&json!(4), &json!("completed")));
    let record = caller.last();
    assert_eq!((record.completion_tokens, record.chunks_sent, record.finished, record.usage_told), (4, 12, true, true));
    caller.next(json!({"error_after_chunks": 5, "status": 500}));
    let broken = caller.post(PATH, &asked).await.events();
    let error = json!({"type": "error", "code": "internal_error", "message": "Internal service error: null", "param": null,
        "sequence_number": 5});
    assert_eq!((broken.len(), &broken[5]), (6, &error));
    caller.next(json!({"no_usage": true}));
    let events = caller.post(PATH, &asked).await.events();
    assert!(events.iter().all(|event| event.pointer("/response/usage").is_none()));
}

#[actix_web::test]
async fn functions_are_called() {
    let caller = Caller::start(json!({})).await;
    let mut asked = json!({"model": "qwen-plus", "stream": true, "input": [{"role": "user", "content": "the time"}],
        "tools": [{"type": "function", "name": "time", "parameters": {}}]});
    let answer = caller.post(PATH, &asked).await;
    assert_eq!(answer.told("/delta"), r#"{"text": "the time"}"#);
    let item = answer.events().last().unwrap()["response"]["output"][0].clone();
    assert_eq!(
        (&item["type"], &item["name"], &item["arguments"]),
        (&json!("function_call"), &json!("time"), &json!(answer.told("/delta")))
    );
    let items = asked["input"].as_array_mut().unwrap();
    items.push(item);
    items.push(json!({"type": "function_call_output", "call_id": "x", "output": "the time is now"}));
    assert_eq!(caller.post(PATH, &asked).await.told("/delta"), "You said: the time");
}
