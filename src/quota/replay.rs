//! Enters into the store what a spool has kept: how far sessions had come when their process ended.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::balances::{AUDIO, REQUESTS, Sums, TOKENS};
use crate::error::Error;
use crate::store::accounting::{self, NewSession};
use crate::store::backend::AnyConnection;
use crate::store::continuity::{self, SessionRow};
use crate::store::licenses;
use crate::store::spool::Entry;
use crate::store::usage::{self, UsageEvent};

/// Sessions entered in one transaction.
const AT_ONCE: usize = 500;

/// What became of a spool's entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entered {
    /// Sessions that moved.
    pub moved: usize,
    /// Those of licenses that the store hasn't: it was restored from an older backup. They are left out.
    pub left_out: usize,
}

/// Enters entries, as often as one likes: marks only rise, a session that is beyond is left alone, and so is one
/// that another process has taken over. Blocks.
///
/// # Errors
/// `StorageUnavailable`; what was entered by then stays.
pub fn replay(connection: &mut AnyConnection, entries: &[Entry], now: Timestamp) -> Result<Entered, Error> {
    let mut total = Entered::default();
    for entries in entries.chunks(AT_ONCE) {
        let entered = accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            enter(connection, entries, now)
        })?;
        total.moved += entered.moved;
        total.left_out += entered.left_out;
    }
    Ok(total)
}

fn enter(connection: &mut AnyConnection, entries: &[Entry], now: Timestamp) -> Result<Entered, Error> {
    let ids: Vec<String> = entries.iter().map(|entry| entry.session_id.clone()).collect();
    let rows = continuity::find_all(connection, &ids)?;
    let known: HashMap<&str, &SessionRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut missing: Vec<&Entry> =
        entries.iter().filter(|entry| !known.contains_key(entry.session_id.as_str())).collect();
    let left_out = leave_out_strangers(connection, &mut missing)?;
    let mut requests = Sums::default();
    let begun: Vec<NewSession> = missing.iter().map(|entry| new_session(entry)).collect();
    accounting::open_sessions(connection, &begun)?;
    for entry in &missing {
        requests.add(REQUESTS, (&entry.license_id, entry.key_id.as_deref()), (1, 0));
    }
    requests.book(connection, now)?;
    let rows = if missing.is_empty() { rows } else { continuity::find_all(connection, &ids)? };
    let known: HashMap<&str, &SessionRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let pairs = entries.iter().filter_map(|entry| Some((entry, *known.get(entry.session_id.as_str())?)));
    let steps: Vec<Step<'_>> = pairs.filter_map(|(entry, row)| Step::of(entry, row)).collect();
    let mut sums = Sums::default();
    for step in &steps {
        let row = step.row;
        let held = step.held() - (row.leased_samples - row.booked_samples);
        let owners = (row.license_id.as_str(), row.key_id.as_deref());
        sums.add(AUDIO, owners, (step.samples - row.booked_samples, held));
        let used = step.tokens.0 + step.tokens.1 - row.booked_input_tokens - row.booked_output_tokens;
        sums.add(TOKENS, owners, (used, 0));
    }
    sums.book(connection, now)?;
    for step in &steps {
        continuity::raise(connection, &step.raised(now))?;
    }
    let events: Vec<UsageEvent> = steps.iter().filter(|step| step.unrecorded()).map(Step::event).collect();
    usage::append(connection, &events)?;
    Ok(Entered { moved: steps.len(), left_out })
}

/// Leaves out sessions whose license the store hasn't; tells how many there were.
fn leave_out_strangers(connection: &mut AnyConnection, missing: &mut Vec<&Entry>) -> Result<usize, Error> {
    let payers: HashSet<&str> = missing.iter().map(|entry| entry.license_id.as_str()).collect();
    if payers.is_empty() {
        return Ok(0);
    }
    let payers: Vec<String> = payers.into_iter().map(str::to_owned).collect();
    let found: HashSet<String> =
        licenses::find_all(connection, &payers)?.into_iter().map(|license| license.id).collect();
    let before = missing.len();
    missing.retain(|entry| found.contains(&entry.license_id));
    Ok(before - missing.len())
}

