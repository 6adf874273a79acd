//! One transaction of the ledger: what a [`Batch`] writes, and what the budgets answer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::admission;
use super::balances::{AUDIO, Balances, Sums, TOKENS, marks, signed, token_sum};
use super::batch::{Batch, Line, Outcome, Reading, Verdict};
use super::grants::Grants;
use super::instance::Instance;
use super::takeover;
use super::tally::Presence;
use crate::error::Error;
use crate::payer;
use crate::store::accounting::{self, Advance};
use crate::store::backend::AnyConnection;
use crate::store::continuity::{self, SessionRow};
use crate::store::cushions;
use crate::store::usage::{self, UsageEvent};

/// Writes a batch in one transaction. Blocks.
///
/// # Errors
/// `StorageUnavailable` when the store fails, `Internal` when a session's row is not in the state that the batch
/// starts from, though it is still this instance's; nothing is written then.
pub fn write(
    connection: &mut AnyConnection,
    batch: &Batch,
    instance: &Instance,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let write = |connection: &mut AnyConnection, looks: bool| {
        accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            let lost = if looks { lost(connection, &batch.lines, instance)? } else { HashSet::new() };
            Writing { batch, lost, instance, now }.write(connection)
        })
    };
    // Nearly always every session is still ours. When not, all is rolled back, and written again without the others.
    let written = match write(connection, false) {
        Err(Error::PreconditionFailed) => write(connection, true),
        outcome => outcome,
    };
    written.map_err(|error| match error {
        Error::PreconditionFailed => Error::internal("an account was not as expected, though nobody else has it"),
        other => other,
    })
}

/// Which of these lines' sessions another instance has taken over, or ended.
fn lost(connection: &mut AnyConnection, lines: &[Line], instance: &Instance) -> Result<HashSet<String>, Error> {
    let epochs: Vec<(String, u64)> = lines.iter().map(|line| (line.opening.session_id.clone(), line.epoch)).collect();
    let readings = reread(connection, &epochs, instance)?;
    Ok(epochs
        .into_iter()
        .zip(readings)
        .filter(|(_, reading)| !matches!(reading, Reading::Live(..)))
        .map(|((id, _), _)| id)
        .collect())
}

/// One attempt.
struct Writing<'a> {
    batch: &'a Batch,
    /// Sessions that are another instance's.
    lost: HashSet<String>,
    instance: &'a Instance,
    now: Timestamp,
}

impl Writing<'_> {
    fn write(&self, connection: &mut AnyConnection) -> Result<Outcome, Error> {
        let (batch, now) = (self.batch, self.now);
        if batch.doubt {
            takeover::park_strays(connection, &batch.stray, self.instance, now)?;
            let readings = reread(connection, &batch.unsure, self.instance)?;
            cushions::reclaim(connection, &self.instance.id)?;
            let cushions = cushions::of_instance(connection, &self.instance.id)?;
            return Ok(Outcome { readings, cushions, ..Outcome::default() });
        }
        admission::enter(connection, &batch.entries, self.instance, now)?;
        let ours = |line: &&Line| !self.lost.contains(&line.opening.session_id);
        let lines: Vec<&Line> = batch.lines.iter().filter(ours).collect();
        charge(connection, &lines, now)?;
        let mut balances = Balances::load_current(connection, concerned(batch), now)?;
        let grants = Grants::new(connection, &mut balances, (self.instance, now))?;
        let (verdicts, standings) = grants.give(connection, &lines, &batch.sharings)?;
        let advances = lines.iter().zip(&verdicts).map(|(line, verdict)| self.advance(line, *verdict));
        let advances: Vec<Advance> = advances.collect();
        let moved = accounting::advance(connection, &advances, now.as_microsecond())?;
        if moved != advances.len() {
            return Err(Error::PreconditionFailed);
        }
        record(connection, &lines, now)?;
        let openings = admission::open(connection, &batch.openings, &mut balances, self.instance, now)?;
        let resumptions = takeover::take_over(connection, &batch.resumptions, self.instance, now)?;
        let mut verdicts = verdicts.into_iter();
        let verdict = |line| if ours(&line) { verdicts.next().unwrap_or(Verdict::Wait(None)) } else { Verdict::Lost };
        let lines = batch.lines.iter().map(verdict).collect();
        if batch.void.load(Ordering::Acquire) {
            return Err(Error::storage("nobody waits for this transaction any more"));
        }
        Ok(Outcome { openings, resumptions, lines, standings, ..Outcome::default() })
    }

    fn advance(&self, line: &Line, verdict: Verdict) -> Advance {
        let granted = if let Verdict::Granted(samples) = verdict { samples } else { 0 };
        let parks = line.parks && line.opening.resume_hash.is_some() && line.presence != Presence::Left;
        let status = match line.end {
            None => "live",
            Some(_) if parks => "parked",
            Some(_) => "ended",
        };
        Advance {
            id: line.opening.session_id.clone(),
            epoch: signed(line.epoch),
            from_booked: signed(line.from.samples),
            from_leased: signed(line.from_leased),
            booked: signed(line.to.samples),
            leased: signed(line.keep + granted),
            input_tokens: signed(line.to.input_tokens),
            output_tokens: signed(line.to.output_tokens),
            recorded: i64::from(line.record_from.is_some()),
            status,
            end_reason: line.end.map(str::to_owned),
            ended_at_us: line.end.map(|_| self.now.as_microsecond()),
            resume_until_us: parks.then(|| (self.now + self.instance.resume_window).as_microsecond()),
            ack_samples: signed(line.ack.samples),
            ack_metered: signed(line.ack.metered),
            away: i64::from(parks || line.presence != Presence::Here),
            left_for_good: i64::from(line.presence == Presence::Left),
            settings: line.settings.as_deref().map(str::to_owned),
        }
    }
}

