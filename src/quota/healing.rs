//! Settles what instances that are gone have left behind, from the last durable point: their usage is recorded,
//! what their leases held goes back to the budgets, and what can be resumed waits for its window.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::balances::{AUDIO, Sums};
use super::call_ledger;
use super::instance::Instance;
use crate::error::Error;
use crate::store::accounting::{self, Advance};
use crate::store::backend::AnyConnection;
use crate::store::continuity::{self, SessionRow};
use crate::store::usage::{self, UsageEvent};
use crate::store::{announcements, call_holds, cushions, instances};

/// How often an instance says that it is there, and looks after the others.
pub const EVERY: Duration = Duration::from_secs(5);
/// An instance that has said nothing for so long, while the store answered, is gone.
const GONE_AFTER: Duration = Duration::from_secs(15);
/// Without a look at the store for so long, nobody's silence means anything.
const OUT_OF_TOUCH: Duration = Duration::from_secs(8);

/// Last seen so, a process is known to have ended.
pub const ENDED: i64 = i64::MAX;

/// When the other instances were last heard, by this one's own clock: their clocks may differ, and a store that was
/// away has kept all of them silent. Pure.
#[derive(Default)]
pub struct Watch {
    heard: HashMap<String, (i64, Instant)>,
    looked: Option<Instant>,
}

impl Watch {
    /// Enters what the store said at `now` of who was seen when; returns those who are gone, likewise.
    pub fn look(&mut self, known: &[(String, i64)], now: Instant) -> Vec<(String, i64)> {
        let in_touch = self.looked.is_some_and(|looked| now.duration_since(looked) < OUT_OF_TOUCH);
        self.looked = Some(now);
        let mut gone = Vec::new();
        let mut heard = HashMap::with_capacity(known.len());
        for (id, seen_at_us) in known {
            let before = self.heard.get(id).filter(|(value, _)| in_touch && value == seen_at_us);
            let since = before.map_or(now, |(_, since)| *since);
            if now.duration_since(since) >= GONE_AFTER {
                gone.push((id.clone(), *seen_at_us));
            }
            heard.insert(id.clone(), (*seen_at_us, since));
        }
        self.heard = heard;
        gone
    }
}

/// Forgets instances that are gone, settles the sessions of all that are not known, and ends what was not resumed
/// in time. Returns how many sessions were settled. Blocks.
///
/// `gone`: ids, and when they were last seen: who was seen since is left alone.
///
/// # Errors
/// `StorageUnavailable`; nothing is changed then.
pub fn heal(
    connection: &mut AnyConnection,
    gone: &[(String, i64)],
    instance: &Instance,
    now: Timestamp,
) -> Result<usize, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        for (id, seen_at_us) in gone {
            instances::forget(connection, id, *seen_at_us)?;
        }
        let rows = instances::left_behind(connection)?;
        settle(connection, &rows, &Fate::Parks("crashed", now + instance.resume_window), now)?;
        give_back(connection, gone, instance, now)?;
        let ended = continuity::end_windows(connection, now.as_microsecond())?;
        if rows.len() + ended > 0 {
            announcements::announce(connection)?;
        }
        Ok(rows.len())
    })
}

/// An instance that is gone may only be cut off, and its sessions go on out of what it keeps: that is given back
/// when the grace must be over. What a process kept that has certainly ended is given back at once.
fn give_back(
    connection: &mut AnyConnection,
    gone: &[(String, i64)],
    instance: &Instance,
    now: Timestamp,
) -> Result<(), Error> {
    const MARGIN: u64 = 60;
    let grace = i64::try_from(instance.grace_seconds + MARGIN).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    cushions::set_term(connection, now.as_microsecond().saturating_add(grace))?;
    call_holds::set_term(connection, now.as_microsecond().saturating_add(grace))?;
    let dead = gone.iter().filter(|(_, seen_at_us)| *seen_at_us == ENDED).map(|(id, _)| id.clone());
    let dead: Vec<String> = dead.collect();
    let due = cushions::take_over_due(connection, now.as_microsecond(), &dead)?;
    let mut held = Sums::default();
    for cushion in &due {
        held.add(AUDIO, (&cushion.license_id, Some(&cushion.key_id)), (0, -cushion.units));
    }
    held.book(connection, now)?;
    let holds = call_holds::take_over_due(connection, now.as_microsecond(), &dead)?;
    call_ledger::give_back(connection, &holds, now)
}

