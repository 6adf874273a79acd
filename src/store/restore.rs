//! Restores a backup into a store of either kind, which nobody uses meanwhile: all of it, or nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::accounting;
use super::backend::AnyConnection;
use super::backup::{create, open, tables_of};
use super::facts::Facts;
use super::instances;
use super::lock::cannot;
use super::migrate;
use super::schema::{accounts, licenses, usage_events};
use super::tables::Table;
use crate::error::Error;

/// An instance that was seen within so long is there.
const THERE_US: i64 = 15_000_000;

/// A backup that was looked through, as a copy that is up to date with this program; the copy goes when it is dropped.
pub struct Backup {
    /// What it says of itself.
    pub facts: Facts,
    /// Migrations that the copy went through, as the backup is older than this program.
    pub migrated: Vec<String>,
    connection: AnyConnection,
    tables: Vec<Table>,
    _scratch: Scratch,
}

/// A file that is gone when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[derive(QueryableByName)]
struct Verdict {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

impl Backup {
    /// Looks through the backup in `file`, which stays as it is: a copy at `scratch` is made of it. Blocks.
    ///
    /// # Errors
    /// `Conflict` for what is no backup, is damaged, or of a later version of this program; `StorageUnavailable`.
    pub fn open(file: &Path, scratch: PathBuf) -> Result<Self, Error> {
        let mut original = File::open(file).map_err(|error| cannot("read", file, &error))?;
        let mut copy = create(&scratch)?;
        let scratch = Scratch(scratch);
        io::copy(&mut original, &mut copy).map_err(|error| cannot("copy", file, &error))?;
        drop(copy);
        let is_none = || Error::Conflict(format!("{} is no backup of `livetranslate backup`", file.display()));
        let mut connection = open(&scratch.0).map_err(|_| is_none())?;
        let facts = Facts::read(&mut connection).map_err(|_| is_none())?.ok_or_else(is_none)?;
        migrate::require_known(&mut connection, "the backup")?;
        let damaged = |why: &str| Error::Conflict(format!("{} is damaged: {why}", file.display()));
        let verdict = diesel::sql_query("PRAGMA quick_check(1)");
        let verdict: Verdict = verdict.get_result(&mut connection).map_err(|error| damaged(&error.to_string()))?;
        if verdict.quick_check != "ok" {
            return Err(damaged(&verdict.quick_check));
        }
        require_counts(&facts, &mut connection).map_err(|why| damaged(&why))?;
        let migrated = migrate::run(&mut connection)?;
        let tables = tables_of(&mut connection)?;
        Ok(Self { facts, migrated, connection, tables, _scratch: scratch })
    }

    /// Puts its rows in the place of those in `store`, in one transaction. What instances held when it was made is
    /// free; sessions that were live are settled by the next instance that starts. Returns how many rows. Blocks.
    ///
    /// # Errors
    /// `Conflict` while an instance uses the store (seen within 15 s of `now_us`), or when something is in it and
    /// `force` is not given; `StorageUnavailable`.
    pub fn restore(&mut self, store: &mut AnyConnection, now_us: i64, force: bool) -> Result<i64, Error> {
        migrate::require_current(store)?;
        let Self { connection, tables, .. } = self;
        accounting::transaction(store, |store| {
            patient(store)?;
            accounting::lock_ledger(store)?;
            require_unused(store, now_us)?;
            if !force {
                require_empty(store)?;
            }
            tables.iter().rev().try_for_each(|table| table.empty(store))?;
            let mut rows = 0;
            for table in tables.iter().filter(|table| table.lasts()) {
                let copied = table.copy(connection, store)?;
                if (table.count(connection)?, table.count(store)?) != (copied, copied) {
                    return Err(Error::storage(format!("{} came over with {copied} rows", table.name)));
                }
                rows += copied;
            }
            let_go(store)?;
            Ok(rows)
        })
    }
}

/// Removing and adding millions of rows takes its time.
fn patient(store: &mut AnyConnection) -> Result<(), Error> {
    if let AnyConnection::Postgres(postgres) = store {
        diesel::sql_query("SET LOCAL statement_timeout = 0").execute(postgres)?;
    }
    Ok(())
}

/// What it says of its rows must be true.
fn require_counts(facts: &Facts, backup: &mut AnyConnection) -> Result<(), String> {
    let tables = tables_of(backup).map_err(|error| error.to_string())?;
    for (name, count) in &facts.rows {
        let Some(table) = tables.iter().find(|table| table.name == *name) else {
            return Err(format!("the table {name} is missing"));
        };
        let found = table.count(backup).map_err(|error| error.cause().unwrap_or_default().to_owned())?;
        if found != *count {
            return Err(format!("{name} has {found} rows instead of {count}"));
        }
    }
    Ok(())
}

fn require_unused(store: &mut AnyConnection, now_us: i64) -> Result<(), Error> {
    let there = instances::known(store)?.into_iter().filter(|(_, seen_at_us)| *seen_at_us > now_us - THERE_US);
    match there.count() {
        0 => Ok(()),
        count => Err(Error::Conflict(format!(
            "{count} instances use the store: stop them first (one that was killed counts for 15 s)"
        ))),
    }
}

fn require_empty(store: &mut AnyConnection) -> Result<(), Error> {
    let issued: i64 = licenses::table.count().get_result(store)?;
    let used: i64 = usage_events::table.count().get_result(store)?;
    let sealed = accounts::table.filter(accounts::sealed_credential.is_not_null());
    let sealed: i64 = sealed.count().get_result(store)?;
    if issued + used + sealed == 0 {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "the store holds {issued} licenses, {used} rows of usage and {sealed} accounts; with --force they are replaced"
    )))
}

/// What was reserved belongs to nobody any more: no lease, no cushion and no hold has come along.
fn let_go(store: &mut AnyConnection) -> Result<(), Error> {
    for statement in [
        "UPDATE sessions SET leased_samples = booked_samples WHERE leased_samples <> booked_samples",
        "UPDATE budgets SET reserved_units = 0 WHERE reserved_units <> 0",
    ] {
        diesel::sql_query(statement).execute(store)?;
    }
    Ok(())
}
