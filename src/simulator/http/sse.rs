//! Strings of JSON and pieces of streams: what each event is put together from.

use bytes::Bytes;

use super::calls::Usage;

/// One event of a stream, or a whole answer.
#[derive(Debug, Clone)]
pub struct Frame {
    /// As it goes over the wire.
    pub bytes: Bytes,
    /// What it adds to the answer's usage.
    pub usage: Usage,
    /// Whether it tells the usage.
    pub told: bool,
}

/// A stream's events, made as they are taken.
pub type Frames = Box<dyn Iterator<Item = Frame>>;

/// A text as a JSON string, quotes included.
#[must_use]
pub fn quoted(text: &str) -> String {
    // Writing a string into memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// An event's bytes with blanks before its end, so that there are `size` of them.
#[must_use]
pub fn padded(bytes: Bytes, size: usize) -> Bytes {
    if bytes.len() >= size {
        return bytes;
    }
    let (text, end) = bytes.strip_suffix(b"\n\n").map_or((&*bytes, &b""[..]), |text| (text, &b"\n\n"[..]));
    let mut whole = Vec::with_capacity(size);
    whole.extend_from_slice(text);
    whole.resize(size - end.len(), b' ');
    whole.extend_from_slice(end);
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_stays_within_the_event() {
        assert_eq!(padded(Bytes::from_static(b"data: {}\n\n"), 12), &b"data: {}  \n\n"[..]);
        assert_eq!(padded(Bytes::from_static(b"{}"), 4), &b"{}  "[..]);
        assert_eq!(padded(Bytes::from_static(b"{}"), 1), &b"{}"[..]);
    }
}
