//! The sentences about API keys.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use jiff::{SignedDuration, Timestamp};

use super::backend::AnyConnection;
use super::licenses;
use super::page::{Page, lower, pattern};
use super::schema::{api_keys, licenses as licenses_table};
use crate::clock;
use crate::error::Error;
use crate::license::{ApiKey, KeyStatus, License};

/// Adds a key.
///
/// # Errors
/// The store's; `Conflict` when the id is taken.
pub fn insert(connection: &mut AnyConnection, key: &ApiKey) -> Result<(), Error> {
    diesel::insert_into(api_keys::table).values(Row::write(key)?).execute(connection)?;
    Ok(())
}

/// The key with this public id, deleted or not.
///
/// # Errors
/// The store's.
pub fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<ApiKey>, Error> {
    let row: Option<Row> = api_keys::table.find(id).select(Row::as_select()).first(connection).optional()?;
    row.map(Row::read).transpose()
}

/// The key with this public id and the license that it uses.
///
/// # Errors
/// The store's.
pub fn find_with_license(connection: &mut AnyConnection, id: &str) -> Result<Option<(ApiKey, License)>, Error> {
    let Some(key) = find(connection, id)? else { return Ok(None) };
    let license = licenses::find(connection, &key.license_id)?;
    Ok(license.map(|license| (key, license)))
}

/// What a page of keys is narrowed to; deleted keys appear only where their status is asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A part of the id or label, whatever the case.
    pub text: Option<String>,
    /// The operator's decision.
    pub status: Option<KeyStatus>,
    /// With the time of asking in microseconds: only those whose end, or whose license's, is past, or only the others.
    pub expired: Option<(bool, i64)>,
    /// One license's keys.
    pub license_id: Option<String>,
}

/// One page of keys, one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, filter: &Filter, page: &Page) -> Result<Vec<ApiKey>, Error> {
    let mut query = api_keys::table.into_boxed();
    query = match filter.status {
        Some(status) => query.filter(api_keys::status.eq(status.word())),
        None => query.filter(api_keys::status.ne(KeyStatus::Deleted.word())),
    };
    if let Some((expired, now_us)) = filter.expired {
        let past = licenses_table::expires_at_us.is_not_null().and(licenses_table::expires_at_us.le(now_us));
        let theirs = licenses_table::table.filter(past.assume_not_null()).select(licenses_table::id);
        let own = api_keys::expires_at_us.is_not_null().and(api_keys::expires_at_us.assume_not_null().le(now_us));
        let over = own.or(api_keys::license_id.eq_any(theirs));
        query = if expired { query.filter(over) } else { query.filter(diesel::dsl::not(over)) };
    }
    if let Some(license_id) = &filter.license_id {
        query = query.filter(api_keys::license_id.eq(license_id.clone()));
    }
    if let Some(text) = &filter.text {
        let wanted = pattern(text);
        let in_label = lower(api_keys::label).like(lower(wanted)).escape('\\').assume_not_null();
        // Public ids tell upper and lower case apart.
        query = query.filter(api_keys::id.eq(text.clone()).or(api_keys::label.is_not_null().and(in_label)));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            let tie = api_keys::created_at_us.eq(time_us).and(api_keys::id.lt(id));
            query.filter(api_keys::created_at_us.lt(time_us).or(tie))
        } else {
            let tie = api_keys::created_at_us.eq(time_us).and(api_keys::id.gt(id));
            query.filter(api_keys::created_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((api_keys::created_at_us.desc(), api_keys::id.desc()))
    } else {
        query.order((api_keys::created_at_us.asc(), api_keys::id.asc()))
    };
    let rows: Vec<Row> = query.limit(page.limit + 1).select(Row::as_select()).load(connection)?;
    rows.into_iter().map(Row::read).collect()
}

/// What changes about a key; what is `None` stays, an inner `None` empties the column.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = api_keys)]
pub struct Change {
    /// Hash of a new secret.
    pub secret_hash: Option<String>,
    /// Hash of the secret before it.
    pub previous_hash: Option<Option<String>>,
    /// Until when that one is accepted.
    pub previous_until_us: Option<Option<i64>>,
    /// Label.
    pub label: Option<Option<String>>,
    /// [`KeyStatus::word`].
    pub status: Option<&'static str>,
    /// End.
    pub expires_at_us: Option<Option<i64>>,
    /// Span from the first use.
    pub expires_after_first_use_us: Option<Option<i64>>,
    /// JSON object of [`Narrowing`](crate::license::Narrowing).
    pub narrowing: Option<String>,
    /// JSON object.
    pub metadata: Option<String>,
    /// When this change was made.
    pub updated_at_us: i64,
}

