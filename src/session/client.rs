//! ClientSession: the actor on a customer's socket. A shell: it decodes, encodes and passes on.
//!
//! While its customer takes no data it is not polled at all, so it keeps no clock and no account;
//! those are the link's.

use std::time::Duration;

use actix::dev::SendError;
use actix::{Actor, ActorContext, AsyncContext, Handler, Recipient, StreamHandler};
use actix_http::ws::{CloseCode, CloseReason, Message, ProtocolError};
use actix_web::web::Payload;
use actix_web_actors::ws::WebsocketContext;

use super::flow::{DOWNLINK_LIMIT, Flow, Gate, charge, mailbox_capacity};
use super::frames::{Decoded, Incoming, Joined};
use super::messages::{Down, Grip, Said, Up};
use crate::error::Error;

/// The customer's half of a session. Lives as long as the socket.
pub struct ClientSession {
    link: Recipient<Up>,
    /// Its number among the sockets of the session.
    socket: u32,
    uplink: Flow,
    downlink: Flow,
    payload: Option<Payload>,
    /// The customer broke a rule: the link's last words are still to come.
    broke: bool,
    /// The customer sent a close frame.
    said_goodbye: bool,
    /// The close frame is on its way: what the customer still sends is read and dropped. A socket that is closed
    /// with unread data in it resets the connection, and the customer would lose the last events.
    closing: bool,
}

/// How long a customer may take to answer a close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

impl ClientSession {
    /// A socket that passes what it reads to a link. `payload` is what follows the upgrade.
    #[must_use]
    pub fn new(grip: Grip, payload: Payload) -> Self {
        Self {
            link: grip.link,
            socket: grip.socket,
            uplink: grip.uplink,
            downlink: grip.downlink,
            payload: Some(payload),
            broke: false,
            said_goodbye: false,
            closing: false,
        }
    }

    /// The flow keeps the mailbox from filling up; should it ever, the session ends rather than lose a message.
    fn tell(&self, said: Said, ctx: &mut WebsocketContext<Self>) {
        match self.link.try_send(Up { socket: self.socket, said }) {
            Ok(()) => {}
            Err(SendError::Full(_)) => {
                log::error!("the link's mailbox was full");
                ctx.stop();
            }
            Err(SendError::Closed(_)) => ctx.stop(),
        }
    }
}

impl Actor for ClientSession {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(mailbox_capacity(DOWNLINK_LIMIT));
        let address = ctx.address().recipient();
        self.tell(Said::Attached(address), ctx);
        if let Some(payload) = self.payload.take() {
            let messages = Joined::new(Decoded::new(payload));
            ctx.add_stream(Gate::new(self.uplink.clone(), messages));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the end of a socket must be heard, and happens once")]
    fn stopped(&mut self, _: &mut Self::Context) {
        self.link.do_send(Up { socket: self.socket, said: Said::Gone(self.said_goodbye) });
    }
}

impl StreamHandler<Result<Incoming, Error>> for ClientSession {
    fn handle(&mut self, item: Result<Incoming, Error>, ctx: &mut Self::Context) {
        match item {
            Ok(Incoming::Data(_) | Incoming::Ping(_) | Incoming::Pong(_)) | Err(_) if self.closing => {}
            Ok(Incoming::Data(frame)) => {
                self.uplink.take(charge(frame.len()));
                self.tell(Said::Frame(frame), ctx);
            }
            Ok(Incoming::Ping(content)) => {
                ctx.pong(&content);
                self.uplink.take(charge(0));
                self.tell(Said::Ping, ctx);
            }
            Ok(Incoming::Pong(content)) => {
                self.uplink.take(charge(0));
                let number = std::str::from_utf8(&content).ok().and_then(|number| number.parse().ok());
                self.tell(Said::Pong(number), ctx);
            }
            Ok(Incoming::Close(_)) if self.closing => {
                // He answers our close frame: he has all that came before it.
                self.said_goodbye = true;
                ctx.stop();
            }
            Ok(Incoming::Close(reason)) => {
                self.said_goodbye = true;
                ctx.close(reason.and_then(|(code, _)| close_reason(code, String::new())));
                ctx.stop();
            }
            Err(error) => {
                self.broke = true;
                self.tell(Said::Broke(error), ctx);
            }
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        if !self.broke {
            ctx.stop();
        }
    }
}

/// The context's own decoder is given nothing to read: frames come through the gate instead.
impl StreamHandler<Result<Message, ProtocolError>> for ClientSession {
    fn handle(&mut self, _: Result<Message, ProtocolError>, _: &mut Self::Context) {}
}

impl Handler<Down> for ClientSession {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Self::Context) {
        match down {
            Down::Frame(frame) => {
                self.downlink.stage(charge(frame.len()));
                ctx.write_raw(frame.into());
            }
            Down::Ping(None) => ctx.ping(b""),
            Down::Ping(Some(number)) => ctx.ping(number.to_string().as_bytes()),
            Down::Close(code, reason) => {
                ctx.close(close_reason(code, reason));
                self.closing = true;
                if self.broke {
                    // Nothing after a broken frame can be read.
                    ctx.stop();
                } else {
                    ctx.run_later(CLOSE_PATIENCE, |_, ctx| ctx.stop());
                }
            }
            Down::Stop => ctx.stop(),
        }
    }
}

/// A close frame's content; codes that must not appear in one become an empty frame.
fn close_reason(code: u16, mut reason: String) -> Option<CloseReason> {
    const LONGEST: usize = 123;
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return None;
    }
    while reason.len() > LONGEST {
        reason.pop();
    }
    Some(CloseReason { code: CloseCode::from(code), description: (!reason.is_empty()).then_some(reason) })
}
