//! The one door: a pool of connections to whichever store DATABASE_URL names.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection as _, PgConnection, SqliteConnection};

use super::backend::AnyConnection;
use crate::error::Error;

/// Where the store is, read from DATABASE_URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A libpq URL.
    Postgres(String),
    /// A database file.
    Sqlite(PathBuf),
}

impl Location {
    /// Reads `postgres://…`, `postgresql://…`, `sqlite://relative`, `sqlite:///relative`,
    /// `sqlite:////absolute` or a bare path.
    ///
    /// # Errors
    /// `InvalidRequest` for another scheme or an empty path, with what to write instead.
    pub fn parse(url: &str) -> Result<Self, Error> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        let path = match url.split_once("://") {
            None => url,
            Some(("sqlite", rest)) => rest.strip_prefix('/').unwrap_or(rest),
            Some((scheme, _)) => {
                return Err(Error::field(
                    "DATABASE_URL",
                    format!("DATABASE_URL has the scheme `{scheme}`; use postgres://… or sqlite://path"),
                ));
            }
        };
        if path.is_empty() {
            return Err(Error::field(
                "DATABASE_URL",
                "DATABASE_URL names no file; write e.g. sqlite://data/central.db",
            ));
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

/// The store: cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Store {
    pool: r2d2::Pool<Dialer>,
}

impl Store {
    /// Connects (and makes the SQLite file's folder). Blocks; run it at start.
    ///
    /// # Errors
    /// `StorageUnavailable` when no connection can be made within 10 s.
    pub fn open(location: Location) -> Result<Self, Error> {
        const CONNECTIONS: u32 = 8;
        const PATIENCE: Duration = Duration::from_secs(10);
        Self::open_with(location, CONNECTIONS, PATIENCE)
    }

    /// The same with another number of connections at most, and another patience for one.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(location: Location, connections: u32, patience: Duration) -> Result<Self, Error> {
        if let Location::Sqlite(path) = &location
            && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::storage(format!("can't create {}: {error}", folder.display())))?;
        }
        let pool = r2d2::Pool::builder()
            .max_size(connections)
            .min_idle(Some(1))
            .connection_timeout(patience)
            .test_on_check_out(false)
            .build(Dialer { location })
            .map_err(Error::storage)?;
        Ok(Self { pool })
    }

    /// Runs a query function on a blocking thread: the only way into the store from async code.
    ///
    /// # Errors
    /// `StorageUnavailable` when no connection is free or no answer comes within 8 s, or the store fails; what
    /// `query` returns otherwise.
    pub async fn run<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConnection) -> Result<T, Error> + Send + 'static,
    {
        const PATIENCE: Duration = Duration::from_secs(8);
        let answer = tokio::time::timeout(PATIENCE, self.run_to_the_end(query)).await;
        answer.map_err(|_| Error::storage("no answer in time"))?
    }

    /// The same without a deadline, for what must know its outcome.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn run_to_the_end<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConnection) -> Result<T, Error> + Send + 'static,
    {
        let store = self.clone();
        let answering = tokio::task::spawn_blocking(move || {
            give_way();
            store.run_blocking(query)
        });
        answering.await.map_err(Error::internal)?
    }

    /// Asks the store whether it answers.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub async fn ping(&self) -> Result<(), Error> {
        self.run(|connection| Ok(connection.batch_execute("SELECT 1")?)).await
    }

    /// The same for callers that may block: start-up and commands.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub fn run_blocking<T>(&self, query: impl FnOnce(&mut AnyConnection) -> Result<T, Error>) -> Result<T, Error> {
        let mut pooled = self.pool.get().map_err(Error::storage)?;
        let outcome = query(&mut pooled.connection);
        if matches!(outcome, Err(Error::StorageUnavailable { .. })) {
            // The backend's client doesn't say whether it lost its server: it must not go back to the pool then.
            pooled.lost = pooled.connection.batch_execute("SELECT 1").is_err();
        }
        outcome
    }
}

