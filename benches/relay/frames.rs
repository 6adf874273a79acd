//! WebSocket frames, as cheap as they can be: built once, read by their headers alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Text.
pub(crate) const TEXT: u8 = 1;
/// The peer closes.
pub(crate) const CLOSE: u8 = 8;
/// The peer asks for a pong.
pub(crate) const PING: u8 = 9;
/// A pong without content from a client, its masking key zero.
pub(crate) const CLIENT_PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];
/// A pong without content from a server.
pub(crate) const SERVER_PONG: &[u8] = &[0x8a, 0];

/// Content of frames up to this length is kept; longer ones are only counted.
const KEPT: u64 = 2_048;
/// 100 ms of PCM16 at 16,000 samples a second.
const APPENDED_PCM: usize = 3_200;
/// Makes the answer 4.4 KB long.
const DELTA_PCM: usize = 3_168;

/// What a client's SDK writes for 100 ms of audio: 4.3 KB. The masking key is zero, which is as good as any.
pub(crate) fn append() -> Bytes {
    let audio = STANDARD.encode(noise(APPENDED_PCM));
    let event = "event_4f1d3a0c9b7e4c55a1f6";
    client_text(&format!(r#"{{"event_id": "{event}", "type": "input_audio_buffer.append", "audio": "{audio}"}}"#))
}

/// What the upstream answers to each: an audio delta of 4.4 KB.
pub(crate) fn delta() -> Bytes {
    let audio = STANDARD.encode(noise(DELTA_PCM));
    server_text(&format!(
        r#"{{"event_id":"event_Xo5Tq9mT3wRZ0c1vKp7dA","type":"response.audio.delta","response_id":"resp_BqR2x8LZ4nVt6yHs1mWcE","item_id":"item_KfD7u3GJ9pXe5aQo2rTbN","output_index":0,"content_index":0,"delta":"{audio}"}}"#
    ))
}

/// What a resumable client says about once a second: it has every event up to this number.
pub(crate) fn received(number: u64) -> Bytes {
    client_text(&format!(r#"{{"type":"gateway.received","seq":{number}}}"#))
}

/// A server's text frame.
pub(crate) fn server_text(text: &str) -> Bytes {
    frame(text, 0, &[])
}

fn client_text(text: &str) -> Bytes {
    frame(text, 0x80, &[0; 4])
}

fn frame(text: &str, masked: u8, key: &[u8]) -> Bytes {
    let mut frame = vec![0x80 | TEXT];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length), _) if length < 126 => frame.push(masked | length),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(key);
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

/// Bytes that neither repeat nor compress, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// A frame that came, whole.
pub(crate) struct Seen<'a> {
    /// Its kind.
    pub(crate) opcode: u8,
    /// The content of a short frame; nothing of one that carries audio.
    pub(crate) content: &'a [u8],
}

/// Reads a stream of frames from chunks of any size.
#[derive(Default)]
pub(crate) struct Reader {
    head: Vec<u8>,
    body: Option<Body>,
    content: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Body {
    opcode: u8,
    length: u64,
    left: u64,
    key: [u8; 4],
}

impl Reader {
    /// Takes a chunk and reports each frame that it completes.
    pub(crate) fn feed(&mut self, mut chunk: &[u8], mut seen: impl FnMut(Seen<'_>)) {
        loop {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => {
                    let Some((byte, rest)) = chunk.split_first() else { return };
                    chunk = rest;
                    self.head.push(*byte);
                    let Some(body) = head(&self.head) else { continue };
                    self.head.clear();
                    self.content.clear();
                    body
                }
            };
            let here = usize::try_from(body.left).map_or(chunk.len(), |left| left.min(chunk.len()));
            let (part, rest) = chunk.split_at(here);
            chunk = rest;
            if body.length <= KEPT {
                self.content.extend_from_slice(part);
            }
            body.left -= u64::try_from(here).unwrap_or(body.left);
            if body.left > 0 {
                self.body = Some(body);
                return;
            }
            self.content.iter_mut().zip(body.key.into_iter().cycle()).for_each(|(byte, key)| *byte ^= key);
            seen(Seen { opcode: body.opcode, content: &self.content });
        }
    }
}

/// A frame's header, once enough of it is there.
fn head(bytes: &[u8]) -> Option<Body> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second & 0x7f {
        126 => rest.split_first_chunk::<2>().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk::<8>().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        short => (u64::from(short), rest),
    };
    let key = if second & 0x80 == 0 { [0; 4] } else { *rest.first_chunk::<4>()? };
    Some(Body { opcode: first & 0x0f, length, left: length, key })
}
