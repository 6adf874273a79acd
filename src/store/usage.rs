//! The sentences of the usage ledger: rows of what was used, appended and read.

use diesel::prelude::*;

use super::backend::{AnyConnection, MultiBackend};
use super::page::Page;
use super::schema::usage_events;
use super::usage_report::Only;
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

/// A row as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = usage_events)]
pub struct Event {
    /// The session, or the call.
    pub session_id: String,
    /// The session's mark after this row, samples.
    pub mark_samples: i64,
    /// Likewise, tokens in and out.
    pub mark_tokens: i64,
    /// Who pays.
    pub license_id: String,
    /// The API key.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// Audio since the row before.
    pub samples: i64,
    /// Input tokens since the row before.
    pub input_tokens: i64,
    /// Output tokens since the row before.
    pub output_tokens: i64,
    /// When it was written.
    pub occurred_at_us: i64,
    /// HTTP calls: 1 or 0.
    pub requests: i64,
    /// Of the input tokens, cached.
    pub cached_tokens: i64,
    /// Of the output tokens, reasoning.
    pub reasoning_tokens: i64,
    /// `upstream`, `estimated` or `unavailable`.
    pub usage_source: String,
    /// `realtime`, or which kind of call.
    pub route: String,
    /// The upstream account of a call.
    pub account: Option<String>,
}

/// A row's place in the order of time: no two rows have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// When it was written.
    pub occurred_at_us: i64,
    /// The session, or the call.
    pub session_id: String,
    /// Its mark, samples.
    pub mark_samples: i64,
    /// Its mark, tokens.
    pub mark_tokens: i64,
}

/// Which rows are read.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Whose.
    pub only: Only,
    /// From then on.
    pub start_us: Option<i64>,
    /// Before then.
    pub end_us: Option<i64>,
}

/// The page of the ledger that begins after a place; one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn events(
    connection: &mut AnyConnection,
    filter: &Filter,
    after: Option<&Place>,
    page: &Page,
) -> Result<Vec<Event>, Error> {
    use usage_events::{mark_samples, mark_tokens, occurred_at_us, session_id};
    let mut query = narrowed(filter);
    if let Some(place) = after.cloned() {
        let (time_us, id, samples) = (place.occurred_at_us, place.session_id, place.mark_samples);
        // The first condition says no more than the others: an index serves it.
        query = if page.newest_first {
            let mark = mark_samples.lt(samples).or(mark_samples.eq(samples).and(mark_tokens.lt(place.mark_tokens)));
            let tie = session_id.lt(id.clone()).or(session_id.eq(id).and(mark));
            query.filter(occurred_at_us.le(time_us)).filter(occurred_at_us.lt(time_us).or(tie))
        } else {
            let mark = mark_samples.gt(samples).or(mark_samples.eq(samples).and(mark_tokens.gt(place.mark_tokens)));
            let tie = session_id.gt(id.clone()).or(session_id.eq(id).and(mark));
            query.filter(occurred_at_us.ge(time_us)).filter(occurred_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((occurred_at_us.desc(), session_id.desc(), mark_samples.desc(), mark_tokens.desc()))
    } else {
        query.order((occurred_at_us, session_id, mark_samples, mark_tokens))
    };
    Ok(query.limit(page.limit + 1).select(Event::as_select()).load(connection)?)
}

fn narrowed(filter: &Filter) -> usage_events::BoxedQuery<'static, MultiBackend> {
    use usage_events::{key_id, license_id, model, occurred_at_us};
    let mut query = usage_events::table.into_boxed();
    if let Some(id) = filter.only.license_id.clone() {
        query = query.filter(license_id.eq(id));
    }
    query = match filter.only.key_id.clone() {
        None => query,
        Some(id) if id.is_empty() => query.filter(key_id.is_null()),
        Some(id) => query.filter(key_id.eq(id)),
    };
    if let Some(name) = filter.only.model.clone() {
        query = query.filter(model.eq(name));
    }
    if let Some(start_us) = filter.start_us {
        query = query.filter(occurred_at_us.ge(start_us));
    }
    if let Some(end_us) = filter.end_us {
        query = query.filter(occurred_at_us.lt(end_us));
    }
    query
}
