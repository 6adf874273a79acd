//! Settles what crashed instances have left behind, from the last durable point: their usage is recorded,
//! and what their leases held goes back to the budgets.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::error::Error;
use crate::store::accounting::{self, Advance, Charge, UsageEvent};
use crate::store::backend::AnyConnection;
use crate::store::instances::{self, LeftBehind};

/// How often an instance says that it is there, and looks after the others.
pub const EVERY: Duration = Duration::from_secs(5);
/// An instance that was not seen for so long is gone.
pub const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Says that this instance is there, and settles the sessions of those that were last seen before
/// `seen_before`. Returns how many. Blocks.
///
/// # Errors
/// `StorageUnavailable`; nothing is changed then.
pub fn heal(
    connection: &mut AnyConnection,
    instance_id: &str,
    seen_before: Timestamp,
    now: Timestamp,
) -> Result<usize, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        instances::forget(connection, seen_before.as_microsecond())?;
        instances::see(connection, instance_id, now.as_microsecond())?;
        let rows = instances::left_behind(connection)?;
        let held = |row: &LeftBehind| Charge {
            license_id: row.license_id.clone(),
            used: 0,
            reserved: row.booked - row.leased,
        };
        for row in &rows {
            // One at a time: a license may have several, and a set would count only one of them.
            accounting::charge(connection, "audio_seconds", &[held(row)])?;
        }
        let ends: Vec<Advance> = rows.iter().map(|row| end(row, now)).collect();
        accounting::advance(connection, &ends)?;
        for row in rows.iter().filter(|row| unrecorded(row)) {
            accounting::append(connection, &event(row, now))?;
        }
        Ok(rows.len())
    })
}

fn unrecorded(row: &LeftBehind) -> bool {
    (row.booked, row.input_tokens, row.output_tokens) != (row.recorded, row.recorded_input, row.recorded_output)
}

fn end(row: &LeftBehind, now: Timestamp) -> Advance {
    Advance {
        id: row.id.clone(),
        from_booked: row.booked,
        from_leased: row.leased,
        booked: row.booked,
        leased: row.booked,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        recorded: 1,
        status: "ended",
        end_reason: Some("crashed".to_owned()),
        ended_at_us: Some(now.as_microsecond()),
    }
}

fn event(row: &LeftBehind, now: Timestamp) -> UsageEvent {
    UsageEvent {
        session_id: row.id.clone(),
        mark_samples: row.booked,
        mark_tokens: row.input_tokens + row.output_tokens,
        license_id: row.license_id.clone(),
        key_id: row.key_id.clone(),
        model: row.model.clone(),
        samples: row.booked - row.recorded,
        input_tokens: row.input_tokens - row.recorded_input,
        output_tokens: row.output_tokens - row.recorded_output,
        occurred_at_us: now.as_microsecond(),
    }
}
