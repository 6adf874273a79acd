//! A chat-completions request as the native request that means the same.

use crate::error::Error;
use crate::wire::members::{Members, string};

use super::json::{Object, array};
use super::{fault, messages, models};

const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// Members that are said elsewhere in a native request.
const ELSEWHERE: [&str; 7] =
    ["model", "messages", "stream", "stream_options", "max_completion_tokens", "result_format", "incremental_output"];

/// Members that DashScope has no use for.
const OPENAI_ONLY: [&str; 10] = [
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prediction",
    "verbosity",
    "web_search_options",
];

/// What to send to DashScope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeRequest {
    /// The path below the account's base URL.
    pub path: &'static str,
    /// The model's id.
    pub model: String,
    /// JSON.
    pub body: Vec<u8>,
    /// The caller wants a stream: send `X-DashScope-SSE: enable`.
    pub streams: bool,
    /// The caller wants the stream's usage.
    pub include_usage: bool,
}

/// Translates a caller's body. What it doesn't know goes along in `parameters`, numbers in their own spelling.
/// Members that are `null` are as good as missing.
///
/// # Errors
/// `InvalidRequest` with the member's path: a wrong shape, or a member that is there twice.
pub fn translate(body: &[u8]) -> Result<NativeRequest, Error> {
    let members = members(body)?;
    let model = model(&members)?;
    let (streams, include_usage) = streaming(&members)?;
    let messages = messages::read(members.last("messages"))?;
    let multimodal = models::is_multimodal(&model) || messages.iter().any(messages::Message::has_media);
    let messages: Vec<String> = messages.iter().map(|message| message.native(multimodal)).collect();
    let mut input = Object::default();
    input.raw("messages", &array(&messages));
    let mut native = Object::default();
    native.text("model", &model);
    native.raw("input", &input.finish());
    native.raw("parameters", &parameters(&members, streams));
    let path = if multimodal { MULTIMODAL } else { TEXT };
    Ok(NativeRequest { path, model, body: native.finish().into_bytes(), streams, include_usage })
}

/// The members of a caller's body, each there once.
///
/// # Errors
/// `InvalidRequest` for what is no such JSON object.
pub fn members(body: &[u8]) -> Result<Members<'_>, Error> {
    let body = std::str::from_utf8(body).map_err(|_| Error::request("the body must be JSON in UTF-8"))?;
    let members = Members::read(body).ok_or_else(|| Error::request("the body must be a JSON object"))?;
    fault::no_repeats(&members, "")?;
    Ok(members)
}

/// The body's `model`.
///
/// # Errors
/// `InvalidRequest` where there is none.
pub fn model(members: &Members<'_>) -> Result<String, Error> {
    let model = members.last("model").and_then(string).filter(|model| !model.is_empty());
    model.map(String::from).ok_or_else(|| fault::wrong("model", "must name a model, e.g. \"qwen-plus\""))
}

fn streaming(members: &Members<'_>) -> Result<(bool, bool), Error> {
    let streams = flag(members, "stream", "stream")?;
    let Some(options) = members.last("stream_options") else { return Ok((streams, false)) };
    let options = Members::read(options).ok_or_else(|| fault::wrong("stream_options", "must be an object"))?;
    Ok((streams, flag(&options, "include_usage", "stream_options.include_usage")?))
}

fn flag(members: &Members<'_>, name: &str, path: &str) -> Result<bool, Error> {
    match members.last(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(fault::wrong(path, "must be true or false")),
    }
}

