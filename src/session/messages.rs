//! What passes between the two halves of a session. All of it may cross threads.

use actix::{Message, Recipient};

use super::flow::{Flow, charge};
use super::frames::Frame;
use super::socket::ClientSocket;
use crate::error::Error;

/// From a customer's socket to the link.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Up {
    /// The number of the socket: a customer who resumes has another one, and the old one is heard no more.
    pub socket: u32,
    /// What it says.
    pub said: Said,
}

/// What a customer's socket says.
pub enum Said {
    /// It is ready: the link may begin to read. Messages for the customer go there;
    /// one recipient for life, since a clone per message escapes the mailbox's bound.
    Attached(Recipient<Down>),
    /// A data message; its length is charged to the uplink.
    Frame(Frame),
    /// A ping came; the least is charged.
    Ping,
    /// A pong came, with the number that our ping carried; the least is charged.
    Pong(Option<u64>),
    /// The customer broke a rule and must be told.
    Broke(Error),
    /// The socket is gone; true if the customer sent a close frame.
    Gone(bool),
}

impl Said {
    /// What the uplink was charged for it.
    #[must_use]
    pub fn charge(&self) -> usize {
        match self {
            Self::Frame(frame) => charge(frame.len()),
            Self::Ping | Self::Pong(_) => charge(0),
            Self::Attached(_) | Self::Broke(_) | Self::Gone(_) => 0,
        }
    }
}

/// From the link to the customer's socket.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Down {
    /// A data message; its length is charged to the downlink.
    Frame(Frame),
    /// A ping; its pong brings the number back.
    Ping(Option<u64>),
    /// Close with this code and reason; 1005 stands for no code.
    Close(u16, String),
    /// Stop without a word.
    Stop,
}

/// A customer wants to go on with a session on a new socket.
#[derive(Message)]
#[rtype(result = "Result<Grip, Error>")]
pub struct TakeUp {
    /// The number of the last event that he has.
    pub last_seq: u64,
    /// A handle on the new connection.
    pub client_socket: Option<ClientSocket>,
}

/// What a customer's socket needs of the link.
pub struct Grip {
    /// The socket's number.
    pub socket: u32,
    /// Where it says what it hears.
    pub link: Recipient<Up>,
    /// The way to the link.
    pub uplink: Flow,
    /// The way back.
    pub downlink: Flow,
}
