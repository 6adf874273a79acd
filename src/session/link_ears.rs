//! What the link hears: its customer's sockets, its provider's, the roster.

use std::time::Instant;

use actix::io::WriteHandler;
use actix::{AsyncContext, Context, Handler, StreamHandler};
use actix_http::ws::ProtocolError;

use super::control::Control;
use super::flow::charge;
use super::frames::Incoming;
use super::link::UpstreamLink;
use super::messages::{Grip, Said, TakeUp, Up};
use super::sides::Side;
use super::step::Event;
use super::wires::FromLeg;
use crate::error::Error;
use crate::quota::lease::Lease;

impl Handler<Up> for UpstreamLink {
    type Result = ();

    fn handle(&mut self, Up { socket, said }: Up, ctx: &mut Context<Self>) {
        match said {
            Said::Attached(client) => self.attach(client, socket, ctx),
            // A socket that another one has replaced is not heard; what it was charged is free again.
            said if !self.client.hears(socket) => self.uplink.give(said.charge()),
            Said::Frame(frame) => self.on(Event::Client(frame), ctx),
            Said::Ping => {
                self.uplink.give(charge(0));
                self.relay.heard(Side::Client, Instant::now());
            }
            Said::Pong(number) => {
                self.uplink.give(charge(0));
                match number {
                    Some(number) => self.on(Event::ClientReached(number), ctx),
                    None => self.relay.heard(Side::Client, Instant::now()),
                }
            }
            Said::Broke(error) => self.on(Event::ClientBroke(error), ctx),
            Said::Gone(closed) => {
                self.client.leave();
                self.on(Event::ClientGone(closed), ctx);
                self.stop_when_alone(ctx);
            }
        }
    }
}

impl Handler<TakeUp> for UpstreamLink {
    type Result = Result<Grip, Error>;

    fn handle(&mut self, TakeUp { last_seq, client_socket }: TakeUp, ctx: &mut Context<Self>) -> Self::Result {
        // A session that gave way, or that another instance took, may not have been told yet.
        if self.lease.as_ref().is_none_or(Lease::lost) || !self.relay.takes_back(last_seq) {
            return Err(Error::SessionGone);
        }
        let (socket, downlink) = self.client.expect(last_seq, client_socket);
        Ok(Grip { socket, link: ctx.address().recipient(), uplink: self.uplink.clone(), downlink })
    }
}

impl Handler<Control> for UpstreamLink {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Context<Self>) {
        let event = match control {
            Control::End(Error::SessionGone) if self.lease.as_ref().is_none_or(Lease::lost) => Event::Moved,
            // Said of a session that is elsewhere, or over; it may be this one, or the one before it here.
            Control::End(Error::SessionGone) => Event::Doubted,
            Control::End(why) => Event::End(why),
            Control::ExpiresAt(at) => Event::ExpiresAt(at),
            Control::GoAway(deadline) => Event::GoAway(deadline),
            Control::SpareMemory => return self.relay.drop_audio(),
        };
        self.on(event, ctx);
    }
}

impl StreamHandler<FromLeg> for UpstreamLink {
    fn handle(&mut self, (leg, item): FromLeg, ctx: &mut Context<Self>) {
        match item {
            Some(Ok(Incoming::Data(frame))) => self.on(Event::Upstream(leg, frame), ctx),
            Some(Ok(Incoming::Ping(content))) => {
                self.relay.upstream_lives(leg, Instant::now());
                self.wires.pong(leg, content);
            }
            Some(Ok(Incoming::Pong(_))) => self.relay.upstream_lives(leg, Instant::now()),
            Some(Ok(Incoming::Close(reason))) => {
                const NO_CODE: u16 = 1005;
                self.on(Event::UpstreamGone(leg, Some(reason.unwrap_or((NO_CODE, String::new())))), ctx);
            }
            Some(Err(error)) => {
                log::warn!(session_id = self.session_id.as_str(); "the provider's leg broke: {error}");
                self.on(Event::UpstreamGone(leg, None), ctx);
            }
            None => self.on(Event::UpstreamGone(leg, None), ctx),
        }
    }

    /// The end of one leg is not the session's.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl WriteHandler<ProtocolError> for UpstreamLink {
    /// The same socket's reading half tells the rest.
    fn error(&mut self, error: ProtocolError, _: &mut Context<Self>) -> actix::Running {
        log::debug!(session_id = self.session_id.as_str(); "writing to the provider failed: {error}");
        actix::Running::Continue
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}
