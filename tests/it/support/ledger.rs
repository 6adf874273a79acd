//! A store with one license, `lic`, and one budget: what the quota room's tests begin with.

use diesel::prelude::*;
use livetranslate::clock;
use livetranslate::quota::batch::Opening;
use livetranslate::quota::instance::Instance;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::migrate;
use livetranslate::store::schema::{budget_slices, budgets, sessions, usage_events};

use super::postgres::Database;

/// An instance with the usual window.
pub(crate) fn instance(id: &str) -> Instance {
    Instance { id: id.into(), resume_window: jiff::SignedDuration::from_secs(120), grace_seconds: 300 }
}

/// A session of the license that can be resumed by `hash-` and its id.
pub(crate) fn resumable(session_id: &str) -> Opening {
    Opening {
        session_id: session_id.into(),
        license_id: "lic".into(),
        key_id: None,
        model: "m".into(),
        started_at: clock::now(),
        max_sessions: None,
        max_sessions_of_key: None,
        resume_hash: Some(hash(session_id)),
    }
}

/// What stands for the hash of its resume token.
pub(crate) fn hash(session_id: &str) -> String {
    format!("hash-{session_id}")
}

/// A migrated store whose license may use so many samples.
pub(crate) fn store_with(location: Location, limit: i64) -> Store {
    let store = Store::open(location).unwrap();
    store.run_blocking(migrate::run).unwrap();
    let license = "INSERT INTO licenses (id, token_id, status, scopes, models, allowed_ips, limits, metadata, \
         created_at_us, updated_at_us) VALUES ('lic', 't', 'active', '[]', '[]', '[]', '{}', '{}', 0, 0)";
    let budget = format!(
        "INSERT INTO budgets (id, license_id, unit, window_span, window_mode, tz, limit_units, period_start_us) \
         VALUES ('b', 'lic', 'audio_seconds', 'lifetime', 'fixed', 'UTC', {limit}, 0)"
    );
    execute(&store, license);
    execute(&store, &budget);
    store
}

/// Runs a test on such a store on SQLite, then on PostgreSQL, in an actix system.
pub(crate) fn on_both_ledgers(limit: i64, test: impl AsyncFn(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::fresh();
    for location in [Location::Sqlite(folder.path().join("x.db")), Location::Postgres(database.url.clone())] {
        actix_web::rt::System::new().block_on(async {
            test(&store_with(location, limit)).await;
        });
    }
}

/// Runs one statement.
pub(crate) fn execute(store: &Store, statement: &str) {
    let run = |connection: &mut AnyConnection| Ok(diesel::sql_query(statement).execute(connection)?);
    store.run_blocking(run).unwrap();
}

/// What the license's budget has booked, and what leases hold.
pub(crate) fn used_and_reserved(store: &Store) -> (i64, i64) {
    let columns = (budgets::used_units, budgets::reserved_units);
    store.run_blocking(|connection| Ok(budgets::table.find("b").select(columns).first(connection)?)).unwrap()
}

/// Gives the key `k` of the license a rolling budget of a day, in samples.
pub(crate) fn give_the_key_a_budget(store: &Store, limit: i64) {
    execute(
        store,
        &format!(
            "INSERT INTO budgets (id, license_id, key_id, unit, window_span, window_mode, tz, limit_units, \
             period_start_us) VALUES ('bk', 'lic', 'k', 'audio_seconds', '1d', 'rolling', 'UTC', {limit}, 0)"
        ),
    );
}

/// What the key's budget has booked, what leases hold, and what its slices add up to.
pub(crate) fn used_of_the_key(store: &Store) -> (i64, i64, i64) {
    let columns = (budgets::used_units, budgets::reserved_units);
    let found = store.run_blocking(|connection| {
        let (used, reserved): (i64, i64) = budgets::table.find("bk").select(columns).first(connection)?;
        let slices: Vec<i64> = budget_slices::table.select(budget_slices::used_units).load(connection)?;
        Ok((used, reserved, slices.iter().sum()))
    });
    found.unwrap()
}

/// The sum of the usage rows, samples.
pub(crate) fn recorded(store: &Store) -> i64 {
    let rows =
        |connection: &mut AnyConnection| Ok(usage_events::table.select(usage_events::samples).load(connection)?);
    let rows: Vec<i64> = store.run_blocking(rows).unwrap();
    rows.iter().sum()
}

/// Every session's id, status and marks: booked and acknowledged, samples.
pub(crate) fn sessions_stored(store: &Store) -> Vec<(String, String, i64, i64)> {
    let columns = (sessions::id, sessions::status, sessions::booked_samples, sessions::ack_metered);
    store.run_blocking(|connection| Ok(sessions::table.select(columns).load(connection)?)).unwrap()
}
