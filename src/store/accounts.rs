//! The sentences about upstream accounts.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::page::{Page, lower, pattern};
use super::schema::accounts;
use crate::clock;
use crate::error::Error;

/// An account as its row has it; the words are those of the accounts' own room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// `acc_…`, or `env-…` for one of the environment.
    pub id: String,
    /// The operator's name for it, unique.
    pub name: String,
    /// Whose API it speaks.
    pub kind: String,
    /// How its chat is called.
    pub mode: String,
    /// Where it is called.
    pub base_url: String,
    /// The provider's key, sealed; `None` for an account of the environment.
    pub sealed_credential: Option<String>,
    /// Patterns of models; empty: by kind.
    pub models: Vec<String>,
    /// Its share among those of its priority.
    pub weight: u32,
    /// Lower ones are asked first.
    pub priority: u32,
    /// Calls at once.
    pub max_concurrency: Option<u32>,
    /// What the operator wants of it.
    pub state: String,
    /// When it was added.
    pub created_at: jiff::Timestamp,
    /// When it last changed.
    pub updated_at: jiff::Timestamp,
}

/// Adds an account.
///
/// # Errors
/// The store's; `Conflict` when the id or name is taken.
pub fn insert(connection: &mut AnyConnection, account: &StoredAccount) -> Result<(), Error> {
    diesel::insert_into(accounts::table).values(Row::write(account)?).execute(connection)?;
    Ok(())
}

/// The account with this id.
///
/// # Errors
/// The store's.
pub fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<StoredAccount>, Error> {
    let row: Option<Row> = accounts::table.find(id).select(Row::as_select()).first(connection).optional()?;
    row.map(Row::read).transpose()
}

/// Every account, the oldest first.
///
/// # Errors
/// The store's.
pub fn all(connection: &mut AnyConnection) -> Result<Vec<StoredAccount>, Error> {
    let query = accounts::table.order((accounts::created_at_us.asc(), accounts::id.asc()));
    let rows: Vec<Row> = query.select(Row::as_select()).load(connection)?;
    rows.into_iter().map(Row::read).collect()
}

/// How many there are.
///
/// # Errors
/// The store's.
pub fn count(connection: &mut AnyConnection) -> Result<i64, Error> {
    Ok(accounts::table.count().get_result(connection)?)
}

/// Whether another account has this name.
///
/// # Errors
/// The store's.
pub fn name_is_taken(connection: &mut AnyConnection, name: &str, but_by: &str) -> Result<bool, Error> {
    let others = accounts::table.filter(accounts::name.eq(name)).filter(accounts::id.ne(but_by));
    Ok(others.count().get_result::<i64>(connection)? > 0)
}

/// What a page of accounts is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A part of the name or id, whatever the case.
    pub text: Option<String>,
    /// What the operator wants of it.
    pub state: Option<&'static str>,
    /// The environment's accounts that there are: rows of others are left over from an earlier environment.
    pub environment: Vec<String>,
}

/// One page of accounts, one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, filter: &Filter, page: &Page) -> Result<Vec<StoredAccount>, Error> {
    let there = accounts::sealed_credential.is_not_null().or(accounts::id.eq_any(filter.environment.clone()));
    let mut query = accounts::table.filter(there).into_boxed();
    if let Some(state) = filter.state {
        query = query.filter(accounts::state.eq(state));
    }
    if let Some(text) = &filter.text {
        let wanted = pattern(text);
        let in_name = lower(accounts::name.nullable()).like(lower(wanted.clone())).escape('\\').assume_not_null();
        let in_id = lower(accounts::id.nullable()).like(wanted).escape('\\').assume_not_null();
        query = query.filter(in_name.or(in_id));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            let tie = accounts::created_at_us.eq(time_us).and(accounts::id.lt(id));
            query.filter(accounts::created_at_us.lt(time_us).or(tie))
        } else {
            let tie = accounts::created_at_us.eq(time_us).and(accounts::id.gt(id));
            query.filter(accounts::created_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((accounts::created_at_us.desc(), accounts::id.desc()))
    } else {
        query.order((accounts::created_at_us.asc(), accounts::id.asc()))
    };
    let rows: Vec<Row> = query.limit(page.limit + 1).select(Row::as_select()).load(connection)?;
    rows.into_iter().map(Row::read).collect()
}

/// Writes an account as it is now; false if there is none with its id.
///
/// # Errors
/// The store's; `Conflict` when the name is taken.
pub fn write(connection: &mut AnyConnection, account: &StoredAccount) -> Result<bool, Error> {
    let written = diesel::update(accounts::table.find(&account.id)).set(Row::write(account)?).execute(connection)?;
    Ok(written > 0)
}

/// Replaces a sealed credential, if it is still `from`.
///
/// # Errors
/// The store's.
pub fn reseal(connection: &mut AnyConnection, id: &str, from: &str, to: &str) -> Result<bool, Error> {
    let same = accounts::table.find(id).filter(accounts::sealed_credential.eq(from));
    Ok(diesel::update(same).set(accounts::sealed_credential.eq(to)).execute(connection)? > 0)
}

/// Removes an account; false if there is none with this id.
///
/// # Errors
/// The store's.
pub fn delete(connection: &mut AnyConnection, id: &str) -> Result<bool, Error> {
    Ok(diesel::delete(accounts::table.find(id)).execute(connection)? > 0)
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = accounts, treat_none_as_null = true)]
struct Row {
    id: String,
    name: String,
    kind: String,
    mode: String,
    base_url: String,
    sealed_credential: Option<String>,
    models: String,
    weight: i64,
    priority: i64,
    max_concurrency: Option<i64>,
    state: String,
    created_at_us: i64,
    updated_at_us: i64,
}

impl Row {
    fn write(account: &StoredAccount) -> Result<Self, Error> {
        Ok(Self {
            id: account.id.clone(),
            name: account.name.clone(),
            kind: account.kind.clone(),
            mode: account.mode.clone(),
            base_url: account.base_url.clone(),
            sealed_credential: account.sealed_credential.clone(),
            models: serde_json::to_string(&account.models).map_err(Error::internal)?,
            weight: i64::from(account.weight),
            priority: i64::from(account.priority),
            max_concurrency: account.max_concurrency.map(i64::from),
            state: account.state.clone(),
            created_at_us: account.created_at.as_microsecond(),
            updated_at_us: account.updated_at.as_microsecond(),
        })
    }

    fn read(self) -> Result<StoredAccount, Error> {
        let models = serde_json::from_str(&self.models);
        Ok(StoredAccount {
            id: self.id,
            name: self.name,
            kind: self.kind,
            mode: self.mode,
            base_url: self.base_url,
            sealed_credential: self.sealed_credential,
            models: models.map_err(|error| Error::internal(format!("an account's models: {error}")))?,
            weight: number(self.weight)?,
            priority: number(self.priority)?,
            max_concurrency: self.max_concurrency.map(number).transpose()?,
            state: self.state,
            created_at: clock::at(self.created_at_us),
            updated_at: clock::at(self.updated_at_us),
        })
    }
}

fn number(column: i64) -> Result<u32, Error> {
    u32::try_from(column).map_err(|_| Error::internal(format!("an account's number is {column}")))
}
