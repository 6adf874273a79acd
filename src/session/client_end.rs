//! The link's end of the way to the customer: the socket that is heard, the one that is about to come, and how a
//! customer is seen off.

use std::time::{Duration, Instant};

use actix::Recipient;
use actix::dev::SendError;

use super::flow::{DOWNLINK_LIMIT, Flow, charge};
use super::frames::Frame;
use super::messages::Down;
use super::socket::ClientSocket;
use crate::error::Error;

/// One session's way to its customer.
pub struct ClientEnd {
    client: Option<Recipient<Down>>,
    client_socket: Option<ClientSocket>,
    downlink: Flow,
    /// The number of the socket that is heard.
    socket: u32,
    /// Sockets so far.
    sockets: u32,
    /// The socket that is about to come.
    arriving: Option<Arriving>,
    /// For how long a customer who takes nothing is waited for.
    slow_after: Duration,
    /// When the customer was told to go.
    told_to_go: Option<Instant>,
    /// Said when all that waits for the customer is sent.
    farewell: Option<(u16, String)>,
    /// Said just before.
    last_word: Option<Frame>,
}

struct Arriving {
    socket: u32,
    last_seq: u64,
    downlink: Flow,
    client_socket: Option<ClientSocket>,
}

impl ClientEnd {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(slow_after: Duration) -> Self {
        Self {
            client: None,
            client_socket: None,
            downlink: Flow::new(DOWNLINK_LIMIT),
            socket: 0,
            sockets: 0,
            arriving: None,
            slow_after,
            told_to_go: None,
            farewell: None,
            last_word: None,
        }
    }

    /// A socket is about to come, whose customer has every event up to this number: its number, and the way to it.
    pub fn expect(&mut self, last_seq: u64, client_socket: Option<ClientSocket>) -> (u32, Flow) {
        self.sockets += 1;
        let downlink = Flow::new(DOWNLINK_LIMIT);
        let arriving = Arriving { socket: self.sockets, last_seq, downlink: downlink.clone(), client_socket };
        self.arriving = Some(arriving);
        (self.sockets, downlink)
    }

    /// The socket of this number is there, and takes the place of the last one. What its customer has; `None` for a
    /// socket that isn't expected any more.
    #[expect(clippy::disallowed_methods, reason = "one word to a socket that nobody hears")]
    pub fn arrive(&mut self, client: Recipient<Down>, socket: u32) -> Option<u64> {
        let Some(arriving) = self.arriving.take_if(|arriving| arriving.socket == socket) else {
            client.do_send(Down::Stop);
            return None;
        };
        self.cut();
        self.client = Some(client);
        self.socket = socket;
        self.downlink = arriving.downlink;
        self.client_socket = arriving.client_socket;
        self.told_to_go = None;
        self.farewell = None;
        Some(arriving.last_seq)
    }

    /// Whether this socket is the one that is heard.
    #[must_use]
    pub fn hears(&self, socket: u32) -> bool {
        self.socket == socket
    }

    /// Whether a socket is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.client.is_some()
    }

    /// The socket is gone.
    pub fn leave(&mut self) {
        self.client = None;
        self.downlink.give_all();
        self.client_socket = None;
    }

    /// The way to the socket that is heard.
    #[must_use]
    pub fn downlink(&self) -> &Flow {
        &self.downlink
    }

    /// Sends a frame, if a socket is there.
    ///
    /// # Errors
    /// `Internal` when its mailbox is full: the flow keeps it from filling up, and should it ever, the session ends
    /// rather than lose an event.
    pub fn send(&self, frame: Frame) -> Result<(), Error> {
        let Some(client) = &self.client else { return Ok(()) };
        let charge = charge(frame.len());
        self.downlink.take(charge);
        let Err(refused) = client.try_send(Down::Frame(frame)) else { return Ok(()) };
        self.downlink.give(charge);
        match refused {
            SendError::Full(_) => Err(Error::internal("the customer's mailbox was full")),
            SendError::Closed(_) => Ok(()),
        }
    }

    /// Says something beside the data.
    #[expect(clippy::disallowed_methods, reason = "at most one ping in some seconds and one close a socket")]
    pub fn tell(&self, down: Down) {
        if let Some(client) = &self.client {
            client.do_send(down);
        }
    }

    /// The customer has to go, with this code and reason, when he has been sent all that waits for him.
    pub fn see_off(&mut self, code: u16, reason: String) {
        self.watch();
        self.farewell = Some((code, reason));
    }

    /// Said just before the farewell that follows.
    pub fn last_word(&mut self, word: Frame) {
        self.last_word = Some(word);
    }

    /// Whether a farewell is still to be said.
    #[must_use]
    pub fn has_farewell(&self) -> bool {
        self.farewell.is_some()
    }

    /// Nothing waits for the customer any more.
    pub fn say_farewell(&mut self) {
        if let Some((code, reason)) = self.farewell.take() {
            if let Some(Err(error)) = self.last_word.take().map(|word| self.send(word)) {
                log::debug!("a customer did not hear why his session ended: {error}");
            }
            self.tell(Down::Close(code, reason));
        }
    }

    /// From now on the customer is expected to go.
    pub fn watch(&mut self) {
        self.told_to_go.get_or_insert_with(Instant::now);
    }

    /// A customer who takes nothing doesn't hear that he has to go either. He may read on and find out; after a while
    /// his socket is cut.
    pub fn cut_if_stuck(&mut self) {
        let Some(told) = self.told_to_go.filter(|_| self.client.is_some()) else { return };
        if told.elapsed() >= self.slow_after {
            self.told_to_go = None;
            self.cut();
        }
    }

    /// Ends the socket without a word.
    pub fn cut(&mut self) {
        self.tell(Down::Stop);
        if let Some(socket) = self.client_socket.take() {
            socket.cut();
        }
    }
}
