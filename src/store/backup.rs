//! Writes a backup: one SQLite file with the same tables, whichever store it is of, filled from one moment of it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::accounting;
use super::backend::AnyConnection;
use super::disk;
use super::facts::Facts;
use super::lock::cannot;
use super::migrate;
use super::tables::{self, Table};
use crate::error::Error;

/// Who may read a backup: its owner.
const MODE: u32 = 0o600;

#[derive(QueryableByName)]
struct Size {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// The word for the backend behind a connection.
#[must_use]
pub fn kind(connection: &AnyConnection) -> &'static str {
    match connection {
        AnyConnection::Postgres(_) => "postgres",
        AnyConnection::Sqlite(_) => "sqlite",
    }
}

/// Writes everything that lasts into `file`, which must not exist: under another name first, so that a file of that
/// name is whole. It works while gateways serve. Blocks.
///
/// # Errors
/// `Conflict` when the store is of another version of this program, the file exists, or the disk hasn't room for it
/// and `margin_bytes` more; `StorageUnavailable`.
pub fn write(connection: &mut AnyConnection, file: &Path, made_at_us: i64, margin_bytes: u64) -> Result<Facts, Error> {
    migrate::require_current(connection)?;
    if file.exists() {
        return Err(Error::Conflict(format!("{} exists already; choose another name", file.display())));
    }
    require_room(connection, file, margin_bytes)?;
    let part = part_of(file);
    let written = fill(connection, &part, made_at_us).and_then(|facts| {
        publish(&part, file)?;
        Ok(facts)
    });
    if written.is_err() {
        // What is left of it is of no use; that it can't be removed is told by the next try.
        let _gone = std::fs::remove_file(&part);
    }
    written
}

/// The name under which a file is written.
#[must_use]
pub fn part_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

/// Makes an empty file that only its owner may read, in the place of one that was left behind.
///
/// # Errors
/// `StorageUnavailable`.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    if path.exists() {
        std::fs::remove_file(path).map_err(|error| cannot("remove", path, &error))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    file.map_err(|error| cannot("make", path, &error))
}

/// Opens a backup, or what is to become one. What is lost with the process is made anew: nothing waits for the disk.
///
/// # Errors
/// `StorageUnavailable` when it is no SQLite file.
pub(super) fn open(path: &Path) -> Result<AnyConnection, Error> {
    let mut connection = SqliteConnection::establish(&path.to_string_lossy()).map_err(Error::storage)?;
    connection.batch_execute("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON;")?;
    Ok(AnyConnection::Sqlite(connection))
}

/// The tables of a backup.
///
/// # Errors
/// The file's.
pub(super) fn tables_of(backup: &mut AnyConnection) -> Result<Vec<Table>, Error> {
    match backup {
        AnyConnection::Sqlite(sqlite) => tables::all(sqlite),
        AnyConnection::Postgres(_) => Err(Error::internal("a backup is a file")),
    }
}

fn require_room(connection: &mut AnyConnection, file: &Path, margin_bytes: u64) -> Result<(), Error> {
    let statement = match connection {
        AnyConnection::Postgres(_) => "SELECT pg_database_size(current_database()) AS bytes",
        AnyConnection::Sqlite(_) => {
            "SELECT page_count * page_size AS bytes FROM pragma_page_count() JOIN pragma_page_size()"
        }
    };
    let size: Size = diesel::sql_query(statement).get_result(connection)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let wanted = u64::try_from(size.bytes).unwrap_or(0).saturating_add(margin_bytes);
    let free = disk::free_bytes(folder).map_err(|error| cannot("look at", folder, &error))?;
    if free >= wanted {
        return Ok(());
    }
    let (free, wanted) = (free >> 20, wanted.div_ceil(1 << 20));
    let folder = folder.display();
    Err(Error::Conflict(format!("a backup may take {wanted} MiB, and {free} MiB are free at {folder}: make room")))
}

fn fill(connection: &mut AnyConnection, part: &Path, made_at_us: i64) -> Result<Facts, Error> {
    drop(create(part)?);
    let mut backup = open(part)?;
    migrate::run(&mut backup)?;
    let tables = tables_of(&mut backup)?;
    let mut facts = Facts {
        made_at_us,
        store: kind(connection).to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        ..Facts::default()
    };
    accounting::transaction(&mut backup, |backup| {
        // What migrations have put there.
        tables.iter().rev().try_for_each(|table| table.empty(backup))?;
        accounting::transaction(connection, |connection| {
            one_moment(connection)?;
            for table in tables.iter().filter(|table| table.lasts()) {
                facts.rows.insert(table.name.clone(), table.copy(connection, backup)?);
            }
            Ok(())
        })?;
        facts.write(backup)
    })?;
    Ok(facts)
}

/// All that is read from here on is of one moment, however long it takes. SQLite's transactions are so by themselves.
fn one_moment(connection: &mut AnyConnection) -> Result<(), Error> {
    match connection {
        AnyConnection::Postgres(postgres) => Ok(postgres.batch_execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = 0",
        )?),
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Gives a file that is whole its name, and lets it outlive a power cut.
fn publish(part: &Path, file: &Path) -> Result<(), Error> {
    let written = File::open(part).and_then(|opened| opened.sync_all());
    written.map_err(|error| cannot("write", part, &error))?;
    std::fs::rename(part, file).map_err(|error| cannot("make", file, &error))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|opened| opened.sync_all());
    synced.map_err(|error| cannot("write", folder, &error))
}
