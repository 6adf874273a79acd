//! WebSocket frames to and from bytes: joins what was split, splits and pads on demand, counts what waits.

use std::cell::Cell;
use std::rc::Rc;

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{CloseCode, CloseReason, Codec, Frame, Item, Message, ProtocolError};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tokio::sync::mpsc;

/// The largest message that is read.
const LARGEST: usize = 8 << 20;
/// A reader that lets more than this pile up is dropped.
const MOST_QUEUED: usize = 64 << 20;

/// A whole message from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Valid UTF-8.
    Text(ByteString),
    /// Bytes.
    Binary(Bytes),
    /// To be answered.
    Ping(Bytes),
    /// An answer.
    Pong,
    /// The client's goodbye.
    Close(Option<u16>),
}

/// Reads frames.
#[derive(Debug)]
pub struct Reader {
    codec: Codec,
    buffer: BytesMut,
    parts: BytesMut,
    text: bool,
}

impl Default for Reader {
    fn default() -> Self {
        let codec = Codec::new().max_size(LARGEST);
        Self { codec, buffer: BytesMut::new(), parts: BytesMut::new(), text: false }
    }
}

impl Reader {
    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come.
    ///
    /// # Errors
    /// The close code for what breaks the protocol.
    pub fn message(&mut self) -> Result<Option<Incoming>, u16> {
        loop {
            let frame = self.codec.decode(&mut self.buffer).map_err(|error| match error {
                ProtocolError::Overflow => 1009,
                _ => 1002_u16,
            })?;
            let message = match frame {
                None => return Ok(None),
                Some(Frame::Text(bytes)) => text(bytes)?,
                Some(Frame::Binary(bytes)) => Incoming::Binary(bytes),
                Some(Frame::Ping(bytes)) => Incoming::Ping(bytes),
                Some(Frame::Pong(_)) => Incoming::Pong,
                Some(Frame::Close(reason)) => Incoming::Close(reason.map(|reason| reason.code.into())),
                Some(Frame::Continuation(item)) => match self.join(item)? {
                    Some(whole) => whole,
                    None => continue,
                },
            };
            return Ok(Some(message));
        }
    }

    fn join(&mut self, item: Item) -> Result<Option<Incoming>, u16> {
        let (part, last) = match item {
            Item::FirstText(part) => {
                self.text = true;
                (part, false)
            }
            Item::FirstBinary(part) => {
                self.text = false;
                (part, false)
            }
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        if self.parts.len() + part.len() > LARGEST {
            return Err(1009);
        }
        self.parts.extend_from_slice(&part);
        if !last {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.parts).freeze();
        if self.text { text(whole).map(Some) } else { Ok(Some(Incoming::Binary(whole))) }
    }
}

fn text(bytes: Bytes) -> Result<Incoming, u16> {
    ByteString::try_from(bytes).map(Incoming::Text).map_err(|_| 1007)
}

/// Writes frames into the response's body.
#[derive(Debug)]
pub struct Writer {
    codec: Codec,
    buffer: BytesMut,
    queue: mpsc::UnboundedSender<Bytes>,
    queued: Rc<Cell<usize>>,
}

impl Writer {
    /// A writer, and the bytes that come out of it.
    #[must_use]
    pub fn new() -> (Self, Body) {
        let (queue, bytes) = mpsc::unbounded_channel();
        let queued = Rc::new(Cell::new(0));
        let body = Body { bytes, queued: queued.clone() };
        (Self { codec: Codec::new(), buffer: BytesMut::new(), queue, queued }, body)
    }

    /// Encodes an event, whole or in pieces of `fragment` bytes.
    pub fn event(&mut self, text: String, fragment: Option<usize>) {
        let Some(size) = fragment.filter(|size| *size > 0 && *size < text.len()) else {
            return self.encode(Message::Text(text.into()));
        };
        let mut rest = Bytes::from(text.into_bytes());
        self.encode(Message::Continuation(Item::FirstText(rest.split_to(size))));
        while rest.len() > size {
            self.encode(Message::Continuation(Item::Continue(rest.split_to(size))));
        }
        self.encode(Message::Continuation(Item::Last(rest)));
    }

    /// Encodes half of an event's frame: nothing may follow it.
    pub fn half(&mut self, text: String) {
        let before = self.buffer.len();
        self.event(text, None);
        let half = before + (self.buffer.len() - before) / 2;
        self.buffer.truncate(half);
    }

    /// Encodes an answer to a ping.
    pub fn pong(&mut self, bytes: Bytes) {
        self.encode(Message::Pong(bytes));
    }

    /// Encodes a close frame.
    pub fn close(&mut self, code: Option<u16>, reason: &str) {
        let reason = code.map(|code| CloseReason {
            code: CloseCode::from(code),
            description: (!reason.is_empty()).then(|| reason.to_owned()),
        });
        self.encode(Message::Close(reason));
    }

    /// Hands over what was encoded; `false` when too much waits or nobody is there any more.
    pub fn flush(&mut self) -> bool {
        if self.buffer.is_empty() {
            return true;
        }
        let bytes = self.buffer.split().freeze();
        let queued = self.queued.get() + bytes.len();
        self.queued.set(queued);
        self.queue.send(bytes).is_ok() && queued <= MOST_QUEUED
    }

    /// Returns once the body was dropped: the connection is gone.
    pub async fn gone(&self) {
        self.queue.closed().await;
    }

    fn encode(&mut self, message: Message) {
        // It fails for continuations out of order alone, and these are in order.
        self.codec.encode(message, &mut self.buffer).unwrap_or_default();
    }
}

/// The response's body: what the writer handed over.
#[derive(Debug)]
pub struct Body {
    bytes: mpsc::UnboundedReceiver<Bytes>,
    queued: Rc<Cell<usize>>,
}

impl futures_util::Stream for Body {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.bytes.poll_recv(context).map(|bytes| {
            bytes.map(|bytes| {
                self.queued.set(self.queued.get() - bytes.len());
                Ok(bytes)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_joined_again() {
        let (mut writer, mut body) = Writer::new();
        writer.event("grüße".repeat(10), Some(7));
        assert!(writer.flush());
        let mut codec = Codec::new().client_mode();
        let mut bytes = BytesMut::from(&body.bytes.try_recv().unwrap()[..]);
        let (mut joined, mut count) = (Vec::new(), 0);
        while let Some(Frame::Continuation(item)) = codec.decode(&mut bytes).unwrap() {
            let (Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part) | Item::Last(part)) = item;
            joined.extend_from_slice(&part);
            count += 1;
        }
        assert_eq!((String::from_utf8(joined).unwrap(), count), ("grüße".repeat(10), 10));
    }

    #[test]
    fn what_breaks_the_protocol_has_its_close_code() {
        let mut client = Codec::new().client_mode();
        let mut bytes = BytesMut::new();
        client.encode(Message::Binary(Bytes::from_static(&[0xff, 0xfe])), &mut bytes).unwrap();
        bytes[0] = 0x81;
        let mut reader = Reader::default();
        reader.feed(&bytes);
        assert_eq!(reader.message(), Err(1007));
        let mut reader = Reader::default();
        reader.feed(&[0x01, 0x00]);
        assert_eq!(reader.message(), Err(1002));
    }

    #[test]
    fn half_a_frame_is_half() {
        let (mut writer, mut body) = Writer::new();
        writer.half("x".repeat(100));
        writer.flush();
        assert_eq!(body.bytes.try_recv().unwrap().len(), 51);
    }
}
