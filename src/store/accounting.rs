//! The sentences of the ledger: whose turn it is, and sessions' marks.
//!
//! Each function is one set-based statement, or one guarded `UPDATE`; `quota::ledger` puts them
//! together in one transaction.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::backend::AnyConnection;
use super::record_set::{json, record_set};
use super::schema::sessions;
use super::usage_sums::{self, Counts, Used};
use crate::error::Error;

/// Runs `work` in one transaction; an error rolls it back.
///
/// # Errors
/// What `work` returns, or the store's failure to commit.
pub fn transaction<T>(
    connection: &mut AnyConnection,
    work: impl FnOnce(&mut AnyConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut failed = None;
    let done = connection.transaction(|connection| work(connection).inspect_err(|error| failed = Some(error.clone())));
    // A full disk ends SQLite's transaction by itself; that there is nothing to roll back then is no news.
    done.map_err(|error| failed.unwrap_or(error))
}

/// Lets one instance at a time settle accounts on a shared store, until the transaction ends.
/// SQLite has one writer at a time: there a write that touches no row takes its place in the queue,
/// since a transaction that begins by reading would be refused when it comes to write.
///
/// # Errors
/// The store's.
pub fn lock_ledger(connection: &mut AnyConnection) -> Result<(), Error> {
    match connection {
        AnyConnection::Postgres(postgres) => {
            postgres.batch_execute("SELECT pg_advisory_xact_lock(5500641207338855795)")?;
        }
        AnyConnection::Sqlite(sqlite) => {
            diesel::sql_query("UPDATE sessions SET status = status WHERE id = ''").execute(sqlite)?;
        }
    }
    Ok(())
}

/// A session's row as it begins.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = sessions)]
pub struct NewSession {
    /// Session id.
    pub id: String,
    /// Whose budget it uses.
    pub license_id: String,
    /// The API key it came with.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// The process that holds it.
    pub instance_id: String,
    /// `live`.
    pub status: String,
    /// When it was admitted.
    pub started_at_us: i64,
    /// Hash of its resume token, if it is resumable.
    pub resume_hash: Option<String>,
}

impl<'a> From<&'a NewSession> for Used<'a> {
    fn from(session: &'a NewSession) -> Self {
        Self {
            at_us: session.started_at_us,
            license_id: &session.license_id,
            key_id: session.key_id.as_deref().unwrap_or_default(),
            model: &session.model,
            counts: Counts { sessions: 1, ..Counts::default() },
        }
    }
}

/// Adds sessions, and counts them in the sums.
///
/// # Errors
/// The store's; `Conflict` when an id is taken.
pub fn open_sessions(connection: &mut AnyConnection, sessions: &[NewSession]) -> Result<(), Error> {
    for session in sessions {
        diesel::insert_into(sessions::table).values(session).execute(connection)?;
    }
    usage_sums::add(connection, sessions.iter().map(Used::from))
}

/// A session's account from one state to the next.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Advance {
    /// The session.
    pub id: String,
    /// The epoch that the row must have: whoever took the session over has raised it.
    pub epoch: i64,
    /// The mark that the row must have.
    pub from_booked: i64,
    /// The lease that the row must have.
    pub from_leased: i64,
    /// The new high-water mark, samples.
    pub booked: i64,
    /// The new lease, samples: never below `booked`.
    pub leased: i64,
    /// Input tokens of the session so far.
    pub input_tokens: i64,
    /// Output tokens of the session so far.
    pub output_tokens: i64,
    /// Whether a usage row is written: what is booked is then recorded.
    pub recorded: i64,
    /// `live`, `parked` or `ended`.
    pub status: &'static str,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// When it ended.
    pub ended_at_us: Option<i64>,
    /// Until when a parked session can be resumed.
    pub resume_until_us: Option<i64>,
    /// Done up to here, samples at the client's rate.
    pub ack_samples: i64,
    /// Likewise, metered samples.
    pub ack_metered: i64,
    /// 1: no client is attached.
    pub away: i64,
    /// 1: its client won't come back; it can't be resumed any more.
    pub left_for_good: i64,
    /// What the client has set; `None` leaves it as it is.
    pub settings: Option<String>,
}

/// Moves sessions' rows on; returns how many were in the state that the advance starts from.
///
/// # Errors
/// The store's.
pub fn advance(connection: &mut AnyConnection, advances: &[Advance], now_us: i64) -> Result<usize, Error> {
    if advances.is_empty() {
        return Ok(0);
    }
    let rows = record_set(
        connection,
        &[
            ("id", "text"),
            ("epoch", "bigint"),
            ("from_booked", "bigint"),
            ("from_leased", "bigint"),
            ("booked", "bigint"),
            ("leased", "bigint"),
            ("input_tokens", "bigint"),
            ("output_tokens", "bigint"),
            ("recorded", "bigint"),
            ("status", "text"),
            ("end_reason", "text"),
            ("ended_at_us", "bigint"),
            ("resume_until_us", "bigint"),
            ("ack_samples", "bigint"),
            ("ack_metered", "bigint"),
            ("away", "bigint"),
            ("left_for_good", "bigint"),
            ("settings", "text"),
        ],
    );
    let statement = format!(
        "{rows} UPDATE sessions SET booked_samples = v.booked, leased_samples = v.leased, \
         booked_input_tokens = v.input_tokens, booked_output_tokens = v.output_tokens, \
         recorded_samples = CASE WHEN v.recorded = 1 THEN v.booked ELSE recorded_samples END, \
         recorded_input_tokens = CASE WHEN v.recorded = 1 THEN v.input_tokens ELSE recorded_input_tokens END, \
         recorded_output_tokens = CASE WHEN v.recorded = 1 THEN v.output_tokens ELSE recorded_output_tokens END, \
         status = v.status, end_reason = v.end_reason, ended_at_us = v.ended_at_us, \
         resume_until_us = v.resume_until_us, ack_samples = v.ack_samples, ack_metered = v.ack_metered, \
         away_since_us = CASE WHEN v.away = 1 THEN COALESCE(away_since_us, $2) ELSE NULL END, \
         settings = CASE WHEN v.status = 'ended' THEN NULL ELSE COALESCE(v.settings, sessions.settings) END, \
         resume_hash = CASE WHEN v.status = 'ended' OR v.left_for_good = 1 THEN NULL ELSE resume_hash END \
         FROM v WHERE sessions.id = v.id AND sessions.epoch = v.epoch AND sessions.booked_samples = v.from_booked \
         AND sessions.leased_samples = v.from_leased AND sessions.status = 'live'"
    );
    let query = diesel::sql_query(statement).bind::<Text, _>(json(advances)?).bind::<BigInt, _>(now_us);
    Ok(query.execute(connection)?)
}
