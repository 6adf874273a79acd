//! OpenAI's chat as a caller meets it: over HTTP.

use serde_json::json;

use super::*;
use crate::simulator::http::caller::{Answer, Caller};
use crate::simulator::http::prompt::OVERHEAD;

const PATH: &str = "/compatible-mode/v1/chat/completions";

fn asking(text: &str) -> Value {
    json!({"model": "qwen-plus", "messages": [{"role": "user", "content": text}]})
}

fn streaming(text: &str) -> Value {
    let mut asked = asking(text);
    asked["stream"] = json!(true);
    asked["stream_options"] = json!({"include_usage": true});
    asked
}

#[actix_web::test]
async fn an_answer_in_one_piece_says_what_it_cost() {
    let caller = Caller::start(json!({})).await;
    let answer = caller.post(PATH, &asking("hello there")).await;
    let body = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let message = json!({"role": "assistant", "content": "You said: hello there"});
    assert_eq!(body["choices"], json!([{"finish_reason": "stop", "index": 0, "message": message}]));
    let usage = json!({"prompt_tokens": OVERHEAD + 2, "completion_tokens": 4, "total_tokens": OVERHEAD + 6,
        "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": OVERHEAD + 2},
        "completion_tokens_details": {"reasoning_tokens": 0, "text_tokens": 4}});
    assert_eq!(body["usage"], usage);
    assert_eq!(body["id"], format!("chatcmpl-{}", answer.header("x-request-id")));
    for (name, value) in
        [("x-dashscope-call-gateway", "true"), ("x-dashscope-finished", "true"), ("server", "istio-envoy")]
    {
        assert_eq!(answer.header(name), value);
    }
    let record = caller.last();
    assert_eq!((record.prompt_tokens, record.completion_tokens, record.reasoning_tokens), (OVERHEAD + 2, 4, 0));
    assert_eq!((record.finished, record.usage_told, record.chunks_sent, record.status), (true, true, 1, 200));
    assert_eq!((record.path.as_str(), record.model.as_str(), record.stream), (PATH, "qwen-plus", false));
    assert_eq!((record.id.as_str(), record.api_key.as_str()), (answer.header("x-request-id"), "sk-test"));
}

#[actix_web::test]
async fn a_stream_tells_word_by_word_and_its_usage_last() {
    let caller = Caller::start(json!({})).await;
    let mut asked = streaming("hello there");
    asked["enable_thinking"] = json!(true);
    let answer = caller.post("/v1/chat/completions", &asked).await;
    assert_eq!(answer.header("content-type"), "text/event-stream;charset=utf-8");
    assert!(answer.text().ends_with("}\n\ndata: [DONE]\n\n"));
    assert_eq!(answer.told("/choices/0/delta/content"), "You said: hello there");
    assert_eq!(answer.told("/choices/0/delta/reasoning_content"), "I shall say back what was said.");
    let events = answer.events();
    let first = json!({"content": "", "role": "assistant", "reasoning_content": ""});
    assert_eq!((&events[0]["choices"][0]["delta"], events[0].get("usage")), (&first, Some(&Value::Null)));
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    let last = events.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(11)));
    assert_eq!(last["usage"]["completion_tokens_details"]["reasoning_tokens"], 7);
    let record = caller.last();
    assert_eq!((record.prompt_tokens, record.completion_tokens, record.reasoning_tokens), (OVERHEAD + 2, 11, 7));
    assert_eq!((record.finished, record.usage_told, record.chunks_sent), (true, true, 1 + 7 + 4 + 3));
    asked["stream_options"] = json!({"include_usage": false});
    let events = caller.post(PATH, &asked).await.events();
    assert!(events.iter().all(|event| event["usage"].is_null()));
    assert!(!caller.last().usage_told && caller.last().finished);
    let totals = caller.simulator.call_totals();
    assert_eq!((totals.calls, totals.finished, totals.completion_tokens), (2, 2, 22));
}

