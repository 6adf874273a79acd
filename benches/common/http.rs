//! The little HTTP that is needed: a request with a short answer, and the heads of WebSocket upgrades.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer, read whole.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: String,
}

/// Sends a request on a connection of its own. `bearer` may be empty.
pub(crate) async fn request(address: SocketAddr, line: &str, bearer: &str, body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {bearer}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Answer { status: status(head)?, body: body.to_owned() })
}

/// Reads up to the end of a head; returns it, and what came behind it.
pub(crate) async fn head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    const LONGEST: usize = 16 * 1024;
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::with_capacity(1_024);
    while bytes.len() < LONGEST {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = memchr::memmem::find(&bytes, END) {
            let behind = bytes.split_off(end + END.len());
            return Ok((String::from_utf8(bytes).map_err(io::Error::other)?, behind));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The status of an answer's head.
pub(crate) fn status(head: &str) -> io::Result<u16> {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("an answer without a status"))
}
