//! One connection type over both backends.
#![expect(missing_docs, reason = "diesel's derive generates undocumented items")]

use diesel::{PgConnection, SqliteConnection};

/// A connection to either backend; ordinary diesel queries run on it.
#[derive(diesel::MultiConnection)]
pub enum AnyConnection {
    /// Production.
    Postgres(PgConnection),
    /// The embedded default.
    Sqlite(SqliteConnection),
}
