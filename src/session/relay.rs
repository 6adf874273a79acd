//! What one session does about each thing that happens to it. Pure: no socket, no clock of its own, no actor.
//!
//! ```text
//! Open ──(quota, cap, drain)──► Ending ──(flushed, or its deadline)──► Over
//!   └────(the client left)────► ClientLeft ──(last usage, or its deadline)──► Over
//! ```
//! Audio goes upstream only when the lease has room for the whole frame and a leg is there to take it. A frame that
//! must wait is held, and everything behind it, in order. A resumable session stays open while its client is away.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::customer::{Customer, Identity};
use super::delivery::{Delivery, Kind, Sent};
use super::dialogue::{Dialogue, Refused};
use super::frames::Frame;
use super::legs::Legs;
use super::phase::Phase;
use super::rules::Rules;
use super::sides::Side;
use super::step::{Action, Event, LeaseView, Step};
use super::watch::Watch;
use crate::config::settings::Protocol;
use crate::error::Error;
use crate::quota::tally::Ack;
use crate::wire::continuity::{self, ClientWord};
use crate::wire::members::Members;
use crate::wire::realtime;

/// The largest word of a client to the gateway alone, bytes.
const LARGEST_WORD: usize = 512;

/// One session's state.
pub struct Relay {
    pub(super) protocol: Protocol,
    pub(super) phase: Phase,
    pub(super) dialogue: Dialogue,
    pub(super) watch: Watch,
    pub(super) legs: Legs,
    /// A resumable session's customer.
    pub(super) customer: Option<Customer>,
    /// Messages behind one that can't go on yet.
    held: VecDeque<Frame>,
    /// A demand is out: nothing may be forwarded until it is answered.
    pub(super) standing: bool,
    pub(super) last_audio: Instant,
    pub(super) drain_by: Option<Instant>,
    pub(super) expires_at: Option<jiff::Timestamp>,
    pub(super) key_expires_at: Option<jiff::Timestamp>,
    /// The provider closed: what a resumable client hears on each socket until it has it.
    pub(super) farewell: Option<(u16, String)>,
    /// Another instance could go on with the session.
    pub(super) movable: bool,
}

/// Where a session goes on that another instance, or an earlier life of this one, began.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The point up to which everything is done.
    pub ack: Ack,
    /// The client's settings.
    pub settings: Option<String>,
    /// How long the session lasts already.
    pub age: Duration,
}

impl Relay {
    /// A session that was just admitted, both sides open. `identity`: it can be resumed.
    #[must_use]
    pub fn new(rules: Rules, identity: Option<Identity>, now: Instant) -> Self {
        let legs = Legs::new(&rules, now);
        let customer = identity.map(|identity| Customer::new(identity, false, Ack::default(), now));
        Self::with(rules, legs, customer, now)
    }

    /// A session that goes on here.
    #[must_use]
    pub fn resumed(rules: Rules, identity: Identity, past: Past, now: Instant) -> Self {
        let known = past.settings.as_deref().and_then(|settings| realtime::client_frame(settings).update);
        let rate = known.as_ref().and_then(|known| known.sample_rate).unwrap_or_default();
        let customer = Customer::new(identity, true, past.ack, now);
        let rate = if rate == 8_000 { 8_000 } else { 16_000 };
        let legs = Legs::resumed(&rules, past.ack.samples, rate, past.settings, now);
        let mut relay = Self::with(rules, legs, Some(customer), now);
        relay.dialogue.go_on(past.ack.metered, rate);
        relay.watch.began_before(past.age);
        if let Some(manual) = known.and_then(|known| known.manual) {
            relay.watch.manual = manual;
        }
        relay
    }

    fn with(rules: Rules, legs: Legs, customer: Option<Customer>, now: Instant) -> Self {
        Self {
            phase: Phase::Open,
            watch: Watch::new(&rules, now),
            legs,
            customer,
            held: VecDeque::new(),
            standing: false,
            last_audio: now,
            drain_by: None,
            expires_at: rules.expires_at,
            key_expires_at: rules.key_expires_at,
            farewell: None,
            movable: rules.protocol == Protocol::Livetranslate,
            protocol: rules.protocol,
            dialogue: Dialogue::new(rules),
        }
    }

