//! What goes to the ledger in one transaction, and what comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jiff::Timestamp;

use super::standing::Standing;
use super::tally::{Ack, Presence};
use crate::error::Error;
use crate::payer;

/// What identifies a session on the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Session id.
    pub session_id: String,
    /// Whose budgets it uses.
    pub license_id: String,
    /// The API key it came with.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// When it was admitted.
    pub started_at: Timestamp,
    /// How many sessions its license may have at once, over all instances.
    pub max_sessions: Option<u64>,
    /// Likewise its key.
    pub max_sessions_of_key: Option<u64>,
    /// SHA-256 of its resume token, hex; `None` for a session that can't be resumed.
    pub resume_hash: Option<String>,
}

impl Opening {
    /// The [`payer::name`] of whose budgets count for it.
    #[must_use]
    pub fn payer(&self) -> String {
        payer::name(&self.license_id, self.key_id.as_deref())
    }
}

/// How far a session's account has come, since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Samples booked: the high-water mark.
    pub samples: u64,
    /// Input tokens booked.
    pub input_tokens: u64,
    /// Output tokens booked.
    pub output_tokens: u64,
}

/// One session's part of a transaction.
#[derive(Debug, Clone)]
pub struct Line {
    /// Who.
    pub opening: Arc<Opening>,
    /// Which of the session's instances this is, counted from 1.
    pub epoch: u64,
    /// What the store has.
    pub from: Marks,
    /// The lease that the store has, samples since the session began.
    pub from_leased: u64,
    /// What is booked now.
    pub to: Marks,
    /// The lease that stays before anything new is granted.
    pub keep: u64,
    /// Samples without which the session can't go on; 0 if it can.
    pub need: u64,
    /// Samples that it would like.
    pub want: u64,
    /// Live sessions of the payer here.
    pub sharers: u64,
    /// What the session was told that it may reach.
    pub granted: u64,
    /// Since when the session waits for this line's answer, if it does.
    pub asked_at: Option<Instant>,
    /// Where the usage row that this line writes begins, if it writes one.
    pub record_from: Option<Marks>,
    /// Why the session ended, if it did.
    pub end: Option<&'static str>,
    /// Whether it ended here alone: another instance may take it over.
    pub parks: bool,
    /// The point up to which the session is done.
    pub ack: Ack,
    /// Whether its client is there.
    pub presence: Presence,
    /// What the client has set, where that changed.
    pub settings: Option<Arc<str>>,
}

/// A payer with live sessions here, whose cushion is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// Who: [`Opening::payer`].
    pub payer: String,
    /// Its sessions here that stay.
    pub sessions: u64,
    /// What must stay of its cushion, in samples: the book goes on from that, should it not hear of the outcome.
    pub floor: i64,
}

/// All that one transaction writes.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// New sessions.
    pub openings: Vec<Arc<Opening>>,
    /// Sessions to be taken over, by the hash of their resume token, each once.
    pub resumptions: Vec<String>,
    /// Sessions whose account moves.
    pub lines: Vec<Line>,
    /// Sessions that were admitted while the store was away.
    pub entries: Vec<Arc<Opening>>,
    /// The payers concerned, each once.
    pub sharings: Vec<Sharing>,
    /// Whether the outcome of the last transaction is unknown: only what the store has is read then.
    pub doubt: bool,
    /// Set when nobody waits for this transaction any more: it must not be committed then.
    pub void: Arc<AtomicBool>,
    /// Sessions whose row must be read again first, and their epoch: the outcome of their last write is unknown.
    pub unsure: Vec<(String, u64)>,
    /// Hashes of resume tokens: whether these sessions were taken over is unknown, and nobody waits for them.
    pub stray: Vec<String>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing_new = self.openings.is_empty() && self.resumptions.is_empty() && self.lines.is_empty();
        let nothing_new = nothing_new && self.entries.is_empty() && self.sharings.is_empty() && !self.doubt;
        nothing_new && self.unsure.is_empty() && self.stray.is_empty()
    }
}

/// What the ledger answers for one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Booked; so many samples more.
    Granted(u64),
    /// Booked; nothing more yet: others hold the rest, and if they keep it there is something again then.
    Wait(Option<Timestamp>),
    /// Booked; nothing more until then. Where nothing was asked for: a token budget was used up by this line.
    UsedUp(Option<Timestamp>),
    /// Not booked: another instance has the session now, or it was ended there.
    Lost,
}

/// A session that was taken over, as it goes on here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What identifies it.
    pub opening: Arc<Opening>,
    /// Its new epoch.
    pub epoch: u64,
    /// What is booked, and leased.
    pub booked: Marks,
    /// What is covered by usage rows.
    pub recorded: Marks,
    /// The point up to which it is done.
    pub ack: Ack,
    /// What the client had set, JSON.
    pub settings: Option<String>,
}

/// What the store has for a session whose last write was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is live here: booked, leased, and covered by usage rows.
    Live(Marks, u64, Marks),
    /// It has ended, or is another instance's.
    Over,
    /// No row.
    Absent,
}

/// What a transaction answered, in the batch's order.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Per opening: refused, with the time when a budget starts anew.
    pub openings: Vec<Result<(), Error>>,
    /// Per resumption.
    pub resumptions: Vec<Result<Restored, Error>>,
    /// Per line.
    pub lines: Vec<Verdict>,
    /// Per unsure session.
    pub readings: Vec<Reading>,
    /// How the payers concerned stand now.
    pub standings: HashMap<String, Standing>,
    /// After a doubt: what this instance keeps for each payer.
    pub cushions: Vec<(String, i64)>,
}

/// An answer for a session that waits.
pub type Answer = (String, Result<(), Error>);
