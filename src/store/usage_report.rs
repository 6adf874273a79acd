//! The sentences that sum the usage ledger up. Live sessions' usage that has no row there yet is added.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::backend::AnyConnection;
use super::page::Page;
use super::schema::usage_events;
use crate::error::Error;

/// Sums are cut at quarters of an hour, at which the days of every time zone begin.
pub const SLICE_US: i64 = 15 * 60 * 1_000_000;

/// What is summed, and how.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// From then on.
    pub start_us: i64,
    /// Before then.
    pub end_us: i64,
    /// By slices of [`SLICE_US`].
    pub by_time: bool,
    /// By model.
    pub by_model: bool,
    /// By license.
    pub by_license: bool,
    /// By API key.
    pub by_key: bool,
}

/// One sum; what was not asked for is 0 or empty, and so is the key of usage without one.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Sum {
    /// The slice's number since 1970.
    #[diesel(sql_type = BigInt)]
    pub slice: i64,
    /// Model.
    #[diesel(sql_type = Text)]
    pub model: String,
    /// License.
    #[diesel(sql_type = Text)]
    pub license_id: String,
    /// API key.
    #[diesel(sql_type = Text)]
    pub key_id: String,
    /// Audio.
    #[diesel(sql_type = BigInt)]
    pub samples: i64,
    /// Input tokens.
    #[diesel(sql_type = BigInt)]
    pub input_tokens: i64,
    /// Output tokens.
    #[diesel(sql_type = BigInt)]
    pub output_tokens: i64,
    /// Sessions that began.
    #[diesel(sql_type = BigInt)]
    pub sessions: i64,
    /// Of the input tokens, cached.
    #[diesel(sql_type = BigInt)]
    pub cached_tokens: i64,
    /// Of the output tokens, reasoning.
    #[diesel(sql_type = BigInt)]
    pub reasoning_tokens: i64,
    /// HTTP calls.
    #[diesel(sql_type = BigInt)]
    pub requests: i64,
}

/// The sums of recorded usage, of live usage that is not recorded yet (as of `now_us`), and of sessions begun.
/// Several rows may speak of the same group.
///
/// # Errors
/// The store's.
pub fn sums(connection: &mut AnyConnection, question: &Question, now_us: i64) -> Result<Vec<Sum>, Error> {
    let mut rows = recorded(connection, question)?;
    if (question.start_us..question.end_us).contains(&now_us) {
        rows.extend(unrecorded(connection, question, now_us)?);
    }
    rows.extend(begun(connection, question)?);
    Ok(rows)
}

fn recorded(connection: &mut AnyConnection, question: &Question) -> Result<Vec<Sum>, Error> {
    const COUNTS: &str = "CAST(SUM(samples) AS BIGINT) AS samples, CAST(SUM(input_tokens) AS BIGINT) AS input_tokens, \
         CAST(SUM(output_tokens) AS BIGINT) AS output_tokens, CAST(0 AS BIGINT) AS sessions, \
         CAST(SUM(cached_tokens) AS BIGINT) AS cached_tokens, \
         CAST(SUM(reasoning_tokens) AS BIGINT) AS reasoning_tokens, CAST(SUM(requests) AS BIGINT) AS requests";
    let statement = format!(
        "SELECT {}, {COUNTS} FROM usage_events WHERE occurred_at_us >= $1 AND occurred_at_us < $2 GROUP BY 1, 2, 3, 4",
        groups(question, &format!("occurred_at_us / {SLICE_US}"))
    );
    Ok(between(&statement, question).load(connection)?)
}

fn unrecorded(connection: &mut AnyConnection, question: &Question, now_us: i64) -> Result<Vec<Sum>, Error> {
    const COUNTS: &str = "CAST(SUM(booked_samples - recorded_samples) AS BIGINT) AS samples, \
         CAST(SUM(booked_input_tokens - recorded_input_tokens) AS BIGINT) AS input_tokens, \
         CAST(SUM(booked_output_tokens - recorded_output_tokens) AS BIGINT) AS output_tokens, \
         CAST(0 AS BIGINT) AS sessions, CAST(0 AS BIGINT) AS cached_tokens, \
         CAST(0 AS BIGINT) AS reasoning_tokens, CAST(0 AS BIGINT) AS requests";
    let slice = now_us.div_euclid(SLICE_US).to_string();
    let statement = format!(
        "SELECT {}, {COUNTS} FROM sessions WHERE status = 'live' GROUP BY 1, 2, 3, 4",
        groups(question, &slice)
    );
    Ok(diesel::sql_query(statement).load(connection)?)
}

fn begun(connection: &mut AnyConnection, question: &Question) -> Result<Vec<Sum>, Error> {
    const COUNTS: &str = "CAST(0 AS BIGINT) AS samples, CAST(0 AS BIGINT) AS input_tokens, \
         CAST(0 AS BIGINT) AS output_tokens, COUNT(*) AS sessions, CAST(0 AS BIGINT) AS cached_tokens, \
         CAST(0 AS BIGINT) AS reasoning_tokens, CAST(0 AS BIGINT) AS requests";
    let statement = format!(
        "SELECT {}, {COUNTS} FROM sessions WHERE started_at_us >= $1 AND started_at_us < $2 GROUP BY 1, 2, 3, 4",
        groups(question, &format!("started_at_us / {SLICE_US}"))
    );
    Ok(between(&statement, question).load(connection)?)
}

/// The four columns that tell groups apart, constant where they were not asked for.
fn groups(question: &Question, slice: &str) -> String {
    let column = |wanted: bool, name: &str, text: &str| {
        if wanted { format!("{text} AS {name}") } else { format!("CAST('' AS TEXT) AS {name}") }
    };
    let slice = if question.by_time { slice } else { "0" };
    [
        format!("CAST({slice} AS BIGINT) AS slice"),
        column(question.by_model, "model", "model"),
        column(question.by_license, "license_id", "license_id"),
        column(question.by_key, "key_id", "COALESCE(key_id, '')"),
    ]
    .join(", ")
}

fn between(
    statement: &str,
    question: &Question,
) -> diesel::query_builder::BoxedSqlQuery<'static, super::backend::MultiBackend, diesel::query_builder::SqlQuery> {
    diesel::sql_query(statement.to_owned())
        .into_boxed()
        .bind::<BigInt, _>(question.start_us)
        .bind::<BigInt, _>(question.end_us)
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = usage_events)]
pub struct Event {
    /// The session.
    pub session_id: String,
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

/// One page of the ledger, one row more than the page holds when there are more. A session has one row at a time.
///
/// # Errors
/// The store's.
pub fn events(connection: &mut AnyConnection, license_id: Option<&str>, page: &Page) -> Result<Vec<Event>, Error> {
    use usage_events::{occurred_at_us, session_id};
    let mut query = usage_events::table.into_boxed();
    if let Some(license_id) = license_id {
        query = query.filter(usage_events::license_id.eq(license_id.to_owned()));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            query.filter(occurred_at_us.lt(time_us).or(occurred_at_us.eq(time_us).and(session_id.lt(id))))
        } else {
            query.filter(occurred_at_us.gt(time_us).or(occurred_at_us.eq(time_us).and(session_id.gt(id))))
        };
    }
    query = if page.newest_first {
        query.order((occurred_at_us.desc(), session_id.desc()))
    } else {
        query.order((occurred_at_us.asc(), session_id.asc()))
    };
    Ok(query.limit(page.limit + 1).select(Event::as_select()).load(connection)?)
}
