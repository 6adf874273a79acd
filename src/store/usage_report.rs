//! The sentences that sum up what was used. Live sessions' usage that has no row in the ledger yet is added.

use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Text};

use super::backend::{AnyConnection, MultiBackend};
use super::retention;
use super::usage_span::{self, Detail, Piece, Source};
use super::usage_sums::{DAY_US, QUARTER_US};
use crate::error::Error;

/// What is summed, and how.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// From then on.
    pub start_us: i64,
    /// Before then.
    pub end_us: i64,
    /// By days of local time: since when it has which offset, microseconds ahead of UTC, the first from the beginning
    /// on. Empty where days are not told apart.
    pub offsets: Vec<(i64, i64)>,
    /// By model.
    pub by_model: bool,
    /// By license.
    pub by_license: bool,
    /// By API key.
    pub by_key: bool,
    /// Whose usage alone.
    pub only: Only,
}

/// What usage is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Only {
    /// One license's.
    pub license_id: Option<String>,
    /// One key's; empty: without a key.
    pub key_id: Option<String>,
    /// One model's.
    pub model: Option<String>,
}

impl Only {
    /// Conditions on a table with such columns, each with its parameter's number in the order of [`Only::values`].
    fn conditions(&self, key_id: &str) -> String {
        let mut conditions = String::new();
        let mut number = 0;
        let mut add = |condition: &str| {
            number += 1;
            conditions.push_str(&condition.replace('?', &format!("${number}")));
        };
        if self.license_id.is_some() {
            add(" AND license_id = ?");
        }
        match self.key_id.as_deref() {
            None => {}
            Some("") => add(&format!(" AND {key_id} = ?")),
            // The license leads to it.
            Some(_) => {
                add(&format!(" AND {key_id} = ? AND license_id = (SELECT license_id FROM api_keys WHERE id = ?)"));
            }
        }
        if self.model.is_some() {
            add(" AND model = ?");
        }
        conditions
    }

    fn values(&self) -> impl Iterator<Item = &String> {
        [&self.license_id, &self.key_id, &self.model].into_iter().flatten()
    }
}

/// One sum; what was not asked for is 0 or empty, and so is the key of usage without one.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Sum {
    /// The day's number since 1970, in local time.
    #[diesel(sql_type = BigInt)]
    pub day: i64,
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
    /// Of the input tokens, cached.
    #[diesel(sql_type = BigInt)]
    pub cached_tokens: i64,
    /// Of the output tokens, reasoning.
    #[diesel(sql_type = BigInt)]
    pub reasoning_tokens: i64,
    /// HTTP calls.
    #[diesel(sql_type = BigInt)]
    pub requests: i64,
    /// Sessions that began.
    #[diesel(sql_type = BigInt)]
    pub sessions: i64,
}

/// The sums of recorded usage, of live usage that is not recorded yet (as of `now_us`), and of sessions begun.
/// Several rows may speak of the same group. Where rows are gone, a span that begins or ends within a quarter of an
/// hour has the whole of it: `question` says then what was summed.
///
/// # Errors
/// The store's.
pub fn sums(connection: &mut AnyConnection, question: &mut Question, now_us: i64) -> Result<Vec<Sum>, Error> {
    let kept_from_us = retention::kept_from(connection)?;
    if question.start_us < kept_from_us {
        question.start_us = usage_span::down(question.start_us, QUARTER_US);
    }
    if question.end_us < kept_from_us {
        question.end_us = usage_span::up(question.end_us, QUARTER_US);
    }
    let goes_on = (question.start_us..question.end_us).contains(&now_us);
    // Nothing is later than now: the whole of the last day is asked for.
    let end_us = if goes_on { usage_span::up(question.end_us, DAY_US) } else { question.end_us };
    let only = &question.only;
    let detail = Detail {
        models: question.by_model || only.model.is_some(),
        licenses: question.by_license || only.license_id.is_some(),
        keys: question.by_key || only.key_id.is_some(),
    };
    let pieces = usage_span::pieces(question.start_us, end_us, &question.offsets, detail);
    let mut parts: Vec<String> = pieces.iter().flat_map(|piece| read(question, piece)).collect();
    if goes_on {
        parts.push(unrecorded(question, now_us));
    }
    let statement = diesel::sql_query(parts.join(" UNION ALL ")).into_boxed();
    let bind = |statement: BoxedSqlQuery<'static, MultiBackend, SqlQuery>, value: &String| {
        statement.bind::<Text, _>(value.clone())
    };
    Ok(only.values().fold(statement, bind).load(connection)?)
}

