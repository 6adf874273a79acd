//! The sentences about the operator's changes.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::page::Page;
use super::schema::audit_log;
use crate::error::Error;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_log)]
pub struct Entry {
    /// `aud_…`.
    pub id: String,
    /// When.
    pub occurred_at_us: i64,
    /// Who.
    pub actor: String,
    /// What, e.g. `license.suspend`.
    pub action: String,
    /// The id of what was changed.
    pub subject: String,
    /// JSON object, without secrets.
    pub detail: String,
    /// The request that asked for it.
    pub request_id: String,
}

/// Adds an entry.
///
/// # Errors
/// The store's.
pub fn append(connection: &mut AnyConnection, entry: &Entry) -> Result<(), Error> {
    diesel::insert_into(audit_log::table).values(entry).execute(connection)?;
    Ok(())
}

/// One page of entries, those of one subject where one is given; one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, subject: Option<&str>, page: &Page) -> Result<Vec<Entry>, Error> {
    let mut query = audit_log::table.into_boxed();
    if let Some(subject) = subject {
        query = query.filter(audit_log::subject.eq(subject.to_owned()));
    }
    if let Some((_, id)) = page.after.clone() {
        query = if page.newest_first { query.filter(audit_log::id.lt(id)) } else { query.filter(audit_log::id.gt(id)) };
    }
    // Ids sort by time.
    query = if page.newest_first { query.order(audit_log::id.desc()) } else { query.order(audit_log::id.asc()) };
    Ok(query.limit(page.limit + 1).select(Entry::as_select()).load(connection)?)
}
