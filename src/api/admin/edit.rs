//! Changes a license in one transaction: read under the ledger's lock, changed, its budgets kept or replaced.

use jiff::Timestamp;
use serde_json::json;

use super::difference;
use super::draft;
use super::filling;
use super::trail::Trail;
use crate::api::shown;
use crate::clock;
use crate::config::settings::Keys;
use crate::error::Error;
use crate::license::{License, Status};
use crate::payer;
use crate::store::accounting;
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::store::budgets::{self, Budget};
use crate::store::call_holds;
use crate::store::charging;
use crate::store::licenses::{self, Change};
use crate::wire::admin::{LicenseFields, Unit};

/// A license and its budgets.
pub type Whole = (License, Vec<Budget>);

/// The license with its budgets.
///
/// # Errors
/// `NotFound`.
pub fn load(connection: &mut AnyConnection, id: &str) -> Result<Whole, Error> {
    let license = licenses::find(connection, id)?.ok_or_else(|| Error::NotFound("this license".to_owned()))?;
    let budgets = budgets::of_license(connection, id, clock::now().as_microsecond())?;
    Ok((license, budgets))
}

/// Applies a merge patch inside a transaction. A plan that it names fills in what it leaves out.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn patch(
    connection: &mut AnyConnection,
    license: &License,
    fields: LicenseFields,
    keys: &Keys,
    trail: &Trail,
) -> Result<(), Error> {
    let plan = filling::named(connection, &fields, keys)?;
    apply(connection, license, &filling::for_present(fields, plan), trail)
}

/// Applies a merge patch inside a transaction, as it is.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn apply(
    connection: &mut AnyConnection,
    license: &License,
    fields: &LicenseFields,
    trail: &Trail,
) -> Result<(), Error> {
    let change = draft::change(fields, license, trail.now())?;
    licenses::change(connection, &license.id, &change)?;
    if fields.budgets.is_some() {
        let owner = (license.id.as_str(), payer::NO_KEY);
        let wanted = draft::budgets(&fields.budgets, owner, trail.now())?;
        replace_budgets(connection, owner, wanted, trail.now())?;
    }
    Ok(())
}

/// Makes `wanted` the own budgets of a license, or of one of its keys. Those with the same unit, window, mode and time
/// zone keep what was used; others begin at nothing.
///
/// # Errors
/// The store's.
pub fn replace_budgets(
    connection: &mut AnyConnection,
    (license_id, key_id): (&str, &str),
    wanted: Vec<Budget>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut present = if key_id == payer::NO_KEY {
        budgets::of_license(connection, license_id, now.as_microsecond())?
    } else {
        budgets::of_keys(connection, &[key_id.to_owned()], now.as_microsecond())?
    };
    for mut budget in wanted {
        let same = |other: &Budget| {
            let window = |budget: &Budget| (budget.window_span.clone(), budget.window_mode.clone(), budget.tz.clone());
            other.unit == budget.unit && window(other) == window(&budget)
        };
        if let Some(place) = present.iter().position(same) {
            let kept = present.swap_remove(place);
            budgets::set_limits(connection, &kept.id, budget.limit_units, budget.soft_limit_units)?;
            continue;
        }
        if budget.unit == Unit::AudioSeconds.word() {
            budget.reserved_units = charging::leased_now(connection, license_id, key_id)?;
        } else {
            let (tokens, requests) = call_holds::held_now(connection, license_id, key_id)?;
            budget.reserved_units = if budget.unit == Unit::Tokens.word() { tokens } else { requests };
        }
        budgets::insert(connection, &budget)?;
    }
    present.iter().try_for_each(|budget| budgets::delete(connection, &budget.id))
}

/// Gives a license another status; revoked ones keep theirs.
///
/// # Errors
/// `Conflict` for a revoked license, `NotFound`.
pub fn set_status(
    connection: &mut AnyConnection,
    license: &License,
    status: Status,
    trail: &Trail,
) -> Result<(), Error> {
    if license.status == status {
        return Ok(());
    }
    if license.status == Status::Revoked {
        return Err(Error::Conflict("this license was revoked for good; issue a new one".to_owned()));
    }
    let change =
        Change { status: Some(status.word()), updated_at_us: trail.now().as_microsecond(), ..Change::default() };
    licenses::change(connection, &license.id, &change)?;
    let action = match status {
        Status::Active => "license.reinstate",
        Status::Suspended => "license.suspend",
        Status::Revoked => "license.revoke",
    };
    let difference =
        difference::between(&json!({ "status": license.status.word() }), &json!({ "status": status.word() }));
    trail.leave(connection, action, &license.id, &difference)
}

/// Runs `work` on the license as it stands, with nobody else changing it, and returns it as it is then. Every
/// instance is told to look after its sessions.
///
/// # Errors
/// `NotFound`, and what `work` returns.
pub fn locked(
    connection: &mut AnyConnection,
    id: &str,
    work: impl FnOnce(&mut AnyConnection, &License) -> Result<(), Error>,
) -> Result<Whole, Error> {
    accounting::transaction(connection, |connection| {
        within(connection, id, work)?;
        load(connection, id)
    })
}

/// As [`locked`], and what became of the license is left in the trail as `action`.
///
/// # Errors
/// As [`locked`].
pub fn logged(
    connection: &mut AnyConnection,
    id: &str,
    (action, trail): (&str, &Trail),
    work: impl FnOnce(&mut AnyConnection, &License) -> Result<(), Error>,
) -> Result<Whole, Error> {
    locked(connection, id, |connection, license| {
        let shown = |connection: &mut AnyConnection| {
            load(connection, id).map(|(license, budgets)| shown::license(&license, &budgets, trail.now()))
        };
        let before = shown(connection)?;
        work(connection, license)?;
        let difference = difference::between(&before, &shown(connection)?);
        trail.leave(connection, action, id, &difference)
    })
}

/// As [`locked`], inside a transaction.
///
/// # Errors
/// As [`locked`].
pub fn within(
    connection: &mut AnyConnection,
    id: &str,
    work: impl FnOnce(&mut AnyConnection, &License) -> Result<(), Error>,
) -> Result<(), Error> {
    accounting::lock_ledger(connection)?;
    let (license, _) = load(connection, id)?;
    work(connection, &license)?;
    announcements::announce(connection)
}
