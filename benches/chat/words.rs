//! What callers ask and the upstream answers, rendered once.

use std::fmt::Write as _;

use crate::target::Target;

/// Tokens that every answer says it took in.
pub(crate) const INPUT_TOKENS: u64 = 212;
/// Tokens that every answer says it gave.
pub(crate) const OUTPUT_TOKENS: u64 = 187;
/// What stands before a chunk's time in its text, and nowhere else in a stream.
pub(crate) const MARK: u8 = b'@';
/// Digits of a chunk's time, in nanoseconds.
pub(crate) const DIGITS: usize = 16;
/// The member by which a stream is asked for.
pub(crate) const STREAM: &str = r#""stream":true"#;
/// The last event of a stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// Path and method of a call, as gateway and provider have it.
const LINE: &str = "POST /compatible-mode/v1/chat/completions HTTP/1.1";
const MODEL: &str = "qwen-plus";
const IDENTITY: &str = r#""id":"chatcmpl-7c0c1f0e-9d4b-9e1c-8d6e-4a5c3a0f7b21""#;
/// Stands where a chunk's time belongs.
const NO_TIME: &str = "0000000000000000";
const SENTENCE: &str =
    "The committee asked whether the interpreter could hear the speaker at the far end of the hall. ";

/// A call to a target, whole: 1.1 KB of JSON below its head.
pub(crate) fn request(target: &Target, streams: bool) -> Vec<u8> {
    let (ask, question) = ("You translate what is said in meetings. Keep names as they are.", SENTENCE.repeat(9));
    let stream = if streams { format!(",{STREAM}") } else { String::new() };
    let body = format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"system","content":"{ask}"}},{{"role":"user","content":"{question}"}}],"temperature":0.3,"max_tokens":512{stream}}}"#
    );
    let (address, token, length) = (target.address, &target.token, body.len());
    format!(
        "{LINE}\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nuser-agent: OpenAI/Python 2.8.0\r\n\
         accept: application/json\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A whole answer of 1.1 KB, with its head.
pub(crate) fn answer() -> Vec<u8> {
    let text = SENTENCE.repeat(7);
    let body = format!(
        r#"{{"choices":[{{"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop","index":0,"logprobs":null}}],"object":"chat.completion","usage":{},"created":1763740800,"system_fingerprint":null,"model":"{MODEL}",{IDENTITY}}}"#,
        usage()
    );
    let length = body.len();
    format!("{}content-length: {length}\r\n\r\n{body}", head("application/json")).into_bytes()
}

/// The head of a stream.
pub(crate) fn stream_head() -> Vec<u8> {
    format!("{}transfer-encoding: chunked\r\n\r\n", head("text/event-stream;charset=UTF-8")).into_bytes()
}

/// A chunk of 250 bytes of a stream, its time still to be written in.
pub(crate) fn chunk() -> Vec<u8> {
    let mark = char::from(MARK);
    let text = format!("{mark}{NO_TIME} as it was said");
    framed(&event(&format!(
        r#"[{{"delta":{{"content":"{text}"}},"finish_reason":null,"index":0,"logprobs":null}}],"usage":null"#
    )))
}

/// The end of a stream: why it ends, usage if it was asked for, and that it is over.
pub(crate) fn stream_end(usage_too: bool) -> Vec<u8> {
    let mut end = event(r#"[{"delta":{"content":""},"finish_reason":"stop","index":0}],"usage":null"#);
    if usage_too {
        end.push_str(&event(&format!(r#"[],"usage":{}"#, usage())));
    }
    end.push_str(DONE);
    let mut bytes = framed(&end);
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn head(content_type: &str) -> String {
    let id = "7c0c1f0e-9d4b-9e1c-8d6e-4a5c3a0f7b21";
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nx-request-id: {id}\r\nx-dashscope-call-gateway: true\r\n"
    )
}

fn usage() -> String {
    let total = INPUT_TOKENS + OUTPUT_TOKENS;
    format!(
        r#"{{"prompt_tokens":{INPUT_TOKENS},"completion_tokens":{OUTPUT_TOKENS},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0}}}}"#
    )
}

fn event(choices: &str) -> String {
    let created = 1_763_740_800;
    format!(
        "data: {{\"choices\":{choices},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":\"{MODEL}\",{IDENTITY}}}\n\n"
    )
}

/// As one chunk of HTTP's.
fn framed(text: &str) -> Vec<u8> {
    let mut framed = String::new();
    // Writing to a string can't fail.
    let _written = write!(framed, "{:x}\r\n{text}\r\n", text.len());
    framed.into_bytes()
}
