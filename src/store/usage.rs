//! The sentences of the usage ledger: append-only rows of what sessions used.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::usage_events;
use super::usage_sums::{self, Counts, Used};
use crate::error::Error;

/// A row of the usage ledger.
#[derive(Debug, Clone, PartialEq, Eq, Insertable)]
#[diesel(table_name = usage_events)]
pub struct UsageEvent {
    /// The session.
    pub session_id: String,
    /// Its mark after this row, samples.
    pub mark_samples: i64,
    /// Likewise, tokens in and out.
    pub mark_tokens: i64,
    /// Who pays.
    pub license_id: String,
    /// The API key.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// Samples since the row before.
    pub samples: i64,
    /// Input tokens since the row before.
    pub input_tokens: i64,
    /// Output tokens since the row before.
    pub output_tokens: i64,
    /// When it was written.
    pub occurred_at_us: i64,
}

impl<'a> From<&'a UsageEvent> for Used<'a> {
    fn from(event: &'a UsageEvent) -> Self {
        Self {
            at_us: event.occurred_at_us,
            license_id: &event.license_id,
            key_id: event.key_id.as_deref().unwrap_or_default(),
            model: &event.model,
            counts: Counts {
                samples: event.samples,
                input_tokens: event.input_tokens,
                output_tokens: event.output_tokens,
                ..Counts::default()
            },
        }
    }
}

/// Appends usage rows, and adds them to the sums; the primary key keeps the same usage from being recorded twice.
///
/// # Errors
/// The store's; `Conflict` when one of these marks is recorded already.
pub fn append(connection: &mut AnyConnection, events: &[UsageEvent]) -> Result<(), Error> {
    for event in events {
        diesel::insert_into(usage_events::table).values(event).execute(connection)?;
    }
    usage_sums::add(connection, events.iter().map(Used::from))
}
