//! The sentences of the usage ledger: sessions' marks, budgets' balances, append-only usage rows.
//!
//! Each function is one set-based statement, or one guarded `UPDATE`; `quota::ledger` puts them
//! together in one transaction.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::backend::AnyConnection;
use super::record_set::{json, record_set};
use super::schema::{budgets, sessions, usage_events};
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
            diesel::sql_query("SELECT pg_advisory_xact_lock(5500641207338855795)").execute(postgres)?
        }
        AnyConnection::Sqlite(sqlite) => {
            diesel::sql_query("UPDATE sessions SET status = status WHERE id = ''").execute(sqlite)?
        }
    };
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

/// Adds a session.
///
/// # Errors
/// The store's; `Conflict` when the id is taken.
pub fn open_session(connection: &mut AnyConnection, session: &NewSession) -> Result<(), Error> {
    diesel::insert_into(sessions::table).values(session).execute(connection)?;
    Ok(())
}

/// What a license's budgets of one unit allow together.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct BudgetRow {
    /// Budget id.
    pub id: String,
    /// Whose it is.
    pub license_id: String,
    /// `audio_seconds`, `tokens` or `requests`.
    pub unit: String,
    /// Window, e.g. `1d`.
    pub window_span: String,
    /// The window's time zone.
    pub tz: String,
    /// Limit in units (audio: samples).
    pub limit_units: i64,
    /// Used and booked.
    pub used_units: i64,
    /// Held by leases.
    pub reserved_units: i64,
    /// The period's start.
    pub period_start_us: i64,
    /// The period's end; none for a lifetime.
    pub period_end_us: Option<i64>,
}

type BudgetColumns = (
    budgets::id,
    budgets::license_id,
    budgets::unit,
    budgets::window_span,
    budgets::tz,
    budgets::limit_units,
    budgets::used_units,
    budgets::reserved_units,
    budgets::period_start_us,
    budgets::period_end_us,
);

const BUDGET_COLUMNS: BudgetColumns = (
    budgets::id,
    budgets::license_id,
    budgets::unit,
    budgets::window_span,
    budgets::tz,
    budgets::limit_units,
    budgets::used_units,
    budgets::reserved_units,
    budgets::period_start_us,
    budgets::period_end_us,
);

/// The budgets of these licenses, every unit.
///
/// # Errors
/// The store's.
pub fn budgets_of(connection: &mut AnyConnection, license_ids: &[String]) -> Result<Vec<BudgetRow>, Error> {
    Ok(budgets::table.filter(budgets::license_id.eq_any(license_ids)).select(BUDGET_COLUMNS).load(connection)?)
}

/// Budgets whose period is over at `now_us`.
///
/// # Errors
/// The store's.
pub fn budgets_due(connection: &mut AnyConnection, now_us: i64) -> Result<Vec<BudgetRow>, Error> {
    Ok(budgets::table.filter(budgets::period_end_us.le(now_us)).select(BUDGET_COLUMNS).load(connection)?)
}

/// Starts a budget's next period, unless somebody did already.
///
/// # Errors
/// The store's.
pub fn start_period(
    connection: &mut AnyConnection,
    budget: &BudgetRow,
    start_us: i64,
    end_us: Option<i64>,
) -> Result<(), Error> {
    diesel::update(
        budgets::table.filter(budgets::id.eq(&budget.id)).filter(budgets::period_end_us.eq(budget.period_end_us)),
    )
    .set((budgets::used_units.eq(0), budgets::period_start_us.eq(start_us), budgets::period_end_us.eq(end_us)))
    .execute(connection)?;
    Ok(())
}

/// What a license's sessions used and gave back since the last time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Charge {
    /// Whose budgets.
    pub license_id: String,
    /// Newly used, in units.
    pub used: i64,
    /// Change of what leases hold; mostly negative.
    pub reserved: i64,
}

/// Books charges on every budget of `unit`, whatever its limit: the usage has happened.
///
/// # Errors
/// The store's.
pub fn charge(connection: &mut AnyConnection, unit: &str, charges: &[Charge]) -> Result<(), Error> {
    if charges.is_empty() {
        return Ok(());
    }
    let rows = record_set(connection, &[("license_id", "text"), ("used", "bigint"), ("reserved", "bigint")]);
    let statement = format!(
        "{rows} UPDATE budgets SET used_units = used_units + v.used, \
         reserved_units = CASE WHEN reserved_units + v.reserved < 0 THEN 0 ELSE reserved_units + v.reserved END \
         FROM v WHERE budgets.license_id = v.license_id AND budgets.unit = $2"
    );
    diesel::sql_query(statement).bind::<Text, _>(json(charges)?).bind::<Text, _>(unit).execute(connection)?;
    Ok(())
}

/// Books usage of `(unit, units)` on the license's budgets whose period had begun at `at_us`, whatever their limit.
///
/// # Errors
/// The store's.
pub fn charge_late(
    connection: &mut AnyConnection,
    license_id: &str,
    (unit, units): (&str, i64),
    at_us: i64,
) -> Result<(), Error> {
    let begun = budgets::table.filter(budgets::license_id.eq(license_id)).filter(budgets::unit.eq(unit));
    let begun = begun.filter(budgets::period_start_us.le(at_us));
    diesel::update(begun).set(budgets::used_units.eq(budgets::used_units + units)).execute(connection)?;
    Ok(())
}

/// Takes `units` from every budget of the license at once, or from none: true if every guard held.
/// A budget lets its last unit be passed by `overshoot` units at most.
///
/// # Errors
/// The store's.
pub fn reserve(
    connection: &mut AnyConnection,
    license_id: &str,
    units: i64,
    overshoot: i64,
    budget_count: usize,
) -> Result<bool, Error> {
    let taken = connection.transaction(|connection| {
        let guarded = budgets::table
            .filter(budgets::license_id.eq(license_id))
            .filter(budgets::unit.eq("audio_seconds"))
            .filter((budgets::used_units + budgets::reserved_units).lt(budgets::limit_units))
            .filter((budgets::used_units + budgets::reserved_units + units - overshoot).le(budgets::limit_units));
        let taken = diesel::update(guarded)
            .set(budgets::reserved_units.eq(budgets::reserved_units + units))
            .execute(connection)?;
        if taken == budget_count { Ok(()) } else { Err(diesel::result::Error::RollbackTransaction) }
    });
    match taken {
        Ok(()) => Ok(true),
        Err(diesel::result::Error::RollbackTransaction) => Ok(false),
        Err(error) => Err(error.into()),
    }
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

/// Appends a usage row; the primary key keeps the same usage from being recorded twice.
///
/// # Errors
/// The store's; `Conflict` when this mark is recorded already.
pub fn append(connection: &mut AnyConnection, event: &UsageEvent) -> Result<(), Error> {
    diesel::insert_into(usage_events::table).values(event).execute(connection)?;
    Ok(())
}

/// Sums of a license's leases, to start a new budget from.
///
/// # Errors
/// The store's.
pub fn leased_now(connection: &mut AnyConnection, license_id: &str) -> Result<i64, Error> {
    use diesel::dsl::sql;
    let held: Option<i64> = sessions::table
        .filter(sessions::license_id.eq(license_id))
        .filter(sessions::status.eq("live"))
        .select(sql::<diesel::sql_types::Nullable<BigInt>>("CAST(SUM(leased_samples - booked_samples) AS BIGINT)"))
        .first(connection)?;
    let kept = super::cushions::of_licenses(connection, &[license_id.to_owned()])?;
    Ok(held.unwrap_or(0) + kept.iter().map(|(_, units)| units).sum::<i64>())
}
