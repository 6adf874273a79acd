//! The sentences about budgets as the operator sees them. What is used is booked in [`super::accounting`] alone.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::cushions;
use super::schema::budgets;
use crate::error::Error;

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
    /// `fixed`.
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
    /// The period's end; none for a lifetime.
    pub period_end_us: Option<i64>,
}

/// Adds a budget.
///
/// # Errors
/// The store's.
pub fn insert(connection: &mut AnyConnection, budget: &Budget) -> Result<(), Error> {
    diesel::insert_into(budgets::table).values(budget).execute(connection)?;
    Ok(())
}

/// A license's budgets, in the order of their making.
///
/// # Errors
/// The store's.
pub fn of_license(connection: &mut AnyConnection, license_id: &str) -> Result<Vec<Budget>, Error> {
    of_licenses(connection, &[license_id.to_owned()])
}

/// The budgets of several licenses, in the order of their making.
///
/// # Errors
/// The store's.
pub fn of_licenses(connection: &mut AnyConnection, license_ids: &[String]) -> Result<Vec<Budget>, Error> {
    let query = budgets::table.filter(budgets::license_id.eq_any(license_ids)).order(budgets::id);
    let mut rows: Vec<Budget> = query.select(Budget::as_select()).load(connection)?;
    // What instances keep for an absence of the store is given back as soon as it is needed: it counts as free.
    for (license_id, units) in cushions::of_licenses(connection, license_ids)? {
        let audio = rows.iter_mut().filter(|row| row.license_id == license_id && row.unit == "audio_seconds");
        audio.for_each(|row| row.reserved_units = (row.reserved_units - units).max(0));
    }
    Ok(rows)
}

/// Gives a budget another limit; what is used stays used.
///
/// # Errors
/// The store's.
pub fn set_limit(connection: &mut AnyConnection, id: &str, limit_units: i64) -> Result<(), Error> {
    diesel::update(budgets::table.find(id)).set(budgets::limit_units.eq(limit_units)).execute(connection)?;
    Ok(())
}

/// Removes a budget.
///
/// # Errors
/// The store's.
pub fn delete(connection: &mut AnyConnection, id: &str) -> Result<(), Error> {
    diesel::delete(budgets::table.find(id)).execute(connection)?;
    Ok(())
}

/// Forgets what was used; what live sessions hold stays held. Returns how many budgets there were.
///
/// # Errors
/// The store's.
pub fn reset_used(connection: &mut AnyConnection, license_id: &str) -> Result<usize, Error> {
    let of_license = budgets::table.filter(budgets::license_id.eq(license_id));
    Ok(diesel::update(of_license).set(budgets::used_units.eq(0)).execute(connection)?)
}

/// Likewise for every license.
///
/// # Errors
/// The store's.
pub fn reset_all_used(connection: &mut AnyConnection) -> Result<usize, Error> {
    Ok(diesel::update(budgets::table).set(budgets::used_units.eq(0)).execute(connection)?)
}