/// One session's way from what the store has to what the spool has.
struct Step<'a> {
    entry: &'a Entry,
    row: &'a SessionRow,
    samples: i64,
    tokens: (i64, i64),
    /// It is live still, and ended in the spool.
    ends: bool,
    /// Settings that the store lacks.
    settings: Option<&'a str>,
}

impl<'a> Step<'a> {
    /// `None` where there is nothing to do.
    fn of(entry: &'a Entry, row: &'a SessionRow) -> Option<Self> {
        if row.epoch != entry.epoch {
            return None;
        }
        let samples = entry.samples.max(row.booked_samples);
        let tokens =
            (entry.input_tokens.max(row.booked_input_tokens), entry.output_tokens.max(row.booked_output_tokens));
        let ends = row.status == "live" && entry.end_reason.is_some();
        let before = (row.booked_samples, (row.booked_input_tokens, row.booked_output_tokens), row.ack_samples);
        let after = (samples, tokens, entry.ack_samples.max(row.ack_samples));
        let goes_on = row.status != "ended" && !ends;
        let newer = goes_on && (row.settings.is_none() || entry.samples > row.booked_samples);
        let settings = entry.settings.as_deref().filter(|settings| newer && row.settings.as_deref() != Some(settings));
        let moves = ends || after != before || settings.is_some();
        moves.then_some(Self { entry, row, samples, tokens, ends, settings })
    }

    /// What is held for it from now on: a live session's lease is left to whoever settles it.
    fn held(&self) -> i64 {
        if self.ends { 0 } else { (self.row.leased_samples - self.samples).max(0) }
    }

    fn raised(&self, now: Timestamp) -> continuity::Raised {
        continuity::Raised {
            id: self.row.id.clone(),
            booked_samples: self.samples,
            leased_samples: self.samples + self.held(),
            booked_input_tokens: self.tokens.0,
            booked_output_tokens: self.tokens.1,
            recorded_samples: self.samples,
            recorded_input_tokens: self.tokens.0,
            recorded_output_tokens: self.tokens.1,
            ack_samples: self.entry.ack_samples.max(self.row.ack_samples),
            ack_metered: self.entry.ack_metered.max(self.row.ack_metered),
            settings: self.settings.map(str::to_owned),
            ended: self.ends.then(|| (self.entry.end_reason.clone().unwrap_or_default(), now.as_microsecond())),
        }
    }

    fn unrecorded(&self) -> bool {
        let row = self.row;
        let recorded = (row.recorded_samples, row.recorded_input_tokens, row.recorded_output_tokens);
        (self.samples, self.tokens.0, self.tokens.1) != recorded
    }

    fn event(&self) -> UsageEvent {
        let row = self.row;
        UsageEvent {
            session_id: row.id.clone(),
            mark_samples: self.samples,
            mark_tokens: self.tokens.0 + self.tokens.1,
            license_id: row.license_id.clone(),
            key_id: row.key_id.clone(),
            model: row.model.clone(),
            samples: self.samples - row.recorded_samples,
            input_tokens: self.tokens.0 - row.recorded_input_tokens,
            output_tokens: self.tokens.1 - row.recorded_output_tokens,
            occurred_at_us: self.entry.written_at_us,
        }
    }
}

fn new_session(entry: &Entry) -> NewSession {
    NewSession {
        id: entry.session_id.clone(),
        license_id: entry.license_id.clone(),
        key_id: entry.key_id.clone(),
        model: entry.model.clone(),
        instance_id: entry.instance_id.clone(),
        status: "live".to_owned(),
        started_at_us: entry.started_at_us,
        resume_hash: entry.resume_hash.clone(),
    }
}
