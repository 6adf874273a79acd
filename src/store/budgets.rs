//! The sentences about budgets as the operator sees them. What is used is booked in [`charging`] alone.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::{budget_slices, budgets};
use super::{charging, cushions};
use crate::error::Error;
use crate::payer;

/// One budget of a license.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = budgets)]
pub struct Budget {
    /// `bud_…`.
    pub id: String,
    /// Whose it is.
    pub license_id: String,
    /// `audio_seconds`, `tokens` or `requests`.
    pub unit: String,
    /// `5h`, `1d`, `1w`, `1mo` or `lifetime`.
    pub window_span: String,
    /// `fixed` or `rolling`.
    pub window_mode: String,
    /// IANA name of the window's time zone.
    pub tz: String,
    /// Limit in units; audio in samples.
    pub limit_units: i64,
    /// Used and booked in this period.
    pub used_units: i64,
    /// Held by the leases of live sessions.
    pub reserved_units: i64,
    /// The period's start.
    pub period_start_us: i64,
    /// The period's end, none for a lifetime. Where the window rolls: when the next of its slices leaves it.
    pub period_end_us: Option<i64>,
    /// Whose of the license's keys it is; [`payer::NO_KEY`] for the license's own.
    pub key_id: String,
    /// Beyond it callers are warned; `None`: the usual share of the limit.
    pub soft_limit_units: Option<i64>,
}

/// Adds a budget.
///
/// # Errors
/// The store's.
pub fn insert(connection: &mut AnyConnection, budget: &Budget) -> Result<(), Error> {
    diesel::insert_into(budgets::table).values(budget).execute(connection)?;
    Ok(())
}

/// A license's own budgets as of `now_us`, in the order of their making.
///
/// # Errors
/// The store's.
pub fn of_license(connection: &mut AnyConnection, license_id: &str, now_us: i64) -> Result<Vec<Budget>, Error> {
    of_licenses(connection, &[license_id.to_owned()], now_us)
}

/// The own budgets of several licenses as of `now_us`, in the order of their making.
///
/// # Errors
/// The store's.
pub fn of_licenses(connection: &mut AnyConnection, license_ids: &[String], now_us: i64) -> Result<Vec<Budget>, Error> {
    let own = budgets::table.filter(budgets::license_id.eq_any(license_ids)).filter(budgets::key_id.eq(payer::NO_KEY));
    let rows = own.order(budgets::id).select(Budget::as_select()).load(connection)?;
    as_of(connection, rows, now_us)
}

/// The own budgets of these keys as of `now_us`, in the order of their making.
///
/// # Errors
/// The store's.
pub fn of_keys(connection: &mut AnyConnection, key_ids: &[String], now_us: i64) -> Result<Vec<Budget>, Error> {
    let own = budgets::table.filter(budgets::key_id.eq_any(key_ids)).filter(budgets::key_id.ne(payer::NO_KEY));
    let rows = own.order(budgets::id).select(Budget::as_select()).load(connection)?;
    as_of(connection, rows, now_us)
}

/// As people see them at `now_us`.
fn as_of(connection: &mut AnyConnection, mut rows: Vec<Budget>, now_us: i64) -> Result<Vec<Budget>, Error> {
    let license_ids: BTreeSet<String> = rows.iter().map(|row| row.license_id.clone()).collect();
    let license_ids: Vec<String> = license_ids.into_iter().collect();
    // What instances keep for an absence of the store is given back as soon as it is needed: it counts as free.
    for kept in cushions::of_licenses(connection, &license_ids)? {
        let concerned = |row: &&mut Budget| {
            let owns = row.key_id == payer::NO_KEY || row.key_id == kept.key_id;
            row.license_id == kept.license_id && owns && row.unit == "audio_seconds"
        };
        for row in rows.iter_mut().filter(concerned) {
            row.reserved_units = (row.reserved_units - kept.units).max(0);
        }
    }
    for row in rows.iter_mut().filter(|row| row.window_mode == "rolling") {
        if row.period_end_us.is_some_and(|next| next <= now_us) {
            let (gone, next) = charging::slices_left(connection, &row.id, now_us)?;
            row.used_units -= gone;
            row.period_end_us = next;
        }
    }
    Ok(rows)
}

/// Gives a budget other limits; what is used stays used.
///
/// # Errors
/// The store's.
pub fn set_limits(
    connection: &mut AnyConnection,
    id: &str,
    limit_units: i64,
    soft_limit_units: Option<i64>,
) -> Result<(), Error> {
    let limits = (budgets::limit_units.eq(limit_units), budgets::soft_limit_units.eq(soft_limit_units));
    diesel::update(budgets::table.find(id)).set(limits).execute(connection)?;
    Ok(())
}

/// Removes a budget.
///
/// # Errors
/// The store's.
pub fn delete(connection: &mut AnyConnection, id: &str) -> Result<(), Error> {
    diesel::delete(budget_slices::table.filter(budget_slices::budget_id.eq(id))).execute(connection)?;
    diesel::delete(budgets::table.find(id)).execute(connection)?;
    Ok(())
}

/// Removes the own budgets of a key.
///
/// # Errors
/// The store's.
pub fn delete_of_key(connection: &mut AnyConnection, key_id: &str) -> Result<(), Error> {
    let of_key = budgets::table.filter(budgets::key_id.eq(key_id)).filter(budgets::key_id.ne(payer::NO_KEY));
    let ids: Vec<String> = of_key.select(budgets::id).load(connection)?;
    ids.iter().try_for_each(|id| delete(connection, id))
}

/// Whose budgets begin at nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// Everybody's.
    All,
    /// A license's own and those of its keys.
    License(String),
    /// A key's own.
    Key(String),
}

/// Counts from `now_us` on; what was used before stays in the ledger, and what live sessions and calls hold stays held.
/// Returns how many budgets there were.
///
/// # Errors
/// The store's.
pub fn reset(connection: &mut AnyConnection, whose: &Reset, now_us: i64) -> Result<usize, Error> {
    let concerned = || {
        let all = budgets::table.into_boxed();
        match whose {
            Reset::All => all,
            Reset::License(id) => all.filter(budgets::license_id.eq(id.clone())),
            Reset::Key(id) => all.filter(budgets::key_id.eq(id.clone()).and(budgets::key_id.ne(payer::NO_KEY))),
        }
    };
    let ids: Vec<String> = concerned().select(budgets::id).load(connection)?;
    // SQLite takes 32,766 variables in one statement.
    for some in ids.chunks(10_000) {
        diesel::delete(budget_slices::table.filter(budget_slices::budget_id.eq_any(some))).execute(connection)?;
        let counted = budgets::table.filter(budgets::id.eq_any(some));
        let anew = (budgets::used_units.eq(0), budgets::period_start_us.eq(now_us));
        diesel::update(counted).set(anew).execute(connection)?;
        let rolling = budgets::table.filter(budgets::id.eq_any(some)).filter(budgets::window_mode.eq("rolling"));
        diesel::update(rolling).set(budgets::period_end_us.eq(None::<i64>)).execute(connection)?;
    }
    Ok(ids.len())
}
