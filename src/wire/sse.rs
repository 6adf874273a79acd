//! Server-sent events as they come in: whole ones, their bytes intact.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct Events {
    current: Bytes,
    /// The beginning of an event whose end has not come, and what came with it.
    held: BytesMut,
    /// How far `held` was searched: the start of its last line.
    searched: usize,
}

impl Events {
    /// Takes the next piece of the stream; all events of the piece before must have been taken.
    pub fn push(&mut self, piece: Bytes) {
        if self.held.is_empty() {
            self.current = piece;
        } else {
            self.held.extend_from_slice(&piece);
        }
    }

    /// The next whole event, with the blank line that ends it.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.held.is_empty() {
            if self.current.is_empty() {
                return None;
            }
            if let Ok(end) = end(&self.current, 0) {
                return Some(self.current.split_to(end));
            }
            self.held.extend_from_slice(&std::mem::take(&mut self.current));
            self.searched = 0;
        }
        match end(&self.held, self.searched) {
            Ok(end) => {
                self.searched = 0;
                Some(self.held.split_to(end).freeze())
            }
            Err(last_line) => {
                self.searched = last_line;
                None
            }
        }
    }

    /// How much is held of an event that has not ended, bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What came after the last whole event.
    pub fn rest(&mut self) -> Bytes {
        self.searched = 0;
        self.held.split().freeze()
    }
}

/// Just behind the first blank line from `start` on, where a line starts; else where the last line starts.
fn end(bytes: &[u8], mut start: usize) -> Result<usize, usize> {
    while let Some(length) = memchr(b'\n', bytes.get(start..).unwrap_or_default()) {
        let line = bytes.get(start..start + length).unwrap_or_default();
        start += length + 1;
        if matches!(line, b"" | b"\r") {
            return Ok(start);
        }
    }
    Err(start)
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of `event:`.
    pub name: Option<&'a [u8]>,
    /// The values of `data:`, joined by line ends.
    pub data: Cow<'a, [u8]>,
}

/// Reads an event.
#[must_use]
pub fn read(event: &[u8]) -> Event<'_> {
    // A stream may begin with a byte order mark.
    let event = event.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(event);
    let mut read = Event { name: None, data: Cow::Borrowed(&[]) };
    let mut first = true;
    for line in event.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if std::mem::take(&mut first) {
                read.data = Cow::Borrowed(value);
            } else {
                let data = read.data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        } else if let Some(value) = line.strip_prefix(b"event:") {
            read.name = Some(value.strip_prefix(b" ").unwrap_or(value));
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> (Vec<Bytes>, Bytes) {
        let (mut events, mut taken) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(Bytes::copy_from_slice(piece));
            while let Some(event) = events.take() {
                taken.push(event);
            }
        }
        (taken, events.rest())
    }

    #[test]
    fn events_keep_their_bytes() {
        let (taken, rest) = cut(&[b"id:1\r\ndata:{}\r\n\r\ndata: a", b"\n", b"\nda"]);
        assert_eq!(taken, [&b"id:1\r\ndata:{}\r\n\r\n"[..], b"data: a\n\n"]);
        assert_eq!(&rest[..], b"da");
    }

    #[test]
    fn fields() {
        let event = read(b"id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\ndata: }\n\n");
        assert_eq!((event.name, &event.data[..]), (Some(&b"error"[..]), &b"{\n}"[..]));
        assert_eq!(&read(b"data: [DONE]\n\n").data[..], b"[DONE]");
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_makes_no_difference(
            lines in prop::collection::vec(prop::sample::select(vec!["data: x", "", "\r", "event: y", ":"]), 0..40),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let stream = lines.join("\n");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream.as_bytes()[ends[0]..ends[1]]).collect();
            let (taken, rest) = cut(&pieces);
            prop_assert_eq!((taken, rest), cut(&[stream.as_bytes()]));
        }
    }
}
