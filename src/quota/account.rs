//! One open account: what it has booked, what it waits for, what must be written of it. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Line, Marks, Opening, Restored, Verdict};
use super::tally::{Ack, Presence, Tally};
use crate::error::Error;

/// The longest lease: five seconds of audio, in samples.
pub const LEASE_SAMPLES: u64 = 80_000;
/// How long a session waits for others to give back before its budget counts as used up.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two usage rows of a live session.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// One open account, from its opening or take-over until it is settled or lost.
pub struct Account {
    pub(super) opening: Arc<Opening>,
    pub(super) epoch: u64,
    pub(super) tally: Arc<Tally>,
    pub(super) booked: Marks,
    leased: u64,
    recorded: Marks,
    recorded_at: Instant,
    /// What the store has of the tally's ack.
    acked: Ack,
    /// Likewise of its client; `None` while that is unknown.
    presence: Option<Presence>,
    pub(super) demand: Option<Demand>,
    pub(super) closing: Option<Closing>,
    /// Whether the store has a row for it: not for a session that was admitted while it was away.
    pub(super) entered: bool,
    /// What the spool has of it.
    pub(super) spooled: Option<Spooled>,
}

/// What of an account is kept in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spooled {
    /// How far it has come.
    pub(super) marks: Marks,
    /// The point up to which it is done.
    pub(super) ack: Ack,
    /// Whether it ended.
    pub(super) ended: bool,
}

/// What a session stands still for.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Samples; 0 gives the lease back.
    pub(super) need: u64,
    /// Since when.
    pub(super) since: Instant,
}

/// How a session ends.
#[derive(Debug, Clone, Copy)]
pub struct Closing {
    /// Why.
    pub(super) reason: &'static str,
    /// Here alone: it may be resumed.
    pub(super) parks: bool,
}

impl Account {
    /// A session's first account.
    #[must_use]
    pub fn new(opening: Arc<Opening>, tally: Arc<Tally>, now: Instant) -> Self {
        let (booked, recorded, acked) = (Marks::default(), Marks::default(), Ack::default());
        Self {
            opening,
            epoch: 1,
            tally,
            booked,
            leased: 0,
            recorded,
            recorded_at: now,
            acked,
            presence: Some(Presence::Here),
            demand: None,
            closing: None,
            entered: true,
            spooled: None,
        }
    }

    /// The account of a session that was taken over.
    #[must_use]
    pub fn restored(restored: &Restored, now: Instant) -> Self {
        let Restored { opening, epoch, booked, recorded, ack, settings: _ } = restored;
        let tally = Arc::new(Tally::restored(booked.samples, (booked.input_tokens, booked.output_tokens), *ack));
        Self {
            epoch: *epoch,
            booked: *booked,
            leased: booked.samples,
            recorded: *recorded,
            acked: *ack,
            ..Self::new(opening.clone(), tally, now)
        }
    }

    /// Whether the store doesn't know yet that its client went, or came.
    fn moved_away(&self) -> bool {
        self.presence != Some(self.tally.presence())
    }

    /// Whether it matters to a new session of the license: what it has used is booked before it gives way.
    pub(super) fn may_give_way(&self) -> bool {
        self.moved_away() || self.presence != Some(Presence::Here)
    }

