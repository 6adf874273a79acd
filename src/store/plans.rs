//! The sentences about plans.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::page::{Page, pattern};
use super::schema::{licenses, plans};
use crate::error::Error;

/// A named set of limits.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = plans)]
pub struct Plan {
    /// Its name.
    pub id: String,
    /// JSON object.
    pub fields: String,
    /// When it was made.
    pub created_at_us: i64,
    /// When it last changed.
    pub updated_at_us: i64,
}

/// Adds a plan.
///
/// # Errors
/// The store's; `Conflict` when the name is taken.
pub fn insert(connection: &mut AnyConnection, plan: &Plan) -> Result<(), Error> {
    diesel::insert_into(plans::table).values(plan).execute(connection)?;
    Ok(())
}

/// The plan of this name.
///
/// # Errors
/// The store's.
pub fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<Plan>, Error> {
    Ok(plans::table.find(id).select(Plan::as_select()).first(connection).optional()?)
}

/// One page of plans whose names have this text, one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, text: Option<&str>, page: &Page) -> Result<Vec<Plan>, Error> {
    let mut query = plans::table.into_boxed();
    if let Some(text) = text {
        query = query.filter(plans::id.like(pattern(text)).escape('\\'));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            let tie = plans::created_at_us.eq(time_us).and(plans::id.lt(id));
            query.filter(plans::created_at_us.lt(time_us).or(tie))
        } else {
            let tie = plans::created_at_us.eq(time_us).and(plans::id.gt(id));
            query.filter(plans::created_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((plans::created_at_us.desc(), plans::id.desc()))
    } else {
        query.order((plans::created_at_us.asc(), plans::id.asc()))
    };
    Ok(query.limit(page.limit + 1).select(Plan::as_select()).load(connection)?)
}

/// Gives a plan other fields; false if there is none of this name.
///
/// # Errors
/// The store's.
pub fn change(connection: &mut AnyConnection, id: &str, fields: &str, now_us: i64) -> Result<bool, Error> {
    let change = (plans::fields.eq(fields), plans::updated_at_us.eq(now_us));
    Ok(diesel::update(plans::table.find(id)).set(change).execute(connection)? > 0)
}

/// Removes a plan; false if there was none of this name. Licenses keep what they took over from it.
///
/// # Errors
/// The store's.
pub fn delete(connection: &mut AnyConnection, id: &str) -> Result<bool, Error> {
    Ok(diesel::delete(plans::table.find(id)).execute(connection)? > 0)
}

/// The ids of a plan's active licenses in their order, some of those after `after`.
///
/// # Errors
/// The store's.
pub fn licenses_of(connection: &mut AnyConnection, id: &str, after: &str, some: i64) -> Result<Vec<String>, Error> {
    let theirs = licenses::table.filter(licenses::plan.eq(id)).filter(licenses::status.eq("active"));
    let query = theirs.filter(licenses::id.gt(after)).order(licenses::id).limit(some);
    Ok(query.select(licenses::id).load(connection)?)
}