    /// Decides. `client_takes`: the client's socket takes data.
    pub fn on(&mut self, event: Event, lease: LeaseView, now: Instant, actions: &mut Vec<Action>) {
        let step = &mut Step { lease, now, manual: self.watch.manual, actions };
        match event {
            Event::Client(frame) => self.on_client(frame, step),
            Event::ClientGone(closed) => self.on_client_gone(closed, step),
            Event::ClientBack(last_seq) => self.on_client_back(last_seq, step),
            Event::ClientBroke(error) => self.end_now(&error, step),
            Event::ClientReached(number) => {
                self.watch.heard(Side::Client, now);
                if let Some(customer) = &mut self.customer {
                    customer.reached(number, step);
                }
            }
            Event::Upstream(number, frame) => self.on_upstream(number, frame, step),
            Event::UpstreamGone(number, reason) => self.on_upstream_gone(number, reason, step),
            Event::Dialled(number, _) if matches!(self.phase, Phase::Over | Phase::Parted { .. }) => {
                step.act(Action::HangUp(number));
            }
            Event::Dialled(number, answer) => self.on_dialled(number, answer, step),
            Event::Answered(answer) => self.on_answer(answer, step),
            Event::End(why) => self.end_now(&why, step),
            Event::Moved => self.moved(step),
            Event::Doubted => {
                if !std::mem::replace(&mut self.standing, true) {
                    step.act(Action::Demand(0));
                }
            }
            // The sooner of both ends, the license's and the key's.
            Event::ExpiresAt(at) => (self.expires_at, self.key_expires_at) = (at, None),
            Event::GoAway(deadline) => self.go_away(deadline, step),
            Event::Budget(left) => {
                if let Some(customer) = self.customer.as_mut().filter(|customer| customer.there()) {
                    customer.budget(&left, step);
                }
            }
            Event::Tick(pressure) => self.on_tick(pressure, step),
        }
    }

    /// A side was heard from, if only by a ping or pong.
    pub fn heard(&mut self, side: Side, now: Instant) {
        self.watch.heard(side, now);
    }

    /// The leg of this number gave a sign of life.
    pub fn upstream_lives(&mut self, number: u32, now: Instant) {
        if self.legs.current() == Some(number) {
            self.watch.heard(Side::Upstream, now);
            self.legs.lives(number, now);
        }
    }

    /// What waits for the client's socket next.
    pub fn next_for_client(&mut self) -> Option<Frame> {
        self.customer.as_mut()?.take_next()
    }

    /// Whether something waits for the client's socket.
    #[must_use]
    pub fn client_waits(&self) -> bool {
        self.customer.as_ref().is_some_and(Customer::waits)
    }

    /// Whether the session's client hears the gateway's own events.
    #[must_use]
    pub fn resumable(&self) -> bool {
        self.customer.is_some()
    }

    /// The content of a ping to the client: the number of the last event that was sent before it.
    #[must_use]
    pub fn ping(&self) -> Option<u64> {
        self.customer.as_ref().map(Customer::ping)
    }

    /// Whether a client that has every event up to this number can take the session up.
    #[must_use]
    pub fn takes_back(&self, last_seq: u64) -> bool {
        let open = matches!(self.phase, Phase::Open | Phase::Ending { .. } | Phase::Parted { .. });
        open && self.drain_by.is_none() && self.customer.as_ref().is_some_and(|customer| customer.reaches(last_seq))
    }

