//! A fresh PostgreSQL database for each test, copied from one that was migrated once.

use std::sync::Mutex;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::migrate;

/// A database that is dropped with its test.
pub(crate) struct Database {
    name: String,
    /// Its URL.
    pub(crate) url: String,
}

static TEMPLATE: Mutex<Option<String>> = Mutex::new(None);

impl Database {
    /// Copies the template. TEST_DATABASE_URL names a server on which databases may be made.
    pub(crate) fn fresh() -> Self {
        let mut template = TEMPLATE.lock().unwrap();
        let template = template.get_or_insert_with(make_template);
        let name = format!("lt_{}", livetranslate::ids::random(16).to_lowercase());
        run(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Self { url: url_of(&name), name }
    }

    /// A database without tables.
    pub(crate) fn empty() -> Self {
        let name = format!("lt_{}", livetranslate::ids::random(16).to_lowercase());
        run(&format!("CREATE DATABASE {name}"));
        Self { url: url_of(&name), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn make_template() -> String {
    let name = format!("lt_template_{}", std::process::id());
    run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    run(&format!("CREATE DATABASE {name}"));
    let store = Store::open(Location::Postgres(url_of(&name))).unwrap();
    store.run_blocking(migrate::run).unwrap();
    drop(store);
    // The pool closes its connections in the background; a template must have none.
    run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    name
}

fn server() -> String {
    std::env::var_os("TEST_DATABASE_URL")
        .and_then(|url| url.into_string().ok())
        .unwrap_or_else(|| panic!("these tests need a PostgreSQL: run ./tests/run.sh, or set TEST_DATABASE_URL"))
}

fn url_of(database: &str) -> String {
    let server = server();
    let (base, options) = server.split_once('?').unwrap_or((&server, ""));
    let origin = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    if options.is_empty() { format!("{origin}/{database}") } else { format!("{origin}/{database}?{options}") }
}

fn run(statement: &str) {
    PgConnection::establish(&server()).unwrap().batch_execute(statement).unwrap();
}