#[actix_web::test]
async fn tools_are_called_as_the_provider_does() {
    let caller = Caller::start(json!({})).await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
    let mut asked = streaming("time and weather");
    asked["tools"] = json!([tool("weather"), tool("tides"), tool("time")]);
    let events = caller.post(PATH, &asked).await.events();
    let deltas: Vec<&Value> = events.iter().map(|event| &event["choices"][0]["delta"]).collect();
    let begun = &deltas[1]["tool_calls"][0];
    assert_eq!((&begun["index"], &begun["function"]), (&json!(0), &json!({"arguments": "", "name": "weather"})));
    assert_eq!(begun["id"].as_str().unwrap().len(), "call_".len() + 24);
    let later =
        json!({"tool_calls": [{"function": {"arguments": "{\"text\": "}, "id": "", "index": 0, "type": "function"}]});
    assert_eq!(deltas[2], &later);
    assert_eq!(deltas[6]["tool_calls"][0]["function"], json!({"arguments": ""}));
    assert_eq!(deltas[7]["tool_calls"][0]["function"], json!({"arguments": "", "name": "time"}));
    let finish = &events[events.len() - 2]["choices"][0];
    assert_eq!((&finish["delta"], &finish["finish_reason"]), (&json!({}), &json!("tool_calls")));
    asked["stream"] = json!(false);
    let body = caller.post(PATH, &asked).await.json();
    let calls = &body["choices"][0]["message"]["tool_calls"];
    assert_eq!((&calls[1]["index"], &calls[1]["function"]["name"]), (&json!(1), &json!("time")));
    assert_eq!(calls[0]["function"]["arguments"], r#"{"text": "time and weather"}"#);
    assert_eq!(body["usage"], events.last().unwrap()["usage"]);
    asked["tool_choice"] = json!("none");
    assert_eq!(caller.post(PATH, &asked).await.json()["choices"][0]["finish_reason"], "stop");
}

#[actix_web::test]
async fn wrong_requests_are_refused_in_the_api_s_words() {
    let caller = Caller::start(json!({})).await;
    let changed = |name: &str, value: Value| {
        let mut asked = asking("hi");
        asked[name] = value;
        asked
    };
    let mt = |role: &str| {
        json!({"model": "qwen-mt-turbo", "translation_options": {"source_lang": "auto", "target_lang": "English"},
            "messages": [{"role": role, "content": "你好"}]})
    };
    for (asked, status, code) in [
        (changed("messages", json!([])), 400, "invalid_parameter_error"),
        (json!({"model": "qwen-plus"}), 400, "invalid_parameter_error"),
        (json!([]), 400, "invalid_parameter_error"),
        (changed("model", json!("")), 400, "invalid_parameter_error"),
        (changed("model", json!("bad model")), 404, "model_not_found"),
        (changed("temperature", json!(2)), 400, "invalid_parameter_error"),
        (mt("system"), 400, "invalid_parameter_error"),
    ] {
        let answer = caller.post(PATH, &asked).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{asked}");
        assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
        assert!(!caller.last().finished && caller.last().status == status);
    }
    assert_eq!(caller.post(PATH, &mt("user")).await.status, 200);
    assert_eq!(caller.simulator.call_totals().refused, 7);
}

#[actix_web::test]
async fn one_key_is_right_when_there_is_one() {
    let options = crate::simulator::server::Options { api_key: Some("sk-right".to_owned()), ..Default::default() };
    let simulator = crate::simulator::server::Simulator::start(options).await.unwrap();
    for (header, value, status) in [
        ("authorization", "Bearer sk-right", 200),
        ("authorization", "bearer sk-wrong", 401),
        ("x-api-key", "sk-right", 200),
        ("x-other", "", 401),
    ] {
        let url = format!("{}{PATH}", simulator.http_base());
        let call = awc::Client::new().post(url).insert_header((header, value)).send_json(&asking("hi")).await.unwrap();
        let answer = Answer::of(call).await;
        assert_eq!(answer.status, status, "{header}: {value}");
        if status == 401 {
            assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
            assert_eq!(answer.header("x-dashscope-call-gateway"), "");
        }
    }
}

#[actix_web::test]
async fn refusals_come_on_demand_first_in_first_out() {
    let caller = Caller::start(json!({"status": 529, "percent": 0})).await;
    let queue = async |body: &'static str| {
        Answer::of(caller.request("POST", "/simulator/http-faults").send_body(body).await.unwrap()).await.status
    };
    assert_eq!(queue(r#"{"status":503,"retry_after":3}"#).await, 202);
    assert_eq!(queue(r#"{"code":"insufficient_quota"}"#).await, 202);
    assert_eq!(queue(r#"{"sulk":true}"#).await, 400);
    let answer = caller.post(PATH, &asking("hi")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "3"));
    let answer = caller.post(PATH, &asking("hi")).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (429, &json!("insufficient_quota")));
    assert_eq!(caller.post(PATH, &asking("hi")).await.status, 200);
    let ledger = caller.fetch("/simulator/calls").await.json();
    assert_eq!((&ledger["calls"][0]["status"], &ledger["calls"][2]["api_key"]), (&json!(503), &json!("***test")));
}

#[actix_web::test]
async fn a_stream_breaks_off_with_an_error_or_without_a_word() {
    let caller = Caller::start(json!({})).await;
    caller.next(json!({"error_after_chunks": 3, "code": "data_inspection_failed"}));
    let answer = caller.post(PATH, &streaming("hello there")).await;
    let events = answer.events();
    assert_eq!((answer.status, events.len()), (200, 4));
    assert_eq!(events[3]["error"]["message"], "Output data may contain inappropriate content.");
    assert_eq!((events[3]["id"].as_str(), answer.text().contains("[DONE]")), (events[0]["id"].as_str(), false));
    let record = caller.last();
    assert_eq!((record.finished, record.chunks_sent, record.completion_tokens), (false, 4, 2));
    for (chunks, asked) in [(0, streaming("hi")), (2, streaming("hi")), (0, asking("hi")), (1, asking("hi"))] {
        caller.next(json!({"drop_after_chunks": chunks}));
        let answer = caller.raw(PATH, &asked).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(body.is_empty(), chunks == 0);
        assert!(!body.ends_with("0\r\n\r\n") && !body.ends_with('}'), "{body}");
        assert_eq!((caller.last().finished, caller.last().chunks_sent), (false, chunks));
    }
    caller.next(json!({"drop_before_headers": true}));
    assert_eq!(caller.raw(PATH, &asking("hi")).await, "");
    assert_eq!(caller.last().status, 0);
}

#[actix_web::test]
async fn answers_are_long_wide_or_silent_on_demand() {
    let caller = Caller::start(json!({"no_usage": true})).await;
    let answer = caller.post(PATH, &streaming("hi")).await;
    assert!(answer.events().iter().all(|event| event.get("usage").is_none()));
    assert_eq!(caller.post(PATH, &asking("hi")).await.json().get("usage"), None);
    assert!(caller.last().finished && !caller.last().usage_told && caller.last().completion_tokens == 3);
    caller.next(json!({"words": 5000, "huge_chunk": 1 << 20}));
    let mut asked = streaming("hi");
    asked["max_tokens"] = json!(2);
    let answer = caller.post(PATH, &asked).await;
    assert_eq!(answer.events().last().unwrap()["usage"]["completion_tokens"], 5000);
    assert_eq!(answer.text().split_inclusive("\n\n").next().unwrap().len(), 1 << 20);
    let answer = caller
        .post(PATH, &{
            asked["stream"] = json!(false);
            asked
        })
        .await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
    caller.next(json!({"first_delay_ms": 1, "first_byte_delay_ms": 1, "chunk_delay_ms": 1}));
    assert!(caller.post(PATH, &streaming("hi")).await.text().ends_with("[DONE]\n\n"));
}

#[actix_web::test]
async fn a_reader_who_leaves_is_recorded_with_what_was_sent() {
    let caller = Caller::start(json!({})).await;
    caller.next(json!({"chunk_delay_ms": 600_000}));
    let mut call = caller.request("POST", PATH).send_json(&streaming("hi")).await.unwrap();
    futures_util::StreamExt::next(&mut call).await.unwrap().unwrap();
    drop(call);
    let record = caller.last();
    assert_eq!((record.finished, record.chunks_sent), (false, 1));
    assert_eq!((record.prompt_tokens, record.completion_tokens), (OVERHEAD + 1, 0));
}

#[actix_web::test]
async fn who_hangs_answers_nothing() {
    let caller = Caller::start(json!({"hang": true})).await;
    let waiting = caller.request("POST", PATH).timeout(std::time::Duration::from_millis(50)).send_json(&asking("hi"));
    assert!(matches!(waiting.await, Err(awc::error::SendRequestError::Timeout)));
    assert_eq!((caller.last().status, caller.last().chunks_sent), (0, 0));
}
