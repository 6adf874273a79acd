//! The open accounts of this instance: what is asked, what a transaction must write, what it answered. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::{Account, Closing, Demand};
use super::batch::{Batch, Line, Opening, Outcome, Reading, Restored, Verdict};
use super::standings::Standings;
use super::tally::Tally;
use crate::error::Error;

/// How long a session waits for a store that doesn't answer.
pub const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// An answer for a session that waits.
pub type Answer = (String, Result<(), Error>);

/// The open accounts of this instance.
#[derive(Default)]
pub struct Book {
    pub(super) accounts: HashMap<String, Account>,
    pub(super) sharers: HashMap<String, u64>,
    pub(super) openings: Vec<(Arc<Opening>, Arc<Tally>)>,
    /// Hashes of the resume tokens of sessions to be taken over.
    resumptions: Vec<String>,
    /// Sessions with a demand, an end, or new settings: those that a batch between two ticks looks at.
    pub(super) pressing: HashSet<String>,
    unsure: HashSet<String>,
    stray: HashSet<String>,
    /// Openings in the running transaction.
    pub(super) opening_now: HashMap<String, OpeningNow>,
    /// How payers stood after the last transaction that concerned them.
    pub(super) standings: Standings,
    /// The outcome of the last transaction is unknown.
    doubt: bool,
}

/// An opening in the running transaction.
pub(super) struct OpeningNow {
    pub(super) opening: Arc<Opening>,
    pub(super) tally: Arc<Tally>,
    /// The session left meanwhile.
    left: bool,
}

impl Book {
    /// Asks for an account; the answer comes with a batch.
    pub fn open(&mut self, opening: Opening, tally: Arc<Tally>) {
        self.openings.push((Arc::new(opening), tally));
    }

    /// Asks for the account of a session that is somewhere else; the answer comes with a batch.
    pub fn resume(&mut self, resume_hash: String) {
        self.resumptions.push(resume_hash);
    }

    /// A session needs `need` samples and stands still until it is answered. 0 gives its lease back.
    /// False when the session has no account.
    pub fn demand(&mut self, session_id: &str, need: u64, now: Instant) -> bool {
        let Some(account) = self.accounts.get_mut(session_id) else { return false };
        account.demand = Some(Demand { need, since: now });
        self.pressing.insert(session_id.to_owned());
        true
    }

    /// A session has something to write that can't wait for a tick: its tally holds it.
    pub fn press(&mut self, session_id: &str) {
        if self.accounts.contains_key(session_id) {
            self.pressing.insert(session_id.to_owned());
        }
    }

    /// A session ended for good; the answer comes when its usage is written. False when it has no account.
    pub fn close(&mut self, session_id: &str, reason: &'static str) -> bool {
        self.end(session_id, Closing { reason, parks: false })
    }

    /// A session ended here, but may be resumed; otherwise as [`Book::close`].
    pub fn release(&mut self, session_id: &str, reason: &'static str) -> bool {
        self.end(session_id, Closing { reason, parks: true })
    }

    fn end(&mut self, session_id: &str, closing: Closing) -> bool {
        if let Some(left) = self.opening_now.get_mut(session_id) {
            left.left = true;
        }
        self.openings.retain(|(opening, _)| opening.session_id != session_id);
        let Some(account) = self.accounts.get_mut(session_id) else { return false };
        account.closing.get_or_insert(closing);
        self.pressing.insert(session_id.to_owned());
        true
    }

    /// Every session's account is to be closed; those that can be resumed elsewhere are released.
    pub fn close_all(&mut self, reason: &'static str) {
        for (session_id, account) in &mut self.accounts {
            account.closing.get_or_insert(Closing { reason, parks: true });
            self.pressing.insert(session_id.clone());
        }
    }

    /// Whether a lease of this epoch has had its account taken over on this very instance.
    #[must_use]
    pub fn superseded(&self, session_id: &str, epoch: u64) -> bool {
        self.accounts.get(session_id).is_some_and(|account| account.epoch != epoch)
    }

    /// Accounts that are open, or waiting to be. Those whose end is in the spool are in good hands.
    #[must_use]
    pub fn open_accounts(&self) -> usize {
        let kept = self.accounts.values().filter(|account| account.spooled.is_some_and(|spooled| spooled.ended));
        self.accounts.len() - kept.count() + self.openings.len() + self.resumptions.len() + self.stray.len()
    }

    /// Has the next transaction find out whether the store is there, and what it has.
    pub fn look_again(&mut self) {
        self.doubt = true;
    }

