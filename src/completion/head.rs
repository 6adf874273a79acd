//! What must be known of a request before it is sent: its model, whether it streams, how much it may use. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::value::RawValue;

use super::api::Api;
use super::estimate;
use crate::error::Error;
use crate::wire::members::Members;

/// No model's name is longer.
const LONGEST_NAME: usize = 200;
/// So much of a conversation's beginning tells it from others, bytes.
const TELLING: usize = 16 << 10;
/// Members that decide about money: said twice, nobody knows which one the provider heeds.
const ONCE: [&str; 9] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "messages",
    "parameters",
];

/// The request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The model, a sane name.
    pub model: String,
    /// Whether the answer is a stream of events.
    pub streams: bool,
    /// Whether the caller asked for usage in the stream (OpenAI's chat).
    pub wants_usage: bool,
    /// Tokens in, guessed.
    pub input_tokens: u64,
    /// Tokens out at most, if the caller says so; 0 where nothing is generated.
    pub most_output: Option<u64>,
    /// What calls of one conversation have in common.
    pub conversation: u64,
}

impl Head {
    /// Reads a body. `streams`: whether a header asks for events, which is how DashScope's own services are asked.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the member at fault.
    pub fn read(api: Api, body: &[u8], streams: bool) -> Result<Self, Error> {
        let text = std::str::from_utf8(body).map_err(|_| Error::request("the body must be JSON in UTF-8"))?;
        let members: Members<'_> = serde_json::from_str(text)
            .map_err(|error| Error::request(format!("the body must be a JSON object: {error}")))?;
        for name in ONCE {
            if members.all(name).nth(1).is_some() {
                return Err(Error::field(name, format!("`{name}` is given twice; give it once")));
            }
        }
        let model = model(&members)?;
        let streams = match (api, members.all("stream").next()) {
            (Api::Native, _) => streams,
            (Api::Embeddings | Api::CountTokens, _) | (_, None | Some("false" | "null")) => false,
            (_, Some("true")) => true,
            (_, Some(_)) => return Err(Error::field("stream", "`stream` must be true or false")),
        };
        let wants_usage = members
            .objects("stream_options")
            .any(|options| options.all("include_usage").last().is_some_and(|value| value == "true"));
        Ok(Self {
            conversation: conversation(&members, &model),
            input_tokens: estimate::tokens(body),
            most_output: if api.generates() { most_output(&members) } else { Some(0) },
            model,
            streams,
            wants_usage,
        })
    }
}

fn model(members: &Members<'_>) -> Result<String, Error> {
    let named = members.strings("model").next().filter(|name| !name.trim().is_empty());
    let name = named.ok_or_else(|| Error::field("model", "name a model in `model`; GET /v1/models lists them"))?;
    let sane = name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    if sane {
        Ok(name.into_owned())
    } else {
        Err(Error::field("model", format!("`model` is a name of {LONGEST_NAME} bytes at most")))
    }
}

fn most_output(members: &Members<'_>) -> Option<u64> {
    let named = |members: &Members<'_>| {
        let limits = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
        limits.into_iter().filter_map(|name| members.number(name)).max()
    };
    let inner = members.objects("parameters").next();
    let limit = named(members).or_else(|| inner.as_ref().and_then(named))?;
    let answers = members.number("n").unwrap_or(1).clamp(1, 16);
    Some(limit.min(1 << 20) * answers)
}

/// The caller's own word for a conversation, or how it begins: what the system says and the first question.
fn conversation(members: &Members<'_>, model: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    if let Some(key) = members.strings("prompt_cache_key").next() {
        key.hash(&mut hasher);
        return hasher.finish();
    }
    let mut telling = TELLING;
    let mut add = |text: &str| {
        let part = text.as_bytes().get(..telling).unwrap_or(text.as_bytes());
        telling -= part.len();
        part.hash(&mut hasher);
    };
    let inner = members.objects("input").next();
    let lists = members.all("messages").chain(members.all("input"));
    let lists = lists.chain(inner.iter().flat_map(|input| input.all("messages")));
    members.all("system").chain(members.all("instructions")).for_each(&mut add);
    for list in lists {
        match serde_json::from_str::<Vec<&RawValue>>(list) {
            Ok(messages) => beginning(&messages).for_each(&mut add),
            Err(_) => add(list),
        }
    }
    hasher.finish()
}

/// The messages up to the first of the user.
fn beginning<'a>(messages: &'a [&'a RawValue]) -> impl Iterator<Item = &'a str> {
    let is_users = |message: &RawValue| {
        Members::read(message.get()).is_some_and(|message| message.strings("role").any(|role| role == "user"))
    };
    let first = messages.iter().take(8).position(|message| is_users(message)).map_or(1, |place| place + 1);
    messages.iter().take(first).map(|message| message.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn head(api: Api, body: &serde_json::Value) -> Head {
        Head::read(api, body.to_string().as_bytes(), false).unwrap()
    }

    #[test]
    fn what_is_read() {
        let body = json!({"model": "qwen-plus", "stream": true, "stream_options": {"include_usage": true},
            "max_tokens": 10, "n": 2, "messages": [{"role": "user", "content": "hi"}]});
        let read = head(Api::Chat, &body);
        assert_eq!((read.model.as_str(), read.streams, read.wants_usage), ("qwen-plus", true, true));
        assert_eq!(read.most_output, Some(20));
        let native = json!({"model": "m", "input": {"messages": []}, "parameters": {"max_tokens": 7}});
        assert_eq!(head(Api::Native, &native).most_output, Some(7));
        assert!(Head::read(Api::Native, native.to_string().as_bytes(), true).unwrap().streams);
        assert_eq!(head(Api::Chat, &json!({"model": "m"})).most_output, None);
        assert_eq!(head(Api::Embeddings, &json!({"model": "m", "input": "x"})).most_output, Some(0));
    }

    #[test]
    fn wrong_bodies_are_refused_by_name() {
        for (body, param) in [
            ("", None),
            ("[]", None),
            ("{\"model\":\"m\"", None),
            ("{}", Some("model")),
            (r#"{"model":""}"#, Some("model")),
            (r#"{"model":5}"#, Some("model")),
            (r#"{"model":"a\u0000b"}"#, Some("model")),
            (r#"{"model":"a","model":"b"}"#, Some("model")),
            (r#"{"model":"a","stream":"yes"}"#, Some("stream")),
        ] {
            let error = Head::read(Api::Chat, body.as_bytes(), false).unwrap_err();
            assert_eq!(error.param(), param, "{body}: {error}");
            assert_eq!(error.row().status, 400);
        }
    }

    #[test]
    fn a_conversation_is_known_by_its_beginning() {
        let turn = |more: serde_json::Value| {
            let mut messages = vec![json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "u"})];
            messages.extend(more.as_array().cloned().unwrap_or_default());
            head(Api::Chat, &json!({"model": "m", "messages": messages})).conversation
        };
        let first = turn(json!([]));
        assert_eq!(turn(json!([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}])), first);
        let other = json!({"model": "m", "messages": [{"role": "user", "content": "else"}]});
        assert_ne!(head(Api::Chat, &other).conversation, first);
        let keyed = |key: &str, text: &str| {
            let body = json!({"model": "m", "prompt_cache_key": key, "messages": [{"role": "user", "content": text}]});
            head(Api::Chat, &body).conversation
        };
        assert_eq!(keyed("k", "a"), keyed("k", "b"));
        assert_ne!(keyed("k", "a"), keyed("l", "a"));
    }
}
