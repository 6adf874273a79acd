//! UpstreamLink: the durable half of a session. It owns the provider's sockets, the session's clock, its meter and its
//! lease, and carries out what the relay decides. It outlives a dropped customer and a dropped provider.

use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Recipient, WrapFuture};

use super::client_end::ClientEnd;
use super::control::Control;
use super::flow::{DOWNLINK_LIMIT, Flow, UPLINK_LIMIT, charge, mailbox_capacity};
use super::frames::Frame;
use super::messages::{Down, Grip};
use super::parts::Parts;
use super::relay::Relay;
use super::roster::Seat;
use super::sides::{Pressure, Side};
use super::step::{Action, Event, LeaseView};
use super::wires::Wires;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::quota::lease::Lease;
use crate::upstream::dashscope::{Dialer, Socket};

/// Deadlines are looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// The number of a session's first leg.
const FIRST: u32 = 1;

/// The provider's half of a session. Lives until its usage is settled.
pub struct UpstreamLink {
    pub(super) session_id: String,
    pub(super) relay: Relay,
    pub(super) seat: Option<Seat>,
    pub(super) lease: Option<Lease>,
    /// Until the customer's socket is there.
    pub(super) upstream: Option<Socket>,
    pub(super) dialer: Dialer,
    pub(super) wires: Wires,
    pub(super) client: ClientEnd,
    /// The usage is written: only the customer is waited for.
    pub(super) settled: bool,
    pub(super) uplink: Flow,
    /// Somebody waits for the downlink to open.
    pub(super) awaiting_room: bool,
    pub(super) resume_hash: Option<String>,
    pub(super) actions: Vec<Action>,
    pub(super) metrics: Metrics,
}

impl UpstreamLink {
    /// Starts the link on this thread; it reads nothing until a customer's socket is attached.
    #[must_use]
    pub fn start_with(parts: Parts) -> Grip {
        let uplink = Flow::new(UPLINK_LIMIT);
        let mut client = ClientEnd::new(parts.slow_after);
        let (socket, downlink) = client.expect(0, parts.client_socket);
        let way_up = uplink.clone();
        let address: Addr<Self> = Self::create(|ctx| {
            ctx.set_mailbox_capacity(mailbox_capacity(UPLINK_LIMIT));
            Self {
                session_id: parts.seat.session_id().to_owned(),
                relay: parts.relay,
                seat: Some(parts.seat),
                lease: Some(parts.lease),
                upstream: Some(parts.upstream),
                dialer: parts.dialer,
                wires: Wires::new(uplink.clone()),
                client,
                settled: false,
                uplink,
                awaiting_room: false,
                resume_hash: parts.resume_hash,
                actions: Vec::new(),
                metrics: parts.metrics,
            }
        });
        Grip { socket, link: address.recipient(), uplink: way_up, downlink }
    }

