//! One WebSocket to a gateway: dialled with a license, text frames in and out, pings answered.

use std::time::Duration;

use actix_http::ws::{CloseCode, Codec, Frame, Item, Message};
use awc::BoxedSocket;
use awc::error::WsClientError;
use awc::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::http::{self, Http};
use super::server::Server;
use crate::config::settings::Secret;

const LARGEST_FRAME: usize = 4 << 20;
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames that wait for the socket at most; the sender waits beyond.
const WAITING_FRAMES: usize = 4;
/// A server that is silent for so long is asked whether it lives, twice.
const SILENCE: Duration = Duration::from_secs(15);

type Socket = actix_codec::Framed<BoxedSocket, Codec>;

/// A socket that is open. Dropping it cuts the connection; [`Connection::goodbye`] is said before.
pub struct Connection {
    stream: SplitStream<Socket>,
    frames: mpsc::Sender<Message>,
    answers: watch::Sender<Option<Message>>,
    writer: JoinHandle<()>,
    joining: BytesMut,
    heard: Instant,
    asked: u32,
}

/// What a connection brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text frame, whole.
    Text(String),
    /// The server closed, with its code and reason.
    Closed(Option<u16>, String),
    /// The connection broke.
    Lost(String),
}

/// Sends frames; many may hold one.
#[derive(Clone)]
pub struct Outgoing(mpsc::Sender<Message>);

impl Outgoing {
    /// Hands a text frame over; waits while the socket takes nothing. `false` when the connection is gone.
    pub async fn text(&self, text: String) -> bool {
        self.0.send(Message::Text(text.into())).await.is_ok()
    }
}

impl Connection {
    /// Opens a realtime session's socket.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the gateway's reason as far as it can be learnt, or [`Failure::Unreachable`].
    pub async fn dial(server: &Server, license: &Secret, model: &str) -> Result<Self, Failure> {
        let request = http::client(DIAL_TIMEOUT)
            .ws(server.realtime(model))
            .max_frame_size(LARGEST_FRAME)
            .set_header("authorization", format!("Bearer {}", license.expose()));
        match request.connect().await {
            Ok((_, socket)) => Ok(Self::over(socket)),
            Err(WsClientError::InvalidResponseStatus(status)) => Err(why(server, license, model, status).await),
            Err(error) => Err(http::unreachable(server, error)),
        }
    }

    fn over(socket: Socket) -> Self {
        let (sink, stream) = socket.split();
        let (frames, waiting) = mpsc::channel(WAITING_FRAMES);
        let (answers, due) = watch::channel(None);
        let writer = tokio::task::spawn_local(write(sink, waiting, due));
        Self { stream, frames, answers, writer, joining: BytesMut::new(), heard: Instant::now(), asked: 0 }
    }

    /// A handle that sends.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        Outgoing(self.frames.clone())
    }

    /// The next frame. May be dropped while it waits without losing any.
    pub async fn next(&mut self) -> Incoming {
        loop {
            let patience = self.heard + SILENCE * (self.asked + 1);
            let frame = match timeout_at(patience, self.stream.next()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Incoming::Lost(error.to_string()),
                Ok(None) => return Incoming::Lost("the connection was cut".to_owned()),
                Err(_) if self.asked < 2 => {
                    self.asked += 1;
                    self.answers.send_replace(Some(Message::Ping(Bytes::new())));
                    continue;
                }
                Err(_) => return Incoming::Lost("nothing was heard for 45 s".to_owned()),
            };
            (self.heard, self.asked) = (Instant::now(), 0);
            if let Some(incoming) = self.take(frame) {
                return incoming;
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Option<Incoming> {
        match frame {
            Frame::Text(bytes) => Some(text(&bytes)),
            Frame::Continuation(Item::FirstText(bytes) | Item::FirstBinary(bytes)) => {
                self.joining.clear();
                self.join(&bytes)
            }
            Frame::Continuation(Item::Continue(bytes)) => self.join(&bytes),
            Frame::Continuation(Item::Last(bytes)) => {
                self.join(&bytes).or_else(|| Some(text(&std::mem::take(&mut self.joining))))
            }
            Frame::Ping(bytes) => {
                self.answers.send_replace(Some(Message::Pong(bytes)));
                None
            }
            Frame::Close(reason) => {
                let code = reason.as_ref().map(|reason| u16::from(reason.code));
                Some(Incoming::Closed(code, reason.and_then(|reason| reason.description).unwrap_or_default()))
            }
            Frame::Binary(_) | Frame::Pong(_) => None,
        }
    }

    fn join(&mut self, bytes: &[u8]) -> Option<Incoming> {
        if self.joining.len() + bytes.len() > LARGEST_FRAME {
            return Some(Incoming::Lost("the server sent a message over 4 MiB".to_owned()));
        }
        self.joining.extend_from_slice(bytes);
        None
    }

    /// Says goodbye (close code 1000) behind all frames; what the server still has to say can be read on.
    pub async fn goodbye(&self) {
        // A connection that is gone needs none.
        drop(self.frames.send(Message::Close(Some(CloseCode::Normal.into()))).await);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// Writes frames until the last handle is gone; answers to pings go first, only the newest counts.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut frames: mpsc::Receiver<Message>,
    mut answers: watch::Receiver<Option<Message>>,
) {
    loop {
        let message = tokio::select! {
            biased;
            Ok(()) = answers.changed() => answers.borrow_and_update().as_ref().and_then(copied),
            frame = frames.recv() => match frame {
                Some(frame) => Some(frame),
                None => return,
            },
        };
        // A socket that takes nothing more also brings nothing more: the reader reports it.
        if let Some(message) = message
            && sink.send(message).await.is_err()
        {
            return;
        }
    }
}

/// Messages can't be cloned.
fn copied(message: &Message) -> Option<Message> {
    match message {
        Message::Ping(bytes) => Some(Message::Ping(bytes.clone())),
        Message::Pong(bytes) => Some(Message::Pong(bytes.clone())),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Incoming {
    std::str::from_utf8(bytes).map_or_else(
        |_| Incoming::Lost("the server sent a text that is not UTF-8".to_owned()),
        |text| Incoming::Text(text.to_owned()),
    )
}

/// Why an upgrade was refused. Its body can't be read, so the license is asked about; where that is in
/// order, the status alone must do.
async fn why(server: &Server, license: &Secret, model: &str, status: StatusCode) -> Failure {
    let asked = Http::new(server.clone(), Some(license.clone()), DIAL_TIMEOUT).get("/v1/license").await;
    if let Err(Failure::Refused { status: of_license, code, message }) = asked
        && of_license == status.as_u16()
    {
        return Failure::Refused { status: of_license, code, message };
    }
    let (code, message) = match status.as_u16() {
        400 => ("invalid_request", format!("it doesn't take this request for the model `{model}`")),
        401 => ("invalid_api_key", "this license is not valid here".to_owned()),
        403 => {
            ("not_allowed", format!("this license does not include the model `{model}`, realtime use or this address"))
        }
        404 => ("model_not_found", format!("the model `{model}` does not exist or is not served here")),
        429 => ("limit_reached", "the license's quota is used up, or it holds too many sessions at once".to_owned()),
        502 => ("upstream_unavailable", "the translation provider is unavailable; try again shortly".to_owned()),
        503 => ("unavailable", "it takes no new sessions now; try again shortly".to_owned()),
        504 => ("upstream_timeout", "the translation provider did not answer in time".to_owned()),
        _ => ("unknown", status.canonical_reason().unwrap_or("it gave no reason").to_owned()),
    };
    Failure::Refused { status: status.as_u16(), code: code.to_owned(), message }
}
