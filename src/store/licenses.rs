//! The sentences about licenses.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use jiff::SignedDuration;

use super::backend::AnyConnection;
use super::page::{Page, lower, pattern};
use super::schema::{api_keys, licenses};
use crate::clock;
use crate::error::Error;
use crate::license::{License, Limits, Status};

/// Adds a license.
///
/// # Errors
/// The store's; `Conflict` when the id is taken.
pub fn insert(connection: &mut AnyConnection, license: &License) -> Result<(), Error> {
    diesel::insert_into(licenses::table).values(Row::write(license)?).execute(connection)?;
    Ok(())
}

/// The license with this id.
///
/// # Errors
/// The store's.
pub fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<License>, Error> {
    let row: Option<Row> = licenses::table.find(id).select(Row::as_select()).first(connection).optional()?;
    row.map(Row::read).transpose()
}

/// The licenses with these ids, in no order.
///
/// # Errors
/// The store's.
pub fn find_all(connection: &mut AnyConnection, ids: &[String]) -> Result<Vec<License>, Error> {
    let query = licenses::table.filter(licenses::id.eq_any(ids));
    let rows: Vec<Row> = query.select(Row::as_select()).load(connection)?;
    rows.into_iter().map(Row::read).collect()
}

/// Which of these licenses and keys may not be used at `now_us`, as `(id, status)`; `expired` stands for an active
/// one past its end.
///
/// # Errors
/// The store's.
pub fn unusable(connection: &mut AnyConnection, ids: &[String], now_us: i64) -> Result<Vec<(String, String)>, Error> {
    let word = |(id, status): (String, String)| (id, if status == "active" { "expired".to_owned() } else { status });
    let over = licenses::expires_at_us.is_not_null().and(licenses::expires_at_us.assume_not_null().le(now_us));
    let found: Vec<(String, String)> = licenses::table
        .filter(licenses::id.eq_any(ids))
        .filter(licenses::status.ne("active").or(over))
        .select((licenses::id, licenses::status))
        .load(connection)?;
    let over = api_keys::expires_at_us.is_not_null().and(api_keys::expires_at_us.assume_not_null().le(now_us));
    let keys: Vec<(String, String)> = api_keys::table
        .filter(api_keys::id.eq_any(ids))
        .filter(api_keys::status.ne("active").or(over))
        .select((api_keys::id, api_keys::status))
        .load(connection)?;
    Ok(found.into_iter().chain(keys).map(word).collect())
}

/// What a page of licenses is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A part of the id or label, whatever the case.
    pub text: Option<String>,
    /// The operator's decision.
    pub status: Option<Status>,
    /// With the time of asking in microseconds: only those that are past their end, or only those that are not.
    pub expired: Option<(bool, i64)>,
}

/// One page of licenses, one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, filter: &Filter, page: &Page) -> Result<Vec<License>, Error> {
    let mut query = licenses::table.into_boxed();
    if let Some(status) = filter.status {
        query = query.filter(licenses::status.eq(status.word()));
    }
    if let Some((expired, now_us)) = filter.expired {
        query = if expired {
            query.filter(licenses::expires_at_us.le(now_us))
        } else {
            query.filter(licenses::expires_at_us.is_null().or(licenses::expires_at_us.gt(now_us)))
        };
    }
    if let Some(text) = &filter.text {
        let wanted = pattern(text);
        let in_label = lower(licenses::label).like(lower(wanted.clone())).escape('\\').assume_not_null();
        let in_id = licenses::id.like(wanted).escape('\\');
        query = query.filter(in_id.or(licenses::label.is_not_null().and(in_label)));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            let tie = licenses::created_at_us.eq(time_us).and(licenses::id.lt(id));
            query.filter(licenses::created_at_us.lt(time_us).or(tie))
        } else {
            let tie = licenses::created_at_us.eq(time_us).and(licenses::id.gt(id));
            query.filter(licenses::created_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((licenses::created_at_us.desc(), licenses::id.desc()))
    } else {
        query.order((licenses::created_at_us.asc(), licenses::id.asc()))
    };
    let rows: Vec<Row> = query.limit(page.limit + 1).select(Row::as_select()).load(connection)?;
    rows.into_iter().map(Row::read).collect()
}

