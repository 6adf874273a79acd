//! How a session ends, or goes on without one of its sides: the relay's other half. Pure.

use std::time::{Duration, Instant};

use super::delivery::Delivery;
use super::frames::Frame;
use super::phase::Phase;
use super::relay::Relay;
use super::step::{Action, Step};
use crate::config::settings::Protocol;
use crate::error::Error;
use crate::wire::continuity::GatewayEvent;

/// How long a running sentence may take to come out when no more audio goes in.
const LAST_SENTENCE: Duration = Duration::from_secs(10);
/// How long the provider may take to report the last usage of a client that left.
const LAST_USAGE: Duration = Duration::from_secs(20);

impl Relay {
    pub(super) fn on_client_gone(&mut self, closed: bool, step: &mut Step<'_>) {
        let moves = self.moves();
        let said_all = self.legs.finished() || self.farewell.is_some();
        let Some(customer) = &mut self.customer else { return self.leave("client_left", step) };
        let heard_all = customer.has_all() || closed && customer.there();
        // Who was told the last word, or asked for it and said goodbye, does not come back.
        let for_good = match &self.phase {
            Phase::Open | Phase::Ending { .. } => {
                said_all && heard_all || closed && customer.there() && self.dialogue.finish_sent && !moves
            }
            Phase::Parted { .. } => heard_all || self.drain_by.is_some(),
            Phase::ClientLeft { .. } | Phase::Over => true,
        };
        if for_good {
            return self.leave("client_left", step);
        }
        customer.leave(step);
        if moves {
            self.moved_away(step);
        }
    }

    pub(super) fn on_client_back(&mut self, last_seq: u64, step: &mut Step<'_>) {
        let samples = self.samples_received();
        self.watch.client_back(step.now);
        match &self.phase {
            Phase::Over => return,
            // It ended while the socket was on its way.
            Phase::ClientLeft { .. } => return self.hang_up(&Error::SessionGone, step),
            Phase::Open | Phase::Ending { .. } | Phase::Parted { .. } => {}
        }
        let Some(customer) = &mut self.customer else { return };
        customer.arrive(last_seq, samples, step);
        if let Some((code, reason)) = self.farewell.clone() {
            step.act(Action::CloseClient(code, reason));
        }
        if let Phase::Parted { why } = &self.phase {
            step.act(Action::LastWord(Frame::Text(self.dialogue.goodbye(why))));
            self.hang_up(why, step);
        }
    }

    pub(super) fn on_dialled(&mut self, number: u32, answer: Result<(), (Error, bool)>, step: &mut Step<'_>) {
        if answer.is_ok() && self.legs.current().is_none() {
            // The clocks of the leg that it replaces say nothing about it.
            self.watch.upstream_replaced(step.now);
        }
        match (self.legs.dialled(number, answer, step), &self.phase) {
            (Ok(()), _) => self.release(step),
            (Err(_), Phase::ClientLeft { reason, .. }) => self.finish(reason, step),
            (Err(error), _) => self.close_client(&error, step),
        }
    }

    /// This instance goes away, and the session can go on at another.
    pub(super) fn moves(&self) -> bool {
        self.drain_by.is_some() && self.movable && self.customer.is_some()
    }

    /// The client is gone for good.
    pub(super) fn leave(&mut self, reason: &'static str, step: &mut Step<'_>) {
        match &self.phase {
            Phase::Open | Phase::Ending { .. } => {}
            Phase::Parted { why } => {
                let code = why.row().code;
                return self.finish(code, step);
            }
            Phase::ClientLeft { .. } | Phase::Over => return,
        }
        self.drop_held(step);
        // Omni models can't be asked for the end, but report a running response's tokens at its own.
        let reports = self.protocol == Protocol::Omni && self.responding();
        if self.farewell.is_some() || !(reports || self.unsaid(step) && self.ask_for_the_end(step)) {
            let reason = if self.legs.finished() { "done" } else { reason };
            return self.finish(reason, step);
        }
        self.phase = Phase::ClientLeft { until: step.now + LAST_USAGE, reason };
        step.act(Action::LeaveSeat);
    }