/// What becomes of sessions that are settled from their row.
pub enum Fate {
    /// They end for good, for this reason.
    Ends(&'static str),
    /// Those that can be resumed can be until then.
    Parks(&'static str, Timestamp),
}

/// Settles sessions that have not ended from their row: usage recorded, leases given back.
///
/// # Errors
/// The store's; `StorageUnavailable` when a row changed meanwhile.
pub fn settle(connection: &mut AnyConnection, rows: &[SessionRow], fate: &Fate, now: Timestamp) -> Result<(), Error> {
    let (live, parked): (Vec<&SessionRow>, Vec<&SessionRow>) = rows.iter().partition(|row| row.status == "live");
    let mut held = Sums::default();
    for row in &live {
        held.add(AUDIO, (&row.license_id, row.key_id.as_deref()), (0, row.booked_samples - row.leased_samples));
    }
    held.book(connection, now)?;
    let ends: Vec<Advance> = live.iter().map(|row| end(row, fate, now)).collect();
    let moved = accounting::advance(connection, &ends, now.as_microsecond())?;
    if moved != ends.len() {
        return Err(Error::storage(format!("{moved} of {} sessions were as expected", ends.len())));
    }
    let events: Vec<UsageEvent> = live.iter().filter(|row| unrecorded(row)).map(|row| event(row, now)).collect();
    usage::append(connection, &events)?;
    if let Fate::Ends(reason) = fate {
        let ids: Vec<String> = parked.iter().map(|row| row.id.clone()).collect();
        continuity::end_parked(connection, &ids, reason)?;
    }
    Ok(())
}

fn unrecorded(row: &SessionRow) -> bool {
    let recorded = (row.recorded_samples, row.recorded_input_tokens, row.recorded_output_tokens);
    (row.booked_samples, row.booked_input_tokens, row.booked_output_tokens) != recorded
}

fn end(row: &SessionRow, fate: &Fate, now: Timestamp) -> Advance {
    let resumable = row.resume_hash.is_some() && row.end_wanted.is_none();
    let (reason, until) = match fate {
        Fate::Ends(reason) => (reason, None),
        Fate::Parks(reason, until) => (reason, resumable.then_some(until)),
    };
    Advance {
        id: row.id.clone(),
        epoch: row.epoch,
        from_booked: row.booked_samples,
        from_leased: row.leased_samples,
        booked: row.booked_samples,
        leased: row.booked_samples,
        input_tokens: row.booked_input_tokens,
        output_tokens: row.booked_output_tokens,
        recorded: 1,
        status: if until.is_some() { "parked" } else { "ended" },
        end_reason: Some((*reason).to_owned()),
        ended_at_us: Some(now.as_microsecond()),
        resume_until_us: until.map(|until| until.as_microsecond()),
        ack_samples: row.ack_samples,
        ack_metered: row.ack_metered,
        away: 1,
        left_for_good: 0,
        settings: None,
    }
}

fn event(row: &SessionRow, now: Timestamp) -> UsageEvent {
    UsageEvent {
        session_id: row.id.clone(),
        mark_samples: row.booked_samples,
        mark_tokens: row.booked_input_tokens + row.booked_output_tokens,
        license_id: row.license_id.clone(),
        key_id: row.key_id.clone(),
        model: row.model.clone(),
        samples: row.booked_samples - row.recorded_samples,
        input_tokens: row.booked_input_tokens - row.recorded_input_tokens,
        output_tokens: row.booked_output_tokens - row.recorded_output_tokens,
        occurred_at_us: now.as_microsecond(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_that_was_watched_counts() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        let known = |seen| vec![("a".to_owned(), seen)];
        assert!(watch.look(&known(1), after(0)).is_empty());
        assert!(watch.look(&known(1), after(5)).is_empty());
        assert!(watch.look(&known(2), after(10)).is_empty(), "heard again");
        assert!(watch.look(&known(2), after(15)).is_empty());
        assert!(watch.look(&known(2), after(20)).is_empty());
        assert_eq!(watch.look(&known(2), after(25)), known(2));
        // The store was away: everybody was silent.
        assert!(watch.look(&known(2), after(90)).is_empty());
        assert!(watch.look(&known(2), after(95)).is_empty());
        assert!(watch.look(&known(2), after(100)).is_empty());
        assert_eq!(watch.look(&known(2), after(105)), known(2));
    }
}
