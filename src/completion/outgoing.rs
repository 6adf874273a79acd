//! A request as an account must be asked it: where, with which headers, in which words. Pure.

use bytes::Bytes;

use super::api::Api;
use super::head::Head;
use crate::error::Error;
use crate::upstream::account::{ANTHROPIC_VERSION, Account, Kind, Mode};
use crate::upstream::native::embeddings::{self, Encoding};
use crate::upstream::native::request;
use crate::wire::members::Members;

const INCLUDE_USAGE: &str = r#"{"include_usage":true}"#;

/// What of the caller's request goes along.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// The path below `/api/v1`, for DashScope's own services.
    pub path: String,
    /// The query string.
    pub query: String,
    /// Headers, by their lower-case name.
    pub headers: Vec<(&'static str, String)>,
}

impl Passed {
    /// Whether the caller says in whose workspace the call is made: a refusal is about that then.
    #[must_use]
    pub fn names_workspace(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == "x-dashscope-workspace")
    }
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// As the caller's protocol has it: it is relayed.
    Same,
    /// As DashScope's own generation has it, for a caller who speaks OpenAI's: it is translated.
    Generation,
    /// Likewise, embeddings, in the form that the caller wants.
    Embeddings(Encoding),
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where.
    pub url: String,
    /// Headers, without the credential.
    pub headers: Vec<(&'static str, String)>,
    /// What.
    pub body: Bytes,
    /// How it will be answered.
    pub words: Words,
    /// The last chunk of a stream tells usage that the caller didn't ask for.
    pub hides_usage: bool,
}

/// The request for one account.
///
/// # Errors
/// `InvalidRequest` when it can't be said in the account's words.
pub fn outgoing(api: Api, head: &Head, body: &Bytes, passed: &Passed, account: &Account) -> Result<Outgoing, Error> {
    let native = account.kind == Kind::Dashscope && account.mode == Mode::Native;
    if native && api == Api::Chat {
        let translated = request::translate(body)?;
        let mut asked = own_words(account, translated.path, translated.body, Words::Generation, passed);
        if head.streams {
            asked.headers.push(("x-dashscope-sse", "enable".to_owned()));
        }
        return Ok(asked);
    }
    if native && api == Api::Embeddings {
        let translated = embeddings::translate(body)?;
        let words = Words::Embeddings(translated.encoding);
        return Ok(own_words(account, translated.path, translated.body, words, passed));
    }
    let hides_usage = api == Api::Chat && head.streams && !head.wants_usage;
    let mut headers = passed.headers.clone();
    if account.kind == Kind::Anthropic && headers.iter().all(|(name, _)| *name != "anthropic-version") {
        headers.push(("anthropic-version", ANTHROPIC_VERSION.to_owned()));
    }
    let query = if passed.query.is_empty() { String::new() } else { format!("?{}", passed.query) };
    Ok(Outgoing {
        url: format!("{}{query}", endpoint(api, account, &passed.path)),
        headers,
        body: if hides_usage { asking_for_usage(body)? } else { body.clone() },
        words: Words::Same,
        hides_usage,
    })
}

fn own_words(account: &Account, path: &str, body: Vec<u8>, words: Words, passed: &Passed) -> Outgoing {
    let url = format!("{}{path}", account.base_url);
    Outgoing { url, headers: passed.headers.clone(), body: body.into(), words, hides_usage: false }
}

fn endpoint(api: Api, account: &Account, path: &str) -> String {
    let base = account.base_url.as_str();
    let openai = match account.kind {
        Kind::Dashscope => format!("{base}/compatible-mode/v1"),
        // As SDK users write it, with the version, or without.
        Kind::Openai | Kind::Anthropic => versioned(base),
    };
    let anthropic = match account.kind {
        Kind::Dashscope => format!("{base}/apps/anthropic/v1"),
        Kind::Openai | Kind::Anthropic => versioned(base),
    };
    match api {
        Api::Chat => format!("{openai}/chat/completions"),
        Api::Embeddings => format!("{openai}/embeddings"),
        Api::Responses => format!("{openai}/responses"),
        Api::Messages => format!("{anthropic}/messages"),
        Api::CountTokens => format!("{anthropic}/messages/count_tokens"),
        Api::Native => format!("{base}/api/v1{path}"),
    }
}

