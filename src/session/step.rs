//! What can happen to a session, and what can be done about it: the relay's vocabulary.

use std::time::Instant;

use bytestring::ByteString;

use super::frames::Frame;
use super::legs::{Leg, Pressure};
use crate::error::Error;
use crate::wire::realtime::Usage;

/// Something that happened to a session.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Client(Frame),
    /// The client is gone, or closed its half.
    ClientGone,
    /// The client broke a rule of its leg: it is told so and closed.
    ClientBroke(Error),
    /// The provider sent a message.
    Upstream(Frame),
    /// The provider closed with this code and reason, or just broke off.
    UpstreamGone(Option<(u16, String)>),
    /// The keeper answered the demand.
    Answered(Result<(), Error>),
    /// The operator, or the license's state, ends the session.
    End(Error),
    /// The license ends at another time.
    ExpiresAt(Option<jiff::Timestamp>),
    /// The instance goes away by then.
    GoAway(Instant),
    /// A second passed.
    Tick(Pressure),
}

/// Something to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward to the provider and count so many samples as forwarded.
    ToUpstream(Frame, u64),
    /// Nothing of this message goes on: its credit is free again.
    Drop(Frame),
    /// Send to the provider a message of our own.
    Inject(ByteString),
    /// Send to the client.
    ToClient(Frame),
    /// Ask the keeper for so many samples; 0 gives the lease back.
    Demand(u64),
    /// Count so many samples as forwarded, beyond what frames carried.
    Count(u64),
    /// The session's token totals.
    Tokens(Usage),
    /// Ping a leg.
    Ping(Leg),
    /// Close the client's socket.
    CloseClient(u16, String),
    /// The client takes nothing: cut its socket.
    CutClient,
    /// The session holds no place any more, though its last usage is still awaited.
    LeaveSeat,
    /// Everything is done; the code of why, for the ledger and the metrics.
    Finish(&'static str),
}

/// What the lease allows, as the relay counts it within one step.
#[derive(Debug, Clone, Copy)]
pub struct LeaseView {
    /// Samples that may be forwarded.
    pub room: u64,
    /// Samples forwarded since the session began.
    pub forwarded: u64,
    /// A token budget is used up.
    pub used_up: bool,
}

impl LeaseView {
    /// Counts a frame that is forwarded in this step.
    pub fn forward(&mut self, samples: u64) {
        self.room -= samples;
        self.forwarded += samples;
    }
}

/// One event being handled.
pub struct Step<'a> {
    /// What the lease allows.
    pub lease: LeaseView,
    /// When it happened.
    pub now: Instant,
    /// What is done about it, in order.
    pub actions: &'a mut Vec<Action>,
}

impl Step<'_> {
    /// Adds an action.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}
