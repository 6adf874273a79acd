//! The sentences that hold budgets against the ledger: what each says was used and is reserved.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::backend::AnyConnection;
use super::schema::{budget_slices, budgets};
use super::usage_span::up;
use super::usage_sums::{DAY_US, QUARTER_US};
use crate::error::Error;

/// A session's row of usage covers so much time at most, and some more for a slow store.
const ROW_SPAN_US: i64 = 120 * 1_000_000;
/// A session is counted this long after its admission at most, and a call after its answer.
const LATE_US: i64 = 15 * 1_000_000;

/// A budget beside the ledger.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Comparison {
    /// The budget.
    #[diesel(sql_type = Text)]
    pub id: String,
    /// Whose it is.
    #[diesel(sql_type = Text)]
    pub license_id: String,
    /// Whose of its keys it is; [`crate::payer::NO_KEY`] for the license's own.
    #[diesel(sql_type = Text)]
    pub key_id: String,
    /// `audio_seconds`, `tokens` or `requests`.
    #[diesel(sql_type = Text)]
    pub unit: String,
    /// Its window.
    #[diesel(sql_type = Text)]
    pub window_span: String,
    /// `fixed` or `rolling`.
    #[diesel(sql_type = Text)]
    pub window_mode: String,
    /// Since when it counts.
    #[diesel(sql_type = BigInt)]
    pub from_us: i64,
    /// Used, as the budget says.
    #[diesel(sql_type = BigInt)]
    pub used_units: i64,
    /// Reserved, as the budget says.
    #[diesel(sql_type = BigInt)]
    pub reserved_units: i64,
    /// Used since then, as the ledger says: at least.
    #[diesel(sql_type = BigInt)]
    pub least_units: i64,
    /// Likewise, at most: a row may cover the time before, where a period began while sessions were live, or within a
    /// quarter of an hour whose rows are gone.
    #[diesel(sql_type = BigInt)]
    pub most_units: i64,
    /// What leases, cushions and calls hold.
    #[diesel(sql_type = BigInt)]
    pub held_units: i64,
}

impl Comparison {
    /// What the budget should say was used.
    #[must_use]
    pub fn used_by_ledger(&self) -> i64 {
        self.used_units.min(self.most_units).max(self.least_units)
    }

    /// Whether both say the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.used_units == self.used_by_ledger() && self.reserved_units == self.held_units
    }
}

/// Which budgets are compared.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// One license's.
    pub license_id: Option<String>,
    /// Those that agree with the ledger too.
    pub all: bool,
    /// Those after this one, in the order of their ids.
    pub after: String,
    /// So many at most.
    pub most: i64,
    /// What windows that roll count: the window's word, since when, and its length.
    pub rolling: Vec<(&'static str, i64, i64)>,
}

/// Compares budgets with the ledger as it is now, in one statement: nothing is booked in between.
///
/// # Errors
/// The store's.
pub fn compare(connection: &mut AnyConnection, wanted: &Wanted, now_us: i64) -> Result<Vec<Comparison>, Error> {
    // SQLite numbers parameters by where they first appear.
    let (license, most) = if wanted.license_id.is_some() { ("AND license_id = $3", "$4") } else { ("", "$3") };
    let differs = "used_units < least_units OR used_units > most_units OR reserved_units <> held_units";
    let differing = if wanted.all { "TRUE" } else { differs };
    let in_window = "used_units - COALESCE((SELECT SUM(l.used_units) FROM budget_slices AS l \
                     WHERE l.budget_id = budgets.id AND l.leaves_at_us <= $1), 0)";
    let first_quarter = format!("(from_us + {QUARTER_US} - 1) / {QUARTER_US} * {QUARTER_US}");
    let budgets = format!(
        "SELECT *, {first_quarter} AS quarter_us, ({first_quarter} + {DAY_US} - 1) / {DAY_US} * {DAY_US} AS day_us, \
         (SELECT kept_from_us FROM retention_marks WHERE id = 'usage') AS kept_from_us \
         FROM (SELECT id, license_id, key_id, unit, window_span, window_mode, {in_window} AS used_units, \
         reserved_units, {from} AS from_us FROM budgets WHERE id > $2 {license}) AS own",
        from = counted_from(&wanted.rolling)
    );
    let statement = format!(
        "SELECT * FROM (SELECT id, license_id, key_id, unit, window_span, window_mode, from_us, \
         CAST(used_units AS BIGINT) AS used_units, reserved_units, \
         CAST({certain} + {kept} - {straddling} + CASE WHEN from_us < $1 - {ROW_SPAN_US} THEN {live} ELSE 0 END \
         AS BIGINT) AS least_units, CAST({certain} + {kept} + {gone} + {late} + {live} AS BIGINT) AS most_units, \
         CAST({held} AS BIGINT) AS held_units FROM ({budgets}) AS b) AS compared WHERE {differing} \
         ORDER BY id LIMIT {most}",
        certain = certain(),
        kept = kept(),
        gone = gone(),
        straddling = straddling(),
        late = late(),
        live = live(),
        held = held(),
    );
    let query = diesel::sql_query(statement).into_boxed();
    let query = query.bind::<BigInt, _>(now_us).bind::<Text, _>(wanted.after.clone());
    let query = match wanted.license_id.clone() {
        Some(id) => query.bind::<Text, _>(id),
        None => query,
    };
    Ok(query.bind::<BigInt, _>(wanted.most).load(connection)?)
}