    /// What a transaction must write of it, if anything. `sharers`: live sessions of the license here.
    pub(super) fn line(&self, sharers: u64, now: Instant) -> Option<Line> {
        let Spooled { marks: to, ack, ended: _ } = self.so_far();
        let still = self.demand.is_some() || self.closing.is_some();
        let granted = self.tally.granted();
        // More than the store has leased may be granted: out of the cushion, while it was away.
        let keep = if still { to.samples } else { self.leased.max(granted).max(to.samples) };
        let room = keep - to.samples;
        let (need, want) = match (&self.demand, self.closing) {
            (_, Some(_)) => (0, 0),
            (Some(Demand { need: 0, .. }), None) => (0, 0),
            (Some(Demand { need, .. }), None) => (*need, LEASE_SAMPLES),
            (None, None) if to.samples > self.booked.samples && room < LEASE_SAMPLES / 2 => (0, LEASE_SAMPLES - room),
            (None, None) => (0, 0),
        };
        let due = self.closing.is_some() || now.duration_since(self.recorded_at) >= RECORD_EVERY;
        let record_from = (due && to != self.recorded).then_some(self.recorded);
        let settings = self.tally.settings();
        let said = ack != self.acked || self.moved_away() || settings.is_some();
        let moved = to != self.booked || keep != self.leased || still || want > 0 || record_from.is_some() || said;
        moved.then(|| Line {
            opening: self.opening.clone(),
            epoch: self.epoch,
            from: self.booked,
            from_leased: self.leased,
            to,
            keep,
            need,
            want,
            sharers,
            granted,
            asked_at: self.demand.as_ref().map(|demand| demand.since),
            record_from,
            end: self.closing.map(|closing| closing.reason),
            parks: self.closing.is_some_and(|closing| closing.parks),
            ack,
            presence: self.tally.presence(),
            settings,
        })
    }

    /// How far it has come by now.
    pub(super) fn so_far(&self) -> Spooled {
        // First the ack: what it covers was forwarded before.
        let finished = self.tally.finished_through();
        let (input_tokens, output_tokens) = self.tally.tokens();
        let marks = Marks { samples: self.tally.forwarded().max(self.booked.samples), input_tokens, output_tokens };
        let ack = if finished.metered <= marks.samples { finished } else { self.acked };
        Spooled { marks, ack, ended: self.closing.is_some() }
    }

    /// Whether the store lacks something of it.
    pub(super) fn is_behind(&self) -> bool {
        let so_far = self.so_far();
        !self.entered || so_far.ended || so_far.marks != self.booked || so_far.ack != self.acked
    }

    /// Enters that a line was written; returns the answer to a demand that it settles.
    pub(super) fn enter(&mut self, line: &Line, verdict: Verdict, now: Instant) -> Option<Result<(), Error>> {
        self.booked = line.to;
        self.leased = line.keep;
        if let Verdict::Granted(samples) = verdict {
            self.leased += samples;
        }
        // What was granted meanwhile, while the store didn't answer, stays.
        let granted = self.tally.granted();
        self.tally.grant(if granted == line.granted { self.leased } else { self.leased.max(granted) });
        if let (0, Verdict::UsedUp(resets_at)) = (line.need, verdict) {
            self.tally.use_up(resets_at);
        }
        if line.record_from.is_some() {
            self.recorded = line.to;
            self.recorded_at = now;
        }
        self.acked = line.ack;
        self.tally.acknowledge(line.ack);
        self.presence = Some(line.presence);
        if let Some(settings) = &line.settings {
            self.tally.configured(settings);
        }
        if line.end.is_some() {
            return Some(Ok(()));
        }
        // A demand that came after the batch was made is answered by the next one.
        let demand = self.demand.as_ref().filter(|demand| line.asked_at == Some(demand.since))?;
        match verdict {
            Verdict::Granted(_) => Some(Ok(())),
            // The lease is taken back; that a token budget ended meanwhile is told by the tally.
            Verdict::UsedUp(_) if line.need == 0 => Some(Ok(())),
            Verdict::Wait(_) if now.duration_since(demand.since) < PATIENCE => None,
            Verdict::Wait(resets_at) | Verdict::UsedUp(resets_at) => Some(Err(Error::InsufficientQuota { resets_at })),
            Verdict::Lost => Some(Err(Error::SessionGone)),
        }
    }

    /// Goes on from what the store has, after a write whose outcome was unknown.
    pub(super) fn reread(&mut self, booked: Marks, leased: u64, recorded: Marks) {
        self.booked = booked;
        self.leased = leased;
        self.recorded = recorded;
        self.presence = None;
    }

    /// Gives the account up: nothing is booked here any more. The answer for who waits.
    pub(super) fn lose(&self) -> Option<Result<(), Error>> {
        self.tally.lose();
        match (self.closing, &self.demand) {
            (Some(_), _) => Some(Ok(())),
            (None, Some(_)) => Some(Err(Error::SessionGone)),
            (None, None) => None,
        }
    }
}
