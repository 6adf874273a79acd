//! What one session does about each thing that happens to it. Pure: no socket, no clock of its own, no actor.
//!
//! ```text
//! Open ──(quota, cap, drain)──► Ending ──(flushed, or its deadline)──► Over
//!   └────(the client left)────► ClientLeft ──(last usage, or its deadline)──► Over
//! ```
//! Audio goes upstream only when the lease has room for the whole frame. A frame without room is held,
//! and everything behind it, in order, until the keeper has answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dialogue::{Dialogue, Refused};
use super::frames::Frame;
use super::legs::{Leg, Pressure};
use super::rules::Rules;
use super::step::{Action, Event, LeaseView, Step};
use super::watch::Watch;
use crate::clock;
use crate::config::settings::Protocol;
use crate::error::Error;

/// How long a running sentence may take to come out when no more audio goes in.
const LAST_SENTENCE: Duration = Duration::from_secs(10);
/// How long the provider may take to report the last usage of a client that left.
const LAST_USAGE: Duration = Duration::from_secs(20);
/// Left of a drain's deadline for the last sentence of somebody who never pauses.
const DRAIN_MARGIN: Duration = Duration::from_secs(4);

#[derive(Debug)]
enum Phase {
    Open,
    Ending { why: Error, until: Instant },
    ClientLeft { until: Instant, reason: &'static str },
    Over,
}

/// One session's state.
pub struct Relay {
    protocol: Protocol,
    phase: Phase,
    dialogue: Dialogue,
    watch: Watch,
    /// Messages behind one that has no room in the lease yet.
    held: VecDeque<Frame>,
    /// A demand is out: nothing may be forwarded until it is answered.
    standing: bool,
    last_audio: Instant,
    drain_by: Option<Instant>,
    expires_at: Option<jiff::Timestamp>,
    key_expires_at: Option<jiff::Timestamp>,
}

impl Relay {
    /// A session that was just admitted, both legs open.
    #[must_use]
    pub fn new(rules: Rules, now: Instant) -> Self {
        Self {
            phase: Phase::Open,
            watch: Watch::new(&rules, now),
            held: VecDeque::new(),
            standing: false,
            last_audio: now,
            drain_by: None,
            expires_at: rules.expires_at,
            key_expires_at: rules.key_expires_at,
            protocol: rules.protocol,
            dialogue: Dialogue::new(rules),
        }
    }

    /// Decides. `room` is what the lease still covers, in samples; `forwarded` what was forwarded before.
    pub fn on(&mut self, event: Event, lease: LeaseView, now: Instant, actions: &mut Vec<Action>) {
        let step = &mut Step { lease, now, actions };
        match event {
            Event::Client(frame) => self.on_client(frame, step),
            Event::ClientGone => self.on_client_gone("client_left", step),
            Event::ClientBroke(error) => self.end_now(&error, step),
            Event::Upstream(frame) => self.on_upstream(frame, step),
            Event::UpstreamGone(reason) => self.on_upstream_gone(reason, step),
            Event::Answered(answer) => self.on_answer(answer, step),
            Event::End(why) => self.end_now(&why, step),
            Event::ExpiresAt(at) => self.expires_at = at,
            Event::GoAway(deadline) => {
                self.drain_by = Some(deadline);
                self.drain_between_sentences(step);
            }
            Event::Tick(pressure) => self.on_tick(pressure, step),
        }
    }

    /// A leg was heard from, if only by a ping or pong.
    pub fn heard(&mut self, leg: Leg, now: Instant) {
        self.watch.heard(leg, now);
    }

    fn on_client(&mut self, frame: Frame, step: &mut Step<'_>) {
        self.watch.client_spoke(step.now);
        match self.phase {
            Phase::Open if self.standing || !self.held.is_empty() => self.held.push_back(frame),
            Phase::Open => self.pass(frame, step),
            Phase::Ending { .. } | Phase::ClientLeft { .. } | Phase::Over => step.act(Action::Drop(frame)),
        }
    }

