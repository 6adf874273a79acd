//! UpstreamLink: the durable half of a session. It owns the provider's socket, the session's clock,
//! its meter and its lease, and carries out what the relay decides.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use actix::dev::SendError;
use actix::io::{SinkWrite, WriteHandler};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, StreamHandler, WrapFuture,
};
use actix_http::ws::{Message, ProtocolError};
use futures_util::{Sink, StreamExt};

use super::flow::{DOWNLINK_LIMIT, Flow, Gate, UPLINK_LIMIT, charge, mailbox_capacity};
use super::frames::{Frame, Incoming, Joined};
use super::legs::{Leg, Pressure};
use super::messages::{Down, Up};
use super::relay::Relay;
use super::roster::{Control, Seat};
use super::rules::Rules;
use super::socket::ClientSocket;
use super::step::{Action, Event, LeaseView};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::quota::lease::Lease;
use crate::upstream::dashscope::Socket;

/// Deadlines are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// What a session is made of once it is admitted and the provider has answered.
pub struct Parts {
    /// Its place; given back when the session ends.
    pub seat: Seat,
    /// Its hold on the budgets.
    pub lease: Lease,
    /// What it may do.
    pub rules: Rules,
    /// The provider's socket.
    pub upstream: Socket,
    /// The customer's, for the last resort.
    pub client_socket: Option<ClientSocket>,
    /// Figures.
    pub metrics: Metrics,
}

/// The provider's half of a session. Lives until its usage is settled.
pub struct UpstreamLink {
    session_id: String,
    relay: Relay,
    seat: Option<Seat>,
    lease: Option<Lease>,
    upstream: Option<Socket>,
    sink: Option<Writer>,
    client: Option<Recipient<Down>>,
    client_socket: Option<ClientSocket>,
    /// For how long a customer who takes nothing is waited for.
    slow_after: Duration,
    /// When the customer was told to go.
    told_to_go: Option<Instant>,
    /// The usage is written: only the customer is waited for.
    settled: bool,
    downlink: Flow,
    uplink: Flow,
    actions: Vec<Action>,
    metrics: Metrics,
}

type Writer = SinkWrite<Message, Sent<futures_util::stream::SplitSink<Socket, Message>>>;

impl UpstreamLink {
    /// Starts the link on this thread; it reads nothing until a customer's socket is attached.
    /// Returns its address and the two flows, up and down.
    #[must_use]
    pub fn start_with(parts: Parts) -> (Addr<Self>, Flow, Flow) {
        let (uplink, downlink) = (Flow::new(UPLINK_LIMIT), Flow::new(DOWNLINK_LIMIT));
        let flows = (uplink.clone(), downlink.clone());
        let slow_after = Duration::from_secs(parts.rules.config.realtime.slow_client_seconds);
        let address = Self::create(|ctx| {
            ctx.set_mailbox_capacity(mailbox_capacity(UPLINK_LIMIT));
            Self {
                session_id: parts.seat.session_id().to_owned(),
                relay: Relay::new(parts.rules, Instant::now()),
                seat: Some(parts.seat),
                lease: Some(parts.lease),
                upstream: Some(parts.upstream),
                sink: None,
                client: None,
                client_socket: parts.client_socket,
                slow_after,
                told_to_go: None,
                settled: false,
                downlink,
                uplink,
                actions: Vec::new(),
                metrics: parts.metrics,
            }
        });
        (address, flows.0, flows.1)
    }

    fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        let lease = self.lease.as_ref();
        let (room, forwarded) = lease.map_or((0, 0), |lease| (lease.room(), lease.forwarded()));
        let used_up = lease.is_some_and(Lease::used_up);
        let mut actions = std::mem::take(&mut self.actions);
        self.relay.on(event, LeaseView { room, forwarded, used_up }, Instant::now(), &mut actions);
        for action in actions.drain(..) {
            self.act(action, ctx);
        }
        self.actions = actions;
    }

    fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::ToUpstream(frame, samples) => {
                self.count(samples);
                self.write(frame.into());
            }
            Action::Count(samples) => self.count(samples),
            Action::Drop(frame) => self.uplink.give(charge(frame.len())),
            Action::Inject(text) => {
                self.uplink.take(charge(text.len()));
                self.write(Message::Text(text));
            }
            Action::ToClient(frame) => self.send_down(frame, ctx),
            Action::Demand(samples) => self.demand(samples, ctx),
            Action::Tokens(usage) => {
                if let Some(lease) = &self.lease {
                    lease.report_tokens(usage.input_tokens, usage.output_tokens);
                }
            }
            Action::Ping(Leg::Upstream) => self.write(Message::Ping(bytes::Bytes::new())),
            Action::Ping(Leg::Client) => self.tell(Down::Ping),
            Action::CloseClient(code, reason) => {
                self.tell(Down::Close(code, reason));
                self.told_to_go.get_or_insert_with(Instant::now);
            }
            Action::CutClient => self.cut_client(),
            Action::LeaveSeat => {
                self.seat = None;
                self.lease.iter().for_each(Lease::leave);
            }
            Action::Finish(reason) => self.finish(reason, ctx),
        }
    }

    fn count(&self, samples: u64) {
        if let Some(lease) = &self.lease {
            lease.forward(samples);
        }
    }

    fn write(&mut self, message: Message) {
        if let Some(sink) = &mut self.sink
            && sink.write(message).is_err()
        {
            log::debug!("the provider's socket is closing; a message was not sent");
        }
    }

    /// The flow keeps the mailbox from filling up; should it ever, the session ends rather than lose an event.
    fn send_down(&self, frame: Frame, ctx: &mut Context<Self>) {
        let Some(client) = &self.client else { return };
        let charge = charge(frame.len());
        self.downlink.take(charge);
        let Err(refused) = client.try_send(Down::Frame(frame)) else { return };
        self.downlink.give(charge);
        if let SendError::Full(_) = refused {
            ctx.notify(Control::End(Error::internal("the customer's mailbox was full")));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "at most one ping in some seconds and one close a session")]
    fn tell(&self, down: Down) {
        if let Some(client) = &self.client {
            client.do_send(down);
        }
    }

    fn demand(&mut self, samples: u64, ctx: &mut Context<Self>) {
        let Some(lease) = &self.lease else { return };
        let answer = lease.demand(samples).into_actor(self);
        ctx.spawn(answer.map(|answer, link, ctx| link.on(Event::Answered(answer), ctx)));
    }

    fn cut_client(&mut self) {
        self.tell(Down::Stop);
        if let Some(socket) = self.client_socket.take() {
            socket.cut();
        }
    }

    /// A customer who takes nothing doesn't hear that the session is over either. He may read on and find out;
    /// after a while his socket is cut.
    fn see_client_off(&mut self) {
        let Some(told) = self.told_to_go.filter(|_| self.client.is_some()) else { return };
        if told.elapsed() >= self.slow_after {
            self.told_to_go = None;
            self.cut_client();
        }
    }

    fn stop_when_alone(&self, ctx: &mut Context<Self>) {
        if self.settled && self.client.is_none() {
            ctx.stop();
        }
    }

    /// Settles and stops: the place is free at once, the actor goes when the usage is written and the
    /// customer's socket is gone.
    fn finish(&mut self, reason: &'static str, ctx: &mut Context<Self>) {
        self.write(Message::Close(Some(actix_http::ws::CloseCode::Normal.into())));
        if let Some(sink) = &mut self.sink {
            sink.close();
        }
        self.seat = None;
        self.told_to_go.get_or_insert_with(Instant::now);
        self.metrics.sessions_ended.with_label_values(&[reason]).inc();
        let Some(lease) = self.lease.take() else { return };
        let samples = lease.forwarded();
        log::info!(session_id = self.session_id.as_str(), reason = reason, samples = samples; "session ended");
        ctx.spawn(lease.settle(reason).into_actor(self).map(|(), link, ctx| {
            link.settled = true;
            link.stop_when_alone(ctx);
        }));
    }
}

