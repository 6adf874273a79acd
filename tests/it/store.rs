//! The store as instances share it: they start together, and migrations go both ways.

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::migrate;

use crate::support::postgres::Database;

fn start_together(location: &Location) {
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let location = location.clone();
            std::thread::spawn(move || Store::open(location).unwrap().run_blocking(migrate::run).unwrap())
        })
        .collect();
    let mut applied: Vec<usize> = starts.into_iter().map(|start| start.join().unwrap().len()).collect();
    applied.sort_unstable();
    let all = applied.pop().unwrap();
    assert!(all > 0 && applied.iter().all(|count| *count == 0), "one instance migrates, the others wait: {applied:?}");
    assert!(Store::open(location.clone()).unwrap().run_blocking(migrate::pending).unwrap().is_empty());
}

#[test]
fn four_instances_start_together() {
    let folder = tempfile::tempdir().unwrap();
    start_together(&Location::Sqlite(folder.path().join("new/central.db")));
    let database = Database::empty();
    start_together(&Location::Postgres(database.url.clone()));
}

#[test]
fn migrations_go_back() {
    const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
    let folder = tempfile::tempdir().unwrap();
    let database = Database::empty();
    for location in [Location::Sqlite(folder.path().join("x.db")), Location::Postgres(database.url.clone())] {
        let store = Store::open(location).unwrap();
        let forth = store.run_blocking(migrate::run).unwrap().len();
        let back = store.run_blocking(|connection| {
            let reverted = match connection {
                AnyConnection::Postgres(postgres) => postgres.revert_all_migrations(MIGRATIONS).map(|all| all.len()),
                AnyConnection::Sqlite(sqlite) => sqlite.revert_all_migrations(MIGRATIONS).map(|all| all.len()),
            };
            Ok(reverted.unwrap())
        });
        assert_eq!(back.unwrap(), forth);
        assert_eq!(store.run_blocking(migrate::run).unwrap().len(), forth);
    }
}
