//! How one leg takes the place of another: after a loss, and before a cap. The legs' other half. Pure.

use std::time::Duration;

use super::delivery::{Delivery, ends};
use super::frames::Frame;
use super::leg::Leg;
use super::legs::{Legs, Restart};
use super::segments::Rerun;
use super::step::{Action, Step};
use crate::error::Error;
use crate::ids;
use crate::wire::continuity::GatewayEvent;
use crate::wire::realtime;

/// How long a leg that was asked for its end may take.
const TAIL: Duration = Duration::from_secs(10);
/// Heard again before a sentence that was cut.
const PAUSE_MS: u64 = 300;
/// A pause is looked for during this before the deadline at most.
const LONGEST_LEAD: Duration = Duration::from_secs(60);

impl Legs {
    /// The coming leg begins where the lost one's answers end, if one was lost.
    pub(super) fn take_over(&mut self, step: &mut Step<'_>) {
        if self.current.is_some() || !self.coming.as_ref().is_some_and(Leg::ready) {
            return;
        }
        let Some(leg) = self.coming.take() else { return };
        let restart = self.restart.take().unwrap_or(Restart { position: self.source.end(), reruns: Vec::new() });
        let origin = self.source.boundary(restart.position);
        self.begin(leg, origin, restart.reruns, step);
        if std::mem::take(&mut self.announced) {
            step.act(Action::Notice(GatewayEvent::Reconnected));
        }
    }

    fn begin(&mut self, mut leg: Leg, origin: u64, reruns: Vec<Rerun>, step: &mut Step<'_>) {
        self.redial.succeeded();
        let number = leg.number;
        leg.begin(origin, self.source.ms(origin), reruns);
        for update in self.script.pending() {
            step.act(Action::Inject(number, Frame::Text(update.clone())));
        }
        for (frame, committed) in self.source.from(origin) {
            step.act(Action::Inject(number, frame.clone()));
            committed.into_iter().for_each(|position| leg.committed(self.source.ms(position)));
        }
        leg.sent(self.source.ms(self.source.end()), step.now);
        if self.finishing {
            step.act(Action::Inject(number, Frame::Text(realtime::finish_event(&ids::event()))));
        }
        self.current = Some(leg);
    }

