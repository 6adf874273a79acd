//! A customer's WebSocket: one task reads and writes at once, so that neither waits for the other.

use std::io;
use std::net::SocketAddr;

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{CloseCode, CloseReason, Codec, Frame, Item, Message};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::http;

const LARGEST: usize = 5 << 20;

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An HTTP status instead of the upgrade.
    Status(u16),
    /// No answer at all.
    Unreachable,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A text message, whole.
    Text(String),
    /// A ping, answered already, or a pong: the peer lives.
    Alive,
    /// The peer closed, with this code.
    Closed(Option<u16>),
    /// The connection ended or broke, or its protocol was not kept.
    Lost,
}

/// An open socket; dropping it cuts the connection.
pub(crate) struct Socket {
    stream: TcpStream,
    codec: Codec,
    incoming: BytesMut,
    outgoing: BytesMut,
    joining: Vec<u8>,
    ended: bool,
    /// Reads nothing while set.
    pub(crate) deaf: bool,
}

impl Socket {
    /// Upgrades a connection to `path`; a narrow one takes little that isn't read.
    pub(crate) async fn dial(address: SocketAddr, path: &str, token: &str, narrow: bool) -> Result<Self, Refusal> {
        const NARROW: u32 = 16 * 1024;
        let unreachable = |_: io::Error| Refusal::Unreachable;
        let connecting = TcpSocket::new_v4().map_err(unreachable)?;
        if narrow {
            connecting.set_recv_buffer_size(NARROW).map_err(unreachable)?;
        }
        let mut stream = connecting.connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{bearer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(unreachable)?;
        let (head, early) = http::head(&mut stream).await.map_err(unreachable)?;
        match http::status(&head).map_err(unreachable)? {
            101 => Ok(Self {
                stream,
                codec: Codec::new().client_mode().max_size(LARGEST),
                incoming: early.as_slice().into(),
                outgoing: BytesMut::new(),
                joining: Vec::new(),
                ended: false,
                deaf: false,
            }),
            status => Err(Refusal::Status(status)),
        }
    }

    /// This end's address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Bytes that the connection has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    /// Says a text.
    pub(crate) fn say(&mut self, text: String) {
        self.send(Message::Text(text.into()));
    }

    /// Asks whether the peer lives.
    pub(crate) fn ping(&mut self, content: &'static [u8]) {
        self.send(Message::Ping(Bytes::from_static(content)));
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self) {
        self.send(Message::Close(Some(CloseReason::from(CloseCode::Normal))));
    }

    /// Says any message.
    pub(crate) fn send(&mut self, message: Message) {
        // It fails for continuations out of order alone.
        self.codec.encode(message, &mut self.outgoing).unwrap_or_default();
    }

    /// Says bytes that need be no WebSocket frame.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// The next message; `None` when it did not come by then. Writes meanwhile. May be dropped while it waits.
    pub(crate) async fn next(&mut self, until: Instant) -> Option<Incoming> {
        loop {
            if let Some(incoming) = self.decode() {
                return Some(incoming);
            }
            if self.ended {
                return Some(Incoming::Lost);
            }
            let writes = !self.outgoing.is_empty();
            let interest = match (self.deaf, writes) {
                (true, false) => {
                    sleep_until(until).await;
                    return None;
                }
                (true, true) => Interest::WRITABLE,
                (false, true) => Interest::READABLE | Interest::WRITABLE,
                (false, false) => Interest::READABLE,
            };
            let ready = tokio::select! {
                biased;
                ready = self.stream.ready(interest) => ready,
                () = sleep_until(until) => return None,
            };
            let moved = ready.and_then(|ready| {
                if ready.is_writable() && writes {
                    self.write()?;
                }
                if ready.is_readable() && !self.deaf { self.read() } else { Ok(()) }
            });
            self.ended |= moved.is_err();
        }
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.outgoing) {
            Ok(written) => {
                drop(self.outgoing.split_to(written));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.incoming.reserve(16 * 1024);
        match self.stream.try_read_buf(&mut self.incoming) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn decode(&mut self) -> Option<Incoming> {
        if self.incoming.is_empty() {
            return None;
        }
        let frame = match self.codec.decode(&mut self.incoming) {
            Ok(frame) => frame?,
            Err(_) => return Some(Incoming::Lost),
        };
        Some(match frame {
            Frame::Text(bytes) => text(bytes.to_vec()),
            Frame::Continuation(Item::FirstText(bytes) | Item::FirstBinary(bytes)) => {
                self.joining = bytes.to_vec();
                Incoming::Alive
            }
            Frame::Continuation(Item::Continue(bytes)) => {
                self.joining.extend_from_slice(&bytes);
                Incoming::Alive
            }
            Frame::Continuation(Item::Last(bytes)) => {
                self.joining.extend_from_slice(&bytes);
                text(std::mem::take(&mut self.joining))
            }
            Frame::Ping(content) => {
                self.send(Message::Pong(content));
                Incoming::Alive
            }
            Frame::Pong(_) => Incoming::Alive,
            Frame::Binary(_) => Incoming::Lost,
            Frame::Close(reason) => Incoming::Closed(reason.map(|reason| reason.code.into())),
        })
    }
}

fn text(bytes: Vec<u8>) -> Incoming {
    String::from_utf8(bytes).map_or(Incoming::Lost, Incoming::Text)
}