/// The statements that sum up a piece.
fn read(question: &Question, piece: &Piece) -> Vec<String> {
    const USED: [&str; 6] =
        ["samples", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "requests"];
    let (from, to) = (piece.from_us, piece.to_us);
    match piece.source {
        Source::Sums(grain) => {
            let span = format!("grain = '{}' AND start_us >= {from} AND start_us < {to}", grain.word());
            let only = question.only.conditions("key_id");
            let counts = counts(|name| Some(name.to_owned()));
            let groups = groups(question, &day("start_us", piece), "key_id");
            vec![format!("SELECT {groups}, {counts} FROM usage_sums WHERE {span}{only} GROUP BY 1, 2, 3, 4")]
        }
        Source::Rows => {
            let key_id = "COALESCE(key_id, '')";
            let only = question.only.conditions(key_id);
            let rows = |table: &str, time: &str, counts: &str| {
                let groups = groups(question, &day(time, piece), key_id);
                let span = format!("{time} >= {from} AND {time} < {to}");
                format!("SELECT {groups}, {counts} FROM {table} WHERE {span}{only} GROUP BY 1, 2, 3, 4")
            };
            let used = counts(|name| USED.contains(&name).then(|| name.to_owned()));
            let begun = counts(|name| (name == "sessions").then(|| "1".to_owned()));
            vec![rows("usage_events", "occurred_at_us", &used), rows("sessions", "started_at_us", &begun)]
        }
    }
}

fn unrecorded(question: &Question, now_us: i64) -> String {
    let offset =
        question.offsets.iter().rev().find(|(since_us, _)| *since_us <= now_us).map_or(0, |(_, offset)| *offset);
    let day = (now_us + offset).div_euclid(DAY_US).to_string();
    let counts = counts(|name| match name {
        "samples" | "input_tokens" | "output_tokens" => Some(format!("booked_{name} - recorded_{name}")),
        _ => None,
    });
    let key_id = "COALESCE(key_id, '')";
    let (groups, only) = (groups(question, &day, key_id), question.only.conditions(key_id));
    format!("SELECT {groups}, {counts} FROM sessions WHERE status = 'live'{only} GROUP BY 1, 2, 3, 4")
}

/// The sums' columns, by what each adds up; 0 where there is nothing.
fn counts(summed: impl Fn(&str) -> Option<String>) -> String {
    const NAMES: [&str; 7] =
        ["samples", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "requests", "sessions"];
    let column = |name: &str| {
        let sum = summed(name).map_or_else(|| "0".to_owned(), |what| format!("SUM({what})"));
        format!("CAST({sum} AS BIGINT) AS {name}")
    };
    NAMES.map(column).join(", ")
}

/// The number of a time's local day.
fn day(time: &str, piece: &Piece) -> String {
    format!("({time} + ({})) / {DAY_US}", piece.offset_us)
}

/// The four columns that tell groups apart, constant where they were not asked for.
fn groups(question: &Question, day: &str, key_id: &str) -> String {
    let column = |wanted: bool, name: &str, text: &str| {
        if wanted { format!("{text} AS {name}") } else { format!("CAST('' AS TEXT) AS {name}") }
    };
    let day = if question.offsets.is_empty() { "0" } else { day };
    [
        format!("CAST({day} AS BIGINT) AS day"),
        column(question.by_model, "model", "model"),
        column(question.by_license, "license_id", "license_id"),
        column(question.by_key, "key_id", key_id),
    ]
    .join(", ")
}
