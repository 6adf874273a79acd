//! One account is asked: what it answers, up to the first byte that the caller may see.

use std::time::{Duration, Instant};

use awc::error::PayloadError;
use awc::http::Method;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::LocalBoxStream;

use super::api::{Api, Dialect};
use super::failure::{self, Verdict};
use super::meter::Meter;
use super::outgoing::{Outgoing, Words};
use super::reading;
use super::relay::{Relay, Step};
use super::reply::error_body;
use super::usage::{self, Source, Usage};
use crate::error::Error;
use crate::upstream::account::{Account, Kind};
use crate::upstream::http::{Answer, HttpCaller, Question, Unanswered};
use crate::upstream::native::about::About;
use crate::upstream::native::{answer, embeddings, failure as native_failure};
use crate::upstream::outcome::Outcome;
use crate::wire::members::Members;

/// An answer that is not a stream is no longer, bytes.
const LONGEST: usize = 64 << 20;
/// The provider's words about a call that callers may see.
const SHOWN: [&str; 4] =
    ["x-dashscope-call-gateway", "x-dashscope-finished", "x-dashscope-partialresponse", "x-dashscope-timeout"];

/// What an account answered.
pub enum Answered {
    /// Everything.
    Whole(Whole),
    /// A stream, with what came of it first.
    Stream(Box<Stream>),
    /// The account, or the provider, failed; another account may serve. For the log.
    Failed(Outcome, String),
    /// It doesn't have what was asked for: another one may. Else this is the answer.
    Elsewhere(Whole),
}

/// A whole answer.
pub struct Whole {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// Headers that callers may see.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
    /// What it cost; `None`: it is no answer that is paid for.
    pub cost: Option<(Usage, Source)>,
}

/// A stream that has begun.
pub struct Stream {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// Headers that callers may see.
    pub headers: Vec<(&'static str, String)>,
    /// What makes of the provider's bytes what the caller gets.
    pub relay: Relay,
    /// What came first.
    pub steps: Vec<Step>,
    /// The rest.
    pub body: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
}

/// What every attempt of a call has in common.
pub struct Attempt<'a> {
    /// One worker's client.
    pub http: &'a HttpCaller,
    /// What was asked.
    pub api: Api,
    /// Whose API the account speaks.
    pub kind: Kind,
    /// For errors.
    pub request_id: &'a str,
    /// Tokens of the request, guessed.
    pub input_guess: u64,
    /// Whether the caller wants usage in it.
    pub wants_usage: bool,
    /// Whether the caller says in whose workspace the call is made.
    pub names_workspace: bool,
    /// Whether the account is the caller's own: then what is said about it is the caller's to know.
    pub own_key: bool,
    /// For translated answers.
    pub about: &'a About,
    /// When nothing is waited for any more.
    pub deadline: Instant,
}