    /// Forwards a client's message, or holds it.
    fn pass(&mut self, frame: Frame, step: &mut Step<'_>) {
        let bytes = match self.dialogue.read(&frame, &mut self.watch, step.now) {
            Ok(bytes) => bytes,
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
        if bytes == 0 {
            step.act(Action::ToUpstream(frame, 0));
            return;
        }
        self.last_audio = step.now;
        let samples = self.dialogue.meter.after(bytes, step.now).saturating_sub(step.lease.forwarded);
        if samples > step.lease.room {
            self.held.push_front(frame);
            self.standing = true;
            step.act(Action::Demand(samples));
            return;
        }
        self.dialogue.meter.count(bytes, step.now);
        step.lease.forward(samples);
        step.act(Action::ToUpstream(frame, samples));
    }

    fn on_answer(&mut self, answer: Result<(), Error>, step: &mut Step<'_>) {
        self.standing = false;
        match (answer, &self.phase) {
            // A lease that could not be given back now is given back later.
            (Err(Error::StorageUnavailable { .. }), Phase::Open) if self.held.is_empty() => {}
            (Err(error), Phase::Open) => self.let_out(error, step),
            (Ok(()), Phase::Open) => {
                while !self.standing
                    && matches!(self.phase, Phase::Open)
                    && let Some(frame) = self.held.pop_front()
                {
                    self.pass(frame, step);
                }
            }
            (_, Phase::Ending { .. } | Phase::ClientLeft { .. } | Phase::Over) => {}
        }
    }

    fn on_upstream(&mut self, frame: Frame, step: &mut Step<'_>) {
        self.watch.upstream_spoke(step.now);
        let heard = self.dialogue.follow(&frame, &mut self.watch);
        if let Some(tokens) = heard.tokens {
            step.act(Action::Tokens(tokens));
        }
        let ended = heard.ended;
        match &self.phase {
            Phase::Open => step.act(Action::ToClient(frame)),
            Phase::Ending { why, .. } => {
                let why = why.clone();
                if ended {
                    // The reason first: a client may take the provider's last word for a complete translation.
                    self.say_why(&why, step);
                    step.act(Action::ToClient(frame));
                    self.hang_up(&why, step);
                    return self.finish(why.row().code, step);
                }
                step.act(Action::ToClient(frame));
                let quiet = self.protocol != Protocol::Livetranslate && !self.dialogue.responding;
                if quiet {
                    self.close_client(&why, step);
                }
                return;
            }
            Phase::ClientLeft { reason, .. }
                if ended || (self.protocol == Protocol::Omni && !self.dialogue.responding) =>
            {
                return self.finish(reason, step);
            }
            Phase::ClientLeft { .. } | Phase::Over => return,
        }
        match heard.unmetered {
            Some(error) => self.end_now(&error, step),
            None => self.drain_between_sentences(step),
        }
    }

    fn on_upstream_gone(&mut self, reason: Option<(u16, String)>, step: &mut Step<'_>) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Open => match reason {
                Some((code, reason)) => {
                    step.act(Action::CloseClient(code, reason));
                    self.finish(if code == 1000 { "done" } else { "upstream_closed" }, step);
                }
                None => self.close_client(&Error::upstream("the connection broke off"), step),
            },
            Phase::Ending { why, .. } => self.close_client(&why, step),
            Phase::ClientLeft { reason, .. } => self.finish(reason, step),
            Phase::Over => {}
        }
    }

    fn on_client_gone(&mut self, reason: &'static str, step: &mut Step<'_>) {
        match self.phase {
            Phase::Open | Phase::Ending { .. } => {}
            Phase::ClientLeft { .. } | Phase::Over => return,
        }
        self.release_held(step);
        // Omni models can't be asked for the end, but report a running response's tokens at its own.
        let reports = self.protocol == Protocol::Omni && self.dialogue.responding;
        if !(reports || self.unsaid(step) && self.ask_for_the_end(step)) {
            let reason = if self.dialogue.finished { "done" } else { reason };
            return self.finish(reason, step);
        }
        self.phase = Phase::ClientLeft { until: step.now + LAST_USAGE, reason };
        step.act(Action::LeaveSeat);
    }

    /// Ends the session when what is being said has come out: no more audio goes in.
    fn let_out(&mut self, why: Error, step: &mut Step<'_>) {
        self.release_held(step);
        let asked = self.unsaid(step) && self.ask_for_the_end(step);
        if asked || self.dialogue.responding {
            let until = step.now + LAST_SENTENCE;
            let until = self.drain_by.map_or(until, |deadline| deadline.min(until));
            self.phase = Phase::Ending { why, until };
        } else {
            self.close_client(&why, step);
        }
    }

    /// Ends the session at once; its last usage is still awaited.
    fn end_now(&mut self, why: &Error, step: &mut Step<'_>) {
        match self.phase {
            Phase::Open | Phase::Ending { .. } => {}
            Phase::ClientLeft { .. } => return self.finish(why.row().code, step),
            Phase::Over => return,
        }
        self.say_why(why, step);
        self.hang_up(why, step);
        self.on_client_gone(why.row().code, step);
    }

    /// Whether the provider has something left to say that it can be asked for.
    fn unsaid(&self, step: &Step<'_>) -> bool {
        match self.protocol {
            Protocol::Livetranslate => step.lease.forwarded > 0 && !self.dialogue.finished,
            Protocol::Omni => false,
            Protocol::Task => self.dialogue.responding,
        }
    }

