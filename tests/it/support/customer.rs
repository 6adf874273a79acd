//! The customer: holds a license and speaks the provider's realtime protocol, frame by frame.

use std::time::Duration;

use actix_codec::Framed;
use actix_http::ws::{Codec, Frame, Item, Message};
use awc::BoxedSocket;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::operator::{Answer, Operator};

/// The model that tests speak to unless they say otherwise.
pub(crate) const MODEL: &str = "qwen3.5-livetranslate-flash-realtime";
/// Nothing in a test may take longer; a limit, not an expectation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody with a license.
pub(crate) struct Customer {
    url: String,
    /// License id.
    pub(crate) license_id: String,
    /// Token.
    pub(crate) token: String,
}

impl Customer {
    /// The holder of a license.
    pub(crate) fn new(url: String, license_id: &str, token: &str) -> Self {
        Self { url, license_id: license_id.to_owned(), token: token.to_owned() }
    }

    /// Opens a realtime session.
    pub(crate) async fn dial(&self) -> Call {
        self.dial_at(&format!("/v1/realtime?model={MODEL}")).await.unwrap()
    }

    /// Opens a WebSocket at a path, or tells the refusal's status.
    pub(crate) async fn dial_at(&self, path: &str) -> Result<Call, u16> {
        let url = format!("{}{path}", self.url);
        let request = client().ws(url).max_frame_size(8 << 20).bearer_auth(&self.token);
        open(request).await
    }

    /// What the gateway says to an upgrade that it refuses.
    pub(crate) async fn refusal(&self, path: &str) -> Answer {
        refusal(&self.url, path, &[("authorization", &format!("Bearer {}", self.token))]).await
    }

    /// The license as a bearer on HTTP.
    pub(crate) fn api(&self) -> Operator {
        Operator::with_bearer(self.url.clone(), &self.token)
    }

    /// Used and reserved audio seconds of the first budget, as `GET /v1/license` tells.
    pub(crate) async fn audio_used(&self) -> f64 {
        let license = self.api().get("/v1/license").await;
        license.body["budgets"][0]["used"].as_f64().unwrap_or_else(|| panic!("{:?}", license.body))
    }
}

fn client() -> awc::Client {
    let connector = awc::Connector::new().limit(0);
    awc::Client::builder().connector(connector).timeout(PATIENCE).no_default_headers().finish()
}

/// Opens a WebSocket that was prepared by hand.
pub(crate) async fn open(request: awc::ws::WebsocketsRequest) -> Result<Call, u16> {
    match request.connect().await {
        Ok((_, framed)) => Ok(Call { framed }),
        Err(awc::error::WsClientError::InvalidResponseStatus(status)) => Err(status.as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// A prepared upgrade without a credential.
pub(crate) fn upgrade(url: &str) -> awc::ws::WebsocketsRequest {
    client().ws(url).max_frame_size(8 << 20)
}

/// What the gateway says to an upgrade with these headers that it refuses: read off the socket, since
/// WebSocket clients hide it.
pub(crate) async fn refusal(url: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = tokio::time::timeout(PATIENCE, socket.read(&mut chunk)).await.unwrap().unwrap();
        text.extend_from_slice(&chunk[..count]);
        let answer = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .map_or(0, |(_, value)| value.parse().unwrap());
            if body.len() >= length {
                let (body, text) = (serde_json::from_str(body).unwrap_or_default(), body.to_owned());
                return Answer { status, headers, body, text };
            }
        }
        assert!(count > 0, "the gateway closed in the middle of an answer");
    }
}

/// An open session, seen from the customer.
pub(crate) struct Call {
    framed: Framed<BoxedSocket, Codec>,
}

/// How a session ended: its last events, and the close frame.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Events before the close.
    pub(crate) events: Vec<Value>,
    /// Close code and reason; `None` when the connection broke off.
    pub(crate) close: Option<(u16, String)>,
}

impl Ending {
    /// The code of the gateway's last `error` event.
    pub(crate) fn error_code(&self) -> &str {
        let error = self.events.iter().rev().find(|event| event["type"] == "error");
        error.and_then(|event| event["error"]["code"].as_str()).unwrap_or_default()
    }

    /// The close code.
    pub(crate) fn code(&self) -> u16 {
        self.close.as_ref().map_or(0, |(code, _)| *code)
    }
}

impl Call {
    /// Sends any message.
    pub(crate) async fn send(&mut self, message: Message) {
        // A gateway that has closed meanwhile is found out by reading.
        let _closed = self.framed.send(message).await;
    }

    /// The two directions, to be used at once.
    pub(crate) fn split(self) -> (Mouth, Ear) {
        let (sink, stream) = self.framed.split();
        (Mouth(sink), Ear(stream))
    }

