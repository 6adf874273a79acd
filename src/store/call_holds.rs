//! The sentences about holds: what an instance has reserved for the HTTP calls of a license.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::record_set::{self, record_set};
use super::schema::{call_holds, instances};
use crate::error::Error;
use crate::payer;

impl Hold {
    /// The [`payer::name`] of who holds it.
    #[must_use]
    pub fn payer(&self) -> String {
        payer::name(&self.license_id, Some(&self.key_id))
    }
}

/// What an instance has reserved for the calls of a license, or for those with one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Queryable, Selectable)]
#[diesel(table_name = call_holds)]
pub struct Hold {
    /// Whose budgets.
    pub license_id: String,
    /// And whose of its keys; [`payer::NO_KEY`] for calls without one.
    pub key_id: String,
    /// Of the budgets in tokens.
    pub tokens: i64,
    /// Of the budgets in requests.
    pub requests: i64,
}

/// What an instance has reserved for these licenses and their keys.
///
/// # Errors
/// The store's.
pub fn of_instance(
    connection: &mut AnyConnection,
    instance_id: &str,
    license_ids: &[String],
) -> Result<Vec<Hold>, Error> {
    let own = call_holds::table.filter(call_holds::instance_id.eq(instance_id));
    Ok(own.filter(call_holds::license_id.eq_any(license_ids)).select(Hold::as_select()).load(connection)?)
}

/// What all instances have reserved for a license, or for one of its keys: tokens and requests.
///
/// # Errors
/// The store's.
pub fn held_now(connection: &mut AnyConnection, license_id: &str, key_id: &str) -> Result<(i64, i64), Error> {
    let theirs = call_holds::table.filter(call_holds::license_id.eq(license_id));
    let rows: Vec<Hold> = theirs.select(Hold::as_select()).load(connection)?;
    let counted = rows.iter().filter(|hold| key_id == payer::NO_KEY || hold.key_id == key_id);
    Ok(counted.fold((0, 0), |sum, hold| (sum.0 + hold.tokens, sum.1 + hold.requests)))
}

/// Notes what an instance has reserved now, each payer once; nothing at all forgets it. The budgets are the caller's to
/// change.
///
/// # Errors
/// The store's.
pub fn set(connection: &mut AnyConnection, instance_id: &str, holds: &[Hold]) -> Result<(), Error> {
    const COLUMNS: [(&str, &str); 5] = [
        ("instance_id", "text"),
        ("license_id", "text"),
        ("key_id", "text"),
        ("tokens", "bigint"),
        ("requests", "bigint"),
    ];
    let row = |hold| Held { instance_id, hold };
    let (some, nothing): (Vec<&Hold>, Vec<&Hold>) =
        holds.iter().partition(|hold| hold.tokens != 0 || hold.requests != 0);
    let set = record_set(connection, &COLUMNS);
    if !some.is_empty() {
        let statement = format!(
            "{set} INSERT INTO call_holds (instance_id, license_id, key_id, tokens, requests) \
             SELECT instance_id, license_id, key_id, tokens, requests FROM v WHERE true \
             ON CONFLICT (instance_id, license_id, key_id) \
             DO UPDATE SET tokens = excluded.tokens, requests = excluded.requests, until_us = NULL"
        );
        record_set::run(connection, &statement, &some.into_iter().map(row).collect::<Vec<_>>())?;
    }
    if !nothing.is_empty() {
        let statement = format!(
            "{set} DELETE FROM call_holds WHERE (instance_id, license_id, key_id) \
             IN (SELECT instance_id, license_id, key_id FROM v)"
        );
        record_set::run(connection, &statement, &nothing.into_iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// A row as the statements read it.
#[derive(serde::Serialize)]
struct Held<'a> {
    instance_id: &'a str,
    #[serde(flatten)]
    hold: &'a Hold,
}

/// Sets a term for what instances hold that are not known any more: they may be there, and only cut off. Those that
/// are known again have none.
///
/// # Errors
/// The store's.
pub fn set_term(connection: &mut AnyConnection, until_us: i64) -> Result<(), Error> {
    let known = || instances::table.select(instances::id);
    // Who was taken for gone is there again.
    let back = call_holds::table.filter(call_holds::until_us.is_not_null());
    let back = back.filter(call_holds::instance_id.eq_any(known()));
    diesel::update(back).set(call_holds::until_us.eq(None::<i64>)).execute(connection)?;
    let orphaned = call_holds::table.filter(call_holds::until_us.is_null());
    let orphaned = orphaned.filter(call_holds::instance_id.ne_all(known()));
    diesel::update(orphaned).set(call_holds::until_us.eq(until_us)).execute(connection)?;
    Ok(())
}

/// Takes away what instances hold whose term was over at `now_us`, and what `dead` holds, whatever its term, for
/// the caller to give back to the budgets.
///
/// # Errors
/// The store's.
pub fn take_over_due(connection: &mut AnyConnection, now_us: i64, dead: &[String]) -> Result<Vec<Hold>, Error> {
    let due = call_holds::until_us.le(now_us).assume_not_null().or(call_holds::instance_id.eq_any(dead));
    let rows: Vec<(String, Hold)> =
        call_holds::table.filter(due).select((call_holds::instance_id, Hold::as_select())).load(connection)?;
    for (instance_id, hold) in &rows {
        let gone = call_holds::table.find((instance_id, &hold.license_id, &hold.key_id));
        diesel::delete(gone).execute(connection)?;
    }
    Ok(rows.into_iter().map(|(_, hold)| hold).collect())
}
