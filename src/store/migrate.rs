//! Brings the tables up to date at start, under a lock, so that two instances starting together don't collide.

use diesel::Connection as _;
use diesel::connection::SimpleConnection;
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
