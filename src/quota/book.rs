//! The open accounts of this instance: what is asked, what a transaction must write, what it answered. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::tally::Tally;
use crate::error::Error;

/// The longest lease: five seconds of audio, in samples.
pub const LEASE_SAMPLES: u64 = 80_000;
/// How long a session waits for others to give back before its budget counts as used up.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a session waits for a store that doesn't answer.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two usage rows of a live session.
const RECORD_EVERY: Duration = Duration::from_secs(60);

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
    /// SHA-256 of the token that authorizes a resume.
    pub resume_hash: Option<String>,
    /// The license's `max_sessions`.
    pub max_sessions: Option<u64>,
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
    /// Live sessions of the license here.
    pub sharers: u64,
    /// Since when the session waits for this line's answer, if it does.
    pub asked_at: Option<Instant>,
    /// Where the usage row that this line writes begins, if it writes one.
    pub record_from: Option<Marks>,
    /// Why the session ended, if it did.
    pub end: Option<&'static str>,
}

/// All that one transaction writes.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// New sessions.
    pub openings: Vec<Arc<Opening>>,
    /// Sessions whose account moves.
    pub lines: Vec<Line>,
    /// Sessions whose row must be read again first: the outcome of their last write is unknown.
    pub unsure: Vec<String>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.openings.is_empty() && self.lines.is_empty() && self.unsure.is_empty()
    }
}

/// What the ledger answers for one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Booked; so many samples more.
    Granted(u64),
    /// Booked; nothing more yet.
    Wait,
    /// Booked; nothing more until then. Where nothing was asked for: a token budget was used up by this line.
    UsedUp(Option<Timestamp>),
}

/// What the store has for a session whose last write was in doubt; `None`: it isn't live there.
pub type Reading = Option<(Marks, u64, Marks)>;

/// What a transaction answered, in the batch's order.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Per opening: refused, with the time when a budget starts anew.
    pub openings: Vec<Result<(), Error>>,
    /// Per line.
    pub lines: Vec<Verdict>,
    /// Per unsure session.
    pub readings: Vec<Reading>,
}

/// An answer for a session that waits.
pub type Answer = (String, Result<(), Error>);

struct Account {
    opening: Arc<Opening>,
    tally: Arc<Tally>,
    booked: Marks,
    leased: u64,
    recorded: Marks,
    recorded_at: Instant,
    demand: Option<Demand>,
    closing: Option<&'static str>,
}

struct Demand {
    need: u64,
    since: Instant,
}

/// The open accounts of this instance.
#[derive(Default)]
pub struct Book {
    accounts: HashMap<String, Account>,
    sharers: HashMap<String, u64>,
    openings: Vec<(Arc<Opening>, Arc<Tally>)>,
    /// Sessions with a demand or an end: those that a batch between two ticks looks at.
    pressing: HashSet<String>,
    unsure: HashSet<String>,
    /// Openings in the running transaction; true when their session left meanwhile.
    opening_now: HashMap<String, bool>,
}

impl Book {
    /// Asks for an account; the answer comes with a batch.
    pub fn open(&mut self, opening: Opening, tally: Arc<Tally>) {
        self.openings.push((Arc::new(opening), tally));
    }

    /// A session needs `need` samples and stands still until it is answered. 0 gives its lease back.
    /// False when the session has no account.
    pub fn demand(&mut self, session_id: &str, need: u64, now: Instant) -> bool {
        let Some(account) = self.accounts.get_mut(session_id) else { return false };
        account.demand = Some(Demand { need, since: now });
        self.pressing.insert(session_id.to_owned());
        true
    }

    /// A session ended; the answer comes when its usage is written. False when it has no account.
    pub fn close(&mut self, session_id: &str, reason: &'static str) -> bool {
        if let Some(left) = self.opening_now.get_mut(session_id) {
            *left = true;
        }
        self.openings.retain(|(opening, _)| opening.session_id != session_id);
        let Some(account) = self.accounts.get_mut(session_id) else { return false };
        account.closing.get_or_insert(reason);
        self.pressing.insert(session_id.to_owned());
        true
    }

