//! One transaction of the ledger: what a [`Batch`] writes, and what the budgets answer.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::allot::{self, Share};
use super::book::{Batch, Line, Marks, Opening, Outcome, Reading, Verdict};
use super::window;
use crate::clock;
use crate::error::Error;
use crate::store::accounting::{self, AccountRow, Advance, BudgetRow, Charge, NewSession, UsageEvent};
use crate::store::backend::AnyConnection;

const AUDIO: &str = "audio_seconds";
const TOKENS: &str = "tokens";
const REQUESTS: &str = "requests";

/// Writes a batch in one transaction. Blocks.
///
/// # Errors
/// `StorageUnavailable` when the store fails or a session's row is not in the state that the batch
/// starts from; nothing is written then.
pub fn write(
    connection: &mut AnyConnection,
    batch: &Batch,
    instance_id: &str,
    now: Timestamp,
) -> Result<Outcome, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        if !batch.unsure.is_empty() {
            return Ok(Outcome { readings: reread(connection, &batch.unsure)?, ..Outcome::default() });
        }
        charge(connection, &batch.lines)?;
        start_periods(connection, now)?;
        let mut budgets = Budgets::load(connection, batch)?;
        let openings = open(connection, batch, &mut budgets, instance_id)?;
        let lines = grant(connection, &batch.lines, &budgets)?;
        advance(connection, &batch.lines, &lines, now)?;
        record(connection, &batch.lines, now)?;
        Ok(Outcome { openings, lines, readings: Vec::new() })
    })
}

fn reread(connection: &mut AnyConnection, session_ids: &[String]) -> Result<Vec<Reading>, Error> {
    let rows = accounting::accounts(connection, session_ids)?;
    let rows: HashMap<&str, &AccountRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let reading = |row: &AccountRow| {
        let booked = marks(row.booked, row.input_tokens, row.output_tokens);
        let recorded = marks(row.recorded, row.recorded_input, row.recorded_output);
        (row.status == "live").then(|| (booked, row.leased.unsigned_abs(), recorded))
    };
    Ok(session_ids.iter().map(|id| rows.get(id.as_str()).copied().and_then(reading)).collect())
}

/// Books what was used, and takes back what leases no longer hold.
fn charge(connection: &mut AnyConnection, lines: &[Line]) -> Result<(), Error> {
    let mut audio: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut tokens: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for line in lines {
        let license_id = line.opening.license_id.as_str();
        let used = signed(line.to.samples) - signed(line.from.samples);
        let held_before = signed(line.from_leased) - signed(line.from.samples);
        let held_now = signed(line.keep) - signed(line.to.samples);
        let (sum_used, sum_held) = audio.entry(license_id).or_default();
        *sum_used += used;
        *sum_held += held_now - held_before;
        tokens.entry(license_id).or_default().0 += signed(token_sum(line.to)) - signed(token_sum(line.from));
    }
    accounting::charge(connection, AUDIO, &charges(audio))?;
    accounting::charge(connection, TOKENS, &charges(tokens))
}

fn charges(sums: BTreeMap<&str, (i64, i64)>) -> Vec<Charge> {
    let moved = sums.into_iter().filter(|(_, sum)| *sum != (0, 0));
    moved.map(|(license_id, (used, reserved))| Charge { license_id: license_id.to_owned(), used, reserved }).collect()
}

fn start_periods(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    for budget in accounting::budgets_due(connection, now.as_microsecond())? {
        let (start, end) = window::period(&budget.window_span, &budget.tz, now)?;
        accounting::start_period(connection, &budget, start.as_microsecond(), end.map(Timestamp::as_microsecond))?;
    }
    Ok(())
}

/// The budgets of every license in a batch that wants something.
struct Budgets(HashMap<String, Vec<BudgetRow>>);

