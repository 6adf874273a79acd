//! The provider's sockets of one session, by the number of their leg: writing, credit, hanging up.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use actix::io::{SinkWrite, WriteHandler};
use actix::{Actor, AsyncContext, Context, SpawnHandle, StreamHandler};
use actix_http::ws::{CloseCode, Message, ProtocolError};
use futures_util::stream::SplitSink;
use futures_util::{Sink, StreamExt, stream};

use super::flow::{Flow, Gate, charge};
use super::frames::{Incoming, Joined};
use crate::error::Error;
use crate::upstream::dashscope::Socket;

/// How long a close frame may take to be sent.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a leg's socket brings: its number, and a message, or `None` at its end.
pub type FromLeg = (u32, Option<Result<Incoming, Error>>);

type Writer = SinkWrite<Message, Sent<SplitSink<Socket, Message>>>;

/// The sockets. There are two for the short time in which one leg replaces another.
pub struct Wires {
    uplink: Flow,
    wires: Vec<Wire>,
}

struct Wire {
    number: u32,
    sink: Writer,
    stream: SpawnHandle,
    /// Charged to the uplink for this leg and not yet flushed.
    owed: Rc<Cell<usize>>,
}

impl Wires {
    /// None yet. What the provider takes is given back to `uplink`.
    #[must_use]
    pub fn new(uplink: Flow) -> Self {
        Self { uplink, wires: Vec::new() }
    }

    /// Reads and writes a socket from now on; reading waits while `gate` is closed.
    pub fn connect<A>(&mut self, number: u32, socket: Socket, gate: Flow, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>> + StreamHandler<FromLeg> + WriteHandler<ProtocolError>,
    {
        let (sink, stream) = socket.split();
        // What stood still without a leg moves again.
        self.uplink.touch();
        let owed = Rc::new(Cell::new(0));
        let sent = Sent { flow: self.uplink.clone(), owed: owed.clone(), inner: sink, pending: 0 };
        let sink = SinkWrite::new(sent, ctx);
        let incoming = Gate::new(gate, Joined::new(stream)).map(move |item| (number, Some(item)));
        let stream = ctx.add_stream(incoming.chain(stream::iter([(number, None)])));
        self.wires.push(Wire { number, sink, stream, owed });
    }

    /// Writes a message whose length is charged to the uplink already.
    pub fn write(&mut self, number: u32, message: Message) {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return self.uplink.give(cost(&message));
        };
        let cost = cost(&message);
        if wire.sink.write(message).is_ok() {
            wire.owed.set(wire.owed.get() + cost);
        } else {
            self.uplink.give(cost);
        }
    }

    /// Pings every leg.
    pub fn ping(&mut self) {
        for wire in &mut self.wires {
            let _closing = wire.sink.write(Message::Ping(bytes::Bytes::new()));
        }
    }

    /// Answers a ping.
    pub fn pong(&mut self, number: u32, content: bytes::Bytes) {
        if let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) {
            let _closing = wire.sink.write(Message::Pong(content));
        }
    }

    /// Takes leave of a leg; it is not heard any more.
    pub fn hang_up<A>(&mut self, number: u32, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>>,
    {
        let Some(index) = self.wires.iter().position(|wire| wire.number == number) else { return };
        let mut wire = self.wires.swap_remove(index);
        ctx.cancel_future(wire.stream);
        let _closing = wire.sink.write(Message::Close(Some(CloseCode::Normal.into())));
        wire.sink.close();
        let writing = wire.sink.handle();
        ctx.run_later(GOODBYE, move |_, ctx| {
            ctx.cancel_future(writing);
        });
        // What it never took must not hold the customer up.
        self.uplink.give(wire.owed.take());
    }

    /// Takes leave of all.
    pub fn hang_up_all<A>(&mut self, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>>,
    {
        while let Some(number) = self.wires.first().map(|wire| wire.number) {
            self.hang_up(number, ctx);
        }
    }
}

fn cost(message: &Message) -> usize {
    match message {
        Message::Text(text) => charge(text.len()),
        Message::Binary(bytes) => charge(bytes.len()),
        Message::Continuation(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Nop => 0,
    }
}

/// A leg's sink, giving credit back when what it took is flushed.
struct Sent<K> {
    flow: Flow,
    owed: Rc<Cell<usize>>,
    inner: K,
    pending: usize,
}

impl<K: Sink<Message, Error = ProtocolError> + Unpin> Sink<Message> for Sent<K> {
    type Error = ProtocolError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ProtocolError>> {
        Pin::new(&mut self.inner).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), ProtocolError> {
        self.pending += cost(&message);
        Pin::new(&mut self.inner).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ProtocolError>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let sent = std::mem::take(&mut self.pending).min(self.owed.get());
        self.owed.set(self.owed.get() - sent);
        self.flow.give(sent);
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ProtocolError>> {
        // A framed socket is shut down without what waits in its buffer.
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
