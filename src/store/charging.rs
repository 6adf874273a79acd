//! The sentences that move budgets: what was used and what is held, and periods that begin anew.
//!
//! A budget is its license's own, or one key's ([`payer::NO_KEY`] tells them apart); whoever uses a key is counted on
//! both. Each function is one set-based statement, or one guarded `UPDATE`.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::backend::AnyConnection;
use super::cushions;
use super::record_set::{self, record_set};
use super::schema::{budget_slices, budgets, sessions};
use crate::error::Error;
use crate::payer;

/// A budget as the ledger sees it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = budgets)]
pub struct BudgetRow {
    /// Budget id.
    pub id: String,
    /// Whose it is.
    pub license_id: String,
    /// Whose of its keys it is; [`payer::NO_KEY`] for the license's own.
    pub key_id: String,
    /// `audio_seconds`, `tokens` or `requests`.
    pub unit: String,
    /// Window, e.g. `1d`.
    pub window_span: String,
    /// `fixed` or `rolling`.
    pub window_mode: String,
    /// The window's time zone.
    pub tz: String,
    /// Limit in units (audio: samples).
    pub limit_units: i64,
    /// Beyond it callers are warned; `None`: the usual share of the limit.
    pub soft_limit_units: Option<i64>,
    /// Used and booked.
    pub used_units: i64,
    /// Held by leases.
    pub reserved_units: i64,
    /// The period's start; what was used before is forgotten.
    pub period_start_us: i64,
    /// The period's end, none for a lifetime. Where the window rolls: when the next of its slices leaves it.
    pub period_end_us: Option<i64>,
}

/// The budgets of these licenses and of their keys, every unit.
///
/// # Errors
/// The store's.
pub fn budgets_of(connection: &mut AnyConnection, license_ids: &[String]) -> Result<Vec<BudgetRow>, Error> {
    let theirs = budgets::table.filter(budgets::license_id.eq_any(license_ids));
    Ok(theirs.select(BudgetRow::as_select()).load(connection)?)
}

impl BudgetRow {
    /// Whether its period is over at `now_us`, or a slice has left it.
    #[must_use]
    pub fn is_due(&self, now_us: i64) -> bool {
        self.period_end_us.is_some_and(|end| end <= now_us)
    }
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

/// Counts the slices no more that have left the windows of rolling budgets at `now_us`. Many leave at the same time.
///
/// # Errors
/// The store's.
pub fn let_slices_leave(connection: &mut AnyConnection, now_us: i64) -> Result<(), Error> {
    const SUM: &str = "SELECT CAST(SUM(s.used_units) AS BIGINT) FROM budget_slices s \
         WHERE s.budget_id = budgets.id AND s.leaves_at_us <= $1";
    const NEXT: &str = "SELECT MIN(s.leaves_at_us) FROM budget_slices s \
         WHERE s.budget_id = budgets.id AND s.leaves_at_us > $1";
    let statement = format!(
        "UPDATE budgets SET used_units = used_units - COALESCE(({SUM}), 0), period_end_us = ({NEXT}) \
         WHERE window_mode = 'rolling' AND period_end_us <= $1"
    );
    diesel::sql_query(statement).bind::<BigInt, _>(now_us).execute(connection)?;
    // A budget's period ends with the first of its slices: all that have left were counted now.
    diesel::delete(budget_slices::table.filter(budget_slices::leaves_at_us.le(now_us))).execute(connection)?;
    Ok(())
}

/// How much of a rolling budget has left its window at `now_us`, and when the next slice does.
///
/// # Errors
/// The store's.
pub fn slices_left(connection: &mut AnyConnection, budget_id: &str, now_us: i64) -> Result<(i64, Option<i64>), Error> {
    use diesel::dsl::{min, sql};
    let own = || budget_slices::table.filter(budget_slices::budget_id.eq(budget_id));
    let gone: Option<i64> = own()
        .filter(budget_slices::leaves_at_us.le(now_us))
        .select(sql::<Nullable<BigInt>>("CAST(SUM(used_units) AS BIGINT)"))
        .first(connection)?;
    let staying = own().filter(budget_slices::leaves_at_us.gt(now_us));
    let next: Option<i64> = staying.select(min(budget_slices::leaves_at_us)).first(connection)?;
    Ok((gone.unwrap_or(0), next))
}

/// What was used and given back since the last time, by license or key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Charge {
    /// `audio_seconds`, `tokens` or `requests`.
    pub unit: &'static str,
    /// Whose budgets.
    pub license_id: String,
    /// Those of this key; [`payer::NO_KEY`] for the license's own.
    pub key_id: String,
    /// Newly used, in units.
    pub used: i64,
    /// Change of what is held; mostly negative.
    pub reserved: i64,
}