    /// Every session's account is to be closed.
    pub fn close_all(&mut self, reason: &'static str) {
        for (session_id, account) in &mut self.accounts {
            account.closing.get_or_insert(reason);
            self.pressing.insert(session_id.clone());
        }
    }

    /// Accounts that are open, or waiting to be.
    #[must_use]
    pub fn open_accounts(&self) -> usize {
        self.accounts.len() + self.openings.len()
    }

    /// Sessions that wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pressing.len()
    }

    /// Takes together what the next transaction must write. `tick`: with the usage of every live session.
    pub fn prepare(&mut self, now: Instant, tick: bool) -> (Batch, HashMap<String, Arc<Tally>>) {
        if !self.unsure.is_empty() {
            let unsure = self.unsure.iter().cloned().collect();
            return (Batch { unsure, ..Batch::default() }, HashMap::new());
        }
        let openings = std::mem::take(&mut self.openings);
        let tallies = openings.iter().map(|(opening, tally)| (opening.session_id.clone(), tally.clone())).collect();
        let mut lines: Vec<Line> = Vec::new();
        if tick {
            lines.extend(self.accounts.values().filter_map(|account| self.line(account, now)));
        } else {
            let pressing = self.pressing.iter().filter_map(|session_id| self.accounts.get(session_id));
            lines.extend(pressing.filter_map(|account| self.line(account, now)));
        }
        // First come, first served.
        lines.sort_by_key(|line| line.asked_at.unwrap_or(now));
        let openings: Vec<Arc<Opening>> = openings.into_iter().map(|(opening, _)| opening).collect();
        self.opening_now = openings.iter().map(|opening| (opening.session_id.clone(), false)).collect();
        (Batch { openings, lines, unsure: Vec::new() }, tallies)
    }

    fn line(&self, account: &Account, now: Instant) -> Option<Line> {
        let (input_tokens, output_tokens) = account.tally.tokens();
        let to = Marks { samples: account.tally.forwarded().max(account.booked.samples), input_tokens, output_tokens };
        let still = account.demand.is_some() || account.closing.is_some();
        let keep = if still { to.samples } else { account.leased.max(to.samples) };
        let room = keep - to.samples;
        let (need, want) = match (&account.demand, account.closing) {
            (_, Some(_)) => (0, 0),
            (Some(Demand { need: 0, .. }), None) => (0, 0),
            (Some(Demand { need, .. }), None) => (*need, LEASE_SAMPLES),
            (None, None) if to.samples > account.booked.samples && room < LEASE_SAMPLES / 2 => {
                (0, LEASE_SAMPLES - room)
            }
            (None, None) => (0, 0),
        };
        let due = account.closing.is_some() || now.duration_since(account.recorded_at) >= RECORD_EVERY;
        let record_from = (due && to != account.recorded).then_some(account.recorded);
        let moved = to != account.booked || still || want > 0 || record_from.is_some();
        moved.then(|| Line {
            opening: account.opening.clone(),
            from: account.booked,
            from_leased: account.leased,
            to,
            keep,
            need,
            want,
            sharers: self.sharers.get(&account.opening.license_id).copied().unwrap_or(1),
            asked_at: account.demand.as_ref().map(|demand| demand.since),
            record_from,
            end: account.closing,
        })
    }

    /// Enters what a transaction answered; returns the answers for those who wait.
    pub fn enter(
        &mut self,
        batch: &Batch,
        outcome: Outcome,
        mut tallies: HashMap<String, Arc<Tally>>,
        now: Instant,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (session_id, reading) in batch.unsure.iter().zip(outcome.readings) {
            answers.extend(self.reread(session_id, reading));
        }
        for (opening, answer) in batch.openings.iter().zip(outcome.openings) {
            if let (Ok(()), Some(tally)) = (&answer, tallies.remove(&opening.session_id)) {
                self.insert(opening, tally, now);
                if self.opening_now.get(&opening.session_id).copied().unwrap_or(false) {
                    self.close(&opening.session_id, "abandoned");
                }
            }
            answers.push((opening.session_id.clone(), answer));
        }
        for (line, verdict) in batch.lines.iter().zip(outcome.lines) {
            answers.extend(self.settle(line, verdict, now));
        }
        answers
    }

    fn insert(&mut self, opening: &Arc<Opening>, tally: Arc<Tally>, now: Instant) {
        *self.sharers.entry(opening.license_id.clone()).or_default() += 1;
        let account = Account {
            opening: opening.clone(),
            tally,
            booked: Marks::default(),
            leased: 0,
            recorded: Marks::default(),
            recorded_at: now,
            demand: None,
            closing: None,
        };
        self.accounts.insert(opening.session_id.clone(), account);
    }

    fn settle(&mut self, line: &Line, verdict: Verdict, now: Instant) -> Option<Answer> {
        let session_id = &line.opening.session_id;
        let account = self.accounts.get_mut(session_id)?;
        account.booked = line.to;
        account.leased = line.keep;
        if let Verdict::Granted(samples) = verdict {
            account.leased += samples;
        }
        account.tally.grant(account.leased);
        if line.need == 0 && matches!(verdict, Verdict::UsedUp(_)) {
            account.tally.use_up();
        }
        if line.record_from.is_some() {
            account.recorded = line.to;
            account.recorded_at = now;
        }
        if line.end.is_some() {
            self.remove(session_id);
            return Some((session_id.clone(), Ok(())));
        }
        // A demand that came after the batch was made is answered by the next one.
        let demand = account.demand.as_ref()?;
        if line.asked_at != Some(demand.since) {
            return None;
        }
        let answer = match verdict {
            Verdict::Granted(_) => Ok(()),
            // The lease is taken back; that a token budget ended meanwhile is told by the tally.
            Verdict::UsedUp(_) if line.need == 0 => Ok(()),
            Verdict::Wait if now.duration_since(demand.since) < PATIENCE => return None,
            Verdict::Wait => Err(Error::InsufficientQuota { resets_at: None }),
            Verdict::UsedUp(resets_at) => Err(Error::InsufficientQuota { resets_at }),
        };
        account.demand = None;
        if account.closing.is_none() {
            self.pressing.remove(session_id);
        }
        Some((session_id.clone(), answer))
    }

    /// A transaction failed: what it wrote is unknown. Openings are refused, the rest is tried again.
    pub fn fail(&mut self, batch: &Batch, error: &Error, now: Instant) -> Vec<Answer> {
        self.unsure.extend(batch.lines.iter().map(|line| line.opening.session_id.clone()));
        let refused = batch.openings.iter().map(|opening| (opening.session_id.clone(), Err(error.clone())));
        let mut answers: Vec<Answer> = refused.collect();
        answers.extend(self.tired(error, now));
        answers
    }

    /// Answers for those who have waited for the store for too long.
    pub fn tired(&mut self, error: &Error, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        let tired: Vec<String> = self
            .accounts
            .iter()
            .filter(|(_, account)| {
                let waits = account.demand.as_ref().filter(|_| account.closing.is_none());
                waits.is_some_and(|demand| now.duration_since(demand.since) >= STORE_PATIENCE)
            })
            .map(|(session_id, _)| session_id.clone())
            .collect();
        for session_id in tired {
            if let Some(account) = self.accounts.get_mut(&session_id) {
                account.demand = None;
                self.pressing.remove(&session_id);
                answers.push((session_id, Err(error.clone())));
            }
        }
        answers
    }

    fn reread(&mut self, session_id: &str, reading: Reading) -> Option<Answer> {
        self.unsure.remove(session_id);
        let account = self.accounts.get_mut(session_id)?;
        let Some((booked, leased, recorded)) = reading else {
            // Somebody else closed it: nothing more can be booked here.
            let answer = if account.closing.is_some() { Ok(()) } else { Err(Error::SessionEnded) };
            self.remove(session_id);
            return Some((session_id.to_owned(), answer));
        };
        account.booked = booked;
        account.leased = leased;
        account.recorded = recorded;
        None
    }

    fn remove(&mut self, session_id: &str) {
        self.pressing.remove(session_id);
        let Some(account) = self.accounts.remove(session_id) else { return };
        let license_id = &account.opening.license_id;
        if let Some(count) = self.sharers.get_mut(license_id) {
            *count -= 1;
            if *count == 0 {
                self.sharers.remove(license_id);
            }
        }
    }
}