fn versioned(base: &str) -> String {
    if base.ends_with("/v1") { base.to_owned() } else { format!("{base}/v1") }
}

/// The body with `stream_options.include_usage`, and all else as it was.
fn asking_for_usage(body: &Bytes) -> Result<Bytes, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::request("the body must be JSON in UTF-8"))?;
    let members = Members::read(text).ok_or_else(|| Error::request("the body must be a JSON object"))?;
    let options = match members.objects("stream_options").next() {
        Some(options) => options.with("include_usage", "true"),
        None => INCLUDE_USAGE.to_owned(),
    };
    Ok(members.with("stream_options", &options).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;
    use crate::upstream::account::State;

    fn account(kind: Kind, base_url: &str) -> Account {
        Account {
            id: "acc_1".to_owned(),
            name: "one".to_owned(),
            kind,
            base_url: base_url.to_owned(),
            credential: Secret::new("sk"),
            mode: Mode::Compatible,
            models: Vec::new(),
            weight: 1,
            priority: 0,
            max_concurrency: None,
            state: State::Enabled,
        }
    }

    fn sent(api: Api, body: &'static str, passed: &Passed, account: &Account) -> Outgoing {
        let body = Bytes::from_static(body.as_bytes());
        let head = Head::read(api, &body, false).unwrap();
        outgoing(api, &head, &body, passed, account).unwrap()
    }

    #[test]
    fn usage_is_asked_for_and_all_else_left_as_it_was() {
        let account = account(Kind::Dashscope, "https://d");
        let passed = Passed::default();
        let body = r#"{"model":"m", "temperature":0.10,"stream":true,"seed":12345678901234567890,"x":{"y":1}}"#;
        let asked = sent(Api::Chat, body, &passed, &account);
        assert_eq!(
            &asked.body[..],
            br#"{"model":"m","temperature":0.10,"stream":true,"seed":12345678901234567890,"x":{"y":1},"stream_options":{"include_usage":true}}"#
        );
        assert!(asked.hides_usage);
        let body = r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage":false}}"#;
        let asked = sent(Api::Chat, body, &passed, &account);
        assert_eq!(&asked.body[..], br#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage":true}}"#);
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let same = sent(Api::Chat, body, &passed, &account);
        assert!(!same.hides_usage && same.body == body);
        let body = r#"{ "model":"m" }"#;
        assert_eq!(sent(Api::Chat, body, &passed, &account).body, body, "a whole answer has its usage anyway");
    }

    #[test]
    fn each_kind_is_asked_where_it_listens() {
        let (dashscope, openai) = (account(Kind::Dashscope, "https://d"), account(Kind::Openai, "https://o/v1"));
        let anthropic = account(Kind::Anthropic, "https://a");
        let body = r#"{"model":"m"}"#;
        let url = |api, account: &Account| sent(api, body, &Passed::default(), account).url;
        assert_eq!(url(Api::Chat, &dashscope), "https://d/compatible-mode/v1/chat/completions");
        assert_eq!(url(Api::Embeddings, &openai), "https://o/v1/embeddings");
        assert_eq!(url(Api::Messages, &anthropic), "https://a/v1/messages");
        assert_eq!(url(Api::CountTokens, &dashscope), "https://d/apps/anthropic/v1/messages/count_tokens");
        let passed = Passed { path: "/services/x".to_owned(), query: "a=b".to_owned(), ..Passed::default() };
        assert_eq!(sent(Api::Native, body, &passed, &dashscope).url, "https://d/api/v1/services/x?a=b");
        let version = sent(Api::Messages, body, &Passed::default(), &anthropic).headers;
        assert_eq!(version, [("anthropic-version", "2023-06-01".to_owned())]);
    }

    #[test]
    fn an_account_in_native_mode_is_asked_in_its_own_words() {
        let account = Account { mode: Mode::Native, ..account(Kind::Dashscope, "https://d") };
        let body = r#"{"model":"qwen-plus","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let asked = sent(Api::Chat, body, &Passed::default(), &account);
        assert_eq!(asked.url, "https://d/api/v1/services/aigc/text-generation/generation");
        assert_eq!((asked.words, asked.headers), (Words::Generation, vec![("x-dashscope-sse", "enable".to_owned())]));
    }
}
