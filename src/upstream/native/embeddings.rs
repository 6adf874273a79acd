//! `/v1/embeddings` there and back: DashScope's native embeddings are lists of numbers by another name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;
use crate::wire::members::{Members, string};

use super::json::{Object, array, list, quoted};
use super::{fault, request};

const PATH: &str = "/api/v1/services/embeddings/text-embedding/text-embedding";

/// How the caller wants the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// A list of numbers.
    #[default]
    Float,
    /// Little-endian `f32`s as base64, what OpenAI's clients ask for unless told otherwise.
    Base64,
}

/// What to send to DashScope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeEmbeddings {
    /// The path below the account's base URL.
    pub path: &'static str,
    /// The model's id.
    pub model: String,
    /// JSON.
    pub body: Vec<u8>,
    /// For [`answer`].
    pub encoding: Encoding,
}

/// Translates a caller's body; what it doesn't know goes along in `parameters`.
///
/// # Errors
/// `InvalidRequest` with the member's name.
pub fn translate(body: &[u8]) -> Result<NativeEmbeddings, Error> {
    let members = request::members(body)?;
    let model = request::model(&members)?;
    let encoding = match members.last("encoding_format").map(string) {
        None => Encoding::Float,
        Some(Some(name)) if name == "float" => Encoding::Float,
        Some(Some(name)) if name == "base64" => Encoding::Base64,
        Some(_) => return Err(fault::wrong("encoding_format", "must be float or base64")),
    };
    let mut input = Object::default();
    input.raw("texts", &texts(&members)?);
    let mut parameters = Object::default();
    for (name, value) in members.entries().filter(|(_, value)| *value != "null") {
        match name {
            "model" | "input" | "encoding_format" | "user" => {}
            "dimensions" => parameters.raw("dimension", value),
            "dimension" if members.last("dimensions").is_some() => {}
            _ => parameters.raw(name, value),
        }
    }
    let mut native = Object::default();
    native.text("model", &model);
    native.raw("input", &input.finish());
    native.raw("parameters", &parameters.finish());
    Ok(NativeEmbeddings { path: PATH, model, body: native.finish().into_bytes(), encoding })
}

fn texts(members: &Members<'_>) -> Result<String, Error> {
    let wrong = || fault::wrong("input", "must be a string or a list of strings; lists of tokens are not taken");
    let input = members.last("input").ok_or_else(wrong)?;
    if string(input).is_some() {
        return Ok(format!("[{input}]"));
    }
    let texts = list(input).filter(|texts| !texts.is_empty()).ok_or_else(wrong)?;
    if texts.iter().any(|text| string(text).is_none()) {
        return Err(wrong());
    }
    Ok(input.to_owned())
}