    /// Another instance has the session now.
    pub(super) fn moved(&mut self, step: &mut Step<'_>) {
        if !matches!(self.phase, Phase::Over) {
            step.act(Action::CutClient);
            self.finish("moved", step);
        }
    }

    /// The session goes on elsewhere.
    pub(super) fn moved_away(&mut self, step: &mut Step<'_>) {
        self.finish_through(step);
        self.drop_held(step);
        self.phase = Phase::Over;
        step.act(Action::Release("moved"));
    }

    pub(super) fn on_upstream_gone(&mut self, number: u32, reason: Option<(u16, String)>, step: &mut Step<'_>) {
        let replaceable = self.legs.replaceable() && !self.over();
        if replaceable && matches!(self.phase, Phase::Open) {
            let code = reason.as_ref().map_or(1006, |(code, _)| *code);
            let fatal = matches!(code, 1002 | 1003 | 1007 | 1008 | 1009 | 3000..=4999);
            return self.lose_leg(number, fatal, step);
        }
        if self.legs.current() != Some(number) {
            // The tail of a leg that was replaced, while all comes to its end.
            if matches!(self.phase, Phase::Ending { .. }) {
                self.lose_leg(number, false, step);
            }
            return;
        }
        for delivery in self.legs.said_behind() {
            self.deliver(delivery, step);
        }
        if let (Phase::Open, Some(customer)) = (&self.phase, &self.customer)
            && (self.over() || !customer.there() && reason.is_some())
        {
            return self.part_with(reason.unwrap_or((1000, String::new())), step);
        }
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
            parted @ Phase::Parted { .. } => self.phase = parted,
            Phase::Over => {}
        }
    }

    /// The provider said all that it will say; a resumable client may have to come back to hear it.
    pub(super) fn part_with(&mut self, close: (u16, String), step: &mut Step<'_>) {
        if !self.away() {
            step.act(Action::CloseClient(close.0, close.1.clone()));
        }
        self.farewell = Some(close);
        self.legs.hang_up(step);
    }

    pub(super) fn lose_leg(&mut self, number: u32, fatal: bool, step: &mut Step<'_>) {
        let lost = self.legs.lost(number, fatal, step);
        self.watch.upstream_replaced(step.now);
        match lost {
            Ok(delivered) => delivered.into_iter().for_each(|delivery| self.deliver(delivery, step)),
            Err(error) => self.close_client(&error, step),
        }
    }

    pub(super) fn on_last_words(&mut self, delivered: Vec<Delivery>, ended: bool, step: &mut Step<'_>) {
        let Phase::Ending { why, .. } = &self.phase else { return };
        let why = why.clone();
        if ended {
            // The reason first: a client may take the provider's last word for a complete translation.
            if self.away() {
                delivered.into_iter().for_each(|delivery| self.deliver(delivery, step));
                self.legs.hang_up(step);
                return self.part(why, step);
            }
            self.say_why(&why, step);
            delivered.into_iter().for_each(|delivery| self.deliver(delivery, step));
            self.hang_up(&why, step);
            return self.finish(why.row().code, step);
        }
        delivered.into_iter().for_each(|delivery| self.deliver(delivery, step));
        if self.protocol != Protocol::Livetranslate && !self.responding() {
            self.close_client(&why, step);
        }
    }

    /// Ends the session when what is being said has come out: no more audio goes in.
    pub(super) fn let_out(&mut self, why: Error, step: &mut Step<'_>) {
        self.drop_held(step);
        let asked = self.unsaid(step) && self.ask_for_the_end(step);
        if asked || self.responding() {
            let until = step.now + LAST_SENTENCE;
            let until = self.drain_by.map_or(until, |deadline| deadline.min(until));
            self.phase = Phase::Ending { why, until };
        } else {
            self.close_client(&why, step);
        }
    }

    /// Ends the session at once; its last usage is still awaited.
    pub(super) fn end_now(&mut self, why: &Error, step: &mut Step<'_>) {
        match self.phase {
            Phase::Open | Phase::Ending { .. } => {}
            Phase::Parted { .. } => return self.finish(why.row().code, step),
            // The last usage is awaited already.
            Phase::ClientLeft { .. } | Phase::Over => return,
        }
        self.say_why(why, step);
        self.hang_up(why, step);
        self.leave(why.row().code, step);
    }

    /// What is being said takes too long to come out: the client hears no more of it, but its usage is awaited.
    pub(super) fn stop_waiting(&mut self, why: &Error, step: &mut Step<'_>) {
        for delivery in self.legs.said_behind() {
            self.deliver(delivery, step);
        }
        if self.away() {
            self.part(why.clone(), step);
        } else if self.drain_by.is_some_and(|deadline| step.now >= deadline) {
            self.close_client(why, step);
        } else {
            self.end_now(why, step);
        }
    }

    /// Whether the provider has something left to say that it can be asked for.
    fn unsaid(&self, step: &Step<'_>) -> bool {
        match self.protocol {
            Protocol::Livetranslate => step.lease.forwarded > 0 && !self.over(),
            Protocol::Omni => false,
            Protocol::Task => self.dialogue.task_running,
        }
    }

    /// Asks the provider to flush and report; false if it has no word for it.
    fn ask_for_the_end(&mut self, step: &mut Step<'_>) -> bool {
        let Some(word) = self.dialogue.end() else { return self.dialogue.finish_sent };
        self.legs.finish(&word, step);
        true
    }

    /// Says why and closes; nothing more is awaited.
    pub(super) fn close_client(&mut self, why: &Error, step: &mut Step<'_>) {
        for delivery in self.legs.said_behind() {
            self.deliver(delivery, step);
        }
        if self.away() {
            self.legs.hang_up(step);
            return self.part(why.clone(), step);
        }
        self.say_why(why, step);
        self.hang_up(why, step);
        self.finish(why.row().code, step);
    }

    pub(super) fn away(&self) -> bool {
        self.customer.as_ref().is_some_and(|customer| !customer.there())
    }

    /// All is over, but a customer who is away may come to hear his last captions, and why.
    fn part(&mut self, why: Error, step: &mut Step<'_>) {
        self.drop_held(step);
        self.phase = Phase::Parted { why };
    }

    pub(super) fn say_why(&self, why: &Error, step: &mut Step<'_>) {
        step.act(Action::ToClient(Frame::Text(self.dialogue.goodbye(why))));
    }

    pub(super) fn hang_up(&self, why: &Error, step: &mut Step<'_>) {
        let row = why.row();
        step.act(Action::CloseClient(row.close, row.code.to_owned()));
    }

    pub(super) fn finish(&mut self, reason: &'static str, step: &mut Step<'_>) {
        self.drop_held(step);
        // What the clock or the provider's word says beyond what was leased is booked now.
        let counted = self.dialogue.meter.after(0, step.now);
        if self.protocol == Protocol::Task && counted > step.lease.forwarded {
            step.act(Action::Count(counted - step.lease.forwarded));
        }
        self.phase = Phase::Over;
        step.act(Action::Finish(reason));
    }

    /// This instance goes away: who can resume moves at once, the others finish their sentence.
    pub(super) fn go_away(&mut self, deadline: Instant, step: &mut Step<'_>) {
        self.drain_by = Some(deadline);
        match self.customer.as_ref().filter(|_| self.movable) {
            Some(customer) if customer.there() => {
                let left = deadline.saturating_duration_since(step.now);
                let deadline_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                step.act(Action::Notice(GatewayEvent::GoingAway { deadline_ms }));
            }
            Some(_) if matches!(self.phase, Phase::Open) => self.moved_away(step),
            Some(_) => {}
            None => self.drain_between_sentences(step),
        }
    }

    pub(super) fn drain_between_sentences(&mut self, step: &mut Step<'_>) {
        if self.drain_by.is_some()
            && !self.moves()
            && !self.legs.speaking()
            && !self.responding()
            && matches!(self.phase, Phase::Open)
        {
            self.let_out(Error::Draining, step);
        }
    }
}
