//! What can happen to a session, and what can be done about it: the relay's vocabulary.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::frames::Frame;
use super::sides::{Pressure, Side};
use crate::error::Error;
use crate::quota::standing::Remaining;
use crate::quota::tally::Ack;
use crate::wire::continuity::GatewayEvent;
use crate::wire::realtime::Usage;

/// Something that happened to a session.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Client(Frame),
    /// The client is gone; true if it said goodbye with a close frame.
    ClientGone(bool),
    /// A client came back on a new socket; it has every event up to this number.
    ClientBack(u64),
    /// The client's socket has everything up to the event of this number.
    ClientReached(u64),
    /// The client broke a rule of its side: it is told so and closed.
    ClientBroke(Error),
    /// The provider sent a message on the leg of this number.
    Upstream(u32, Frame),
    /// The provider closed the leg of this number with this code and reason, or it just broke off.
    UpstreamGone(u32, Option<(u16, String)>),
    /// The dial of the leg of this number was answered; an error tells whether another try is of no use.
    Dialled(u32, Result<(), (Error, bool)>),
    /// The keeper answered the demand.
    Answered(Result<(), Error>),
    /// The operator, or the license's state, ends the session.
    End(Error),
    /// Another instance took the session over.
    Moved,
    /// The session may be over, or elsewhere: the ledger knows.
    Doubted,
    /// The license ends at another time.
    ExpiresAt(Option<jiff::Timestamp>),
    /// The instance goes away by then.
    GoAway(Instant),
    /// What is left of a budget.
    Budget(Remaining),
    /// A second passed.
    Tick(Pressure),
}

/// Something to be done, in order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Forward to the provider, on the leg of this number, and count so many samples as forwarded.
    ToUpstream(u32, Frame, u64),
    /// Nothing of this message goes on: its credit is free again.
    Drop(Frame),
    /// Send to the provider, on this leg, a message of our own or one that another leg was sent already.
    Inject(u32, Frame),
    /// Open a leg of this number after a while, drawn evenly from this span.
    Dial(u32, Duration),
    /// The leg of this number is not needed any more.
    HangUp(u32),
    /// Send to the client.
    ToClient(Frame),
    /// Tell a resumable client, if it is there.
    Notice(GatewayEvent),
    /// The settings that another instance would go on with.
    Configure(String),
    /// Everything before this point is done.
    FinishThrough(Ack),
    /// The client is away, or back.
    Away(bool),
    /// The session goes on elsewhere: it is settled here and stays resumable.
    Release(&'static str),
    /// Ask the keeper for so many samples; 0 gives the lease back.
    Demand(u64),
    /// Count so many samples as forwarded, beyond what frames carried.
    Count(u64),
    /// The session's token totals.
    Tokens(Usage),
    /// Ping a side.
    Ping(Side),
    /// Send to the client when all that waits for it is sent, just before the close that follows.
    LastWord(Frame),
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
    /// A token budget is used up, until then where that is known.
    pub used_up: Option<Option<Timestamp>>,
    /// The client may forget its audio before this sample.
    pub acknowledged: u64,
    /// The client's socket takes data.
    pub client_takes: bool,
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
    /// Turns are ended by the client.
    pub manual: bool,
    /// What is done about it, in order.
    pub actions: &'a mut Vec<Action>,
}

impl Step<'_> {
    /// Adds an action.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}
