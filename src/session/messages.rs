//! What passes between the two halves of a session. All of it may cross threads.

use actix::{Message, Recipient};

use super::frames::Frame;
use crate::error::Error;

/// From the customer's socket to the link.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Up {
    /// The customer's socket is ready: the link may begin to read. Messages for the customer go there;
    /// one recipient for life, since a clone per message escapes the mailbox's bound.
    Attached(Recipient<Down>),
    /// A data message; its length is charged to the uplink.
    Frame(Frame),
    /// A ping or pong came; the least is charged.
    Heard,
    /// The customer broke a rule and must be told.
    Broke(Error),
    /// The customer's socket is gone.
    Gone,
}

/// From the link to the customer's socket.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Down {
    /// A data message; its length is charged to the downlink.
    Frame(Frame),
    /// A ping.
    Ping,
    /// Close with this code and reason; 1005 stands for no code.
    Close(u16, String),
    /// Stop without a word.
    Stop,
}
