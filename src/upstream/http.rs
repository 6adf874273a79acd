//! Calls a provider's HTTP API: one client for each worker, with a pool of connections that are kept open.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use actix_http::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{HeaderMap, RETRY_AFTER};
use awc::http::{Method, Version};
use awc::{Client, ClientRequest, Connector};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{LocalBoxStream, StreamExt as _};

use super::account::{Account, Kind};
use super::tcp;
use crate::error::Error;

/// A connection that nobody uses is kept for so long: less than providers and the boxes between keep theirs.
const IDLE: Duration = Duration::from_secs(55);
/// A connection is used for so long at most: who moves to another address is followed.
const LIFETIME: Duration = Duration::from_secs(600);
/// The longest `retry-after` that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Anthropic's keys for subscribers are bearers, and it wants to be told.
const SUBSCRIBER: &str = "sk-ant-oat";

/// One worker's caller: awc's clients stay on their thread.
#[derive(Clone)]
pub struct HttpCaller {
    client: Client,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// `GET` or `POST`.
    pub method: Method,
    /// Where.
    pub url: String,
    /// Headers, without the credential.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or nothing.
    pub body: Bytes,
}

/// The beginning of an answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, as it comes. One that breaks off may look like one that ended.
    pub body: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
}

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `retry-after`, where it is in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: f64 = self.header(RETRY_AFTER.as_str())?.trim().parse().ok()?;
        let sane = seconds.is_finite() && seconds >= 0.0;
        sane.then(|| Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64())))
    }

    /// The body to its end.
    ///
    /// # Errors
    /// `UpstreamTimeout` when it hasn't ended by `deadline`, `UpstreamUnavailable` when it breaks off or is longer than
    /// `limit` bytes.
    pub async fn whole(&mut self, limit: usize, deadline: Instant) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = tokio::time::timeout(left, self.body.next()).await.map_err(|_| Error::UpstreamTimeout)?;
            let Some(piece) = piece else { return Ok(body.freeze()) };
            let piece = piece.map_err(|error| Error::upstream(format!("its answer broke off: {error}")))?;
            if body.len() + piece.len() > limit {
                return Err(Error::upstream("its answer is too long"));
            }
            // Most answers come in one piece.
            if body.is_empty() {
                body = BytesMut::from(piece);
            } else {
                body.extend_from_slice(&piece);
            }
        }
    }

    /// How long the body is, where that was said.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// Nothing came in time.
    TimedOut,
    /// A connection was closed before anything came: it may have been an old one.
    Dropped,
    /// No connection, for the log.
    Unreachable(String),
    /// The question can't be put into a request at all, for the log: nobody was asked.
    Unsendable(String),
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::TimedOut => Self::UpstreamTimeout,
            Unanswered::Dropped => Self::upstream("it closed the connection"),
            Unanswered::Unreachable(why) | Unanswered::Unsendable(why) => Self::upstream(why),
        }
    }
}

impl HttpCaller {
    /// A caller. `connect`: how long a connection may take; `http2`: whether HTTP/2 is spoken where it is offered.
    /// rustls' provider must be installed.
    #[must_use]
    pub fn new(connect: Duration, http2: bool) -> Self {
        /// What one slow reader may leave unread on a connection that it shares, bytes.
        const WINDOW: u32 = 64 << 10;
        /// Likewise all of them.
        const WINDOWS: u32 = 64 << 20;
        let mut connector = Connector::new();
        if !http2 {
            connector = connector.max_http_version(Version::HTTP_11);
        }
        let connector = connector
            .connector(tcp::connector())
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOWS)
            .conn_keep_alive(IDLE)
            .conn_lifetime(LIFETIME)
            .limit(0)
            .timeout(connect)
            .handshake_timeout(connect);
        // Deadlines are the caller's: awc's own would run on into the body.
        let client = Client::builder().connector(connector).disable_timeout().disable_redirects();
        Self { client: client.no_default_headers().finish() }
    }

    /// Asks an account.
    ///
    /// # Errors
    /// Why there is no answer within `timeout`.
    pub async fn ask(&self, account: &Account, question: Question, timeout: Duration) -> Result<Answer, Unanswered> {
        let mut request = self.client.request(question.method, question.url);
        request = request
            .insert_header(("user-agent", concat!("livetranslate-central/", env!("CARGO_PKG_VERSION"))))
            // Bodies are relayed as they are.
            .insert_header(("accept-encoding", "identity"));
        if !question.body.is_empty() {
            request = request.insert_header(("content-type", "application/json"));
        }
        for (name, value) in question.headers {
            request = request.insert_header((name, value));
        }
        let request = with_credential(request, account);
        let answer = tokio::time::timeout(timeout, request.send_body(question.body)).await;
        let answer = answer.map_err(|_| Unanswered::TimedOut)?.map_err(|error| unanswered(&error))?;
        Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body: answer.boxed_local() })
    }
}

/// The request with the account's credential, as its kind wants it.
pub fn with_credential(request: ClientRequest, account: &Account) -> ClientRequest {
    let credential = account.credential.expose();
    match account.kind {
        Kind::Anthropic if !credential.starts_with(SUBSCRIBER) => request.insert_header(("x-api-key", credential)),
        Kind::Anthropic | Kind::Dashscope | Kind::Openai => request.bearer_auth(credential),
    }
}

fn unanswered(error: &SendRequestError) -> Unanswered {
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => Unanswered::TimedOut,
        SendRequestError::Connect(ConnectError::Disconnected) | SendRequestError::Send(_) => Unanswered::Dropped,
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Response(ParseError::Io(error))
            if broke(error) =>
        {
            Unanswered::Dropped
        }
        SendRequestError::H2(error) if error.get_io().is_some_and(broke) => Unanswered::Dropped,
        SendRequestError::Url(_)
        | SendRequestError::Http(_)
        | SendRequestError::Body(_)
        | SendRequestError::Custom(..)
        | SendRequestError::TunnelNotSupported => Unanswered::Unsendable(error.to_string()),
        other => Unanswered::Unreachable(other.to_string()),
    }
}

/// Whether a connection that stood was closed by the other side.
fn broke(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broken_request_means() {
        let io = |kind: ErrorKind| std::io::Error::from(kind);
        for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof] {
            let (read, connect) = (ParseError::Io(io(kind)), ConnectError::Io(io(kind)));
            assert_eq!(unanswered(&SendRequestError::Response(read)), Unanswered::Dropped);
            assert_eq!(unanswered(&SendRequestError::Connect(connect)), Unanswered::Dropped);
        }
        let refused = SendRequestError::Connect(ConnectError::Io(io(ErrorKind::ConnectionRefused)));
        assert!(matches!(unanswered(&refused), Unanswered::Unreachable(_)));
        let url = SendRequestError::Url(awc::error::InvalidUrl::MissingHost);
        assert!(matches!(unanswered(&url), Unanswered::Unsendable(_)));
    }
}
