//! One WebSocket to a gateway: dialled, text frames in and out, pings sent and answered.

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
use super::parting::Parting;
use super::server::Server;
use crate::config::settings::Secret;

const LARGEST_FRAME: usize = 4 << 20;
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// A resume is tried again rather than waited for.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that wait for the socket at most; the sender waits beyond.
const WAITING_FRAMES: usize = 4;
/// A server that is silent for so long is asked whether it lives, twice; after three times so long it is dead.
const SILENCE: Duration = Duration::from_secs(6);
/// How long a server's goodbye is awaited.
const GOODBYE: Duration = Duration::from_secs(2);

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
    /// The end.
    Over(Parting),
}

/// What a connection is opened for.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    /// A session of its own.
    New {
        /// The model's id.
        model: &'a str,
        /// It may be resumed.
        resumable: bool,
    },
    /// A session that lost its connection. Its address holds the token: it is never shown.
    Resume {
        /// Authorizes the resume.
        token: &'a Secret,
        /// The last event that arrived.
        last_seq: u64,
    },
}

/// Sends frames; many may hold one.
#[derive(Clone)]
pub struct Outgoing(mpsc::Sender<Message>);

/// Room for one frame.
pub struct Slot<'a>(mpsc::Permit<'a, Message>);

impl Slot<'_> {
    /// Hands a text frame over.
    pub fn text(self, text: String) {
        self.0.send(Message::Text(text.into()));
    }
}

impl Outgoing {
    /// Waits until the socket takes a frame; `None` when the connection is gone. May be dropped while it waits.
    pub async fn ready(&self) -> Option<Slot<'_>> {
        self.0.reserve().await.ok().map(Slot)
    }
}

impl Connection {
    /// Opens a socket.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the gateway's reason as far as it can be learnt, or [`Failure::Unreachable`].
    pub async fn dial(server: &Server, license: &Secret, door: Door<'_>) -> Result<Self, Failure> {
        let (timeout, address) = match door {
            Door::New { model, resumable } => (DIAL_TIMEOUT, server.realtime(model, resumable)),
            Door::Resume { token, last_seq } => (RESUME_TIMEOUT, server.resume(token.expose(), last_seq)),
        };
        let mut request = http::client(timeout).ws(address).max_frame_size(LARGEST_FRAME);
        if matches!(door, Door::New { .. }) {
            request = request.set_header("authorization", format!("Bearer {}", license.expose()));
        }
        match request.connect().await {
            Ok((_, socket)) => Ok(Self::over(socket)),
            Err(WsClientError::InvalidResponseStatus(status)) => Err(why(server, license, door, status).await),
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
                Ok(Some(Err(error))) => return lost(error.to_string()),
                Ok(None) => return lost("the connection was cut".to_owned()),
                Err(_) if self.asked < 2 => {
                    self.asked += 1;
                    self.answers.send_replace(Some(Message::Ping(Bytes::new())));
                    continue;
                }
                Err(_) => return lost("nothing was heard for 18 s".to_owned()),
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
                let reason = reason.and_then(|reason| reason.description).unwrap_or_default();
                Some(Incoming::Over(Parting::Closed(code, reason)))
            }
            Frame::Binary(_) | Frame::Pong(_) => None,
        }
    }

    fn join(&mut self, bytes: &[u8]) -> Option<Incoming> {
        if self.joining.len() + bytes.len() > LARGEST_FRAME {
            return Some(lost("the server sent a message over 4 MiB".to_owned()));
        }
        self.joining.extend_from_slice(bytes);
        None
    }

    /// Says goodbye (close code 1000) behind all frames; what the server still has to say can be read on.
    pub async fn goodbye(&self) {
        // A connection that is gone needs none.
        drop(self.frames.send(Message::Close(Some(CloseCode::Normal.into()))).await);
    }

    /// Says goodbye and waits for the server's, without keeping anyone waiting.
    pub fn leave(mut self) {
        tokio::task::spawn_local(async move {
            let until = Instant::now() + GOODBYE;
            if timeout_at(until, self.goodbye()).await.is_ok() {
                while let Ok(Incoming::Text(_)) = timeout_at(until, self.next()).await {}
            }
        });
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
        |_| lost("the server sent a text that is not UTF-8".to_owned()),
        |text| Incoming::Text(text.to_owned()),
    )
}

fn lost(cause: String) -> Incoming {
    Incoming::Over(Parting::Lost(cause))
}

/// Why an upgrade was refused. Its body can't be read, so the license is asked about; where that is in
/// order, the status alone must do.
async fn why(server: &Server, license: &Secret, door: Door<'_>, status: StatusCode) -> Failure {
    let asked = Http::new(server.clone(), Some(license.clone()), RESUME_TIMEOUT).get("/v1/license").await;
    if let Err(Failure::Refused { status: of_license, code, message }) = asked
        && of_license == status.as_u16()
    {
        return Failure::Refused { status: of_license, code, message };
    }
    let model = match door {
        Door::New { model, .. } => format!("the model `{model}`"),
        Door::Resume { .. } => "this session".to_owned(),
    };
    let (code, message) = match status.as_u16() {
        400 => ("invalid_request", format!("it doesn't take this request for {model}")),
        401 => ("invalid_api_key", "this license is not valid here".to_owned()),
        403 => ("not_allowed", format!("this license does not include {model}, realtime use or this address")),
        404 => ("model_not_found", format!("{model} does not exist or is not served here")),
        410 => ("session_gone", "the session can't be resumed any more; start a new one".to_owned()),
        429 => ("limit_reached", "the license's quota is used up, or it holds too many sessions at once".to_owned()),
        502 => ("upstream_unavailable", "the translation provider is unavailable; try again shortly".to_owned()),
        503 => ("unavailable", "it takes no new sessions now; try again shortly".to_owned()),
        504 => ("upstream_timeout", "the translation provider did not answer in time".to_owned()),
        _ => ("unknown", status.canonical_reason().unwrap_or("it gave no reason").to_owned()),
    };
    Failure::Refused { status: status.as_u16(), code: code.to_owned(), message }
}
