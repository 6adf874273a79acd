//! Recorded native answers and streams, and what an OpenAI client makes of their translation.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::about::About;
use super::stream::{Ending, Translator};
use super::usage::NativeUsage;
use super::{answer, embeddings, failure, request};

fn about(model: &str) -> About {
    About { id: "chatcmpl-9188e907".to_owned(), created: 1_786_984_432, model: model.to_owned() }
}

fn answered(body: &str) -> Value {
    serde_json::from_slice(&answer::translate(body.as_bytes(), &about("qwen-max")).unwrap()).unwrap()
}

/// The data of every event, each found to be whole.
fn events(out: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(out).unwrap();
    assert!(text.is_empty() || text.ends_with("\n\n"));
    let data = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap().to_owned());
    data.inspect(|data| assert!(!data.contains('\n'))).collect()
}

/// Feeds the frames, and ends.
fn streamed(model: &str, include_usage: bool, frames: &[&str]) -> (Vec<String>, Ending, Option<NativeUsage>) {
    let (mut translator, mut out) = (Translator::new(about(model), include_usage), Vec::new());
    for frame in frames {
        translator.feed(Some("result"), frame.as_bytes(), &mut out);
    }
    let ending = translator.end(&mut out);
    assert_eq!(translator.end(&mut out), ending);
    (events(&out), ending, translator.usage())
}

/// A client that joins what it hears, as OpenAI's own do.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    role: String,
    content: String,
    reasoning: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, String)>,
    finish: Option<String>,
}

fn heard(events: &[String], index: u64) -> Heard {
    let mut heard = Heard::default();
    for event in events.iter().filter(|event| *event != "[DONE]") {
        let chunk: Value = serde_json::from_str(event).unwrap();
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for choice in chunk["choices"].as_array().unwrap().iter().filter(|choice| choice["index"] == index) {
            let delta = &choice["delta"];
            let text = |name: &str| delta[name].as_str().unwrap_or_default();
            heard.role.push_str(text("role"));
            heard.content.push_str(text("content"));
            heard.reasoning.push_str(text("reasoning_content"));
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                heard.calls.resize(heard.calls.len().max(at + 1), Default::default());
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                heard.calls[at].0.push_str(&text(&call["id"]));
                heard.calls[at].1.push_str(&text(&call["function"]["name"]));
                heard.calls[at].2.push_str(&text(&call["function"]["arguments"]));
            }
            heard.finish = choice["finish_reason"].as_str().map(str::to_owned).or(heard.finish);
        }
    }
    heard
}

#[test]
fn a_recorded_answer_is_a_completion() {
    let told = answered(
        r#"{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"Hello"}}]},"usage":{"input_tokens":24,"output_tokens":9,"total_tokens":33,"prompt_tokens_details":{"cached_tokens":8},"output_tokens_details":{"reasoning_tokens":2}},"request_id":"9188e907"}"#,
    );
    let expected = json!({"id":"chatcmpl-9188e907","object":"chat.completion","created":1_786_984_432,"model":"qwen-max",
        "choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"logprobs":null,"finish_reason":"stop"}],
        "usage":{"prompt_tokens":24,"completion_tokens":9,"total_tokens":33,"prompt_tokens_details":{"cached_tokens":8},
        "completion_tokens_details":{"reasoning_tokens":2}},"request_id":"9188e907"});
    assert_eq!(told, expected);
}