/// Translates the body of a native 200; `model`: as the caller asked for it.
///
/// # Errors
/// `UpstreamUnavailable` for what is no answer.
pub fn answer(body: &[u8], model: &str, encoding: Encoding) -> Result<Vec<u8>, Error> {
    let unread = || Error::upstream("the answer holds no embeddings");
    let members = std::str::from_utf8(body).ok().and_then(Members::read).ok_or_else(unread)?;
    let output = members.last("output").and_then(Members::read).ok_or_else(unread)?;
    let rows = output.last("embeddings").and_then(list).ok_or_else(unread)?;
    let mut rows: Vec<(u64, String)> = rows
        .into_iter()
        .zip(0..)
        .map(|(row, at)| row_of(row, at, encoding))
        .collect::<Option<_>>()
        .ok_or_else(unread)?;
    rows.sort_by_key(|(index, _)| *index);
    let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
    let mut answer = Object::default();
    answer.raw("object", r#""list""#);
    answer.raw("data", &array(&rows));
    answer.text("model", model);
    answer.raw("usage", &usage(&members));
    for name in ["id", "request_id"] {
        if let Some(request_id) = members.last("request_id") {
            answer.raw(name, request_id);
        }
    }
    Ok(answer.finish().into_bytes())
}

fn row_of(json: &str, at: u64, encoding: Encoding) -> Option<(u64, String)> {
    let members = Members::read(json)?;
    let index = members.number("text_index").unwrap_or(at);
    let mut row = Object::default();
    row.raw("object", r#""embedding""#);
    row.raw("index", &index.to_string());
    if let Some(numbers) = members.last("embedding") {
        row.raw("embedding", &encoded(numbers, encoding)?);
    }
    let read = ["text_index", "embedding", "object", "index"];
    for (name, value) in members.entries().filter(|(name, _)| !read.contains(name)) {
        row.raw(name, value);
    }
    Some((index, row.finish()))
}

fn encoded(numbers: &str, encoding: Encoding) -> Option<String> {
    let numbers_read = list(numbers)?;
    match encoding {
        Encoding::Float => Some(numbers.to_owned()),
        Encoding::Base64 => {
            let floats: Result<Vec<f32>, _> = numbers_read.iter().map(|number| number.parse::<f32>()).collect();
            let bytes: Vec<u8> = floats.ok()?.into_iter().flat_map(f32::to_le_bytes).collect();
            Some(quoted(&STANDARD.encode(bytes)))
        }
    }
}

fn usage(members: &Members<'_>) -> String {
    let native = members.last("usage").and_then(Members::read);
    let count = |name: &str| native.as_ref().and_then(|usage| usage.number(name));
    let total = count("total_tokens").or_else(|| count("input_tokens")).unwrap_or(0);
    let mut usage = Object::default();
    usage.raw("prompt_tokens", &count("input_tokens").unwrap_or(total).to_string());
    usage.raw("total_tokens", &total.to_string());
    usage.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_said_natively() {
        for (body, expected, encoding) in [
            (
                r#"{"model":"text-embedding-v4","input":"Hi","dimensions":512,"encoding_format":"base64","user":"u"}"#,
                r#"{"model":"text-embedding-v4","input":{"texts":["Hi"]},"parameters":{"dimension":512}}"#,
                Encoding::Base64,
            ),
            (
                r#"{"model":"text-embedding-v2","input":["代码","b"],"text_type":"query"}"#,
                r#"{"model":"text-embedding-v2","input":{"texts":["代码","b"]},"parameters":{"text_type":"query"}}"#,
                Encoding::Float,
            ),
        ] {
            let native = translate(body.as_bytes()).unwrap();
            assert_eq!((native.path, String::from_utf8(native.body).unwrap().as_str()), (PATH, expected));
            assert_eq!(native.encoding, encoding);
        }
        for body in [r#""input":[1,2]"#, r#""input":[]"#, r#""input":null"#, r#""input":"x","encoding_format":"hex""#] {
            assert!(translate(format!(r#"{{"model":"m",{body}}}"#).as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn answers_are_lists_or_base64_in_order() {
        let native = br#"{"output":{"embeddings":[{"embedding":[0.5,-2],"text_index":1},{"embedding":[0.10,1e-3],"text_index":0}]},"usage":{"total_tokens":3},"request_id":"1773f7b2"}"#;
        let told = String::from_utf8(answer(native, "text-embedding-v4", Encoding::Float).unwrap()).unwrap();
        let expected = concat!(
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,1e-3]},{"object":"embedding","index":1,"embedding":[0.5,-2]}],"#,
            r#""model":"text-embedding-v4","usage":{"prompt_tokens":3,"total_tokens":3},"id":"1773f7b2","request_id":"1773f7b2"}"#,
        );
        assert_eq!(told, expected);
        let told = String::from_utf8(answer(native, "m", Encoding::Base64).unwrap()).unwrap();
        let bytes: Vec<u8> = [0.5_f32, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
        assert!(told.contains(&format!(r#""index":1,"embedding":"{}""#, STANDARD.encode(bytes))), "{told}");
        for broken in
            ["{}", "[]", r#"{"output":{"embeddings":[{"embedding":[null]}]}}"#, r#"{"output":{"embeddings":[7]}}"#]
        {
            assert!(answer(broken.as_bytes(), "m", Encoding::Base64).is_err(), "{broken}");
        }
    }
}
