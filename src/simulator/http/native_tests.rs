//! The provider's own generation as a caller meets it: over HTTP.

use crate::simulator::http::caller::{Answer, Caller};
use crate::simulator::http::prompt::{OVERHEAD, PICTURE};

use super::*;

const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";

fn asking(parameters: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "hello there"}]);
    json!({"model": "qwen-plus", "input": {"messages": messages}, "parameters": parameters})
}

async fn stream(caller: &Caller, path: &str, asked: &Value) -> Answer {
    let request = caller.request("POST", path).insert_header(("x-dashscope-sse", "enable"));
    Answer::of(request.send_json(asked).await.unwrap()).await
}

#[actix_web::test]
async fn an_answer_is_a_text_or_a_message() {
    let caller = Caller::start(json!({})).await;
    let body = caller.post(TEXT, &asking(&json!({"max_tokens": 3}))).await.json();
    assert_eq!(body["output"], json!({"text": "You said: hello", "finish_reason": "length"}));
    let body = caller.post(TEXT, &asking(&json!({"result_format": "message", "enable_thinking": true}))).await.json();
    let message = &body["output"]["choices"][0]["message"];
    assert_eq!(
        (&message["content"], message["reasoning_content"].as_str().unwrap().len()),
        (&json!("You said: hello there"), 31)
    );
    assert_eq!(
        body["usage"],
        json!({"input_tokens": OVERHEAD + 2, "output_tokens": 11, "total_tokens": OVERHEAD + 13,
        "prompt_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 7}})
    );
    assert_eq!((&body["request_id"], caller.last().reasoning_tokens), (&json!(caller.last().id), 7));
    let prompt = json!({"model": "qwen-plus", "input": {"prompt": "hi"}});
    assert_eq!(caller.post(TEXT, &prompt).await.json()["output"]["text"], "You said: hi");
}

#[actix_web::test]
async fn events_look_as_recorded() {
    let caller = Caller::start(json!({})).await;
    let answer = stream(&caller, TEXT, &asking(&json!({"result_format": "message", "incremental_output": true}))).await;
    let first = answer.text().split("\n\n").next().unwrap();
    assert!(first.starts_with("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":"), "{first}");
    assert_eq!(answer.told("/output/choices/0/message/content"), "You said: hello there");
    let events = answer.events();
    assert_eq!((&events[0]["output"]["choices"][0]["finish_reason"], events.len()), (&json!("null"), 5));
    assert_eq!(
        (&events[0]["usage"]["output_tokens"], &events[0]["usage"]["total_tokens"]),
        (&json!(1), &json!(OVERHEAD + 3))
    );
    assert_eq!(events[4]["output"]["choices"][0]["finish_reason"], "stop");
    let record = caller.last();
    assert_eq!((record.prompt_tokens, record.completion_tokens, record.finished), (OVERHEAD + 2, 4, true));
    assert_eq!((record.stream, record.usage_told, record.sse.as_deref()), (true, true, Some("enable")));
    let events = stream(&caller, TEXT, &asking(&json!({}))).await.events();
    assert_eq!(
        (&events[1]["output"]["text"], &events[4]["output"]["text"]),
        (&json!("You said: "), &json!("You said: hello there"))
    );
    assert_eq!(caller.last().completion_tokens, 4);
}

#[actix_web::test]
async fn tools_are_called_whole_and_in_pieces() {
    let caller = Caller::start(json!({})).await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let tools = json!([tool("there"), tool("hello")]);
    let whole = caller.post(TEXT, &asking(&json!({"tools": tools}))).await.json();
    let calls = &whole["output"]["choices"][0]["message"]["tool_calls"];
    assert_eq!((&calls[1]["index"], &calls[1]["function"]["name"]), (&json!(1), &json!("hello")));
    assert_eq!(whole["output"]["choices"][0]["finish_reason"], "tool_calls");
    let pieces = stream(&caller, TEXT, &asking(&json!({"tools": tools, "incremental_output": true}))).await;
    let arguments = pieces.told("/output/choices/0/message/tool_calls/0/function/arguments");
    assert_eq!(arguments, r#"{"text": "hello there"}"#.repeat(2));
    assert_eq!(pieces.events()[1]["output"]["choices"][0]["message"]["tool_calls"][0]["id"], "");
    let events = stream(&caller, TEXT, &asking(&json!({"tools": tools}))).await.events();
    let (last, whole) = (&events.last().unwrap()["output"], &whole["output"]);
    let functions = |output: &Value| {
        let calls = output["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
        calls.into_iter().map(|call| call["function"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(functions(last), functions(whole));
}

#[actix_web::test]
async fn multimodal_contents_are_lists() {
    let caller = Caller::start(json!({})).await;
    let content = json!([{"image": "https://example.org/x.png"}, {"text": "hi"}]);
    let asked = json!({"model": "qwen-vl-plus", "input": {"messages": [{"role": "user", "content": content}]}});
    let body = caller.post(MULTIMODAL, &asked).await.json();
    assert_eq!(body["output"]["choices"][0]["message"]["content"], json!([{"text": "You said: hi"}]));
    assert_eq!(body["usage"]["image_tokens"], PICTURE);
}

#[actix_web::test]
async fn what_is_wrong_is_said_in_an_event_or_a_status() {
    let caller = Caller::start(json!({})).await;
    let mut asked = asking(&json!({}));
    asked["input"] = json!({});
    let plain = caller.post(TEXT, &asked).await;
    assert_eq!((plain.status, &plain.json()["code"]), (400, &json!("InvalidParameter")));
    let event = stream(&caller, TEXT, &asked).await;
    assert!(event.text().starts_with("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\""));
    assert_eq!((event.status, caller.last().finished), (200, false));
    let hot = caller.post(TEXT, &asking(&json!({"temperature": 2.5}))).await.json();
    assert_eq!(hot["message"], "Temperature should be in [0.0, 2.0)");
    asked["model"] = json!("unknown-1");
    let unknown = stream(&caller, TEXT, &asked).await;
    assert_eq!((unknown.status, &unknown.json()["message"]), (404, &json!("Model not exist.")));
    caller.next(json!({"status": 401}));
    let body = caller.post(TEXT, &asked).await.json();
    assert_eq!((&body["code"], &body["message"]), (&json!("InvalidApiKey"), &json!("Invalid API-key provided.")));
    caller.next(json!({"error_after_chunks": 2, "code": "Throttling.RateQuota"}));
    let broken = stream(&caller, TEXT, &asking(&json!({}))).await;
    let last = broken.text().trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("id:3\nevent:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling.RateQuota\""), "{last}");
}