    pub(super) fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        let lease = self.lease.as_ref();
        let view = LeaseView {
            room: lease.map_or(0, Lease::room),
            forwarded: lease.map_or(0, Lease::forwarded),
            used_up: lease.and_then(Lease::used_up),
            acknowledged: lease.map_or(0, |lease| lease.acknowledged().samples),
            client_takes: self.client.downlink().is_open(),
        };
        let mut actions = std::mem::take(&mut self.actions);
        self.relay.on(event, view, Instant::now(), &mut actions);
        for action in actions.drain(..) {
            self.act(action, ctx);
        }
        self.actions = actions;
        if self.relay.client_waits() || self.client.has_farewell() {
            self.pump(ctx);
        }
    }

    fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::ToUpstream(leg, frame, samples) => {
                self.count(samples);
                self.wires.write(leg, frame.into());
            }
            Action::Count(samples) => self.count(samples),
            Action::Drop(frame) => self.uplink.give(charge(frame.len())),
            Action::Inject(leg, frame) => {
                self.uplink.take(charge(frame.len()));
                self.wires.write(leg, frame.into());
            }
            Action::Dial(leg, within) => self.dial(leg, within, ctx),
            Action::HangUp(leg) => self.wires.hang_up(leg, ctx),
            Action::ToClient(frame) => self.send_down(frame, ctx),
            Action::Notice(event) => {
                if self.relay.resumable() {
                    self.send_down(Frame::Text(event.frame()), ctx);
                }
            }
            Action::Ping(Side::Upstream) => self.wires.ping(),
            Action::Ping(Side::Client) => self.client.tell(Down::Ping(self.relay.ping())),
            Action::CloseClient(code, reason) => {
                self.client.see_off(code, reason);
                if !self.relay.client_waits() {
                    self.client.say_farewell();
                }
            }
            Action::LastWord(word) => self.client.last_word(word),
            Action::CutClient => self.client.cut(),
            Action::LeaveSeat => {
                self.seat = None;
                // The provider's last word is read though the customer took nothing.
                if !self.relay.resumable() {
                    self.client.downlink().give_all();
                }
                self.lease.iter().for_each(Lease::leave);
            }
            Action::Finish(reason) => self.finish(reason, ctx),
            Action::Release(reason) => self.release(reason, ctx),
            Action::Demand(samples) => self.demand(samples, ctx),
            Action::Tokens(_) | Action::Configure(_) | Action::FinishThrough(_) | Action::Away(_) => {
                self.note(action);
            }
        }
    }

    /// Passes on what the ledger or the roster should know.
    fn note(&self, action: Action) {
        let Some(lease) = &self.lease else { return };
        match action {
            Action::Tokens(usage) => lease.report_tokens(usage.input_tokens, usage.output_tokens),
            Action::Configure(settings) if self.relay.resumable() => lease.configure(settings),
            Action::FinishThrough(ack) => lease.finish_through(ack),
            Action::Away(away) => {
                lease.set_away(away);
                self.seat.iter().for_each(|seat| seat.set_away(away));
            }
            _ => {}
        }
    }

    fn count(&self, samples: u64) {
        if let Some(lease) = &self.lease {
            lease.forward(samples);
        }
    }

    fn send_down(&self, frame: Frame, ctx: &mut Context<Self>) {
        if let Err(error) = self.client.send(frame) {
            ctx.notify(Control::End(error));
        }
    }

    /// Sends what waits for a resumable customer, as far as his socket takes it.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while self.client.is_there() && self.client.downlink().is_open() {
            let Some(frame) = self.relay.next_for_client() else {
                return self.client.say_farewell();
            };
            if let Err(error) = self.client.send(frame) {
                return ctx.notify(Control::End(error));
            }
        }
        if self.client.is_there() && !std::mem::replace(&mut self.awaiting_room, true) {
            ctx.spawn(self.client.downlink().opened().into_actor(self).map(|(), link, ctx| {
                link.awaiting_room = false;
                link.pump(ctx);
            }));
        }
    }

    fn demand(&mut self, samples: u64, ctx: &mut Context<Self>) {
        let Some(lease) = &self.lease else { return };
        let answer = lease.demand(samples).into_actor(self);
        ctx.spawn(answer.map(|answer, link, ctx| link.on(Event::Answered(answer), ctx)));
    }

    fn dial(&mut self, leg: u32, within: Duration, ctx: &mut Context<Self>) {
        let dialer = self.dialer.clone();
        let wait = within.mul_f64(rand::random::<f64>());
        let dialling = async move {
            tokio::time::sleep(wait).await;
            dialer.dial().await
        };
        ctx.spawn(dialling.into_actor(self).map(move |answer, link, ctx| {
            let answer = match answer {
                Ok(_) if link.lease.is_none() => return,
                Ok(socket) => {
                    link.connect(leg, socket, ctx);
                    Ok(())
                }
                Err(refused) => {
                    log::warn!(session_id = link.session_id.as_str(); "a new leg was refused: {}", refused.error);
                    Err((refused.error, refused.lasting))
                }
            };
            link.on(Event::Dialled(leg, answer), ctx);
        }));
    }

    /// A resumable customer who takes nothing loses audio; for every other one the provider waits.
    fn connect(&mut self, leg: u32, socket: Socket, ctx: &mut Context<Self>) {
        let gate = if self.relay.resumable() { Flow::new(DOWNLINK_LIMIT) } else { self.client.downlink().clone() };
        self.wires.connect(leg, socket, gate, ctx);
    }

    pub(super) fn stop_when_alone(&self, ctx: &mut Context<Self>) {
        if self.settled && !self.client.is_there() {
            ctx.stop();
        }
    }

    /// Settles and stops: the place is free at once, the actor goes when the usage is written and the
    /// customer's socket is gone.
    fn finish(&mut self, reason: &'static str, ctx: &mut Context<Self>) {
        if let Some(lease) = self.end(reason, ctx) {
            self.settle(lease.settle(reason), ctx);
        }
    }

    /// The same, but the session can be resumed elsewhere.
    fn release(&mut self, reason: &'static str, ctx: &mut Context<Self>) {
        if let Some(lease) = self.end(reason, ctx) {
            self.settle(lease.release(reason), ctx);
        }
    }

    fn settle(&self, written: impl Future<Output = ()> + 'static, ctx: &mut Context<Self>) {
        ctx.spawn(written.into_actor(self).map(|(), link, ctx| {
            link.settled = true;
            link.stop_when_alone(ctx);
        }));
    }

    fn end(&mut self, reason: &'static str, ctx: &mut Context<Self>) -> Option<Lease> {
        self.wires.hang_up_all(ctx);
        self.seat = None;
        self.client.watch();
        self.metrics.sessions_ended.with_label_values(&[reason]).inc();
        let lease = self.lease.take()?;
        let samples = lease.forwarded();
        log::info!(session_id = self.session_id.as_str(), reason = reason, samples = samples; "session ended");
        Some(lease)
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.lease.as_ref().is_some_and(Lease::lost) {
            self.on(Event::Moved, ctx);
        }
        if self.relay.resumable() {
            let budgets = self.lease.as_ref().map(Lease::remaining).unwrap_or_default();
            budgets.into_iter().for_each(|left| self.on(Event::Budget(left), ctx));
        }
        let pressure = Pressure { downlink: self.client.downlink().stalled(), uplink: self.uplink.stalled() };
        self.on(Event::Tick(pressure), ctx);
        self.client.cut_if_stuck();
        if let Some(seat) = &self.seat {
            seat.report_memory(self.relay.memory());
        }
    }
}

impl Actor for UpstreamLink {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(seat) = &self.seat {
            seat.attach(ctx.address().recipient());
            if let Some(hash) = self.resume_hash.take() {
                seat.can_be_taken_up(hash, ctx.address().recipient());
            }
        }
        ctx.run_interval(TICK, Self::tick);
    }
}

impl UpstreamLink {
    /// A customer's socket is there: the first, or another one that takes the place of the last.
    pub(super) fn attach(&mut self, client: Recipient<Down>, socket: u32, ctx: &mut Context<Self>) {
        let Some(last_seq) = self.client.arrive(client, socket) else { return };
        // Whoever waited for room waited for that of the last socket.
        self.awaiting_room = false;
        self.uplink.wake();
        if self.lease.is_none() {
            // The session ended while this socket was on its way.
            self.upstream = None;
            let row = Error::SessionGone.row();
            self.client.see_off(row.close, row.code.to_owned());
            return self.client.say_farewell();
        }
        self.on(Event::ClientBack(last_seq), ctx);
        if let Some(upstream) = self.upstream.take() {
            self.connect(FIRST, upstream, ctx);
        }
    }
}