#[test]
fn the_other_forms_of_an_answer_are_read() {
    let text =
        answered(r#"{"output":{"text":"two","finish_reason":"stop"},"usage":{"input_tokens":1,"output_tokens":1}}"#);
    assert_eq!(text["choices"][0]["message"], json!({"role":"assistant","content":"two"}));
    assert_eq!((&text["choices"][0]["finish_reason"], &text["usage"]["total_tokens"]), (&json!("stop"), &json!(2)));

    let seen = answered(
        r#"{"output":{"choices":[{"finish_reason":"null","message":{"role":"assistant","reasoning_content":"hm","audio":{"data":"UklG"},"content":[{"text":"a "},{"ocr_result":{"kv":1},"text":"beach"}]}}],"search_info":{"search_results":[]}},"usage":{"output_tokens":3,"input_tokens":3613,"image_tokens":3577,"plugins":{"search":{"count":1}}}}"#,
    );
    let message = json!({"role":"assistant","content":"a beach","reasoning_content":"hm","audio":{"data":"UklG"},"ocr_result":{"kv":1}});
    assert_eq!(seen["choices"][0]["message"], message);
    assert_eq!(seen["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(seen["usage"]["prompt_tokens_details"], json!({"cached_tokens":0,"image_tokens":3577}));
    assert_eq!(
        (&seen["usage"]["plugins"], &seen["search_info"]),
        (&json!({"search":{"count":1}}), &json!({"search_results":[]}))
    );

    let called = answered(
        r#"{"output":{"choices":[{"finish_reason":"tool_calls","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":"{}"},"index":0,"id":"","type":"function"},{"id":"call_b","function":{"name":"g","arguments":"{}"}}]}}]}}"#,
    );
    let calls = &called["choices"][0]["message"]["tool_calls"];
    assert_eq!((&calls[0]["id"], &calls[1]["id"]), (&json!("call_9188e907_0_0"), &json!("call_b")));
    assert_eq!(calls[1]["type"], "function");
    for broken in ["", "[]", "{}", r#"{"code":"InternalError","message":"m"}"#, r#"{"output":{"choices":[]}}"#] {
        assert!(answer::translate(broken.as_bytes(), &about("m")).is_err(), "{broken}");
    }
}

#[test]
fn a_recorded_stream_is_joined_chunks() {
    let frames = [
        r#"{"output":{"choices":[{"message":{"content":"","reasoning_content":"嗯","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":19,"output_tokens":3,"input_tokens":16,"output_tokens_details":{"reasoning_tokens":1}},"request_id":"ab9f3446"}"#,
        r#"{"output":{"choices":[{"message":{"content":"您","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":25,"input_tokens":24,"output_tokens":1},"request_id":"9188e907"}"#,
        "keep-alive",
        r#"{"output":{"choices":[{"message":{"content":"好","role":"assistant"},"finish_reason":"stop"}]},"usage":{"total_tokens":69,"output_tokens":53,"input_tokens":16,"output_tokens_details":{"reasoning_tokens":10}},"request_id":"9188e907"}"#,
    ];
    let (events, ending, usage) = streamed("qwen-plus", true, &frames);
    assert_eq!(ending, Ending::Whole);
    assert_eq!(usage, Some(NativeUsage { input: 16, cached: 0, output: 53, reasoning: 10 }));
    let first = r#"{"id":"chatcmpl-9188e907","object":"chat.completion.chunk","created":1786984432,"model":"qwen-plus","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"嗯"},"logprobs":null,"finish_reason":null}],"usage":null}"#;
    assert_eq!(events[0], first);
    assert_eq!(events.len(), 6, "three deltas, the finish, the usage, the end: {events:?}");
    let heard = heard(&events, 0);
    assert_eq!((heard.role.as_str(), heard.content.as_str(), heard.reasoning.as_str()), ("assistant", "您好", "嗯"));
    assert_eq!(heard.finish.as_deref(), Some("stop"));
    let last: Value = serde_json::from_str(&events[4]).unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(53)));
    assert_eq!(events[5], "[DONE]");

    let (quiet, ..) = streamed("qwen-plus", false, &frames);
    assert!(quiet.iter().all(|event| !event.contains("usage")) && quiet.len() == 5);
}

#[test]
fn recorded_parallel_calls_keep_their_ids() {
    let frames = [
        r#"{"output":{"choices":[{"message":{"content":[],"tool_calls":[{"index":0,"id":"call_aa99","type":"function","function":{"name":"weather","arguments":"{\"location\": "}}],"role":"assistant"},"finish_reason":"null"}]}}"#,
        r#"{"output":{"choices":[{"message":{"content":[],"tool_calls":[{"index":0,"id":"","type":"function","function":{"arguments":"\"浙江省杭州市\"}"}}],"role":"assistant"},"finish_reason":"null"}]}}"#,
        r#"{"output":{"choices":[{"message":{"content":[],"tool_calls":[{"index":0,"id":"","type":"function","function":{"arguments":""}},{"index":1,"id":"call_aa8b","type":"function","function":{"name":"weather","arguments":""}}],"role":"assistant"},"finish_reason":"null"}]}}"#,
        r#"{"output":{"choices":[{"message":{"content":[],"tool_calls":[{"index":1,"id":"","type":"function","function":{"arguments":"{\"location\": \"上海市\""}}],"role":"assistant"},"finish_reason":"null"}]}}"#,
        r#"{"output":{"choices":[{"message":{"content":[],"tool_calls":[{"index":1,"id":"","type":"function","function":{"arguments":"}"}}],"role":"assistant"},"finish_reason":"tool_calls"}]}}"#,
    ];
    let (events, ending, _) = streamed("qwen3.6-plus", false, &frames);
    assert_eq!(ending, Ending::Whole);
    let call = |id: &str, place: &str| (id.to_owned(), "weather".to_owned(), format!(r#"{{"location": "{place}"}}"#));
    let heard = heard(&events, 0);
    assert_eq!(heard.calls, [call("call_aa99", "浙江省杭州市"), call("call_aa8b", "上海市")]);
    assert_eq!(heard.finish.as_deref(), Some("tool_calls"));
    assert!(
        events[1].contains(r#""tool_calls":[{"index":0,"function":{"arguments":"\"浙江省杭州市\"}"}}]"#),
        "{}",
        events[1]
    );
}

#[test]
fn calls_that_repeat_themselves_or_lack_ids_come_out_alike() {
    let frame = |calls: &str, finish: &str| {
        format!(
            r#"{{"output":{{"choices":[{{"message":{{"content":"","tool_calls":[{calls}]}},"finish_reason":"{finish}"}}]}}}}"#
        )
    };
    let call = |id: &str, arguments: &str| {
        json!({"id":id,"type":"function","function":{"name":"f","arguments":arguments}}).to_string()
    };
    let whole = [
        frame(&call("call_1", "{\"a\""), "null"),
        frame(&call("call_1", "{\"a\": 1}"), "null"),
        frame(&call("call_1", "{\"a\": 1}"), "tool_calls"),
    ];
    let nameless = [
        frame(r#"{"function":{"arguments":"{\"a\""}}"#, "null"),
        frame(r#"{"function":{"name":"f","arguments":": 1}"}}"#, "tool_calls"),
    ];
    let heard_from = |frames: &[String]| {
        heard(&streamed("m", false, &frames.iter().map(String::as_str).collect::<Vec<_>>()).0, 0).calls
    };
    let expected = |id: &str| vec![(id.to_owned(), "f".to_owned(), "{\"a\": 1}".to_owned())];
    assert_eq!(heard_from(&whole), expected("call_1"));
    assert_eq!(heard_from(&nameless), expected("call_9188e907_0_0"));
    let two = [frame(&[call("", "{\"a\": 1}"), call("", "{}")].join(","), "tool_calls")];
    assert_eq!(heard_from(&two)[1], ("call_9188e907_0_1".to_owned(), "f".to_owned(), "{}".to_owned()));
}

#[test]
fn an_error_ends_the_stream_without_a_done() {
    let said = r#"{"output":{"choices":[{"message":{"content":"Hi"},"finish_reason":"null"}]}}"#;
    let refused = r#"{"code":"InvalidParameter","message":"Role must be user or assistant","request_id":"7671ecd8"}"#;
    let expected = r#"{"error":{"message":"Role must be user or assistant","type":"invalid_request_error","param":null,"code":"invalid_parameter_error"},"request_id":"7671ecd8"}"#;
    let (events, ending, _) = streamed("m", true, &[said, refused, said]);
    assert_eq!((events.len(), events[1].as_str(), ending), (2, expected, Ending::Failed));

    let (mut translator, mut out) = (Translator::new(about("m"), true), Vec::new());
    translator.feed(Some("error"), b"nothing that is read", &mut out);
    assert_eq!(translator.end(&mut out), Ending::Failed);
    assert_eq!(translator.failure(), Some("InternalError"));
    assert!(self::events(&out)[0].contains("internal_error"));

    let (events, ending, _) = streamed("m", true, &[said]);
    assert_eq!(ending, Ending::Broken);
    assert!(events[1].contains(r#""code":"upstream_unavailable""#) && events.len() == 2, "{events:?}");
    assert_eq!(streamed("m", true, &[]).1, Ending::Broken);
}

#[test]
fn several_choices_end_one_by_one() {
    let frames = [
        r#"{"output":{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"null"},{"index":1,"message":{"content":"x"},"finish_reason":"null"}]}}"#,
        r#"{"output":{"choices":[{"index":1,"message":{"content":"y"},"finish_reason":"length"}]}}"#,
        r#"{"output":{"choices":[{"index":0,"message":{"content":"b"},"finish_reason":"stop"}]}}"#,
    ];
    let (events, ending, _) = streamed("m", false, &frames);
    assert_eq!((heard(&events, 0).content.as_str(), heard(&events, 1).content.as_str()), ("ab", "xy"));
    assert_eq!((heard(&events, 1).finish.as_deref(), ending), (Some("length"), Ending::Whole));
    assert_eq!(streamed("m", false, &frames[..2]).1, Ending::Broken);
}

/// A frame of the text in one of the forms that were recorded.
fn frame(text: &str, listed: bool, last: bool) -> String {
    let content = if listed { json!([{ "text": text }]) } else { json!(text) };
    let finish = if last { "stop" } else { "null" };
    json!({"output":{"choices":[{"message":{"role":"assistant","content":content},"finish_reason":finish}]}})
        .to_string()
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "output",
        "choices",
        "message",
        "content",
        "text",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "id",
        "index",
        "finish_reason",
        "usage",
        "input_tokens",
        "code",
        "error",
        "messages",
        "model",
        "role",
        "type",
        "image_url",
        "input",
        "embeddings",
        "embedding",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["user", "text", "stop", "InternalError", "m"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn any_splitting_joins_to_the_same_text(pieces in prop::collection::vec("\\PC{0,5}", 1..12), listed: bool) {
        let text = pieces.concat();
        let (mut increments, mut repetitions, mut so_far) = (Vec::new(), Vec::new(), String::new());
        for (at, piece) in pieces.iter().enumerate() {
            so_far.push_str(piece);
            increments.push(frame(piece, listed, at + 1 == pieces.len()));
            repetitions.push(frame(&so_far, listed, at + 1 == pieces.len()));
        }
        for (model, frames) in [("qwen-plus", increments), ("qwen-mt-plus", repetitions)] {
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            let (events, ending, _) = streamed(model, false, &frames);
            prop_assert_eq!(ending, Ending::Whole);
            prop_assert_eq!(&heard(&events, 0).content, &text);
        }
    }

    #[test]
    fn numbers_keep_their_text(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?") {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x","y":{number}}}],"temperature":{number},"z":[{number}]}}"#);
        let native = String::from_utf8(request::translate(body.as_bytes()).unwrap().body).unwrap();
        let kept = format!(r#""y":{number}}}]}},"parameters":{{"result_format":"message","temperature":{number},"z":[{number}]}}}}"#);
        prop_assert!(native.ends_with(&kept), "{}", native);
    }

    #[test]
    fn nothing_panics(value in any_json(), bytes in prop::collection::vec(any::<u8>(), 0..64), status: u16) {
        let known = json!({"model":"m","messages":value,"input":value,"output":value,"usage":value}).to_string();
        let choices = json!({"output":{"choices":value}}).to_string();
        let message = json!({"output":{"choices":[{"message":value}]},"error":value}).to_string();
        let mut out = Vec::new();
        let mut translator = Translator::new(about("qwen-mt"), true);
        for body in [value.to_string().as_bytes(), known.as_bytes(), choices.as_bytes(), message.as_bytes(), &bytes] {
            let _ = (request::translate(body), embeddings::translate(body), failure::translate(status, body));
            let _ = (answer::translate(body, &about("m")), embeddings::answer(body, "m", embeddings::Encoding::Base64));
            translator.feed(None, body, &mut out);
        }
        translator.end(&mut out);
        for event in events(&out).iter().filter(|event| *event != "[DONE]") {
            prop_assert!(serde_json::from_str::<Value>(event).is_ok(), "{}", event);
        }
    }
}