    /// Sends a text frame as it is.
    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        self.send(Message::Text(text.into().into())).await;
    }

    /// Sends an event.
    pub(crate) async fn event(&mut self, event: Value) {
        self.text(event.to_string()).await;
    }

    /// Sends so many milliseconds of audio in one frame: a tone, or silence.
    pub(crate) async fn audio(&mut self, milliseconds: usize, amplitude: i16) {
        self.text(append(milliseconds, amplitude)).await;
    }

    /// Sends a text message in fragments of `size` bytes.
    pub(crate) async fn fragments(&mut self, text: &str, size: usize) {
        let mut parts: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let last = parts.pop().unwrap();
        for (index, part) in parts.into_iter().enumerate() {
            let item = if index == 0 { Item::FirstText(part) } else { Item::Continue(part) };
            self.send(Message::Continuation(item)).await;
        }
        self.send(Message::Continuation(Item::Last(last))).await;
    }

    /// The next text frame, as it came; `None` at the end. Answers pings.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        loop {
            match self.next_frame().await? {
                Frame::Text(text) => return Some(String::from_utf8(text.to_vec()).unwrap()),
                Frame::Ping(content) => self.send(Message::Pong(content)).await,
                Frame::Close(_) => return None,
                Frame::Binary(_) | Frame::Pong(_) | Frame::Continuation(_) => {}
            }
        }
    }

    /// The next frame, whatever it is; `None` when the connection is over.
    pub(crate) async fn next_frame(&mut self) -> Option<Frame> {
        let frame = tokio::time::timeout(PATIENCE, self.framed.next()).await;
        frame.unwrap_or_else(|_| panic!("nothing came for {PATIENCE:?}")).and_then(Result::ok)
    }

    /// The next event.
    pub(crate) async fn next_event(&mut self) -> Value {
        let text = self.next_text().await.unwrap_or_else(|| panic!("the session ended"));
        serde_json::from_str(&text).unwrap()
    }

    /// Reads up to an event of this type and returns it.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// Reads to the end.
    pub(crate) async fn ending(&mut self) -> Ending {
        let mut events = Vec::new();
        loop {
            match self.next_frame().await {
                Some(Frame::Text(text)) => events.push(serde_json::from_slice(&text).unwrap()),
                Some(Frame::Ping(content)) => self.send(Message::Pong(content)).await,
                Some(Frame::Close(reason)) => {
                    let close = reason.map(|reason| (reason.code.into(), reason.description.unwrap_or_default()));
                    return Ending { events, close: Some(close.unwrap_or((1005, String::new()))) };
                }
                Some(Frame::Binary(_) | Frame::Pong(_) | Frame::Continuation(_)) => {}
                None => return Ending { events, close: None },
            }
        }
    }

    /// Says goodbye and waits for the close.
    pub(crate) async fn hang_up(mut self) {
        self.send(Message::Close(Some(actix_http::ws::CloseCode::Normal.into()))).await;
        while self.next_frame().await.is_some() {}
    }

    /// `session.finish`, all events to `session.finished`, and a close.
    pub(crate) async fn finish(mut self) -> Vec<Value> {
        self.event(json!({ "type": "session.finish" })).await;
        let mut events = Vec::new();
        loop {
            let event = self.next_event().await;
            let over = event["type"] == "session.finished";
            events.push(event);
            if over {
                self.hang_up().await;
                return events;
            }
        }
    }
}

/// A call's sending half.
pub(crate) struct Mouth(futures_util::stream::SplitSink<Framed<BoxedSocket, Codec>, Message>);

impl Mouth {
    /// Sends a text frame; an error when the gateway has closed.
    pub(crate) async fn text(&mut self, text: &str) -> Result<(), actix_http::ws::ProtocolError> {
        self.0.send(Message::Text(text.into())).await
    }
}

/// A call's receiving half.
pub(crate) struct Ear(futures_util::stream::SplitStream<Framed<BoxedSocket, Codec>>);

impl Ear {
    /// Reads to the end and tells the close code; 0 when there was none.
    pub(crate) async fn close_code(&mut self) -> u16 {
        while let Some(Ok(frame)) = self.0.next().await {
            if let Frame::Close(reason) = frame {
                return reason.map_or(1005, |reason| reason.code.into());
            }
        }
        0
    }
}

/// An `input_audio_buffer.append` with so many milliseconds of a 200 Hz tone at 16 kHz.
pub(crate) fn append(milliseconds: usize, amplitude: i16) -> String {
    let sample = |n: usize| (f64::from(amplitude) * (n as f64 * 0.0785).sin()) as i16;
    let pcm: Vec<u8> = (0..milliseconds * 16).flat_map(|n| sample(n).to_le_bytes()).collect();
    let audio = base64::engine::general_purpose::STANDARD.encode(pcm);
    format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#)
}
