//! The sentences about cushions: audio that an instance has reserved for when the store is away.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::{cushions, instances};
use crate::error::Error;
use crate::payer;

/// What one instance keeps for a license's sessions, or for those of one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = cushions)]
pub struct Cushion {
    /// Whose sessions.
    pub license_id: String,
    /// With which key; [`payer::NO_KEY`] for those without one.
    pub key_id: String,
    /// Samples.
    pub units: i64,
}

/// What an instance keeps, by [`payer::name`].
///
/// # Errors
/// The store's.
pub fn of_instance(connection: &mut AnyConnection, instance_id: &str) -> Result<Vec<(String, i64)>, Error> {
    let own = cushions::table.filter(cushions::instance_id.eq(instance_id));
    let rows: Vec<Cushion> = own.select(Cushion::as_select()).load(connection)?;
    Ok(rows.into_iter().map(|row| (payer::name(&row.license_id, Some(&row.key_id)), row.units)).collect())
}

/// What instances keep for these licenses and their keys.
///
/// # Errors
/// The store's.
pub fn of_licenses(connection: &mut AnyConnection, license_ids: &[String]) -> Result<Vec<Cushion>, Error> {
    let theirs = cushions::table.filter(cushions::license_id.eq_any(license_ids));
    Ok(theirs.select(Cushion::as_select()).load(connection)?)
}

/// Notes what an instance keeps for a payer now; 0 forgets it. The budgets are the caller's to change.
///
/// # Errors
/// The store's.
pub fn set(connection: &mut AnyConnection, instance_id: &str, payer: &str, units: i64) -> Result<(), Error> {
    let (license_id, key_id) = (payer::license(payer), payer::key(payer));
    let row = cushions::table.find((instance_id, license_id, key_id));
    if units == 0 {
        diesel::delete(row).execute(connection)?;
        return Ok(());
    }
    let now = (cushions::units.eq(units), cushions::until_us.eq(None::<i64>));
    if diesel::update(row).set(now).execute(connection)? == 0 {
        let new = (
            cushions::instance_id.eq(instance_id),
            cushions::license_id.eq(license_id),
            cushions::key_id.eq(key_id),
            cushions::units.eq(units),
        );
        diesel::insert_into(cushions::table).values(new).execute(connection)?;
    }
    Ok(())
}

/// An instance that was taken for gone is there after all: what it kept is still its own.
///
/// # Errors
/// The store's.
pub fn reclaim(connection: &mut AnyConnection, instance_id: &str) -> Result<(), Error> {
    let own = cushions::table.filter(cushions::instance_id.eq(instance_id)).filter(cushions::until_us.is_not_null());
    diesel::update(own).set(cushions::until_us.eq(None::<i64>)).execute(connection)?;
    Ok(())
}

/// Sets a term for what instances keep that are not known any more: they may be there, and only cut off.
///
/// # Errors
/// The store's.
pub fn set_term(connection: &mut AnyConnection, until_us: i64) -> Result<(), Error> {
    let known = instances::table.select(instances::id);
    let orphaned = cushions::table.filter(cushions::until_us.is_null()).filter(cushions::instance_id.ne_all(known));
    diesel::update(orphaned).set(cushions::until_us.eq(until_us)).execute(connection)?;
    Ok(())
}

/// Takes away what instances keep whose term was over at `now_us`, and what `dead` keeps, whatever its term, for
/// the caller to give back to the budgets.
///
/// # Errors
/// The store's.
pub fn take_over_due(connection: &mut AnyConnection, now_us: i64, dead: &[String]) -> Result<Vec<Cushion>, Error> {
    let due = cushions::until_us.le(now_us).assume_not_null().or(cushions::instance_id.eq_any(dead));
    let rows: Vec<(String, Cushion)> =
        cushions::table.filter(due).select((cushions::instance_id, Cushion::as_select())).load(connection)?;
    for (instance_id, row) in &rows {
        let gone = cushions::table.find((instance_id, &row.license_id, &row.key_id));
        diesel::delete(gone).execute(connection)?;
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