/// When what is used now leaves a rolling window: by the window's word, e.g. `1d`.
pub type Leaving = [(&'static str, i64)];

/// Books charges on every budget of their unit, whatever its limit: the usage has happened. Each owner comes once a unit.
///
/// # Errors
/// The store's.
pub fn charge(connection: &mut AnyConnection, charges: &[Charge], leaving: &Leaving) -> Result<(), Error> {
    if charges.is_empty() {
        return Ok(());
    }
    let leaves: Vec<(String, i64)> = leaving.iter().map(|(span, at_us)| (format!("leaves_{span}"), *at_us)).collect();
    let columns =
        [("unit", "text"), ("license_id", "text"), ("key_id", "text"), ("used", "bigint"), ("reserved", "bigint")];
    let columns = columns.into_iter().chain(leaves.iter().map(|(name, _)| (name.as_str(), "bigint")));
    let set = record_set(connection, &columns.collect::<Vec<_>>());
    let leaves_at = leaves_at(leaving);
    let owned = "budgets.license_id = v.license_id AND budgets.key_id = v.key_id AND budgets.unit = v.unit";
    let leaves: BTreeMap<&str, i64> = leaves.iter().map(|(name, at_us)| (name.as_str(), *at_us)).collect();
    let rows: Vec<Charged<'_>> = charges.iter().map(|charge| Charged { charge, leaves: &leaves }).collect();
    let update = format!(
        "UPDATE budgets SET used_units = used_units + v.used, \
         reserved_units = CASE WHEN reserved_units + v.reserved < 0 THEN 0 ELSE reserved_units + v.reserved END, \
         period_end_us = CASE WHEN window_mode = 'rolling' AND v.used <> 0 \
         AND (period_end_us IS NULL OR period_end_us > {leaves_at}) THEN {leaves_at} ELSE period_end_us END \
         FROM v WHERE {owned}"
    );
    if charges.iter().all(|charge| charge.used == 0) {
        record_set::run(connection, &format!("{set} {update}"), &rows)?;
        return Ok(());
    }
    let slices = format!(
        "INSERT INTO budget_slices (budget_id, leaves_at_us, used_units) \
         SELECT budgets.id, {leaves_at}, v.used FROM v JOIN budgets ON {owned} \
         WHERE budgets.window_mode = 'rolling' AND v.used <> 0 \
         ON CONFLICT (budget_id, leaves_at_us) DO UPDATE SET used_units = budget_slices.used_units + excluded.used_units"
    );
    if let AnyConnection::Postgres(_) = connection {
        // One way to the server and back less.
        record_set::run(connection, &format!("{set}, moved AS ({update}) {slices}"), &rows)?;
    } else {
        record_set::run(connection, &format!("{set} {update}"), &rows)?;
        record_set::run(connection, &format!("{set} {slices}"), &rows)?;
    }
    Ok(())
}

/// A charge as its statements read it: their text never changes.
#[derive(serde::Serialize)]
struct Charged<'a> {
    #[serde(flatten)]
    charge: &'a Charge,
    #[serde(flatten)]
    leaves: &'a BTreeMap<&'a str, i64>,
}

fn leaves_at(leaving: &Leaving) -> String {
    let cases: Vec<String> = leaving.iter().map(|(span, _)| format!("WHEN '{span}' THEN v.leaves_{span}")).collect();
    format!("CASE budgets.window_span {} END", cases.join(" "))
}

/// Books usage of `(unit, units)` on the budgets of the license and the key, whatever their limit, but for those whose
/// period began after `at_us`: they have forgotten it. A period that begins after `now_us`, since clocks differ, hasn't.
///
/// # Errors
/// The store's.
pub fn charge_late(
    connection: &mut AnyConnection,
    (license_id, key_id): (&str, &str),
    (unit, units): (&str, i64),
    (at_us, now_us): (i64, i64),
    leaving: &Leaving,
) -> Result<(), Error> {
    let begun = || {
        let owned = budgets::table.filter(budgets::license_id.eq(license_id)).filter(budgets::unit.eq(unit));
        let owned = owned.filter(budgets::key_id.eq_any([payer::NO_KEY, key_id]));
        owned.filter(budgets::period_start_us.le(at_us).or(budgets::period_start_us.gt(now_us)))
    };
    let rolling: Vec<(String, String, Option<i64>)> = begun()
        .filter(budgets::window_mode.eq("rolling"))
        .select((budgets::id, budgets::window_span, budgets::period_end_us))
        .load(connection)?;
    diesel::update(begun()).set(budgets::used_units.eq(budgets::used_units + units)).execute(connection)?;
    for (id, span, next) in rolling {
        let Some((_, leaves_at_us)) = leaving.iter().find(|(known, _)| *known == span) else { continue };
        let slice = budget_slices::table.find((&id, *leaves_at_us));
        let added = diesel::update(slice).set(budget_slices::used_units.eq(budget_slices::used_units + units));
        if added.execute(connection)? == 0 {
            let row = (
                budget_slices::budget_id.eq(&id),
                budget_slices::leaves_at_us.eq(leaves_at_us),
                budget_slices::used_units.eq(units),
            );
            diesel::insert_into(budget_slices::table).values(row).execute(connection)?;
        }
        if next.is_none_or(|next| next > *leaves_at_us) {
            let waiting = budgets::table.find(&id);
            diesel::update(waiting).set(budgets::period_end_us.eq(Some(*leaves_at_us))).execute(connection)?;
        }
    }
    Ok(())
}

/// Takes `units` from every budget in audio of the license and of the key at once, or from none: true if every guard
/// held. A budget lets its last unit be passed by `overshoot` units at most.
///
/// # Errors
/// The store's.
pub fn reserve(
    connection: &mut AnyConnection,
    (license_id, key_id): (&str, &str),
    units: i64,
    overshoot: i64,
    budget_count: usize,
) -> Result<bool, Error> {
    let taken = connection.transaction(|connection| {
        let guarded = budgets::table
            .filter(budgets::license_id.eq(license_id))
            .filter(budgets::key_id.eq_any([payer::NO_KEY, key_id]))
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

/// Sums of the leases of a license, or of one of its keys, to start a new budget from.
///
/// # Errors
/// The store's.
pub fn leased_now(connection: &mut AnyConnection, license_id: &str, key_id: &str) -> Result<i64, Error> {
    use diesel::dsl::sql;
    let mut live =
        sessions::table.filter(sessions::license_id.eq(license_id)).filter(sessions::status.eq("live")).into_boxed();
    if key_id != payer::NO_KEY {
        live = live.filter(sessions::key_id.eq(key_id));
    }
    let held: Option<i64> = live
        .select(sql::<Nullable<BigInt>>("CAST(SUM(leased_samples - booked_samples) AS BIGINT)"))
        .first(connection)?;
    let kept = cushions::of_licenses(connection, &[license_id.to_owned()])?;
    let kept = kept.iter().filter(|kept| key_id == payer::NO_KEY || kept.key_id == key_id);
    Ok(held.unwrap_or(0) + kept.map(|kept| kept.units).sum::<i64>())
}
