//! A resumable customer: what he was sent and may have missed, what he may forget, how long he may be away. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::delivery::Delivery;
use super::frames::Frame;
use super::replay::{Next, Replay};
use super::sides::Pressure;
use super::step::{Action, Step};
use crate::quota::standing::Remaining;
use crate::quota::tally::Ack;
use crate::wire::continuity::GatewayEvent;

/// A customer who took nothing for so long is slow.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// A customer who took nothing for so long gets no audio.
const TEXT_ONLY_AFTER: Duration = Duration::from_secs(10);
/// Shares of a budget at which the customer is told of what is left.
const QUOTA_SHARES: [f64; 2] = [0.2, 0.05];
/// Seconds of audio at which he is told too.
const QUOTA_SECONDS: f64 = 10.0;
/// Events sent within one step at most; the others follow as the socket takes them.
const AT_ONCE: usize = 64;
/// Points that wait for the customer's word at most; later ones take the place of the last.
const POINTS: usize = 64;

/// Who a resumable session is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The session's id.
    pub session_id: String,
    /// What authorizes a resume; given to the customer once.
    pub token: String,
    /// One more each time the gateway lost its memory of the session.
    pub epoch: u64,
    /// How long he may be away.
    pub window: Duration,
}

/// The customer of a resumable session.
pub struct Customer {
    identity: Identity,
    replay: Replay,
    /// Nobody is there since then.
    away_since: Option<Instant>,
    /// A socket was there before: the next one resumes.
    met: bool,
    /// He was heard in this epoch, so he knows of it.
    knows_epoch: bool,
    /// He says what he received.
    confirms: bool,
    /// What is done once he has the event of this number.
    points: VecDeque<(Ack, u64)>,
    done: Ack,
    told: Option<u64>,
    spoke: bool,
    text_only: bool,
    /// How many of the marks of each unit's budget were told.
    quota_told: Vec<(&'static str, usize)>,
}

impl Customer {
    /// A customer whose socket is about to come. `resumed`: it takes up a session of an earlier epoch, up to `ack`.
    #[must_use]
    pub fn new(identity: Identity, resumed: bool, ack: Ack, now: Instant) -> Self {
        Self {
            identity,
            replay: Replay::default(),
            away_since: Some(now),
            met: resumed,
            knows_epoch: !resumed,
            confirms: false,
            points: VecDeque::new(),
            done: ack,
            told: None,
            spoke: false,
            text_only: false,
            quota_told: Vec::new(),
        }
    }

    /// Whether his socket is there.
    #[must_use]
    pub fn there(&self) -> bool {
        self.away_since.is_none()
    }

    /// Whether he was away for longer than he may.
    #[must_use]
    pub fn lost(&self, now: Instant) -> bool {
        self.away_since.is_some_and(|since| now.duration_since(since) >= self.identity.window)
    }

    /// Whether somebody who has every event up to this number can go on.
    #[must_use]
    pub fn reaches(&self, last_seq: u64) -> bool {
        !self.knows_epoch || self.replay.reaches(last_seq)
    }

    /// Whether he has everything that was said.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.replay.memory() == 0 && !self.replay.pending()
    }