    /// Sessions that wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pressing.len()
    }

    /// Takes together what the next transaction must write. `tick`: with the usage of every live session.
    pub fn prepare(&mut self, now: Instant, tick: bool) -> (Batch, HashMap<String, Arc<Tally>>) {
        if self.doubt {
            let epoch = |id: &String| self.accounts.get(id).map_or(0, |account| account.epoch);
            let unsure = self.unsure.iter().map(|id| (id.clone(), epoch(id))).collect();
            let stray = self.stray.iter().cloned().collect();
            return (Batch { unsure, stray, doubt: true, ..Batch::default() }, HashMap::new());
        }
        let openings = std::mem::take(&mut self.openings);
        let tallies = openings.iter().map(|(opening, tally)| (opening.session_id.clone(), tally.clone())).collect();
        let now_opening = |(opening, tally): &(Arc<Opening>, Arc<Tally>)| {
            let entry = OpeningNow { opening: opening.clone(), tally: tally.clone(), left: false };
            (opening.session_id.clone(), entry)
        };
        self.opening_now = openings.iter().map(now_opening).collect();
        let openings: Vec<Arc<Opening>> = openings.into_iter().map(|(opening, _)| opening).collect();
        let entries = self.accounts.values().filter(|account| !account.entered);
        let entries: Vec<Arc<Opening>> = entries.map(|account| account.opening.clone()).collect();
        // Who resumes the same session again takes it over from himself, in the next transaction.
        let mut resumptions = HashSet::new();
        self.resumptions.retain(|hash| !resumptions.insert(hash.clone()));
        let resumptions: Vec<String> = resumptions.into_iter().collect();
        let lines = self.lines(now, tick, &openings, &resumptions);
        let sharings = self.standings.sharings(&lines, &openings, &self.sharers, tick);
        (Batch { openings, resumptions, lines, entries, sharings, ..Batch::default() }, tallies)
    }

    fn lines(&self, now: Instant, tick: bool, openings: &[Arc<Opening>], resumptions: &[String]) -> Vec<Line> {
        let line = |account: &Account| {
            let sharers = self.sharers.get(&account.opening.payer()).copied().unwrap_or(1);
            account.line(sharers, now)
        };
        // Who opens a session where the limit is reached must find out which others are away; who comes back to
        // this instance takes along what was not booked yet.
        let limited = openings.iter().filter(|opening| opening.max_sessions.or(opening.max_sessions_of_key).is_some());
        let limited: HashSet<&str> = limited.map(|opening| opening.license_id.as_str()).collect();
        let resuming: HashSet<&str> = resumptions.iter().map(String::as_str).collect();
        let concerned = |account: &&Account| {
            let Opening { session_id, license_id, resume_hash, .. } = account.opening.as_ref();
            self.pressing.contains(session_id)
                || limited.contains(license_id.as_str()) && account.may_give_way()
                || resume_hash.as_ref().is_some_and(|hash| resuming.contains(hash.as_str()))
        };
        let mut lines: Vec<Line> = if tick {
            self.accounts.values().filter_map(line).collect()
        } else if limited.is_empty() && resuming.is_empty() {
            self.pressing.iter().filter_map(|id| self.accounts.get(id)).filter_map(line).collect()
        } else {
            self.accounts.values().filter(concerned).filter_map(line).collect()
        };
        // First come, first served.
        lines.sort_by_key(|line| line.asked_at.unwrap_or(now));
        lines
    }

    /// Enters what a transaction answered, but for resumptions; returns the answers for those who wait.
    pub fn enter(
        &mut self,
        batch: &Batch,
        outcome: Outcome,
        mut tallies: HashMap<String, Arc<Tally>>,
        now: Instant,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        if batch.doubt {
            self.doubt = false;
            self.stray.clear();
            self.standings.set_cushions(&outcome.cushions);
        }
        self.standings.enter(outcome.standings);
        for entry in &batch.entries {
            if let Some(account) = self.accounts.get_mut(&entry.session_id) {
                account.entered = true;
            }
        }
        for ((session_id, _), reading) in batch.unsure.iter().zip(outcome.readings) {
            answers.extend(self.reread(session_id, reading));
        }
        for (opening, answer) in batch.openings.iter().zip(outcome.openings) {
            if let Some(account) = self.accounts.get_mut(&opening.session_id) {
                // It was admitted here before the store answered.
                account.entered = answer.is_ok();
                continue;
            }
            if let (Ok(()), Some(tally)) = (&answer, tallies.remove(&opening.session_id)) {
                self.insert(Account::new(opening.clone(), tally, now));
                if self.opening_now.get(&opening.session_id).is_some_and(|now| now.left) {
                    self.close(&opening.session_id, "abandoned");
                }
            }
            answers.push((opening.session_id.clone(), answer));
        }
        for (line, verdict) in batch.lines.iter().zip(outcome.lines) {
            answers.extend(self.settle(line, verdict, now));
        }
        self.opening_now.clear();
        self.standings.retain(&self.sharers);
        answers
    }

    /// Enters a session that was taken over; returns its tally, and the answer for who had it here before.
    pub fn take_over(&mut self, restored: &Restored, now: Instant) -> (Arc<Tally>, Option<Answer>) {
        let before = self.lose(&restored.opening.session_id);
        let account = Account::restored(restored, now);
        let tally = account.tally.clone();
        self.insert(account);
        (tally, before)
    }

    pub(super) fn insert(&mut self, account: Account) {
        *self.sharers.entry(account.opening.payer()).or_default() += 1;
        self.accounts.insert(account.opening.session_id.clone(), account);
    }

    fn settle(&mut self, line: &Line, verdict: Verdict, now: Instant) -> Option<Answer> {
        let session_id = &line.opening.session_id;
        if verdict == Verdict::Lost {
            return self.lose(session_id);
        }
        let account = self.accounts.get_mut(session_id)?;
        let answer = account.enter(line, verdict, now);
        if let Some(standing) = self.standings.get(&line.opening.payer()) {
            account.tally.remain(standing.remaining.clone());
        }
        if line.end.is_some() {
            self.remove(session_id);
        } else {
            if answer.is_some() {
                account.demand = None;
            }
            if account.demand.is_none() && account.closing.is_none() && account.tally.settings().is_none() {
                self.pressing.remove(session_id);
            }
        }
        answer.map(|answer| (session_id.clone(), answer))
    }

    /// A transaction failed: what it wrote is unknown. Openings are refused, the rest is tried again.
    pub fn fail(&mut self, batch: &Batch, error: &Error, now: Instant) -> Vec<Answer> {
        self.unsure.extend(batch.lines.iter().map(|line| line.opening.session_id.clone()));
        self.unsure.extend(batch.entries.iter().map(|entry| entry.session_id.clone()));
        self.stray.extend(batch.resumptions.iter().cloned());
        self.doubt = true;
        self.standings.fall(&batch.sharings);
        let mut answers: Vec<Answer> = Vec::new();
        for opening in &batch.openings {
            if self.accounts.contains_key(&opening.session_id) {
                self.unsure.insert(opening.session_id.clone());
                continue;
            }
            // Should its row have been written after all, it is closed.
            self.insert(Account::new(opening.clone(), Arc::new(Tally::default()), now));
            self.close(&opening.session_id, "abandoned");
            self.unsure.insert(opening.session_id.clone());
            answers.push((opening.session_id.clone(), Err(error.clone())));
        }
        self.opening_now.clear();
        answers.extend(self.tired(error, STORE_PATIENCE, now));
        answers
    }

    /// Answers for those who have waited for the store for too long.
    pub fn tired(&mut self, error: &Error, patience: Duration, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        let tired: Vec<String> = self
            .accounts
            .iter()
            .filter(|(_, account)| {
                let waits = account.demand.as_ref().filter(|_| account.closing.is_none());
                waits.is_some_and(|demand| now.duration_since(demand.since) >= patience)
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
        match reading {
            Reading::Live(booked, leased, recorded) => {
                let account = self.accounts.get_mut(session_id)?;
                account.reread(booked, leased, recorded);
                account.entered = true;
                None
            }
            Reading::Absent if self.accounts.get(session_id).is_some_and(|account| !account.entered) => None,
            Reading::Absent | Reading::Over => self.lose(session_id),
        }
    }

    /// Another instance has the session now, or it was ended there.
    fn lose(&mut self, session_id: &str) -> Option<Answer> {
        let answer = self.accounts.get(session_id)?.lose();
        self.remove(session_id);
        answer.map(|answer| (session_id.to_owned(), answer))
    }

    fn remove(&mut self, session_id: &str) {
        self.pressing.remove(session_id);
        let Some(account) = self.accounts.remove(session_id) else { return };
        let payer = account.opening.payer();
        if let Some(count) = self.sharers.get_mut(&payer) {
            *count -= 1;
            if *count == 0 {
                self.sharers.remove(&payer);
            }
        }
    }
}