/// Sets a budget to what the ledger says. `rolling` is as in [`Wanted`].
///
/// # Errors
/// The store's.
pub fn correct(
    connection: &mut AnyConnection,
    row: &Comparison,
    rolling: &[(&'static str, i64, i64)],
    now_us: i64,
) -> Result<(), Error> {
    let window = rolling.iter().find(|(span, ..)| row.window_mode == "rolling" && *span == row.window_span);
    let used = match window {
        Some((_, _, length_us)) => slice(connection, row, *length_us, now_us)?,
        None => row.used_by_ledger(),
    };
    let to = (budgets::used_units.eq(used), budgets::reserved_units.eq(row.held_units));
    diesel::update(budgets::table.find(&row.id)).set(to).execute(connection)?;
    Ok(())
}

/// Cuts what a rolling budget counts into slices anew, by quarters of an hour: they leave its window when these are
/// out. What has no whole quarter leaves last, so that no window holds more than was allowed. Returns their sum.
fn slice(connection: &mut AnyConnection, row: &Comparison, length_us: i64, now_us: i64) -> Result<i64, Error> {
    use diesel::dsl::{min, sql};
    let own = || budget_slices::table.filter(budget_slices::budget_id.eq(&row.id));
    diesel::delete(own()).execute(connection)?;
    let of = counted("r.samples", "r.input_tokens + r.output_tokens", "r.requests + r.sessions");
    let statement = format!(
        "INSERT INTO budget_slices (budget_id, leaves_at_us, used_units) \
         SELECT b.id, r.start_us + {QUARTER_US} + {length_us}, CAST(SUM({of}) AS BIGINT) \
         FROM budgets AS b JOIN usage_sums AS r ON r.license_id = b.license_id \
         AND (b.key_id = '' OR r.key_id = b.key_id) AND r.grain = 'quarter' AND r.start_us >= $1 \
         WHERE b.id = $2 GROUP BY b.id, r.start_us HAVING SUM({of}) <> 0"
    );
    let first_us = up(row.from_us, QUARTER_US);
    diesel::sql_query(statement).bind::<BigInt, _>(first_us).bind::<Text, _>(&row.id).execute(connection)?;
    let sliced: Option<i64> =
        own().select(sql::<Nullable<BigInt>>("CAST(SUM(used_units) AS BIGINT)")).first(connection)?;
    let rest = row.used_by_ledger() - sliced.unwrap_or(0);
    if rest > 0 {
        let last = (
            budget_slices::budget_id.eq(&row.id),
            budget_slices::leaves_at_us.eq(up(now_us, QUARTER_US) + QUARTER_US + length_us + 1),
            budget_slices::used_units.eq(rest),
        );
        diesel::insert_into(budget_slices::table).values(last).execute(connection)?;
    }
    let next: Option<i64> = own().select(min(budget_slices::leaves_at_us)).first(connection)?;
    diesel::update(budgets::table.find(&row.id)).set(budgets::period_end_us.eq(next)).execute(connection)?;
    Ok(sliced.unwrap_or(0) + rest.max(0))
}

/// Since when a budget counts.
fn counted_from(rolling: &[(&'static str, i64, i64)]) -> String {
    let windows = rolling.iter().map(|(span, from_us, _)| {
        format!("WHEN window_mode = 'rolling' AND window_span = '{span}' AND period_start_us < {from_us} THEN CAST({from_us} AS BIGINT)")
    });
    let windows: Vec<String> = windows.collect();
    if windows.is_empty() {
        "period_start_us".to_owned()
    } else {
        format!("CASE {} ELSE period_start_us END", windows.join(" "))
    }
}

/// Of these columns, what a budget in each unit counts.
fn counted(audio: &str, tokens: &str, requests: &str) -> String {
    format!("CASE b.unit WHEN 'audio_seconds' THEN {audio} WHEN 'tokens' THEN {tokens} ELSE {requests} END")
}

/// The sum of `of` over a budget's own rows `r` of a table: its license's, or its key's.
fn total(of: &str, table: &str, conditions: &str) -> String {
    format!(
        "COALESCE((SELECT SUM({of}) FROM {table} WHERE r.license_id = b.license_id \
         AND (b.key_id = '' OR r.key_id = b.key_id) AND {conditions}), 0)"
    )
}

fn of_sums(grain: &str, span: &str) -> String {
    let of = counted("r.samples", "r.input_tokens + r.output_tokens", "r.requests + r.sessions");
    total(&of, "usage_sums AS r", &format!("r.grain = {grain} AND {span}"))
}

fn of_rows(span: &str) -> String {
    let of = counted("r.samples", "r.input_tokens + r.output_tokens", "r.requests");
    let used = total(&of, "usage_events AS r", &span.replace('?', "r.occurred_at_us"));
    // To sum what names no column of `r` would be to sum up the budgets.
    let began = "CASE WHEN r.id = '' THEN 0 ELSE 1 END";
    let begun = total(&counted("0", "0", began), "sessions AS r", &span.replace('?', "r.started_at_us"));
    format!("{used} + {begun}")
}

/// Whole quarters of an hour, then whole days.
fn certain() -> String {
    let quarters = of_sums("'quarter'", "r.start_us >= b.quarter_us AND r.start_us < b.day_us");
    let grain = "CASE b.key_id WHEN '' THEN 'day_license' ELSE 'day' END";
    format!("{quarters} + {}", of_sums(grain, "r.start_us >= b.day_us"))
}

/// The rows before the first whole quarter of an hour.
fn kept() -> String {
    of_rows("? >= b.from_us AND ? < b.quarter_us AND b.from_us >= b.kept_from_us")
}

/// Where these are gone, the quarter of an hour that they were in.
fn gone() -> String {
    let first = format!("r.start_us = b.quarter_us - {QUARTER_US} AND b.quarter_us > b.from_us");
    of_sums("'quarter'", &format!("{first} AND b.from_us < b.kept_from_us"))
}

/// Rows that sessions wrote soon after the period began, and that may cover what they used before.
fn straddling() -> String {
    let of = counted("r.samples", "r.input_tokens + r.output_tokens", "0");
    let soon = format!("r.occurred_at_us >= b.from_us AND r.occurred_at_us < b.from_us + {ROW_SPAN_US}");
    let began = "s.started_at_us < b.from_us";
    total(&of, "usage_events AS r JOIN sessions AS s ON s.id = r.session_id", &format!("{soon} AND {began}"))
}

/// What was used just before the period began, and may have been booked in it.
fn late() -> String {
    of_rows(&format!("? < b.from_us AND ? >= b.from_us - {LATE_US}"))
}

/// What live sessions used that has no row yet.
fn live() -> String {
    let tokens = "r.booked_input_tokens + r.booked_output_tokens - r.recorded_input_tokens - r.recorded_output_tokens";
    let of = counted("r.booked_samples - r.recorded_samples", tokens, "0");
    total(&of, "sessions AS r", "r.status = 'live'")
}

/// Leases of live sessions, cushions, and what instances hold for calls.
fn held() -> String {
    let of = counted("r.leased_samples - r.booked_samples", "0", "0");
    let leases = total(&of, "sessions AS r", "r.status = 'live'");
    let cushions = total(&counted("r.units", "0", "0"), "cushions AS r", "true");
    let calls = total(&counted("0", "r.tokens", "r.requests"), "call_holds AS r", "true");
    format!("{leases} + {cushions} + {calls}")
}
