//! The store as instances share it: they start together, and migrations go both ways.

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::{announcements, migrate};

use crate::support::ledger::execute;
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

#[test]
fn announcements_are_heard_again_after_the_connection_broke() {
    let database = Database::fresh();
    let location = Location::Postgres(database.url.clone());
    let store = Store::open(location.clone()).unwrap();
    let (ear, heard) = std::sync::mpsc::channel();
    let listener = announcements::listen(&location, move || ear.send(()).unwrap_or_default()).unwrap();
    let next = || heard.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    // Whoever begins to listen looks first.
    next();
    let before = store.run_blocking(announcements::version).unwrap();
    store.run_blocking(announcements::announce).unwrap();
    next();
    assert_eq!(store.run_blocking(announcements::version).unwrap(), before + 1);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
               AND query LIKE 'LISTEN%'";
    execute(&store, cut);
    next();
    store.run_blocking(announcements::announce).unwrap();
    next();
    assert!(listener.is_some(), "PostgreSQL has one");
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let none = announcements::listen(&Location::Sqlite(folder.path().join("x.db")), || {}).unwrap();
    assert!(none.is_none());
}

#[test]
fn connections_that_lost_their_server_are_not_used_again() {
    let database = Database::fresh();
    let location = Location::Postgres(database.url.clone());
    let store = Store::open_with(location.clone(), 1, std::time::Duration::from_secs(10)).unwrap();
    let read = || store.run_blocking(|connection| Ok(migrate::pending(connection)?.len()));
    assert!(read().is_ok());
    let other = Store::open(location).unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    execute(&other, end);
    assert!(read().is_err(), "its server is gone");
    assert!(read().is_ok(), "another one takes its place");
}
