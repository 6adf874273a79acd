//! Anthropic's messages as a caller meets them: over HTTP.

use crate::simulator::http::caller::{Answer, Caller};
use crate::simulator::http::prompt::OVERHEAD;

use super::*;

const PATH: &str = "/apps/anthropic/v1/messages";

fn asking(text: &str) -> Value {
    json!({"model": "qwen-plus", "max_tokens": 100, "messages": [{"role": "user", "content": text}]})
}

#[actix_web::test]
async fn a_message_tells_what_was_cached() {
    let caller = Caller::start(json!({})).await;
    let mut asked = asking("hello there");
    asked["system"] = json!([{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]);
    asked["thinking"] = json!({"type": "enabled", "budget_tokens": 3});
    let body = caller.post(PATH, &asked).await.json();
    assert_eq!(body["content"][0], json!({"type": "thinking", "thinking": "I shall say", "signature": ""}));
    assert_eq!(body["content"][1], json!({"type": "text", "text": "You said: hello there"}));
    assert_eq!((&body["stop_reason"], &body["id"]), (&json!("end_turn"), &json!(format!("msg_{}", caller.last().id))));
    assert_eq!(
        body["usage"],
        json!({"input_tokens": OVERHEAD + 2, "output_tokens": 7,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2})
    );
    let record = caller.last();
    assert_eq!((record.prompt_tokens, record.cached_tokens), (OVERHEAD + 4, 2));
    assert_eq!((record.completion_tokens, record.reasoning_tokens, record.usage_told), (7, 3, true));
    asked["max_tokens"] = json!(2);
    assert_eq!(caller.post("/v1/messages", &asked).await.json()["stop_reason"], "max_tokens");
}

#[actix_web::test]
async fn events_come_block_by_block() {
    let caller = Caller::start(json!({})).await;
    let mut asked = asking("the time and the tides");
    asked["stream"] = json!(true);
    asked["thinking"] = json!({"type": "enabled"});
    asked["tools"] = json!([{"name": "tides", "input_schema": {}}, {"name": "time", "input_schema": {}}]);
    let request = caller.request("POST", PATH).insert_header(("anthropic-version", "2023-06-01"));
    let request = request.append_header(("anthropic-beta", "a")).append_header(("anthropic-beta", "b"));
    let answer = Answer::of(request.send_json(&asked).await.unwrap()).await;
    assert!(answer.text().starts_with("event: message_start\ndata: {"));
    assert!(answer.text().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    assert_eq!(answer.told("/delta/thinking"), "I shall say back what was said.");
    assert_eq!(answer.told("/delta/partial_json"), r#"{"text": "the time and the tides"}"#.repeat(2));
    let events = answer.events();
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], OVERHEAD + 5);
    let starts: Vec<&Value> = events.iter().filter(|event| event["type"] == "content_block_start").collect();
    let block = &starts[2]["content_block"];
    assert_eq!((&starts[2]["index"], &block["name"], &block["input"]), (&json!(2), &json!("time"), &json!({})));
    let last = &events[events.len() - 2];
    assert_eq!(
        (&last["delta"]["stop_reason"], &last["usage"]["output_tokens"]),
        (&json!("tool_use"), &json!(7 + 2 * 7))
    );
    let record = caller.last();
    assert_eq!((record.completion_tokens, record.finished, record.usage_told), (21, true, true));
    assert_eq!(record.chunks_sent, u64::try_from(events.len()).unwrap());
    assert_eq!(
        (record.anthropic_version.as_deref(), record.anthropic_beta.as_deref()),
        (Some("2023-06-01"), Some("a,b"))
    );
    let last = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "the time"}]});
    asked["messages"].as_array_mut().unwrap().push(last);
    assert_eq!(caller.post(PATH, &asked).await.told("/delta/text"), "You said: the time and the tides");
}

#[actix_web::test]
async fn errors_have_anthropic_s_shape() {
    let caller = Caller::start(json!({})).await;
    let mut asked = asking("hi");
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
        (529, "overloaded_error"),
    ] {
        caller.next(json!({"status": status}));
        let answer = caller.post(PATH, &asked).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)));
    }
    caller.next(json!({"error_after_chunks": 1, "status": 529}));
    asked["stream"] = json!(true);
    let answer = caller.post(PATH, &asked).await;
    assert!(answer.text().contains("\n\nevent: error\ndata: {"), "{}", answer.text());
    assert_eq!(answer.events()[1]["error"], json!({"type": "overloaded_error", "message": "Overloaded"}));
    asked.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(caller.post(PATH, &asked).await.status, 400);
    assert_eq!(caller.fetch("/apps/anthropic/v1/models").await.status, 404);
}

#[actix_web::test]
async fn tokens_are_counted_for_nothing() {
    let caller = Caller::start(json!({})).await;
    let mut asked = asking("hello there");
    asked.as_object_mut().unwrap().remove("max_tokens");
    let body = caller.post("/apps/anthropic/v1/messages/count_tokens", &asked).await.json();
    assert_eq!((body, caller.simulator.call_totals().prompt_tokens), (json!({"input_tokens": OVERHEAD + 2}), 0));
}