    /// What is kept for him, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.replay.memory()
    }

    /// Memory is short.
    pub fn drop_audio(&mut self) {
        self.replay.drop_all_audio();
    }

    /// His socket is there: the first of the session, or another one. `samples`: his audio goes on from there.
    pub fn arrive(&mut self, last_seq: u64, samples: u64, step: &mut Step<'_>) {
        let back = std::mem::replace(&mut self.met, true);
        self.away_since = None;
        self.text_only = false;
        self.told = None;
        let identity = &self.identity;
        if !back {
            let window_ms = u64::try_from(identity.window.as_millis()).unwrap_or(u64::MAX);
            return step.act(Action::Notice(GatewayEvent::Session {
                session_id: identity.session_id.clone(),
                resume_token: identity.token.clone(),
                window_ms,
                epoch: identity.epoch,
            }));
        }
        // Who was never heard in this epoch may not know that it counts anew.
        let seq = if self.knows_epoch { last_seq } else { 0 };
        self.replay.rewind(seq);
        step.act(Action::Away(false));
        step.act(Action::Notice(GatewayEvent::Resumed {
            session_id: identity.session_id.clone(),
            epoch: identity.epoch,
            samples,
            seq,
        }));
    }

    /// His socket is gone.
    pub fn leave(&mut self, step: &mut Step<'_>) {
        if self.away_since.is_none() {
            self.away_since = Some(step.now);
            step.act(Action::Away(true));
        }
    }

    /// He said something.
    pub fn heard(&mut self) {
        self.knows_epoch = true;
    }

    /// He sent audio.
    pub fn spoke(&mut self) {
        self.spoke = true;
    }

    /// He has every event up to this number.
    pub fn received(&mut self, number: u64, step: &mut Step<'_>) {
        self.confirms = true;
        self.replay.received(number);
        self.settle(number, step);
    }

    /// His socket answered a ping that was sent after this event. What he does with it is another matter: it is
    /// kept; but who never says what he received is taken at his socket's word.
    pub fn reached(&mut self, number: u64, step: &mut Step<'_>) {
        self.knows_epoch = true;
        if !self.confirms {
            self.settle(number, step);
        }
    }

    fn settle(&mut self, number: u64, step: &mut Step<'_>) {
        let number = number.min(self.replay.sent());
        let mut done = None;
        while let Some((ack, _)) = self.points.front().copied().filter(|(_, seq)| *seq <= number) {
            self.points.pop_front();
            done = Some(ack);
        }
        if let Some(ack) = done {
            self.done = ack;
            step.act(Action::FinishThrough(ack));
        }
    }

    /// Everything before this point is answered for: that counts once he has what was said so far.
    pub fn finished(&mut self, ack: Ack, step: &mut Step<'_>) {
        let last = self.points.back().map_or(self.done, |(ack, _)| *ack);
        if ack.samples <= last.samples {
            return;
        }
        if self.points.len() >= POINTS {
            self.points.pop_back();
        }
        self.points.push_back((ack, self.replay.last()));
        if self.has_all() {
            self.settle(self.replay.last(), step);
        }
    }

    /// Counts what he is to get, and sends it if his socket takes it.
    pub fn deliver(&mut self, delivery: Delivery, step: &mut Step<'_>) {
        self.replay.push(delivery.frame, delivery.audio);
        if step.lease.client_takes
            && step.actions.len() < AT_ONCE
            && self.there()
            && self.replay.sent() + 1 == self.replay.last()
            && let Some(frame) = self.take_next()
        {
            return step.act(Action::ToClient(frame));
        }
        if self.there() {
            self.replay.shed(self.text_only);
        }
    }

    /// What his socket gets next, if it is there.
    pub fn take_next(&mut self) -> Option<Frame> {
        if !self.there() {
            return None;
        }
        self.replay.take_next().map(|next| match next {
            Next::Frame(frame) => frame,
            Next::Gap(from_seq, to_seq) => Frame::Text(GatewayEvent::Gap { from_seq, to_seq }.frame()),
        })
    }

    /// Something waits for his socket.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.there() && self.replay.pending()
    }

    /// The content of a ping: the number of the last event before it.
    #[must_use]
    pub fn ping(&self) -> u64 {
        self.replay.sent()
    }

    /// Tells how much is left of a budget, when it passes a mark: a fifth, a twentieth, ten seconds of audio.
    pub fn budget(&mut self, left: &Remaining, step: &mut Step<'_>) {
        let below = |share: &&f64| left.remaining <= *share * left.limit;
        let seconds = left.unit == "audio_seconds" && left.remaining <= QUOTA_SECONDS;
        let passed = QUOTA_SHARES.iter().filter(below).count() + usize::from(seconds);
        let told = match self.quota_told.iter_mut().find(|(unit, _)| *unit == left.unit) {
            Some((_, told)) => std::mem::replace(told, passed),
            None => {
                self.quota_told.push((left.unit, passed));
                0
            }
        };
        if passed > told {
            step.act(Action::Notice(GatewayEvent::Quota { unit: left.unit, remaining: left.remaining.max(0.0) }));
        }
    }

    /// A second passed.
    pub fn tick(&mut self, pressure: Pressure, acknowledged: u64, step: &mut Step<'_>) {
        if !self.there() {
            return;
        }
        if pressure.downlink >= SLOW_AFTER {
            self.replay.drop_sent_audio();
        }
        if pressure.downlink >= TEXT_ONLY_AFTER {
            if !std::mem::replace(&mut self.text_only, true) {
                step.act(Action::Notice(GatewayEvent::Degraded { mode: "text" }));
            }
            self.replay.shed(true);
        } else if !self.replay.pending() {
            self.text_only = false;
        }
        if (std::mem::take(&mut self.spoke) || self.told.is_some_and(|told| told < acknowledged)) && !self.text_only {
            self.told = Some(acknowledged);
            step.act(Action::Notice(GatewayEvent::Ack { samples: acknowledged }));
        }
    }
}
