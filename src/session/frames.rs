//! WebSocket frames joined into messages, under a cap, on either leg.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_codec::Decoder as _;
use actix_http::error::PayloadError;
use actix_http::ws::{Codec, Frame as RawFrame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::Stream;

use crate::error::Error;

/// The largest frame, and the largest message made of fragments.
pub const FRAME_LIMIT: usize = 4 << 20;

/// A data message, relayed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(ByteString),
    /// Binary.
    Binary(Bytes),
}

impl Frame {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Frame> for actix_http::ws::Message {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Text(text) => Self::Text(text),
            Frame::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// What came on a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole message.
    Data(Frame),
    /// A ping, to be answered with the same content.
    Ping(Bytes),
    /// A pong, with the content of the ping that it answers.
    Pong(Bytes),
    /// The peer closes: code and reason, where it gave them.
    Close(Option<(u16, String)>),
}

/// A stream of raw frames as a stream of messages. Ends after the first error.
pub struct Joined<S> {
    inner: S,
    parts: BytesMut,
    text: bool,
    over: bool,
}

impl<S> Joined<S> {
    /// Joins the frames of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, parts: BytesMut::new(), text: false, over: false }
    }

    fn join(&mut self, frame: RawFrame) -> Result<Option<Incoming>, Error> {
        let (part, last) = match frame {
            RawFrame::Text(bytes) => return text(bytes).map(Some),
            RawFrame::Binary(bytes) => return Ok(Some(Incoming::Data(Frame::Binary(bytes)))),
            RawFrame::Ping(bytes) => return Ok(Some(Incoming::Ping(bytes))),
            RawFrame::Pong(bytes) => return Ok(Some(Incoming::Pong(bytes))),
            RawFrame::Close(reason) => {
                let reason = reason.map(|reason| (reason.code.into(), reason.description.unwrap_or_default()));
                return Ok(Some(Incoming::Close(reason)));
            }
            RawFrame::Continuation(Item::FirstText(part)) => {
                self.text = true;
                (part, false)
            }
            RawFrame::Continuation(Item::FirstBinary(part)) => {
                self.text = false;
                (part, false)
            }
            RawFrame::Continuation(Item::Continue(part)) => (part, false),
            RawFrame::Continuation(Item::Last(part)) => (part, true),
        };
        if self.parts.len() + part.len() > FRAME_LIMIT {
            return Err(Error::TooLarge { limit: FRAME_LIMIT });
        }
        self.parts.extend_from_slice(&part);
        if !last {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.parts).freeze();
        if self.text { text(whole).map(Some) } else { Ok(Some(Incoming::Data(Frame::Binary(whole)))) }
    }
}

fn text(bytes: Bytes) -> Result<Incoming, Error> {
    let text = ByteString::try_from(bytes).map_err(|_| Error::InvalidUtf8)?;
    Ok(Incoming::Data(Frame::Text(text)))
}

