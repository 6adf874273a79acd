//! The sentences about machines: who has a seat on a license. A machine that was heard of, and then for long not any
//! more, is dead: its seat is free.

use diesel::dsl;
use diesel::prelude::*;

use super::backend::AnyConnection;
use super::page::Page;
use super::schema::{licenses, machines};
use crate::error::Error;

/// A machine that has, or had, a seat.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = machines)]
pub struct Machine {
    /// Whose seat it is.
    pub license_id: String,
    /// What tells it from others of the license.
    pub fingerprint: String,
    /// The key that activated it last; [`crate::payer::NO_KEY`] for the license's own token.
    pub key_id: String,
    /// What people call it.
    pub name: Option<String>,
    /// JSON object.
    pub metadata: String,
    /// When it took its seat.
    pub activated_at_us: i64,
    /// Its last heartbeat.
    pub seen_at_us: Option<i64>,
}

/// Lets one activation of a license at a time go on, until the transaction ends.
///
/// # Errors
/// The store's.
pub fn lock(connection: &mut AnyConnection, license_id: &str) -> Result<(), Error> {
    let unchanged = licenses::updated_at_us.eq(licenses::updated_at_us);
    diesel::update(licenses::table.find(license_id)).set(unchanged).execute(connection)?;
    Ok(())
}

/// The machine, if it lives: a heartbeat after `dead_us`, or none ever.
///
/// # Errors
/// The store's.
pub fn find(
    connection: &mut AnyConnection,
    license_id: &str,
    fingerprint: &str,
    dead_us: i64,
) -> Result<Option<Machine>, Error> {
    let query = machines::table.find((license_id, fingerprint)).filter(lives(dead_us));
    Ok(query.select(Machine::as_select()).first(connection).optional()?)
}

/// How many machines of a license live.
///
/// # Errors
/// The store's.
pub fn count(connection: &mut AnyConnection, license_id: &str, dead_us: i64) -> Result<i64, Error> {
    let living = machines::table.filter(machines::license_id.eq(license_id)).filter(lives(dead_us));
    Ok(living.count().get_result(connection)?)
}

/// How many of them were activated last by this key.
///
/// # Errors
/// The store's.
pub fn count_of_key(
    connection: &mut AnyConnection,
    license_id: &str,
    key_id: &str,
    dead_us: i64,
) -> Result<i64, Error> {
    let living = machines::table.filter(machines::license_id.eq(license_id)).filter(lives(dead_us));
    Ok(living.filter(machines::key_id.eq(key_id)).count().get_result(connection)?)
}

/// How many living machines of the license took their seats before this one.
///
/// # Errors
/// The store's.
pub fn count_before(connection: &mut AnyConnection, machine: &Machine, dead_us: i64) -> Result<i64, Error> {
    let living = machines::table.filter(machines::license_id.eq(&machine.license_id)).filter(lives(dead_us));
    let tie = machines::activated_at_us.eq(machine.activated_at_us).and(machines::fingerprint.lt(&machine.fingerprint));
    let earlier = living.filter(machines::activated_at_us.lt(machine.activated_at_us).or(tie));
    Ok(earlier.count().get_result(connection)?)
}

/// Gives a machine a seat.
///
/// # Errors
/// The store's; `Conflict` when it has one.
pub fn insert(connection: &mut AnyConnection, machine: &Machine) -> Result<(), Error> {
    diesel::insert_into(machines::table).values(machine).execute(connection)?;
    Ok(())
}

/// What a machine that has a seat says of itself, and by which key.
///
/// # Errors
/// The store's.
pub fn describe(connection: &mut AnyConnection, machine: &Machine) -> Result<(), Error> {
    let change = (
        machines::key_id.eq(&machine.key_id),
        machines::name.eq(&machine.name),
        machines::metadata.eq(&machine.metadata),
        machines::seen_at_us.eq(machine.seen_at_us),
    );
    let row = machines::table.find((&machine.license_id, &machine.fingerprint));
    diesel::update(row).set(change).execute(connection)?;
    Ok(())
}

/// A heartbeat at `now_us`; false if no such machine lives.
///
/// # Errors
/// The store's.
pub fn beat(
    connection: &mut AnyConnection,
    (license_id, fingerprint): (&str, &str),
    now_us: i64,
    dead_us: i64,
) -> Result<bool, Error> {
    let row = machines::table.filter(machines::license_id.eq(license_id)).filter(machines::fingerprint.eq(fingerprint));
    let living = row.filter(lives(dead_us));
    Ok(diesel::update(living).set(machines::seen_at_us.eq(now_us)).execute(connection)? > 0)
}

/// Takes the seat of a machine; false if it had none.
///
/// # Errors
/// The store's.
pub fn delete(connection: &mut AnyConnection, license_id: &str, fingerprint: &str) -> Result<bool, Error> {
    Ok(diesel::delete(machines::table.find((license_id, fingerprint))).execute(connection)? > 0)
}

/// Takes the seats of a license's dead machines.
///
/// # Errors
/// The store's.
pub fn delete_dead(connection: &mut AnyConnection, license_id: &str, dead_us: i64) -> Result<(), Error> {
    let dead = machines::table.filter(machines::license_id.eq(license_id)).filter(machines::seen_at_us.le(dead_us));
    diesel::delete(dead).execute(connection)?;
    Ok(())
}

/// One page of a license's living machines in the order of their activation, one row more than the page holds when
/// there are more.
///
/// # Errors
/// The store's.
pub fn list(
    connection: &mut AnyConnection,
    license_id: &str,
    page: &Page,
    dead_us: i64,
) -> Result<Vec<Machine>, Error> {
    let mut query = machines::table.filter(machines::license_id.eq(license_id)).filter(lives(dead_us)).into_boxed();
    if let Some((time_us, fingerprint)) = page.after.clone() {
        query = if page.newest_first {
            let tie = machines::activated_at_us.eq(time_us).and(machines::fingerprint.lt(fingerprint));
            query.filter(machines::activated_at_us.lt(time_us).or(tie))
        } else {
            let tie = machines::activated_at_us.eq(time_us).and(machines::fingerprint.gt(fingerprint));
            query.filter(machines::activated_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((machines::activated_at_us.desc(), machines::fingerprint.desc()))
    } else {
        query.order((machines::activated_at_us.asc(), machines::fingerprint.asc()))
    };
    Ok(query.limit(page.limit + 1).select(Machine::as_select()).load(connection)?)
}

type NotNull = dsl::AssumeNotNull<machines::seen_at_us>;

/// Those that were heard of after `dead_us`, or never.
fn lives(dead_us: i64) -> dsl::Or<dsl::IsNull<machines::seen_at_us>, dsl::Gt<NotNull, i64>> {
    machines::seen_at_us.is_null().or(machines::seen_at_us.assume_not_null().gt(dead_us))
}