    /// A leg broke off, or was closed by the provider. What the client gets of that; an error ends the session.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn lost(&mut self, number: u32, fatal: bool, step: &mut Step<'_>) -> Result<Vec<Delivery>, Error> {
        if self.coming.as_ref().is_some_and(|leg| leg.number == number) {
            let Some(leg) = self.coming.take() else { return Ok(Vec::new()) };
            step.act(Action::HangUp(number));
            if self.current.is_none() {
                self.redial.died(leg.opened_at, step.now)?;
                self.dial(step);
            } else {
                self.redial.stumbled();
            }
            return Ok(Vec::new());
        }
        if self.retiring.as_ref().is_some_and(|(leg, _)| leg.number == number) {
            return self.tail_lost(step);
        }
        let Some(leg) = self.current.take_if(|leg| leg.number == number) else { return Ok(Vec::new()) };
        self.spend(&leg);
        step.act(Action::HangUp(number));
        if fatal {
            return Err(Error::upstream("the provider closed the connection for good"));
        }
        let died = self.redial.died(leg.opened_at, step.now);
        let mut cut = Vec::new();
        if self.retiring.is_some() {
            // The client has seen nothing of it yet.
            self.behind.clear();
            self.restart = Some(Restart { position: leg.origin, reruns: leg.given() });
        } else {
            cut = ends(leg.running());
            let position = self.position(leg.finished_ms(self.doubt_ms, step.manual));
            self.restart = Some(Restart { position, reruns: leg.segments.reruns() });
        }
        died?;
        self.replace(step);
        Ok(cut)
    }

    /// A retiring leg broke off before its last word: its successor, of which the client has seen nothing, begins
    /// again where its answers end.
    fn tail_lost(&mut self, step: &mut Step<'_>) -> Result<Vec<Delivery>, Error> {
        let unanswered = self.retiring.as_ref().is_some_and(|(leg, _)| leg.segments.unanswered());
        if !unanswered {
            return Ok(self.retired(step));
        }
        let Some((leg, _)) = self.retiring.take() else { return Ok(Vec::new()) };
        self.spend(&leg);
        step.act(Action::HangUp(leg.number));
        if let Some(successor) = self.current.take() {
            self.spend(&successor);
            step.act(Action::HangUp(successor.number));
        }
        self.behind.clear();
        let position = self.position(leg.segments.finished_ms(0));
        self.restart = Some(Restart { position, reruns: leg.segments.reruns() });
        self.replace(step);
        Ok(ends(leg.running()))
    }

    fn replace(&mut self, step: &mut Step<'_>) {
        if !std::mem::replace(&mut self.announced, true) {
            step.act(Action::Notice(GatewayEvent::Reconnecting));
        }
        if self.coming.is_some() {
            self.take_over(step);
        } else {
            self.dial(step);
        }
    }

    fn dial(&mut self, step: &mut Step<'_>) {
        if self.dialling.is_none() {
            let number = self.numbers + 1;
            self.dialling = Some(number);
            step.act(Action::Dial(number, self.redial.within()));
        }
    }

    /// A dial was answered.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn dialled(
        &mut self,
        number: u32,
        answer: Result<(), (Error, bool)>,
        step: &mut Step<'_>,
    ) -> Result<(), Error> {
        if self.dialling.take_if(|dialling| *dialling == number).is_none() {
            step.act(Action::HangUp(number));
            return Ok(());
        }
        match answer {
            Ok(()) => {
                let leg = self.open(step.now);
                self.coming = Some(leg);
                self.take_over(step);
                Ok(())
            }
            Err(_) if self.current.is_some() => {
                self.redial.stumbled();
                Ok(())
            }
            Err((error, fatal)) => {
                self.redial.failed(error, fatal, step.now)?;
                self.numbers += 1;
                self.dial(step);
                Ok(())
            }
        }
    }

    /// The current leg is silent though it is spoken to; true the first time.
    pub fn replace_silent(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.replaced_for_silence, true);
        if !first {
            // Two legs heard no speech in it: there is none.
            self.doubt_ms = None;
        }
        first
    }

    /// Hangs up every leg: nothing more is to be said.
    pub fn hang_up(&mut self, step: &mut Step<'_>) {
        let retiring = self.retiring.take().map(|(leg, _)| leg);
        for leg in self.current.take().into_iter().chain(self.coming.take()).chain(retiring) {
            self.spend(&leg);
            step.act(Action::HangUp(leg.number));
        }
        self.dialling = None;
    }

    /// What the current leg said, should the tail before it not be complete.
    pub fn said_behind(&mut self) -> Vec<Delivery> {
        self.behind.drain(..).collect()
    }

    /// Looks at the clock: what was answered for is forgotten, a leg near its cap is replaced.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn tick(&mut self, step: &mut Step<'_>) -> Result<Vec<Delivery>, Error> {
        for leg in self.current.iter_mut().chain(self.coming.iter_mut()) {
            leg.tick(step.now);
        }
        if let Some(number) = self.coming.as_ref().filter(|leg| leg.mute(step.now)).map(|leg| leg.number) {
            return self.lost(number, false, step);
        }
        if let Some(number) = self.coming.as_ref().filter(|leg| leg.mute(step.now)).map(|leg| leg.number) {
            return self.lost(number, false, step);
        }
        self.take_over(step);
        if self.replaceable {
            let finished = self.finished_through(step.manual);
            self.source.forget(finished);
        }
        if self.retiring.as_ref().is_some_and(|(_, until)| step.now >= *until) {
            return self.tail_lost(step);
        }
        Ok(self.roll(step))
    }

    /// Near its cap a leg is replaced by one that is ready: in a pause, soon before ROLLOVER_SECONDS or as soon as there
    /// is one. Somebody who speaks on without any is interrupted at last: the new leg hears the whole sentence again.
    pub fn roll(&mut self, step: &mut Step<'_>) -> Vec<Delivery> {
        let Some(leg) = self.current.as_ref().filter(|_| self.replaceable && !self.finishing) else {
            return Vec::new();
        };
        if self.retiring.is_some() {
            return Vec::new();
        }
        let (age, tokens) = (step.now.duration_since(leg.opened_at), leg.tokens().input_tokens);
        let lead = (self.rollover_after / 3).min(LONGEST_LEAD);
        if age < self.rollover_after.saturating_sub(lead) && tokens < self.rollover_tokens {
            return Vec::new();
        }
        if !self.coming.as_ref().is_some_and(Leg::ready) {
            if self.coming.is_none() {
                self.dial(step);
            }
            return Vec::new();
        }
        let late = age >= self.rollover_after + lead
            || tokens >= self.rollover_tokens.saturating_add(self.rollover_tokens / 10);
        let pause_ms = if step.manual {
            (self.committed == self.source.end()).then(|| self.source.ms(self.committed))
        } else {
            // What was said since may be known to the old leg already; it is the new one's from its beginning.
            (!leg.segments.speaking()).then(|| leg.segments.quiet_since_ms())
        };
        let sentence_ms =
            || if step.manual { Some(self.source.ms(self.committed)) } else { leg.segments.speaking_since_ms() };
        match pause_ms.or_else(|| sentence_ms().filter(|_| late)) {
            Some(at_ms) => self.switch(at_ms, step),
            None => Vec::new(),
        }
    }

    /// The coming leg takes all speech that begins at this time or later; the current one is asked for its tail.
    fn switch(&mut self, at_ms: u64, step: &mut Step<'_>) -> Vec<Delivery> {
        let (Some(mut old), Some(new)) = (self.current.take(), self.coming.take()) else { return Vec::new() };
        let (cut, reruns) = old.end_at(at_ms);
        let origin = if reruns.is_empty() && cut.is_empty() {
            self.source.boundary_after(self.position(at_ms))
        } else {
            self.source.boundary(self.position(at_ms.saturating_sub(PAUSE_MS)))
        };
        step.act(Action::Inject(old.number, Frame::Text(realtime::finish_event(&ids::event()))));
        let delivered = ends(&cut);
        self.retiring = Some((old, step.now + TAIL));
        self.begin(new, origin, reruns, step);
        delivered
    }
}