/// Changes a key that is not deleted; false if there is none with this id.
///
/// # Errors
/// The store's.
pub fn change(connection: &mut AnyConnection, id: &str, change: &Change) -> Result<bool, Error> {
    let living = api_keys::table.filter(api_keys::id.eq(id)).filter(api_keys::status.ne(KeyStatus::Deleted.word()));
    Ok(diesel::update(living).set(change).execute(connection)? > 0)
}

/// The first use sets the clock running, once, as that of a license: [`licenses::start_clock`].
///
/// # Errors
/// The store's.
pub fn start_clock(connection: &mut AnyConnection, id: &str, now_us: i64) -> Result<bool, Error> {
    let statement = "UPDATE api_keys SET first_used_at_us = $1, \
         expires_at_us = CASE WHEN expires_at_us < $1 + expires_after_first_use_us THEN expires_at_us \
         ELSE $1 + expires_after_first_use_us END \
         WHERE id = $2 AND first_used_at_us IS NULL AND expires_after_first_use_us IS NOT NULL";
    let started = diesel::sql_query(statement).bind::<BigInt, _>(now_us).bind::<Text, _>(id).execute(connection)?;
    Ok(started > 0)
}

/// How many keys of a license are not deleted.
///
/// # Errors
/// The store's.
pub fn count_living(connection: &mut AnyConnection, license_id: &str) -> Result<i64, Error> {
    let living = api_keys::table
        .filter(api_keys::license_id.eq(license_id))
        .filter(api_keys::status.ne(KeyStatus::Deleted.word()));
    Ok(living.count().get_result(connection)?)
}

/// How many keys there are, by [`KeyStatus::word`].
///
/// # Errors
/// The store's.
pub fn count_by_status(connection: &mut AnyConnection) -> Result<Vec<(String, i64)>, Error> {
    let query = api_keys::table.group_by(api_keys::status).select((api_keys::status, diesel::dsl::count_star()));
    Ok(query.load(connection)?)
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
struct Row {
    id: String,
    license_id: String,
    own_license: bool,
    secret_hash: String,
    label: Option<String>,
    status: String,
    created_at_us: i64,
    updated_at_us: i64,
    expires_at_us: Option<i64>,
    narrowing: String,
    metadata: String,
    previous_hash: Option<String>,
    previous_until_us: Option<i64>,
    expires_after_first_use_us: Option<i64>,
    first_used_at_us: Option<i64>,
}

impl Row {
    fn write(key: &ApiKey) -> Result<Self, Error> {
        Ok(Self {
            id: key.id.clone(),
            license_id: key.license_id.clone(),
            own_license: key.own_license,
            secret_hash: key.secret_hash.clone(),
            label: key.label.clone(),
            status: key.status.word().to_owned(),
            created_at_us: key.created_at.as_microsecond(),
            updated_at_us: key.updated_at.as_microsecond(),
            expires_at_us: key.expires_at.map(Timestamp::as_microsecond),
            narrowing: serde_json::to_string(&key.narrowing).map_err(Error::internal)?,
            metadata: serde_json::to_string(&key.metadata).map_err(Error::internal)?,
            previous_hash: key.previous.as_ref().map(|(hash, _)| hash.clone()),
            previous_until_us: key.previous.as_ref().map(|(_, until)| until.as_microsecond()),
            expires_after_first_use_us: key.expires_after_first_use.map(licenses::microseconds),
            first_used_at_us: key.first_used_at.map(Timestamp::as_microsecond),
        })
    }

    fn read(self) -> Result<ApiKey, Error> {
        let status = KeyStatus::read(&self.status).ok_or_else(|| Error::internal("a key with an unknown status"))?;
        Ok(ApiKey {
            id: self.id,
            license_id: self.license_id,
            own_license: self.own_license,
            secret_hash: self.secret_hash,
            label: self.label,
            status,
            created_at: clock::at(self.created_at_us),
            updated_at: clock::at(self.updated_at_us),
            expires_at: self.expires_at_us.map(clock::at),
            expires_after_first_use: self.expires_after_first_use_us.map(SignedDuration::from_micros),
            first_used_at: self.first_used_at_us.map(clock::at),
            narrowing: serde_json::from_str(&self.narrowing).map_err(Error::internal)?,
            metadata: serde_json::from_str(&self.metadata).map_err(Error::internal)?,
            previous: self.previous_hash.zip(self.previous_until_us.map(clock::at)),
        })
    }
}
