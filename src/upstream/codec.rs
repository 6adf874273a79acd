//! The provider's frames, each in memory of its own size.

use actix_codec::{Decoder, Encoder};
use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use bytes::{Bytes, BytesMut};

/// Room that there is before each read: one call of the kernel's for a message of the usual size.
const READ: usize = 8 * 1024;

/// actix's codec, over a read buffer that stays the socket's own. A message that shared it would keep all of it alive
/// for as long as it is kept, and leave a remainder that the next message doesn't fit in.
pub struct Apart(Codec);

impl Apart {
    /// The frames of `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self(codec)
    }
}

impl Decoder for Apart {
    type Item = Frame;
    type Error = ProtocolError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        let frame = self.0.decode(buffer)?;
        if frame.is_none() && buffer.is_empty() {
            buffer.reserve(READ);
        }
        Ok(frame.map(|frame| match frame {
            Frame::Text(text) => Frame::Text(apart(text)),
            Frame::Binary(bytes) => Frame::Binary(apart(bytes)),
            other => other,
        }))
    }
}

/// A longer message was read into memory that was made for it.
fn apart(content: Bytes) -> Bytes {
    if content.len() > READ { content } else { Bytes::copy_from_slice(&content) }
}

impl Encoder<Message> for Apart {
    type Error = ProtocolError;

    fn encode(&mut self, message: Message, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        self.0.encode(message, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(length: usize) -> (BytesMut, Vec<u8>) {
        let content: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        let mut frame = BytesMut::new();
        Codec::new().encode(Message::Binary(content.clone().into()), &mut frame).unwrap();
        (frame, content)
    }

    #[test]
    fn frames_come_as_they_are() {
        let mut codec = Apart::new(Codec::new().client_mode());
        for length in [0, 1, 125, 126, READ - 1, READ, READ + 1, 60_000] {
            let (mut frame, content) = coded(length);
            let mut second = frame.split_off(frame.len() / 2);
            assert!(codec.decode(&mut frame).unwrap().is_none(), "half of it is missing");
            frame.unsplit(second.split());
            assert_eq!(codec.decode(&mut frame).unwrap(), Some(Frame::Binary(content.into())));
            assert!(frame.is_empty());
        }
    }

    #[test]
    fn a_kept_message_leaves_the_buffer_alone() {
        let mut codec = Apart::new(Codec::new().client_mode());
        let (mut buffer, mut kept) = (BytesMut::with_capacity(READ), Vec::new());
        let memory = buffer.as_ptr();
        for _ in 0..5 {
            buffer.extend_from_slice(&coded(READ / 2).0);
            kept.extend(codec.decode(&mut buffer).unwrap());
            assert!(codec.decode(&mut buffer).unwrap().is_none());
            assert!(buffer.capacity() >= READ && buffer.as_ptr() == memory, "the same room, whole again");
        }
        assert_eq!(kept.len(), 5);
    }
}
