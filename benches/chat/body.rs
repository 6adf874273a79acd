//! Messages of HTTP on a connection that is kept open, read with as little work as there can be.

use std::io;

use memchr::{memchr, memmem};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What one read takes at most.
const READ: usize = 16 * 1024;

/// Where a message of known length is: its body begins and ends there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// The first byte of the body.
    pub(crate) body: usize,
    /// The byte behind its last.
    pub(crate) end: usize,
}

/// Reads one message of known length into an empty buffer; none where the peer has closed before its first byte.
pub(crate) async fn message(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<Extent>> {
    let mut extent: Option<Extent> = None;
    loop {
        if extent.is_none() {
            extent = self::extent(buffer)?;
        }
        if let Some(extent) = extent.filter(|extent| buffer.len() >= extent.end) {
            return Ok(Some(extent));
        }
        buffer.reserve(READ);
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn extent(bytes: &[u8]) -> io::Result<Option<Extent>> {
    const END: &[u8] = b"\r\n\r\n";
    const LENGTH: &[u8] = b"content-length:";
    let Some(body) = memmem::find(bytes, END) else { return Ok(None) };
    let mut rest = bytes.get(..body).unwrap_or_default();
    while let Some(at) = memchr(b'\n', rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some((name, value)) = rest.split_at_checked(LENGTH.len())
            && name.eq_ignore_ascii_case(LENGTH)
        {
            let value = value.split(|byte| *byte == b'\r').next().and_then(|value| std::str::from_utf8(value).ok());
            let length = value.and_then(|value| value.trim().parse::<usize>().ok());
            let body = body + END.len();
            return Ok(Some(Extent { body, end: body + length.ok_or(io::ErrorKind::InvalidData)? }));
        }
    }
    Err(io::Error::other("a message without content-length"))
}

/// Takes HTTP's chunks apart, wherever they were cut on their way.
#[derive(Default)]
pub(crate) struct Chunked {
    /// A line that has not ended.
    line: Vec<u8>,
    /// Of the chunk, with the line end behind it.
    left: usize,
    /// The last chunk was there.
    ending: bool,
}

impl Chunked {
    /// Adds the content of what came; true when the body is over.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], content: &mut Vec<u8>) -> io::Result<bool> {
        const LINE_END: usize = 2;
        while !bytes.is_empty() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                let inner = part.len().min(self.left.saturating_sub(LINE_END));
                content.extend_from_slice(part.get(..inner).unwrap_or_default());
                self.left -= part.len();
                bytes = rest;
                continue;
            }
            let Some(at) = memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                return Ok(false);
            };
            let (part, rest) = bytes.split_at(at);
            bytes = rest.get(1..).unwrap_or_default();
            self.line.extend_from_slice(part);
            if self.line.trim_ascii().is_empty() && self.ending {
                return Ok(true);
            }
            if !self.ending {
                self.left = size(&self.line)?.map_or(0, |size| size + LINE_END);
                self.ending = self.left == 0;
            }
            self.line.clear();
        }
        Ok(false)
    }
}

/// The size in a chunk's first line; none of the last chunk.
fn size(line: &[u8]) -> io::Result<Option<usize>> {
    let line = std::str::from_utf8(line).map_err(io::Error::other)?;
    let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
    Ok((size > 0).then_some(size))
}