impl Budgets {
    fn load(connection: &mut AnyConnection, batch: &Batch) -> Result<Self, Error> {
        let asking = batch.lines.iter().filter(|line| line.want > 0).map(|line| &line.opening.license_id);
        let opening = batch.openings.iter().map(|opening| &opening.license_id);
        let mut license_ids: Vec<String> = asking.chain(opening).cloned().collect();
        license_ids.sort_unstable();
        license_ids.dedup();
        let mut by_license: HashMap<String, Vec<BudgetRow>> = HashMap::new();
        for row in accounting::budgets_of(connection, &license_ids)? {
            by_license.entry(row.license_id.clone()).or_default().push(row);
        }
        Ok(Self(by_license))
    }

    /// The next opening of the batch sees this one.
    fn count_request(&mut self, license_id: &str) {
        let rows = self.0.get_mut(license_id).into_iter().flatten();
        rows.filter(|row| row.unit == REQUESTS).for_each(|row| row.used_units += 1);
    }

    fn of(&self, license_id: &str) -> &[BudgetRow] {
        self.0.get(license_id).map_or(&[], Vec::as_slice)
    }

    /// When the last of the license's used-up budgets of these units starts anew: `None` if none is
    /// used up, `Some(None)` if one never does.
    fn used_up(&self, license_id: &str, units: &[&str]) -> Option<Option<Timestamp>> {
        let concerned = self.of(license_id).iter().filter(|row| units.contains(&row.unit.as_str()));
        let used_up = concerned.filter(|row| row.used_units >= row.limit_units);
        // A lifetime budget has no end: it outlasts every other.
        let ends: Vec<Option<i64>> = used_up.map(|row| row.period_end_us).collect();
        let last = ends.iter().copied().collect::<Option<Vec<i64>>>();
        (!ends.is_empty()).then(|| last.and_then(|ends| ends.into_iter().max()).map(clock::at))
    }
}

fn open(
    connection: &mut AnyConnection,
    batch: &Batch,
    budgets: &mut Budgets,
    instance_id: &str,
) -> Result<Vec<Result<(), Error>>, Error> {
    let mut answers = Vec::with_capacity(batch.openings.len());
    let mut requests: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for opening in &batch.openings {
        if let Some(resets_at) = budgets.used_up(&opening.license_id, &[AUDIO, TOKENS, REQUESTS]) {
            answers.push(Err(Error::InsufficientQuota { resets_at }));
            continue;
        }
        accounting::open_session(connection, &new_session(opening, instance_id))?;
        requests.entry(&opening.license_id).or_default().0 += 1;
        budgets.count_request(&opening.license_id);
        answers.push(Ok(()));
    }
    accounting::charge(connection, REQUESTS, &charges(requests))?;
    Ok(answers)
}

fn new_session(opening: &Opening, instance_id: &str) -> NewSession {
    NewSession {
        id: opening.session_id.clone(),
        license_id: opening.license_id.clone(),
        key_id: opening.key_id.clone(),
        model: opening.model.clone(),
        instance_id: instance_id.to_owned(),
        status: "live".to_owned(),
        started_at_us: opening.started_at.as_microsecond(),
    }
}

/// Answers every line, license by license.
fn grant(connection: &mut AnyConnection, lines: &[Line], budgets: &Budgets) -> Result<Vec<Verdict>, Error> {
    let mut verdicts = vec![Verdict::Granted(0); lines.len()];
    let mut by_license: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.want > 0) {
        by_license.entry(&line.opening.license_id).or_default().push(index);
    }
    for (license_id, indices) in by_license {
        let asking: Vec<&Line> = indices.iter().filter_map(|index| lines.get(*index)).collect();
        let answers = grant_license(connection, &asking, license_id, budgets)?;
        for (index, answer) in indices.into_iter().zip(answers) {
            if let Some(verdict) = verdicts.get_mut(index) {
                *verdict = answer;
            }
        }
    }
    Ok(verdicts)
}