    /// Asks the provider to flush and report; false if it has no word for it.
    fn ask_for_the_end(&mut self, step: &mut Step<'_>) -> bool {
        let Some(word) = self.dialogue.end() else { return self.dialogue.finish_sent };
        step.act(Action::Inject(word));
        true
    }

    /// Says why and closes; nothing more is awaited.
    fn close_client(&mut self, why: &Error, step: &mut Step<'_>) {
        self.say_why(why, step);
        self.hang_up(why, step);
        self.finish(why.row().code, step);
    }

    fn say_why(&self, why: &Error, step: &mut Step<'_>) {
        step.act(Action::ToClient(Frame::Text(self.dialogue.goodbye(why))));
    }

    fn hang_up(&self, why: &Error, step: &mut Step<'_>) {
        let row = why.row();
        step.act(Action::CloseClient(row.close, row.code.to_owned()));
    }

    fn finish(&mut self, reason: &'static str, step: &mut Step<'_>) {
        self.release_held(step);
        // What the clock or the provider's word says beyond what was leased is booked now.
        let counted = self.dialogue.meter.after(0, step.now);
        if self.protocol == Protocol::Task && counted > step.lease.forwarded {
            step.act(Action::Count(counted - step.lease.forwarded));
        }
        self.phase = Phase::Over;
        step.act(Action::Finish(reason));
    }

    fn release_held(&mut self, step: &mut Step<'_>) {
        self.held.drain(..).for_each(|frame| step.act(Action::Drop(frame)));
    }

    fn drain_between_sentences(&mut self, step: &mut Step<'_>) {
        if self.drain_by.is_some()
            && !self.dialogue.speaking
            && !self.dialogue.responding
            && matches!(self.phase, Phase::Open)
        {
            self.let_out(Error::Draining, step);
        }
    }

    fn on_tick(&mut self, pressure: Pressure, step: &mut Step<'_>) {
        match &self.phase {
            Phase::Ending { why, until } if step.now >= *until => {
                let why = why.clone();
                return self.close_client(&why, step);
            }
            Phase::ClientLeft { until, reason } if step.now >= *until => return self.finish(reason, step),
            Phase::Over => return,
            Phase::Open | Phase::Ending { .. } | Phase::ClientLeft { .. } => {}
        }
        if matches!(self.phase, Phase::Open) && self.out_of_time(step) {
            return;
        }
        self.check_legs(pressure, step);
        const IDLE_LEASE: Duration = Duration::from_secs(2);
        let idle = step.now.duration_since(self.last_audio) >= IDLE_LEASE;
        if idle && !self.standing && step.lease.room > 0 && matches!(self.phase, Phase::Open) {
            self.standing = true;
            step.act(Action::Demand(0));
        }
    }

    /// Ends the session whose time is over; true if it was.
    fn out_of_time(&mut self, step: &mut Step<'_>) -> bool {
        let ends = self.expires_at.into_iter().chain(self.key_expires_at).min();
        if ends.is_some_and(|end| clock::now() >= end) {
            self.end_now(&Error::LicenseExpired, step);
        } else if self.drain_by.is_some_and(|deadline| step.now + DRAIN_MARGIN >= deadline) {
            self.let_out(Error::Draining, step);
        } else if step.lease.used_up {
            self.let_out(Error::InsufficientQuota { resets_at: None }, step);
        } else if self.watch.capped(step.now) {
            self.let_out(Error::SessionExpired, step);
        } else if self.watch.idle(step.now) {
            self.end_now(&Error::SessionIdle, step);
        } else {
            return false;
        }
        true
    }

    /// An Omni model that hears somebody speak says nothing until he stops.
    fn upstream_silent(&self, now: Instant) -> bool {
        let listens = self.protocol == Protocol::Omni && self.dialogue.speaking;
        !listens && self.watch.upstream_silent(now)
    }

    fn check_legs(&mut self, pressure: Pressure, step: &mut Step<'_>) {
        let client_there = !matches!(self.phase, Phase::ClientLeft { .. });
        if client_there && self.watch.client_too_slow(pressure) {
            self.end_now(&Error::TooSlow, step);
        } else if client_there && self.watch.client_dead(pressure, step.now) {
            step.act(Action::CutClient);
            self.on_client_gone("client_dead", step);
        } else if self.watch.upstream_dead(pressure, step.now) || self.upstream_silent(step.now) {
            self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::ClientLeft { reason, .. } => return self.finish(reason, step),
                other => other,
            };
            self.close_client(&Error::UpstreamTimeout, step);
        } else {
            let due = self.watch.pings_due(pressure, step.now);
            if client_there && due.client {
                step.act(Action::Ping(Leg::Client));
            }
            if due.upstream {
                step.act(Action::Ping(Leg::Upstream));
            }
        }
    }
}