/// What changes about a license; what is `None` stays, an inner `None` empties the column.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = licenses)]
pub struct Change {
    /// Token id.
    pub token_id: Option<String>,
    /// Plan.
    pub plan: Option<Option<String>>,
    /// Label.
    pub label: Option<Option<String>>,
    /// [`Status::word`].
    pub status: Option<&'static str>,
    /// JSON array.
    pub scopes: Option<String>,
    /// JSON array.
    pub models: Option<String>,
    /// JSON array.
    pub allowed_ips: Option<String>,
    /// JSON object of [`Limits`].
    pub limits: Option<String>,
    /// JSON object.
    pub metadata: Option<String>,
    /// Sessions at once.
    pub max_sessions: Option<Option<i64>>,
    /// The longest session.
    pub max_session_seconds: Option<Option<i64>>,
    /// End.
    pub expires_at_us: Option<Option<i64>>,
    /// Span from the first use.
    pub expires_after_first_use_us: Option<Option<i64>>,
    /// When this change was made.
    pub updated_at_us: i64,
}

/// Changes a license; false if there is none with this id.
///
/// # Errors
/// The store's.
pub fn change(connection: &mut AnyConnection, id: &str, change: &Change) -> Result<bool, Error> {
    Ok(diesel::update(licenses::table.find(id)).set(change).execute(connection)? > 0)
}

/// The first use sets the clock running, once: the license ends its span later, or at its end if that is sooner.
/// False if the clock ran already.
///
/// # Errors
/// The store's.
pub fn start_clock(connection: &mut AnyConnection, id: &str, now_us: i64) -> Result<bool, Error> {
    // SQLite numbers parameters by where they first appear.
    let statement = "UPDATE licenses SET first_used_at_us = $1, \
         expires_at_us = CASE WHEN expires_at_us < $1 + expires_after_first_use_us THEN expires_at_us \
         ELSE $1 + expires_after_first_use_us END \
         WHERE id = $2 AND first_used_at_us IS NULL AND expires_after_first_use_us IS NOT NULL";
    let started = diesel::sql_query(statement).bind::<BigInt, _>(now_us).bind::<Text, _>(id).execute(connection)?;
    Ok(started > 0)
}

/// How many licenses there are, by [`Status::word`].
///
/// # Errors
/// The store's.
pub fn count_by_status(connection: &mut AnyConnection) -> Result<Vec<(String, i64)>, Error> {
    let query = licenses::table.group_by(licenses::status).select((licenses::status, diesel::dsl::count_star()));
    Ok(query.load(connection)?)
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = licenses)]
struct Row {
    id: String,
    token_id: String,
    plan: Option<String>,
    label: Option<String>,
    status: String,
    scopes: String,
    models: String,
    allowed_ips: String,
    limits: String,
    metadata: String,
    max_sessions: Option<i64>,
    max_session_seconds: Option<i64>,
    created_at_us: i64,
    updated_at_us: i64,
    expires_at_us: Option<i64>,
    expires_after_first_use_us: Option<i64>,
    first_used_at_us: Option<i64>,
}

impl Row {
    fn write(license: &License) -> Result<Self, Error> {
        Ok(Self {
            id: license.id.clone(),
            token_id: license.token_id.clone(),
            plan: license.plan.clone(),
            label: license.label.clone(),
            status: license.status.word().to_owned(),
            scopes: json(&license.scopes)?,
            models: json(&license.models)?,
            allowed_ips: json(&license.allowed_ips)?,
            limits: json(&license.limits)?,
            metadata: json(&license.metadata)?,
            max_sessions: license.max_sessions.map(column),
            max_session_seconds: license.max_session_seconds.map(column),
            created_at_us: license.created_at.as_microsecond(),
            updated_at_us: license.updated_at.as_microsecond(),
            expires_at_us: license.expires_at.map(jiff::Timestamp::as_microsecond),
            expires_after_first_use_us: license.expires_after_first_use.map(microseconds),
            first_used_at_us: license.first_used_at.map(jiff::Timestamp::as_microsecond),
        })
    }

    fn read(self) -> Result<License, Error> {
        let status = Status::read(&self.status).ok_or_else(|| Error::internal("a license with an unknown status"))?;
        let limits: Limits = parse(&self.limits)?;
        Ok(License {
            status,
            scopes: parse(&self.scopes)?,
            models: parse(&self.models)?,
            allowed_ips: parse(&self.allowed_ips)?,
            limits,
            max_sessions: self.max_sessions.map(i64::unsigned_abs),
            max_session_seconds: self.max_session_seconds.map(i64::unsigned_abs),
            metadata: parse(&self.metadata)?,
            created_at: clock::at(self.created_at_us),
            updated_at: clock::at(self.updated_at_us),
            expires_at: self.expires_at_us.map(clock::at),
            expires_after_first_use: self.expires_after_first_use_us.map(SignedDuration::from_micros),
            first_used_at: self.first_used_at_us.map(clock::at),
            id: self.id,
            token_id: self.token_id,
            plan: self.plan,
            label: self.label,
        })
    }
}