/// Licenses whose budgets must be looked at: whoever was charged has a page that may have to be turned.
fn concerned(batch: &Batch) -> Vec<String> {
    let asking = batch.lines.iter().map(|line| line.opening.license_id.as_str());
    let opening = batch.openings.iter().map(|opening| opening.license_id.as_str());
    let sharing = batch.sharings.iter().map(|sharing| payer::license(&sharing.payer));
    asking.chain(opening).chain(sharing).map(str::to_owned).collect()
}

/// What the store has of sessions. Those that were taken for left behind, and that nobody has taken over, are
/// this instance's again.
fn reread(
    connection: &mut AnyConnection,
    sessions: &[(String, u64)],
    instance: &Instance,
) -> Result<Vec<Reading>, Error> {
    let ids: Vec<String> = sessions.iter().map(|(id, _)| id.clone()).collect();
    let epochs: HashMap<&str, i64> = sessions.iter().map(|(id, epoch)| (id.as_str(), signed(*epoch))).collect();
    let ours = |row: &SessionRow| epochs.get(row.id.as_str()) == Some(&row.epoch);
    let mut rows = continuity::find_all(connection, &ids)?;
    let healed = rows.iter().filter(|row| row.status != "live" && ours(row) && row.instance_id == instance.id);
    let healed: Vec<String> = healed.map(|row| row.id.clone()).collect();
    if !healed.is_empty() && continuity::revive(connection, &healed)? > 0 {
        rows = continuity::find_all(connection, &ids)?;
    }
    let rows: HashMap<&str, &SessionRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let reading = |(id, _): &(String, u64)| {
        let Some(row) = rows.get(id.as_str()) else { return Reading::Absent };
        if row.status != "live" || !ours(row) {
            return Reading::Over;
        }
        let booked = marks(row.booked_samples, row.booked_input_tokens, row.booked_output_tokens);
        let recorded = marks(row.recorded_samples, row.recorded_input_tokens, row.recorded_output_tokens);
        Reading::Live(booked, row.leased_samples.unsigned_abs(), recorded)
    };
    Ok(sessions.iter().map(reading).collect())
}

/// Books what was used, and takes back what leases no longer hold.
fn charge(connection: &mut AnyConnection, lines: &[&Line], now: Timestamp) -> Result<(), Error> {
    let mut sums = Sums::default();
    for line in lines {
        let owners = (line.opening.license_id.as_str(), line.opening.key_id.as_deref());
        let used = signed(line.to.samples) - signed(line.from.samples);
        let held_before = signed(line.from_leased) - signed(line.from.samples);
        let held_now = signed(line.keep) - signed(line.to.samples);
        sums.add(AUDIO, owners, (used, held_now - held_before));
        let spent = signed(token_sum(line.to)) - signed(token_sum(line.from));
        sums.add(TOKENS, owners, (spent, 0));
    }
    sums.book(connection, now)
}

fn record(connection: &mut AnyConnection, lines: &[&Line], now: Timestamp) -> Result<(), Error> {
    let recorded = lines.iter().filter_map(|line| line.record_from.map(|from| (line, from)));
    let events = recorded.map(|(line, from)| UsageEvent {
        session_id: line.opening.session_id.clone(),
        mark_samples: signed(line.to.samples),
        mark_tokens: signed(token_sum(line.to)),
        license_id: line.opening.license_id.clone(),
        key_id: line.opening.key_id.clone(),
        model: line.opening.model.clone(),
        samples: signed(line.to.samples) - signed(from.samples),
        input_tokens: signed(line.to.input_tokens) - signed(from.input_tokens),
        output_tokens: signed(line.to.output_tokens) - signed(from.output_tokens),
        occurred_at_us: now.as_microsecond(),
    });
    usage::append(connection, &events.collect::<Vec<_>>())
}
