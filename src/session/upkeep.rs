//! What the clock does to a session: its ends in time, its sides' lives, what continuity needs once a second. Pure.

use std::time::{Duration, Instant};

use super::phase::Phase;
use super::relay::Relay;
use super::sides::{Pressure, Side};
use super::step::{Action, Step};
use crate::clock;
use crate::config::settings::Protocol;
use crate::error::Error;

/// Left of a drain's deadline for the last sentence of somebody who never pauses.
const DRAIN_MARGIN: Duration = Duration::from_secs(4);
/// A lease that nobody used for so long is given back.
const IDLE_LEASE: Duration = Duration::from_secs(2);

impl Relay {
    pub(super) fn on_tick(&mut self, pressure: Pressure, step: &mut Step<'_>) {
        match &self.phase {
            Phase::Ending { why, until } if step.now >= *until => {
                let why = why.clone();
                return self.stop_waiting(&why, step);
            }
            Phase::ClientLeft { until, reason } if step.now >= *until => return self.finish(reason, step),
            Phase::Over => return,
            Phase::Parted { why } => {
                let code = why.row().code;
                self.give_back_idle_lease(step);
                if self.drain_by.is_some() || self.customer.as_ref().is_none_or(|customer| customer.lost(step.now)) {
                    self.finish(code, step);
                }
                return;
            }
            Phase::Open | Phase::Ending { .. } | Phase::ClientLeft { .. } => {}
        }
        if matches!(self.phase, Phase::Open) && self.out_of_time(step) {
            return;
        }
        if matches!(self.phase, Phase::Open | Phase::Ending { .. }) {
            self.look_after_continuity(pressure, step);
        }
        self.check_sides(pressure, step);
        self.give_back_idle_lease(step);
    }

    fn give_back_idle_lease(&mut self, step: &mut Step<'_>) {
        let idle = step.now.duration_since(self.last_audio) >= IDLE_LEASE;
        if idle && !self.standing && step.lease.room > 0 && !matches!(self.phase, Phase::Over) {
            self.standing = true;
            step.act(Action::Demand(0));
        }
    }

    fn look_after_continuity(&mut self, pressure: Pressure, step: &mut Step<'_>) {
        match self.legs.tick(step) {
            Ok(delivered) => delivered.into_iter().for_each(|delivery| self.deliver(delivery, step)),
            Err(error) => return self.close_client(&error, step),
        }
        self.finish_through(step);
        if let Some(customer) = &mut self.customer {
            customer.tick(pressure, step.lease.acknowledged, step);
        }
        self.release(step);
    }

    /// Ends the session whose time is over; true if it was.
    fn out_of_time(&mut self, step: &mut Step<'_>) -> bool {
        let ends = self.expires_at.into_iter().chain(self.key_expires_at).min();
        let away = self.away();
        if ends.is_some_and(|end| clock::now() >= end) {
            self.end_now(&Error::LicenseExpired, step);
        } else if self.drain_by.is_some_and(|deadline| step.now + DRAIN_MARGIN >= deadline) {
            self.drain_out(step);
        } else if let Some(resets_at) = step.lease.used_up {
            self.let_out(Error::InsufficientQuota { resets_at }, step);
        } else if self.watch.capped(step.now) {
            self.let_out(Error::SessionExpired, step);
        } else if self.customer.as_ref().is_some_and(|customer| customer.lost(step.now)) {
            self.leave("client_left", step);
        } else if !away && self.watch.idle(step.now) {
            self.end_now(&Error::SessionIdle, step);
        } else {
            return false;
        }
        true
    }

    /// The drain's deadline is near.
    fn drain_out(&mut self, step: &mut Step<'_>) {
        if !self.moves() {
            return self.let_out(Error::Draining, step);
        }
        // It did not move by itself: it can still be resumed elsewhere.
        self.say_why(&Error::Draining, step);
        self.hang_up(&Error::Draining, step);
        self.moved_away(step);
    }

    /// An Omni model that hears somebody speak says nothing until he stops.
    fn upstream_silent(&self, now: Instant) -> bool {
        let listens = self.protocol == Protocol::Omni && self.legs.speaking();
        !listens && self.watch.upstream_silent(now)
    }

    fn check_sides(&mut self, pressure: Pressure, step: &mut Step<'_>) {
        let client_there = !self.away() && !matches!(self.phase, Phase::ClientLeft { .. });
        let leg_there = self.legs.current().is_some();
        if client_there && self.watch.client_too_slow(pressure) {
            self.turn_away(step);
        } else if client_there && self.watch.client_dead(pressure, step.now) {
            step.act(Action::CutClient);
            match &mut self.customer {
                Some(customer) if matches!(self.phase, Phase::Open) => customer.leave(step),
                _ => self.leave("client_dead", step),
            }
        } else if leg_there && self.leg_is_lost(pressure, step.now) {
            self.give_up_leg(step);
        } else {
            let due = self.watch.pings_due(pressure, step.now);
            if client_there && due.client {
                step.act(Action::Ping(Side::Client));
            }
            if leg_there && due.upstream {
                step.act(Action::Ping(Side::Upstream));
            }
        }
    }

    /// The provider's leg is dead, takes nothing, or is silent though it is spoken to.
    fn leg_is_lost(&mut self, mut pressure: Pressure, now: Instant) -> bool {
        if self.customer.is_some() {
            // The leg is read whatever a resumable client takes.
            pressure.downlink = Duration::ZERO;
        }
        if self.watch.upstream_dead(pressure, now) {
            return true;
        }
        // Replaced once for its silence; where that one is silent too, it is the speech that is none.
        self.upstream_silent(now) && (!self.legs.replaceable() || self.legs.replace_silent())
    }

    /// The customer takes nothing: he is closed, and may come back where he can resume.
    fn turn_away(&mut self, step: &mut Step<'_>) {
        if self.customer.is_none() || !matches!(self.phase, Phase::Open) {
            return self.end_now(&Error::TooSlow, step);
        }
        self.say_why(&Error::TooSlow, step);
        self.hang_up(&Error::TooSlow, step);
        if let Some(customer) = &mut self.customer {
            customer.leave(step);
        }
    }

    /// The provider's leg is dead, takes nothing, or is silent.
    fn give_up_leg(&mut self, step: &mut Step<'_>) {
        if let (Phase::Open, true, Some(number)) =
            (&self.phase, self.legs.replaceable() && !self.over(), self.legs.current())
        {
            return self.lose_leg(number, false, step);
        }
        if matches!(self.phase, Phase::Open) && self.over() && self.customer.is_some() {
            return self.part_with((1000, String::new()), step);
        }
        self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::ClientLeft { reason, .. } => return self.finish(reason, step),
            other => other,
        };
        self.close_client(&Error::UpstreamTimeout, step);
    }
}