impl Attempt<'_> {
    /// Asks an account. Adds the time that was spent waiting for it.
    pub async fn make(&self, account: &Account, asked: Outgoing, waited: &mut Duration) -> Answered {
        let (words, hides_usage) = (asked.words, asked.hides_usage);
        let question = Question { method: Method::POST, url: asked.url, headers: asked.headers, body: asked.body };
        let begun = Instant::now();
        let answer = self.ask(account, question).await;
        *waited += begun.elapsed();
        let answer = match answer {
            Ok(answer) => answer,
            Err(Unanswered::TimedOut) => return Answered::Failed(Outcome::TimedOut, "it did not answer".to_owned()),
            Err(Unanswered::Dropped) => {
                return Answered::Failed(Outcome::Unreachable, "it closed the connection".to_owned());
            }
            Err(Unanswered::Unreachable(why)) => return Answered::Failed(Outcome::Unreachable, why),
            Err(Unanswered::Unsendable(why)) => return Answered::Failed(Outcome::CallersFault, why),
        };
        let content_type = answer.header("content-type").unwrap_or("application/json").to_owned();
        let is_stream = content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
        let begun = Instant::now();
        let answered = if is_stream && (200..300).contains(&answer.status) {
            let relay = match words {
                Words::Generation => Relay::translated(self.input_guess, self.about.clone(), self.wants_usage),
                Words::Same | Words::Embeddings(_) => Relay::new(self.api, self.input_guess, hides_usage),
            };
            self.begin(answer, content_type, relay.with_own_key(self.own_key), words).await
        } else {
            self.whole(answer, content_type, words).await
        };
        *waited += begun.elapsed();
        answered
    }

    /// A connection that the provider has given up meanwhile is no failure: the question is asked once more.
    async fn ask(&self, account: &Account, question: Question) -> Result<Answer, Unanswered> {
        let again = question.clone();
        match self.http.ask(account, question, self.left()).await {
            Err(Unanswered::Dropped) => self.http.ask(account, again, self.left()).await,
            answered => answered,
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn whole(&self, mut answer: Answer, content_type: String, words: Words) -> Answered {
        let mut headers = shown(&answer);
        if self.own_key {
            headers.extend(answer.header("retry-after").map(|wait| ("retry-after", wait.to_owned())));
        }
        let body = match answer.whole(LONGEST, self.deadline).await {
            Ok(body) => body,
            Err(Error::UpstreamTimeout) => {
                return Answered::Failed(Outcome::TimedOut, "its answer did not end".to_owned());
            }
            Err(error) => return Answered::Failed(Outcome::Failing, error.cause().unwrap_or_default().to_owned()),
        };
        let status = answer.status;
        if !(200..300).contains(&status) {
            return self.refused(Received { status, content_type, headers, body }, answer.retry_after(), words);
        }
        let short = answer.length().is_some_and(|length| body.len() as u64 != length);
        let dialect = match words {
            Words::Same => self.api.dialect(),
            Words::Generation | Words::Embeddings(_) => Dialect::Dashscope,
        };
        let usage = usage::read(dialect, &body);
        // A body of unknown length that broke off looks like one that ended; one whose usage was read is whole.
        let torn = || usage.is_none() && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err();
        if short || is_json(&content_type) && torn() {
            return Answered::Failed(Outcome::Failing, "its answer broke off".to_owned());
        }
        let answer = Received { status, content_type, headers, body };
        if is_json(&answer.content_type) && reading::is_failure(dialect, None, &answer.body) {
            return self.failed_whole(answer, words);
        }
        self.served(answer, words, (dialect, usage))
    }

    fn served(&self, answer: Received, words: Words, (dialect, usage): (Dialect, Option<Usage>)) -> Answered {
        let Received { status, content_type, headers, body } = answer;
        let cost = usage.map(|usage| (usage, Source::Upstream)).unwrap_or_else(|| {
            if self.api == Api::Native {
                return (Usage::default(), Source::Unavailable);
            }
            let mut meter = Meter::new(dialect, self.input_guess);
            meter.see(&body);
            meter.sum(true)
        });
        let translated = match words {
            Words::Same => Ok(body),
            Words::Generation => answer::translate(&body, self.about).map(Bytes::from),
            Words::Embeddings(encoding) => embeddings::answer(&body, &self.about.model, encoding).map(Bytes::from),
        };
        match translated {
            Ok(body) => Answered::Whole(Whole { status, content_type, headers, body, cost: Some(cost) }),
            // The provider answered, and charges for it, but that is no chat: every account would answer so.
            Err(error) => {
                let body = error_body(self.api.dialect(), &error, self.request_id).to_string().into();
                let content_type = "application/json".to_owned();
                Answered::Whole(Whole { status: error.row().status, content_type, headers, body, cost: Some(cost) })
            }
        }
    }

    /// An error that was answered with 200.
    fn failed_whole(&self, answer: Received, words: Words) -> Answered {
        let verdict = failure::judge_event(&answer.body);
        if let Verdict::Account(outcome) = verdict
            && !self.own_key
        {
            let Received { status, body, .. } = answer;
            return Answered::Failed(outcome, format!("it answered {status} with {}", failure::code(&body)));
        }
        if words != Words::Same {
            return self.refused_in_words(answer, words);
        }
        let Received { status, content_type, headers, body } = answer;
        Answered::Whole(Whole { status, content_type, headers, body, cost: None })
    }

    /// An error that DashScope's own protocol told with 200, as the refusal that it is in the caller's protocol.
    fn refused_in_words(&self, answer: Received, words: Words) -> Answered {
        let (status, _) = native_failure::translate(answer.status, &answer.body);
        self.refused(Received { status, content_type: "application/json".to_owned(), ..answer }, None, words)
    }

    fn refused(&self, answer: Received, retry_after: Option<Duration>, words: Words) -> Answered {
        let Received { status, content_type, headers, body } = answer;
        let verdict = failure::judge(self.kind, status, &body, retry_after, self.names_workspace);
        if let Verdict::Account(outcome) = verdict
            && !self.own_key
        {
            return Answered::Failed(outcome, format!("it answered {status} {}", failure::code(&body)));
        }
        let is_object = || std::str::from_utf8(&body).is_ok_and(|body| Members::read(body).is_some());
        let (status, body) = match words {
            Words::Same if self.own_key || is_object() => (status, body),
            // Some box on the way, not the provider.
            Words::Same => {
                let error = Error::request(format!("the provider refused the request ({status})"));
                (status, error_body(self.api.dialect(), &error, self.request_id).to_string().into())
            }
            Words::Generation | Words::Embeddings(_) => {
                let (status, body) = native_failure::translate(status, &body);
                (status, body.into())
            }
        };
        let content_type = if is_json(&content_type) { content_type } else { "application/json".to_owned() };
        let whole = Whole { status, content_type, headers, body, cost: None };
        if verdict == Verdict::Elsewhere { Answered::Elsewhere(whole) } else { Answered::Whole(whole) }
    }

    /// A stream that began with an error and thus answers nothing: relayed as it came, or the refusal that it would be
    /// in the caller's protocol.
    fn refused_in_stream(&self, answer: Received, steps: &[Step], words: Words) -> Answered {
        if words != Words::Same {
            return self.refused_in_words(answer, words);
        }
        let Received { status, content_type, headers, .. } = answer;
        let mut body = BytesMut::new();
        for step in steps {
            if let Step::Idle(bytes) | Step::Forward(bytes) | Step::Last(bytes) = step {
                body.extend_from_slice(bytes);
            }
        }
        Answered::Whole(Whole { status, content_type, headers, body: body.freeze(), cost: None })
    }

    /// Waits for the first bytes that the caller may see: until then another account can be asked.
    async fn begin(&self, mut answer: Answer, content_type: String, mut relay: Relay, words: Words) -> Answered {
        let (status, headers) = (answer.status, shown(&answer));
        let mut steps = Vec::new();
        let body = loop {
            let ended = match tokio::time::timeout(self.left(), answer.body.next()).await {
                Err(_) => return Answered::Failed(Outcome::TimedOut, "its stream did not begin".to_owned()),
                Ok(Some(Err(error))) => return Answered::Failed(Outcome::Failing, format!("it broke off: {error}")),
                Ok(Some(Ok(piece))) => {
                    if let Err(error) = relay.push(piece, &mut steps) {
                        return Answered::Failed(Outcome::Failing, error.to_string());
                    }
                    false
                }
                // Whatever it is, it ends here.
                Ok(None) if relay.end(&mut steps) => true,
                Ok(None) => return Answered::Failed(Outcome::Failing, "its stream broke off".to_owned()),
            };
            // Nothing has been sent yet: whatever came before an error, another account can be asked.
            for step in &steps {
                if let Step::Fail(outcome, code) = step {
                    return Answered::Failed(*outcome, format!("it said {code}"));
                }
            }
            if ended {
                break futures_util::stream::empty().boxed_local();
            }
            if steps.iter().any(|step| matches!(step, Step::Forward(_) | Step::Last(_))) {
                break answer.body;
            }
        };
        if let Some(said) = relay.refusal() {
            let answer = Received { status, content_type, headers, body: said.clone() };
            return self.refused_in_stream(answer, &steps, words);
        }
        Answered::Stream(Box::new(Stream { status, content_type, headers, relay, steps, body }))
    }
}

/// An answer as it was read.
struct Received {
    status: u16,
    content_type: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

fn is_json(content_type: &str) -> bool {
    content_type.contains("json")
}

fn shown(answer: &Answer) -> Vec<(&'static str, String)> {
    SHOWN.into_iter().filter_map(|name| Some((name, answer.header(name)?.to_owned()))).collect()
}
