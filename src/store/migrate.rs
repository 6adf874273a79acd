//! Brings the tables up to date at start, under a lock, so that two instances starting together don't collide.

use diesel::Connection as _;
use diesel::connection::SimpleConnection;
use diesel::migration::MigrationSource;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::backend::AnyConnection;
use crate::error::Error;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Runs what is pending and returns the names, oldest first. A second caller waits for the first.
///
/// # Errors
/// `StorageUnavailable` when a migration fails; those before it stay.
pub fn run(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    match connection {
        AnyConnection::Postgres(postgres) => {
            // Any number that no other program locks on; the session-level lock outlives each migration's transaction.
            const LOCK: &str = "SET statement_timeout = 0; SELECT pg_advisory_lock(5500641207338855794)";
            const UNLOCK: &str = "SELECT pg_advisory_unlock(5500641207338855794); SET statement_timeout = '30s'";
            postgres.batch_execute(LOCK)?;
            let outcome = run_pending(postgres);
            postgres.batch_execute(UNLOCK)?;
            outcome
        }
        AnyConnection::Sqlite(sqlite) => sqlite.immediate_transaction(run_pending),
    }
}

/// The names of what [`run`] would run, oldest first.
///
/// # Errors
/// `StorageUnavailable` when the store can't be read.
pub fn pending(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    // Looking makes the table of migrations where there is none: it is rolled back.
    let mut pending = Err(Error::internal("the migrations were not looked at"));
    let looked = connection.transaction(|connection| {
        pending = match connection {
            AnyConnection::Postgres(postgres) => names_pending(postgres),
            AnyConnection::Sqlite(sqlite) => names_pending(sqlite),
        };
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    });
    match looked {
        Ok(()) | Err(diesel::result::Error::RollbackTransaction) => pending,
        Err(error) => Err(error.into()),
    }
}

/// Refuses a store that is not as this version of the program makes it.
///
/// # Errors
/// `Conflict`, with what to do; `StorageUnavailable` when the store can't be read.
pub fn require_current(connection: &mut AnyConnection) -> Result<(), Error> {
    let missing = pending(connection)?;
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Error::Conflict(format!("the store lacks {missing}: run `livetranslate migrate` first")));
    }
    require_known(connection, "the store")
}

/// Refuses what a later version of this program has migrated.
///
/// # Errors
/// `Conflict`, with what to do; `StorageUnavailable` when it can't be read.
pub fn require_known(connection: &mut AnyConnection, what: &str) -> Result<(), Error> {
    let unknown = match connection {
        AnyConnection::Postgres(postgres) => versions_unknown(postgres)?,
        AnyConnection::Sqlite(sqlite) => versions_unknown(sqlite)?,
    };
    match unknown.first() {
        None => Ok(()),
        Some(version) => Err(Error::Conflict(format!(
            "{what} is of a later version of this program (it has the migration {version}): use that version"
        ))),
    }
}

fn versions_unknown<C, B>(connection: &mut C) -> Result<Vec<String>, Error>
where
    C: MigrationHarness<B>,
    B: diesel::backend::Backend,
{
    let known = MigrationSource::<B>::migrations(&MIGRATIONS).map_err(Error::storage)?;
    let known: Vec<String> = known.iter().map(|migration| migration.name().version().to_string()).collect();
    let applied = connection.applied_migrations().map_err(Error::storage)?;
    Ok(applied.iter().map(ToString::to_string).filter(|version| !known.contains(version)).collect())
}

fn run_pending<C, B>(connection: &mut C) -> Result<Vec<String>, Error>
where
    C: MigrationHarness<B>,
    B: diesel::backend::Backend,
{
    let applied = connection.run_pending_migrations(MIGRATIONS).map_err(Error::storage)?;
    Ok(applied.iter().map(ToString::to_string).collect())
}

fn names_pending<C, B>(connection: &mut C) -> Result<Vec<String>, Error>
where
    C: MigrationHarness<B>,
    B: diesel::backend::Backend,
{
    let pending = connection.pending_migrations(MIGRATIONS).map_err(Error::storage)?;
    Ok(pending.iter().map(|migration| migration.name().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Location, Store};

    #[test]
    fn migrates_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Location::Sqlite(folder.path().join("x.db"))).unwrap();
        let waiting = store.run_blocking(pending).unwrap();
        assert!(!waiting.is_empty());
        assert_eq!(store.run_blocking(run).unwrap().len(), waiting.len());
        assert!(store.run_blocking(run).unwrap().is_empty());
        assert!(store.run_blocking(pending).unwrap().is_empty());
    }
}