    /// Memory that continuity takes, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.legs.source.memory() + self.customer.as_ref().map_or(0, Customer::memory)
    }

    /// Memory is short: audio that waits for the client goes.
    pub fn drop_audio(&mut self) {
        if let Some(customer) = &mut self.customer {
            customer.drop_audio();
        }
    }

    fn on_client(&mut self, frame: Frame, step: &mut Step<'_>) {
        self.watch.client_spoke(step.now);
        if self.customer.is_some() && self.spoke_to_us(&frame, step) {
            return step.act(Action::Drop(frame));
        }
        match self.phase {
            // The provider has closed: the client is about to hear it.
            Phase::Open if self.farewell.is_some() => step.act(Action::Drop(frame)),
            Phase::Open if self.must_wait() => self.held.push_back(frame),
            Phase::Open => self.pass(frame, step),
            Phase::Ending { .. } | Phase::Parted { .. } | Phase::ClientLeft { .. } | Phase::Over => {
                step.act(Action::Drop(frame));
            }
        }
    }

    fn must_wait(&self) -> bool {
        self.standing || !self.held.is_empty() || !self.legs.ready()
    }

    /// A resumable client's word to the gateway alone.
    fn spoke_to_us(&mut self, frame: &Frame, step: &mut Step<'_>) -> bool {
        let Some(customer) = &mut self.customer else { return false };
        customer.heard();
        let Frame::Text(text) = frame else { return false };
        if text.len() > LARGEST_WORD || !text.contains("gateway.") {
            return false;
        }
        match Members::read(text).as_ref().and_then(continuity::client_word) {
            Some(ClientWord::Received(number)) => customer.received(number, step),
            Some(ClientWord::Other) => {}
            None => return false,
        }
        true
    }

    /// Forwards a client's message, or holds it.
    fn pass(&mut self, frame: Frame, step: &mut Step<'_>) {
        let read = match self.dialogue.read(&frame, &mut self.watch, step.now) {
            Ok(read) => read,
            Err(Refused::Frame(answer)) => {
                step.act(Action::Drop(frame));
                step.act(Action::ToClient(Frame::Text(answer)));
                return;
            }
            Err(Refused::Session(error)) => {
                step.act(Action::Drop(frame));
                self.end_now(&error, step);
                return;
            }
        };
        self.legs.source.set_rate(self.dialogue.meter.rate());
        if read.kind == Kind::Finish && self.legs.finishing && self.customer.is_some() {
            // A client that came back can't know whether it was heard.
            return step.act(Action::Drop(frame));
        }
        if read.bytes == 0 {
            return self.legs.forward(frame, Sent { kind: read.kind, bytes: 0, samples: 0 }, step);
        }
        self.last_audio = step.now;
        let samples = self.dialogue.meter.after(read.bytes, step.now).saturating_sub(step.lease.forwarded);
        if samples > step.lease.room {
            self.held.push_front(frame);
            self.standing = true;
            step.act(Action::Demand(samples));
            return;
        }
        self.dialogue.meter.count(read.bytes, step.now);
        step.lease.forward(samples);
        if let Some(customer) = &mut self.customer {
            customer.spoke();
        }
        self.legs.doubt(self.watch.unanswered());
        self.legs.forward(frame, Sent { kind: Kind::Audio, bytes: read.bytes, samples }, step);
    }

    fn on_answer(&mut self, answer: Result<(), Error>, step: &mut Step<'_>) {
        self.standing = false;
        match (answer, &self.phase) {
            // A lease that could not be given back now is given back later.
            (Err(Error::StorageUnavailable { .. }), Phase::Open) if self.held.is_empty() => {}
            (Err(Error::SessionGone), _) => self.moved(step),
            (Err(error), Phase::Open) => self.let_out(error, step),
            (Ok(()), Phase::Open) => self.release(step),
            (_, Phase::Ending { .. } | Phase::Parted { .. } | Phase::ClientLeft { .. } | Phase::Over) => {}
        }
    }

    /// What was held goes on, as far as it can.
    pub(super) fn release(&mut self, step: &mut Step<'_>) {
        while !self.standing
            && self.legs.ready()
            && matches!(self.phase, Phase::Open)
            && let Some(frame) = self.held.pop_front()
        {
            self.pass(frame, step);
        }
    }

    pub(super) fn drop_held(&mut self, step: &mut Step<'_>) {
        self.held.drain(..).for_each(|frame| step.act(Action::Drop(frame)));
    }

    /// Samples received of the client's audio, at its own rate: a client that comes back goes on from there.
    pub(super) fn samples_received(&self) -> u64 {
        let bytes = |frame: &Frame| match frame {
            Frame::Text(text) => realtime::client_frame(text).audio_bytes,
            Frame::Binary(_) => 0,
        };
        (self.legs.source.end() + self.held.iter().map(bytes).sum::<u64>()) / 2
    }

    fn on_upstream(&mut self, number: u32, frame: Frame, step: &mut Step<'_>) {
        if self.legs.current() == Some(number) {
            self.watch.upstream_spoke(step.now);
        }
        let ended_before = self.over();
        let current = self.legs.current() == Some(number);
        let heard = self.dialogue.follow(&frame, current, &mut self.watch);
        let delivered = match &heard.event {
            Some(event) => {
                let spent = self.legs.tokens();
                let delivered = self.legs.hear(number, frame, event, step);
                if self.legs.tokens() != spent {
                    step.act(Action::Tokens(self.legs.tokens()));
                }
                delivered
            }
            None => vec![Delivery { frame, audio: false }],
        };
        let ended = !ended_before && self.over();
        match &self.phase {
            Phase::Open => delivered.into_iter().for_each(|delivery| self.deliver(delivery, step)),
            Phase::Ending { .. } => return self.on_last_words(delivered, ended, step),
            Phase::ClientLeft { reason, .. } if ended || (self.protocol == Protocol::Omni && !self.responding()) => {
                return self.finish(reason, step);
            }
            Phase::Parted { .. } if ended => return self.legs.hang_up(step),
            Phase::Parted { .. } | Phase::ClientLeft { .. } | Phase::Over => return,
        }
        if let Some(refused) = self.legs.refused() {
            self.lose_leg(refused, false, step);
        }
        if let Some(error) = heard.unmetered {
            return self.end_now(&error, step);
        }
        self.release(step);
        for delivery in self.legs.roll(step) {
            self.deliver(delivery, step);
        }
        self.drain_between_sentences(step);
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, step: &mut Step<'_>) {
        match &mut self.customer {
            Some(customer) => customer.deliver(delivery, step),
            None => step.act(Action::ToClient(delivery.frame)),
        }
    }

    /// The provider has said its last word.
    pub(super) fn over(&self) -> bool {
        self.legs.finished() || self.dialogue.task_over
    }

    /// A response, or a task, is running.
    pub(super) fn responding(&self) -> bool {
        self.legs.responding() || self.dialogue.task_running
    }

    /// Tells what is done, and what of it may be forgotten.
    pub(super) fn finish_through(&mut self, step: &mut Step<'_>) {
        let Some(customer) = &mut self.customer else { return };
        let finished = self.legs.finished_through(step.manual);
        let samples = finished / 2;
        let unfinished = self.dialogue.metered(self.legs.source.end() - finished);
        let metered = self.dialogue.meter.after(0, step.now).saturating_sub(unfinished);
        customer.finished(Ack { samples, metered }, step);
    }
}
