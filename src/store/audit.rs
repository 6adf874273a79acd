//! The sentences about the operator's changes.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::page::{Page, lower, pattern};
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
    /// JSON object, without secrets; of a change: its members `before` and `after`.
    pub detail: String,
    /// The request that asked for it.
    pub request_id: String,
    /// The client's address.
    pub address: Option<String>,
}

/// What a page of entries is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One action, e.g. `license.suspend`, or all of a kind, e.g. `license.`.
    pub action: Option<String>,
    /// One thing's.
    pub subject: Option<String>,
    /// A part of action, subject, actor or request id, whatever the case.
    pub text: Option<String>,
    /// From then on.
    pub start_us: Option<i64>,
    /// Before then.
    pub end_us: Option<i64>,
}

/// Adds an entry.
///
/// # Errors
/// The store's.
pub fn append(connection: &mut AnyConnection, entry: &Entry) -> Result<(), Error> {
    diesel::insert_into(audit_log::table).values(entry).execute(connection)?;
    Ok(())
}

/// One page of entries; one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, filter: &Filter, page: &Page) -> Result<Vec<Entry>, Error> {
    let mut query = audit_log::table.into_boxed();
    if let Some(subject) = filter.subject.clone() {
        query = query.filter(audit_log::subject.eq(subject));
    }
    match filter.action.as_deref() {
        None => {}
        Some(kind) if kind.ends_with('.') => {
            let all = format!("{}.%", kind.trim_end_matches('.').replace(['%', '_', '\\'], ""));
            query = query.filter(audit_log::action.like(all));
        }
        Some(action) => query = query.filter(audit_log::action.eq(action.to_owned())),
    }
    if let Some(text) = &filter.text {
        let wanted = pattern(text);
        let action = lower(audit_log::action.nullable()).like(wanted.clone()).escape('\\').assume_not_null();
        let subject = lower(audit_log::subject.nullable()).like(wanted.clone()).escape('\\').assume_not_null();
        let actor = lower(audit_log::actor.nullable()).like(wanted.clone()).escape('\\').assume_not_null();
        let request = lower(audit_log::request_id.nullable()).like(wanted).escape('\\').assume_not_null();
        query = query.filter(action.or(subject).or(actor).or(request));
    }
    if let Some(start_us) = filter.start_us {
        query = query.filter(audit_log::occurred_at_us.ge(start_us));
    }
    if let Some(end_us) = filter.end_us {
        query = query.filter(audit_log::occurred_at_us.lt(end_us));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            let tie = audit_log::occurred_at_us.eq(time_us).and(audit_log::id.lt(id));
            query.filter(audit_log::occurred_at_us.lt(time_us).or(tie))
        } else {
            let tie = audit_log::occurred_at_us.eq(time_us).and(audit_log::id.gt(id));
            query.filter(audit_log::occurred_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((audit_log::occurred_at_us.desc(), audit_log::id.desc()))
    } else {
        query.order((audit_log::occurred_at_us.asc(), audit_log::id.asc()))
    };
    Ok(query.limit(page.limit + 1).select(Entry::as_select()).load(connection)?)
}