fn grant_license(
    connection: &mut AnyConnection,
    lines: &[&Line],
    license_id: &str,
    budgets: &Budgets,
) -> Result<Vec<Verdict>, Error> {
    // A session was counted as a request when it was opened: it may go on when it was the last one.
    if let Some(resets_at) = budgets.used_up(license_id, &[AUDIO, TOKENS]) {
        let verdict = |line: &&Line| if line.need > 0 { Verdict::UsedUp(resets_at) } else { Verdict::Granted(0) };
        return Ok(lines.iter().map(verdict).collect());
    }
    let audio: Vec<&BudgetRow> = budgets.of(license_id).iter().filter(|row| row.unit == AUDIO).collect();
    let left = |row: &&BudgetRow| row.limit_units - row.used_units - row.reserved_units;
    let Some(available) = audio.iter().map(left).min() else {
        return Ok(lines.iter().map(|line| Verdict::Granted(line.want.max(line.need))).collect());
    };
    let held = audio.iter().map(|row| row.reserved_units).max().unwrap_or(0);
    let asks: Vec<allot::Ask> = lines
        .iter()
        .map(|line| allot::Ask { need: signed(line.need), want: signed(line.want), sharers: signed(line.sharers) })
        .collect();
    let shares = allot::allot(available, held, &asks);
    let amount = |share: &Share| match share {
        Share::Granted(amount) => *amount,
        Share::Wait | Share::UsedUp => 0,
    };
    let total: i64 = shares.iter().map(amount).sum();
    let overshoot = (total - available).max(0);
    if total > 0 && !accounting::reserve(connection, license_id, total, overshoot, audio.len())? {
        // The budget changed under us: everyone asks again.
        return Ok(lines.iter().map(|line| if line.need > 0 { Verdict::Wait } else { Verdict::Granted(0) }).collect());
    }
    Ok(shares
        .iter()
        .map(|share| match share {
            Share::Granted(amount) => Verdict::Granted(amount.unsigned_abs()),
            Share::Wait => Verdict::Wait,
            Share::UsedUp => Verdict::UsedUp(None),
        })
        .collect())
}

fn advance(connection: &mut AnyConnection, lines: &[Line], verdicts: &[Verdict], now: Timestamp) -> Result<(), Error> {
    let advances: Vec<Advance> = lines
        .iter()
        .zip(verdicts)
        .map(|(line, verdict)| {
            let granted = if let Verdict::Granted(samples) = verdict { *samples } else { 0 };
            Advance {
                id: line.opening.session_id.clone(),
                from_booked: signed(line.from.samples),
                from_leased: signed(line.from_leased),
                booked: signed(line.to.samples),
                leased: signed(line.keep + granted),
                input_tokens: signed(line.to.input_tokens),
                output_tokens: signed(line.to.output_tokens),
                recorded: i64::from(line.record_from.is_some()),
                status: if line.end.is_some() { "ended" } else { "live" },
                end_reason: line.end.map(str::to_owned),
                ended_at_us: line.end.map(|_| now.as_microsecond()),
            }
        })
        .collect();
    let moved = accounting::advance(connection, &advances)?;
    if moved == advances.len() {
        return Ok(());
    }
    Err(Error::storage(format!("{moved} of {} accounts were as expected", advances.len())))
}

fn record(connection: &mut AnyConnection, lines: &[Line], now: Timestamp) -> Result<(), Error> {
    for (line, from) in lines.iter().filter_map(|line| line.record_from.map(|from| (line, from))) {
        let event = UsageEvent {
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
        };
        accounting::append(connection, &event)?;
    }
    Ok(())
}

fn marks(samples: i64, input_tokens: i64, output_tokens: i64) -> Marks {
    Marks {
        samples: samples.unsigned_abs(),
        input_tokens: input_tokens.unsigned_abs(),
        output_tokens: output_tokens.unsigned_abs(),
    }
}

fn token_sum(marks: Marks) -> u64 {
    marks.input_tokens + marks.output_tokens
}

/// Sums of one session stay far below 2⁶³.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
