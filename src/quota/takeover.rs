//! Sessions that this instance takes over in a transaction: what others held for them goes back to the budgets.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::admission::Refusals;
use super::balances::{AUDIO, Sums, marks};
use super::batch::{Opening, Restored};
use super::healing::{self, Fate};
use super::instance::Instance;
use super::tally::Ack;
use crate::clock;
use crate::error::Error;
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::store::continuity::{self, SessionRow};

/// Takes over the sessions whose resume tokens have these hashes, wherever they are.
///
/// # Errors
/// The store's.
pub fn take_over(
    connection: &mut AnyConnection,
    hashes: &[String],
    instance: &Instance,
    now: Timestamp,
) -> Result<Vec<Result<Restored, Error>>, Error> {
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    let rows = continuity::by_resume_hash(connection, hashes)?;
    let ids = rows.iter().flat_map(|row| std::iter::once(&row.license_id).chain(&row.key_id));
    let refusals = Refusals::load(connection, &ids.cloned().collect::<Vec<_>>(), now)?;
    let rows: HashMap<&str, &SessionRow> =
        rows.iter().filter_map(|row| Some((row.resume_hash.as_deref()?, row))).collect();
    let judged: Vec<Result<&SessionRow, Error>> = hashes
        .iter()
        .map(|hash| {
            let row =
                rows.get(hash.as_str()).copied().filter(|row| is_resumable(row, now)).ok_or(Error::SessionGone)?;
            refusals.of(&row.license_id, row.key_id.as_deref()).map_or(Ok(row), Err)
        })
        .collect();
    let taken: Vec<&SessionRow> = judged.iter().filter_map(|row| row.as_ref().ok().copied()).collect();
    give_back(connection, &taken, now)?;
    let ids: Vec<String> = taken.iter().map(|row| row.id.clone()).collect();
    let moved = continuity::take_over(connection, &ids, &instance.id)?;
    if moved != ids.len() {
        return Err(Error::storage(format!("{moved} of {} sessions could be taken over", ids.len())));
    }
    if taken.iter().any(|row| row.status == "live") {
        announcements::announce(connection)?;
    }
    Ok(judged.into_iter().map(|row| row.map(restored)).collect())
}

/// Parks those sessions with these hashes that this instance took over without anybody knowing.
///
/// # Errors
/// The store's.
pub fn park_strays(
    connection: &mut AnyConnection,
    hashes: &[String],
    instance: &Instance,
    now: Timestamp,
) -> Result<(), Error> {
    if hashes.is_empty() {
        return Ok(());
    }
    let mut rows = continuity::by_resume_hash(connection, hashes)?;
    rows.retain(|row| row.status == "live" && row.instance_id == instance.id);
    healing::settle(connection, &rows, &Fate::Parks("abandoned", now + instance.resume_window), now)
}

fn is_resumable(row: &SessionRow, now: Timestamp) -> bool {
    let in_time = row.status == "live" || row.resume_until_us.is_some_and(|until| until > now.as_microsecond());
    in_time && row.end_wanted.is_none()
}

fn give_back(connection: &mut AnyConnection, rows: &[&SessionRow], now: Timestamp) -> Result<(), Error> {
    let mut held = Sums::default();
    for row in rows {
        held.add(AUDIO, (&row.license_id, row.key_id.as_deref()), (0, row.booked_samples - row.leased_samples));
    }
    held.book(connection, now)
}

fn restored(row: &SessionRow) -> Restored {
    let opening = Opening {
        session_id: row.id.clone(),
        license_id: row.license_id.clone(),
        key_id: row.key_id.clone(),
        model: row.model.clone(),
        started_at: clock::at(row.started_at_us),
        max_sessions: None,
        max_sessions_of_key: None,
        resume_hash: row.resume_hash.clone(),
    };
    Restored {
        opening: Arc::new(opening),
        epoch: row.epoch.unsigned_abs() + 1,
        booked: marks(row.booked_samples, row.booked_input_tokens, row.booked_output_tokens),
        recorded: marks(row.recorded_samples, row.recorded_input_tokens, row.recorded_output_tokens),
        ack: Ack { samples: row.ack_samples.unsigned_abs(), metered: row.ack_metered.unsigned_abs() },
        settings: row.settings.clone(),
    }
}