/// Lets threads that relay voices go before this one where they want the same core: a second's usage of a thousand
/// sessions is written in one go, and none of them should wait for it.
fn give_way() {
    const BEHIND: i32 = 10;
    thread_local!(static GAVE_WAY: Cell<bool> = const { Cell::new(false) });
    // Elsewhere it would be the whole process that gives way.
    if cfg!(target_os = "linux") && !GAVE_WAY.replace(true) {
        // It is refused nowhere; if it were, they would share evenly.
        let _refused = rustix::process::nice(BEHIND);
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind::{ForeignKeyViolation, UniqueViolation};
        match error {
            diesel::result::Error::DatabaseError(UniqueViolation | ForeignKeyViolation, _) => {
                Self::Conflict("it exists already, or something still refers to it".to_owned())
            }
            other => Self::storage(other),
        }
    }
}

/// Why a connection can't be had, in the client library's words: they name host and database, not the password.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error(transparent)]
    Connect(#[from] diesel::ConnectionError),
    #[error(transparent)]
    Prepare(#[from] diesel::result::Error),
}

/// A connection of the pool.
struct Pooled {
    connection: AnyConnection,
    /// It lost its server: it is of no use any more.
    lost: bool,
}

/// Makes and checks connections for the pool.
struct Dialer {
    location: Location,
}

impl r2d2::ManageConnection for Dialer {
    type Connection = Pooled;
    type Error = Unreachable;

    fn connect(&self) -> Result<Pooled, Unreachable> {
        let connection = match &self.location {
            Location::Postgres(url) => {
                let mut connection = PgConnection::establish(&impatient(url))?;
                // An instance that stands still in a transaction must not hold the ledger's lock for long.
                // Reports are over before compiled statements would pay.
                connection.batch_execute(
                    "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'; \
                     SET client_min_messages = 'warning'; SET jit = off",
                )?;
                AnyConnection::Postgres(connection)
            }
            Location::Sqlite(path) => {
                let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
                // NORMAL would let the last commits go at a power cut; usage must survive it.
                connection.batch_execute(
                    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                     PRAGMA foreign_keys = ON;",
                )?;
                AnyConnection::Sqlite(connection)
            }
        };
        Ok(Pooled { connection, lost: false })
    }

    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), Unreachable> {
        pooled.connection.batch_execute("SELECT 1")?;
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        use diesel::connection::TransactionManager as _;
        use diesel::r2d2::R2D2Connection as _;
        let connection = &mut pooled.connection;
        pooled.lost
            || std::thread::panicking()
            || connection.is_broken()
            || <AnyConnection as diesel::Connection>::TransactionManager::is_broken_transaction_manager(connection)
    }
}

/// A libpq URL that gives up on a host that doesn't answer; what the URL says itself wins.
#[must_use]
pub fn impatient(url: &str) -> String {
    const LIMITS: [(&str, &str); 5] = [
        ("connect_timeout", "5"),
        ("keepalives_idle", "10"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "15000"),
    ];
    let mut limited = url.to_owned();
    for (name, value) in LIMITS.iter().filter(|(name, _)| !url.contains(&format!("{name}="))) {
        let joint = if limited.contains('?') { '&' } else { '?' };
        limited.push_str(&format!("{joint}{name}={value}"));
    }
    limited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_own_limits() {
        let url = impatient("postgres://u@h/d?connect_timeout=60");
        assert!(url.starts_with("postgres://u@h/d?connect_timeout=60&keepalives_idle=10&"), "{url}");
        assert!(impatient("postgres://u@h/d").starts_with("postgres://u@h/d?connect_timeout=5&"));
    }

    #[test]
    fn database_urls() {
        let sqlite = |path: &str| Location::Sqlite(PathBuf::from(path));
        for (url, expected) in [
            ("sqlite://data/central.db", sqlite("data/central.db")),
            ("sqlite:///data/central.db", sqlite("data/central.db")),
            ("sqlite:///./x.db", sqlite("./x.db")),
            ("sqlite:////var/lib/x.db", sqlite("/var/lib/x.db")),
            ("/var/lib/x.db", sqlite("/var/lib/x.db")),
            ("postgres://u@h/d", Location::Postgres("postgres://u@h/d".into())),
        ] {
            assert_eq!(Location::parse(url).unwrap(), expected, "{url}");
        }
        assert!(Location::parse("mysql://h/d").is_err());
        assert!(Location::parse("sqlite://").is_err());
    }
}
