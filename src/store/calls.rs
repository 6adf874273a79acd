//! The sentences about HTTP calls in the usage ledger: a row for each call, under the call's own id.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::record_set::{self, record_set};
use super::schema::usage_events;
use super::usage_sums::{self, Counts, Used};
use crate::error::Error;

/// One call that was answered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallRow {
    /// `call_…`
    pub id: String,
    /// Who pays.
    pub license_id: String,
    /// The API key.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// Which kind of call, e.g. `chat`.
    pub route: String,
    /// The upstream account that answered.
    pub account: Option<String>,
    /// Tokens in, cached ones too.
    pub input_tokens: i64,
    /// Of these, cached.
    pub cached_tokens: i64,
    /// Tokens out, reasoning too.
    pub output_tokens: i64,
    /// Of these, reasoning.
    pub reasoning_tokens: i64,
    /// `upstream`, `estimated` or `unavailable`.
    pub usage_source: String,
    /// When it was answered.
    pub occurred_at_us: i64,
}

impl<'a> From<&'a CallRow> for Used<'a> {
    fn from(call: &'a CallRow) -> Self {
        Self {
            at_us: call.occurred_at_us,
            license_id: &call.license_id,
            key_id: call.key_id.as_deref().unwrap_or_default(),
            model: &call.model,
            counts: Counts {
                input_tokens: call.input_tokens,
                output_tokens: call.output_tokens,
                cached_tokens: call.cached_tokens,
                reasoning_tokens: call.reasoning_tokens,
                requests: 1,
                ..Counts::default()
            },
        }
    }
}

/// Appends rows, and adds them to the sums; the primary key keeps a call from being recorded twice.
///
/// # Errors
/// The store's; `Conflict` when one is recorded already.
pub fn append(connection: &mut AnyConnection, rows: &[CallRow]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let set = record_set(
        connection,
        &[
            ("id", "text"),
            ("license_id", "text"),
            ("key_id", "text"),
            ("model", "text"),
            ("route", "text"),
            ("account", "text"),
            ("input_tokens", "bigint"),
            ("cached_tokens", "bigint"),
            ("output_tokens", "bigint"),
            ("reasoning_tokens", "bigint"),
            ("usage_source", "text"),
            ("occurred_at_us", "bigint"),
        ],
    );
    let statement = format!(
        "{set} INSERT INTO usage_events (session_id, mark_samples, mark_tokens, license_id, key_id, model, samples, \
         input_tokens, output_tokens, occurred_at_us, requests, cached_tokens, reasoning_tokens, usage_source, route, \
         account) SELECT id, 0, input_tokens + output_tokens, license_id, key_id, model, 0, input_tokens, \
         output_tokens, occurred_at_us, 1, cached_tokens, reasoning_tokens, usage_source, route, account FROM v"
    );
    record_set::run(connection, &statement, rows)?;
    usage_sums::add(connection, rows.iter().map(Used::from))
}

/// Which of these calls are recorded.
///
/// # Errors
/// The store's.
pub fn recorded(connection: &mut AnyConnection, ids: &[String]) -> Result<Vec<String>, Error> {
    /// SQLite takes 32,766 variables in one statement.
    const AT_ONCE: usize = 10_000;
    let mut found = Vec::new();
    for some in ids.chunks(AT_ONCE) {
        let rows = usage_events::table.filter(usage_events::session_id.eq_any(some));
        let rows: Vec<String> = rows.select(usage_events::session_id).load(connection)?;
        found.extend(rows);
    }
    Ok(found)
}