impl Actor for UpstreamLink {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(seat) = &self.seat {
            seat.attach(ctx.address().recipient());
        }
        ctx.run_interval(TICK, |link, ctx| {
            let pressure = Pressure { downlink: link.downlink.stalled(), uplink: link.uplink.stalled() };
            link.on(Event::Tick(pressure), ctx);
            link.see_client_off();
        });
    }
}

impl UpstreamLink {
    fn attach(&mut self, client: Recipient<Down>, ctx: &mut Context<Self>) {
        self.client = Some(client);
        let Some(upstream) = self.upstream.take() else { return };
        let (sink, stream) = upstream.split();
        let sent = Sent { flow: self.uplink.clone(), inner: sink, pending: 0 };
        self.sink = Some(SinkWrite::new(sent, ctx));
        ctx.add_stream(Gate::new(self.downlink.clone(), Joined::new(stream)));
    }
}

impl Handler<Up> for UpstreamLink {
    type Result = ();

    fn handle(&mut self, up: Up, ctx: &mut Context<Self>) {
        match up {
            Up::Attached(client) => self.attach(client, ctx),
            Up::Frame(frame) => self.on(Event::Client(frame), ctx),
            Up::Heard => {
                self.uplink.give(charge(0));
                self.relay.heard(Leg::Client, Instant::now());
            }
            Up::Broke(error) => self.on(Event::ClientBroke(error), ctx),
            Up::Gone => {
                self.client = None;
                self.client_socket = None;
                self.on(Event::ClientGone, ctx);
                self.stop_when_alone(ctx);
            }
        }
    }
}

impl Handler<Control> for UpstreamLink {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Context<Self>) {
        let event = match control {
            Control::End(why) => Event::End(why),
            Control::ExpiresAt(at) => Event::ExpiresAt(at),
            Control::GoAway(deadline) => Event::GoAway(deadline),
        };
        self.on(event, ctx);
    }
}

impl StreamHandler<Result<Incoming, Error>> for UpstreamLink {
    fn handle(&mut self, item: Result<Incoming, Error>, ctx: &mut Context<Self>) {
        match item {
            Ok(Incoming::Data(frame)) => self.on(Event::Upstream(frame), ctx),
            Ok(Incoming::Ping(content)) => {
                self.relay.heard(Leg::Upstream, Instant::now());
                self.write(Message::Pong(content));
            }
            Ok(Incoming::Pong) => self.relay.heard(Leg::Upstream, Instant::now()),
            Ok(Incoming::Close(reason)) => {
                const NO_CODE: u16 = 1005;
                self.on(Event::UpstreamGone(Some(reason.unwrap_or((NO_CODE, String::new())))), ctx);
            }
            Err(error) => {
                log::warn!(session_id = self.session_id.as_str(); "the provider's leg broke: {error}");
                self.on(Event::UpstreamGone(None), ctx);
            }
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.on(Event::UpstreamGone(None), ctx);
    }
}

impl WriteHandler<ProtocolError> for UpstreamLink {
    fn error(&mut self, error: ProtocolError, ctx: &mut Context<Self>) -> actix::Running {
        log::debug!(session_id = self.session_id.as_str(); "writing to the provider failed: {error}");
        self.sink = None;
        self.on(Event::UpstreamGone(None), ctx);
        actix::Running::Continue
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

/// The provider's sink, giving credit back when what it took is flushed.
struct Sent<K> {
    flow: Flow,
    inner: K,
    pending: usize,
}

impl<K: Sink<Message, Error = ProtocolError> + Unpin> Sink<Message> for Sent<K> {
    type Error = ProtocolError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ProtocolError>> {
        Pin::new(&mut self.inner).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), ProtocolError> {
        self.pending += match &message {
            Message::Text(text) => charge(text.len()),
            Message::Binary(bytes) => charge(bytes.len()),
            Message::Continuation(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Nop => 0,
        };
        Pin::new(&mut self.inner).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ProtocolError>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let sent = std::mem::take(&mut self.pending);
        self.flow.give(sent);
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ProtocolError>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
