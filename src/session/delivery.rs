//! What the legs hand to the client, and what the client's messages are to the legs.

use super::frames::Frame;
use crate::ids;
use crate::wire::leg::incomplete_response;
use crate::wire::realtime::{self, UpstreamEvent};

/// What the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub frame: Frame,
    /// It is audio, and may be dropped for a slow client.
    pub audio: bool,
}

impl Delivery {
    /// Whether it is the provider's last word.
    #[must_use]
    pub fn is_last_word(&self) -> bool {
        matches!(&self.frame, Frame::Text(text) if realtime::upstream_event(text) == UpstreamEvent::Finished)
    }
}

/// The ends of responses that were cut short.
#[must_use]
pub fn ends(responses: &[String]) -> Vec<Delivery> {
    let end = |response: &String| Frame::Text(incomplete_response(&ids::event(), response));
    responses.iter().map(|response| Delivery { frame: end(response), audio: false }).collect()
}

/// What a client's message is, for the legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `input_audio_buffer.append`, or a binary frame.
    Audio,
    /// `input_audio_buffer.commit`
    Commit,
    /// `input_image_buffer.append`, `input_audio_buffer.clear`: means something only among the audio around it.
    BesideAudio,
    /// `session.update`
    Settings,
    /// `session.finish`
    Finish,
    /// Anything else.
    Other,
}

/// What goes upstream with a message.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// What it is.
    pub kind: Kind,
    /// Bytes of audio in it.
    pub bytes: u64,
    /// Samples that it adds to the session's mark.
    pub samples: u64,
}
