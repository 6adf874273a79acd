//! A client event as read from its text frame, in one pass and without copying the audio.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::events::Refusal;

/// The fields that any client event may have.
#[derive(Debug, Deserialize)]
pub struct ClientEvent<'a> {
    /// What the client wants.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// The client's own id for it.
    #[serde(borrow, default)]
    pub event_id: Option<Cow<'a, str>>,
    /// Base64 of an append.
    #[serde(borrow, default)]
    pub audio: Option<Text<'a>>,
    /// Base64 of a picture.
    #[serde(borrow, default)]
    pub image: Option<Text<'a>>,
    /// The settings of an update.
    #[serde(default)]
    pub session: Option<Value>,
    /// The item of `conversation.item.create`.
    #[serde(default)]
    pub item: Option<Value>,
}

/// A string that is borrowed from the frame where it holds no escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// What a client frame was, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Audio that was accepted.
    Audio {
        /// Its length, decoded.
        bytes: usize,
    },
    /// A task was asked for.
    Run {
        /// Its model.
        model: String,
    },
    /// Any other event, by its type; `invalid` for what couldn't be read.
    Event(String),
}

impl<'a> ClientEvent<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no JSON object with a `type`, or a field has the wrong type.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        serde_json::from_str(text).map_err(|error| Refusal {
            code: Some("invalid_json"),
            message: format!("The event could not be parsed: {error}"),
            param: None,
        })
    }
}