impl<S: Stream<Item = Result<RawFrame, ProtocolError>> + Unpin> Stream for Joined<S> {
    type Item = Result<Incoming, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.over {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_next(cx)) else { break };
            match frame.map_err(|error| protocol_error(&error)).and_then(|frame| self.join(frame)) {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Err(error) => {
                    self.over = true;
                    self.parts = BytesMut::new();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        self.over = true;
        Poll::Ready(None)
    }
}

fn protocol_error(error: &ProtocolError) -> Error {
    match error {
        ProtocolError::Overflow => Error::TooLarge { limit: FRAME_LIMIT },
        ProtocolError::Io(error) => Error::upstream(error),
        _ => Error::ProtocolViolation,
    }
}

/// A request's payload as a stream of raw frames. It decodes one frame at a time, so that a gate can
/// stand between any two, and keeps no buffer while nothing is half read.
pub struct Decoded<S> {
    payload: S,
    codec: Codec,
    buffer: BytesMut,
}

impl<S> Decoded<S> {
    /// Decodes what a client sends after its upgrade.
    pub fn new(payload: S) -> Self {
        Self { payload, codec: Codec::new().max_size(FRAME_LIMIT), buffer: BytesMut::new() }
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Decoded<S> {
    type Item = Result<RawFrame, ProtocolError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if !this.buffer.is_empty() {
                // The codec finds a frame too large when it is there: it must not be waited for.
                if announced(&this.buffer).is_some_and(|length| length > FRAME_LIMIT as u64) {
                    return Poll::Ready(Some(Err(ProtocolError::Overflow)));
                }
                match this.codec.decode(&mut this.buffer) {
                    Ok(Some(frame)) => {
                        if this.buffer.is_empty() {
                            this.buffer = BytesMut::new();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            match ready!(Pin::new(&mut this.payload).poll_next(cx)) {
                Some(Ok(chunk)) if this.buffer.is_empty() => this.buffer = BytesMut::from(chunk),
                Some(Ok(chunk)) => this.buffer.extend_from_slice(&chunk),
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}

/// The length of content that a frame's header announces.
fn announced(bytes: &[u8]) -> Option<u64> {
    let (&[_, second], rest) = bytes.split_first_chunk::<2>()?;
    match second & 0x7f {
        126 => rest.first_chunk().map(|length| u64::from(u16::from_be_bytes(*length))),
        127 => rest.first_chunk().map(|length| u64::from_be_bytes(*length)),
        short => Some(u64::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt, stream};

    fn joined(frames: Vec<RawFrame>) -> Vec<Result<Incoming, String>> {
        let stream = Joined::new(stream::iter(frames.into_iter().map(Ok)));
        let items: Vec<_> = stream.collect().now_or_never().unwrap();
        items.into_iter().map(|item: Result<_, Error>| item.map_err(|error| error.row().code.to_owned())).collect()
    }

    #[test]
    fn fragments_are_joined_around_pings() {
        let frames = vec![
            RawFrame::Continuation(Item::FirstText("ü".as_bytes().slice_ref_first())),
            RawFrame::Ping(Bytes::from_static(b"p")),
            RawFrame::Continuation(Item::Last(Bytes::from_static("ü".as_bytes()).slice(1..))),
        ];
        let expected = [Ok(Incoming::Ping(Bytes::from_static(b"p"))), Ok(Incoming::Data(Frame::Text("ü".into())))];
        assert_eq!(joined(frames), expected);
    }

    #[test]
    fn too_much_ends_the_stream() {
        let half = || Bytes::from(vec![b'a'; FRAME_LIMIT / 2 + 1]);
        let frames = vec![
            RawFrame::Continuation(Item::FirstText(half())),
            RawFrame::Continuation(Item::Last(half())),
            RawFrame::Ping(Bytes::new()),
        ];
        assert_eq!(joined(frames), [Err("request_too_large".to_owned())]);
        assert_eq!(joined(vec![RawFrame::Text(Bytes::from_static(&[0xff]))]), [Err("invalid_request".to_owned())]);
    }

    #[test]
    fn a_frame_that_is_too_large_is_not_waited_for() {
        let header = |length: u64| {
            let mut header = vec![0x81, 0xff];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&[0; 4]);
            Bytes::from(header)
        };
        let first = |bytes: Bytes| {
            let mut frames = Decoded::new(stream::iter([Ok(bytes)]).chain(stream::pending()));
            frames.next().now_or_never().flatten().map(|frame| frame.is_err())
        };
        assert_eq!(first(header(1 << 62)), Some(true));
        assert_eq!(first(header(FRAME_LIMIT as u64 + 1)), Some(true));
        assert_eq!(first(header(FRAME_LIMIT as u64)), None, "the rest may come");
    }

    trait FirstByte {
        fn slice_ref_first(self) -> Bytes;
    }

    impl FirstByte for &'static [u8] {
        fn slice_ref_first(self) -> Bytes {
            Bytes::from_static(self).slice(..1)
        }
    }
}