/// The text of a JSON column.
///
/// # Errors
/// `Internal`: a defect.
pub fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::internal)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::internal(format!("a license's JSON column: {error}")))
}

/// A limit as its column holds it; the admin API's bounds keep it far below 2⁶³.
#[must_use]
pub fn column(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A span as its column holds it.
#[must_use]
pub fn microseconds(span: SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Location, Store};
    use crate::store::migrate;

    fn store(folder: &tempfile::TempDir) -> Store {
        let store = Store::open(Location::Sqlite(folder.path().join("x.db"))).unwrap();
        store.run_blocking(migrate::run).unwrap();
        store
    }

    fn license(id: &str, label: Option<&str>, created_at_us: i64) -> License {
        License {
            id: id.into(),
            token_id: "jti".into(),
            plan: Some("trial".into()),
            label: label.map(str::to_owned),
            status: Status::Active,
            scopes: vec!["realtime".into()],
            models: Vec::new(),
            allowed_ips: vec!["10.0.0.0/8".parse().unwrap()],
            limits: Limits { rpm_limit: Some(60), ..Limits::default() },
            max_sessions: Some(2),
            max_session_seconds: None,
            metadata: serde_json::Map::new(),
            created_at: clock::at(created_at_us),
            updated_at: clock::at(created_at_us),
            expires_at: Some(clock::at(5_000_000)),
            expires_after_first_use: Some(SignedDuration::from_secs(1)),
            first_used_at: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let written = license("lic_a", None, 1);
        let read = store(&folder).run_blocking(|connection| {
            insert(connection, &written)?;
            assert!(matches!(insert(connection, &written), Err(Error::Conflict(_))));
            find(connection, "lic_a")
        });
        assert_eq!(read.unwrap(), Some(written));
    }

    #[test]
    fn the_clock_starts_once() {
        let folder = tempfile::tempdir().unwrap();
        let read = store(&folder).run_blocking(|connection| {
            insert(connection, &license("lic_a", None, 1))?;
            assert!(start_clock(connection, "lic_a", 2_000_000)?);
            assert!(!start_clock(connection, "lic_a", 3_000_000)?);
            find(connection, "lic_a")
        });
        let read = read.unwrap().unwrap();
        assert_eq!((read.first_used_at, read.expires_at), (Some(clock::at(2_000_000)), Some(clock::at(3_000_000))));
    }

    #[test]
    fn lists_by_time_text_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let ids = |filter: Filter, after: Option<(i64, &str)>, newest_first| {
            let after = after.map(|(time_us, id)| (time_us, id.to_owned()));
            let page = Page { limit: 1, after, newest_first };
            let found = store.run_blocking(|connection| list(connection, &filter, &page)).unwrap();
            found.into_iter().map(|license| license.id).collect::<Vec<_>>()
        };
        store
            .run_blocking(|connection| {
                insert(connection, &license("lic_a", Some("Tokyo 100%"), 1))?;
                insert(connection, &license("lic_b", Some("tokyo 1000"), 2))?;
                insert(connection, &license("lic_c", None, 2))
            })
            .unwrap();
        let text = |text: &str| Filter { text: Some(text.into()), ..Filter::default() };
        assert_eq!(ids(Filter::default(), None, true), ["lic_c", "lic_b"]);
        assert_eq!(ids(Filter::default(), Some((2, "lic_b")), true), ["lic_a"]);
        assert_eq!(ids(Filter::default(), Some((1, "lic_a")), false), ["lic_b", "lic_c"]);
        assert_eq!(ids(text("TOKYO"), None, false), ["lic_a", "lic_b"]);
        assert_eq!(ids(text("100%"), None, false), ["lic_a"]);
        assert_eq!(ids(text("c_c"), None, false), ["lic_c"]);
        let expired = |expired, now_us| Filter { expired: Some((expired, now_us)), ..Filter::default() };
        assert!(ids(expired(true, 4_999_999), None, true).is_empty());
        assert_eq!(ids(expired(true, 5_000_000), None, true).len(), 2);
        assert!(ids(expired(false, 5_000_000), None, true).is_empty());
    }

    #[test]
    fn a_change_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let read = store(&folder).run_blocking(|connection| {
            insert(connection, &license("lic_a", Some("x"), 1))?;
            let edit = Change { label: Some(None), status: Some("revoked"), updated_at_us: 9, ..Change::default() };
            assert!(change(connection, "lic_a", &edit)?);
            assert!(!change(connection, "lic_b", &edit)?);
            find(connection, "lic_a")
        });
        let read = read.unwrap().unwrap();
        let expected =
            License { label: None, status: Status::Revoked, updated_at: clock::at(9), ..license("lic_a", None, 1) };
        assert_eq!(read, expected);
    }
}