fn parameters(members: &Members<'_>, streams: bool) -> String {
    let mut parameters = Object::default();
    parameters.raw("result_format", r#""message""#);
    if streams {
        parameters.raw("incremental_output", "true");
    }
    let longest = members.last("max_completion_tokens");
    if let Some(longest) = longest {
        parameters.raw("max_tokens", longest);
    }
    for (name, value) in members.entries() {
        let said = ELSEWHERE.contains(&name) || (name == "max_tokens" && longest.is_some());
        if !said && !OPENAI_ONLY.contains(&name) && value != "null" {
            parameters.raw(name, value);
        }
    }
    parameters.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(body: &str) -> (NativeRequest, String) {
        let request = translate(body.as_bytes()).unwrap();
        let body = String::from_utf8(request.body.clone()).unwrap();
        (request, body)
    }

    fn refused(body: &str) -> String {
        let error = translate(body.as_bytes()).unwrap_err();
        assert_eq!(error.row().status, 400);
        error.to_string()
    }

    #[test]
    fn text_goes_to_text_generation_with_its_numbers_untouched() {
        let (request, body) = native(
            r#"{"model":"qwen-plus","messages":[{"role":"developer","content":"Be brief."},
            {"role":"user","content":[{"type":"text","text":"Hello "},{"type":"text","text":"world"}]},
            {"role":"assistant","content":null,"refusal":null,"reasoning_content":"…","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"call_1","content":"18 °C"},
            {"role":"assistant","content":"It","partial":true}],
            "stream":true,"stream_options":{"include_usage":true},"temperature":0.10,"seed":123456789012345678901234567890,
            "top_p":1E-1,"max_tokens":1,"max_completion_tokens":20,"n":1,"stop":["a","b"],"enable_thinking":false,"frequency_penalty":null,
            "search_options":{"forced_search":true},"user":"u","store":true,"metadata":{},"tools":[{"type":"function"}],"x_new":{"deep":[1.50]}}"#,
        );
        assert_eq!(request.path, TEXT);
        assert_eq!(request.model, "qwen-plus");
        assert!(request.streams && request.include_usage);
        let expected = concat!(
            r#"{"model":"qwen-plus","input":{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello world"},"#,
            r#"{"role":"assistant","content":"","reasoning_content":"…","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},"#,
            r#"{"role":"tool","content":"18 °C","tool_call_id":"call_1"},{"role":"assistant","content":"It","partial":true}]},"#,
            r#""parameters":{"result_format":"message","incremental_output":true,"max_tokens":20,"temperature":0.10,"seed":123456789012345678901234567890,"#,
            r#""top_p":1E-1,"n":1,"stop":["a","b"],"enable_thinking":false,"search_options":{"forced_search":true},"tools":[{"type":"function"}],"x_new":{"deep":[1.50]}}}"#,
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn media_goes_to_multimodal_generation() {
        let (request, body) = native(
            r#"{"model":"any","messages":[{"role":"system","content":"Look."},{"role":"user","content":[
            {"type":"image_url","image_url":{"url":"https://x/y.png","detail":"low"},"min_pixels":3136},
            {"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}},
            {"type":"input_audio","input_audio":{"data":"https://x/y.wav","format":"wav"}},
            {"type":"video_url","video_url":{"url":"https://x/y.mp4"},"fps":2},
            {"type":"video","video":["https://x/1.jpg"]},{"image":"oss://z"},
            {"type":"text","text":"What is it?"}]},
            {"role":"assistant","content":"","tool_calls":[]}]}"#,
        );
        assert_eq!(request.path, MULTIMODAL);
        assert!(!request.streams && !request.include_usage);
        let expected = concat!(
            r#"{"model":"any","input":{"messages":[{"role":"system","content":[{"text":"Look."}]},{"role":"user","content":["#,
            r#"{"image":"https://x/y.png","min_pixels":3136},{"audio":"data:;base64,UklGRg=="},{"audio":"https://x/y.wav"},"#,
            r#"{"video":"https://x/y.mp4","fps":2},{"video":["https://x/1.jpg"]},{"image":"oss://z"},{"text":"What is it?"}]},"#,
            r#"{"role":"assistant","content":[],"tool_calls":[]}]},"parameters":{"result_format":"message"}}"#,
        );
        assert_eq!(body, expected);
        let (request, body) = native(r#"{"model":"qwen3.6-plus","messages":[{"role":"user","content":"Hi"}]}"#);
        assert_eq!(request.path, MULTIMODAL);
        assert!(body.contains(r#""content":[{"text":"Hi"}]"#), "{body}");
    }

    #[test]
    fn marks_for_the_cache_stay_on_their_parts() {
        let (_, body) = native(
            r#"{"model":"qwen3-max","messages":[{"role":"system","content":[{"type":"text","text":"Long","cache_control":{"type":"ephemeral"}},{"type":"text","text":"x"}]}]}"#,
        );
        let kept = r#"[{"type":"text","text":"Long","cache_control":{"type":"ephemeral"}},{"type":"text","text":"x"}]"#;
        assert!(body.contains(kept), "{body}");
    }

    #[test]
    fn wrong_shapes_are_named() {
        let messages = r#""messages":[{"role":"user","content":"Hi"}]"#;
        for (body, part) in [
            ("[]".to_owned(), "the body must be a JSON object"),
            (format!("{{{messages}}}"), "model must name a model"),
            (format!(r#"{{"model":7,{messages}}}"#), "model must name a model"),
            (r#"{"model":"m"}"#.to_owned(), "messages must be a list"),
            (r#"{"model":"m","messages":[]}"#.to_owned(), "messages must hold at least one"),
            (r#"{"model":"m","messages":["Hi"]}"#.to_owned(), "messages[0] must be an object"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":7}]}"#.to_owned(),
                "messages[0].content must be a string",
            ),
            (r#"{"model":"m","messages":[{"role":"user"}]}"#.to_owned(), "messages[0].content is missing"),
            (r#"{"model":"m","messages":[{"role":"bot","content":"x"}]}"#.to_owned(), "messages[0].role must be"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"file"}]}]}"#.to_owned(),
                "content[0].type must be",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#
                    .to_owned(),
                "content[0].image_url must",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","role":"tool","content":""}]}"#.to_owned(),
                "messages[0].role is there twice",
            ),
            (format!(r#"{{"model":"m","model":"n",{messages}}}"#), "model is there twice"),
            (format!(r#"{{"model":"m","stream":"yes",{messages}}}"#), "stream must be true or false"),
            (format!(r#"{{"model":"m","stream_options":[],{messages}}}"#), "stream_options must be an object"),
        ] {
            let told = refused(&body);
            assert!(told.contains(part), "{body}: {told}");
        }
        assert!(translate(b"\xff").is_err());
    }
}
