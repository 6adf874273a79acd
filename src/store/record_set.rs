//! Many rows in one statement: a JSON array that both backends read as a table.

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Text};

use super::backend::AnyConnection;
use crate::error::Error;

/// A `WITH` clause that reads the JSON array bound to `$1` as rows `v(columns…)`. Materialized: SQLite would
/// otherwise parse the whole array again for every live session.
pub(super) fn record_set(connection: &AnyConnection, columns: &[(&str, &str)]) -> String {
    let select = match connection {
        AnyConnection::Postgres(_) => {
            let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
            format!("SELECT * FROM jsonb_to_recordset($1::jsonb) AS r({})", columns.join(", "))
        }
        AnyConnection::Sqlite(_) => {
            let columns: Vec<String> =
                columns.iter().map(|(name, _)| format!("value ->> '{name}' AS {name}")).collect();
            // Its values are binary: they need not be parsed again for each column.
            format!("SELECT {} FROM jsonb_each($1)", columns.join(", "))
        }
    };
    format!("WITH v AS MATERIALIZED ({select})")
}

/// Rows as the JSON array to bind.
///
/// # Errors
/// `Internal`: a defect.
pub(super) fn json<T: serde::Serialize>(rows: &[T]) -> Result<String, Error> {
    serde_json::to_string(rows).map_err(Error::internal)
}

/// Runs a statement over rows whose text never changes: each connection prepares it once.
///
/// # Errors
/// The store's; `Internal`: a defect.
pub(super) fn run<T: serde::Serialize>(
    connection: &mut AnyConnection,
    statement: &str,
    rows: &[T],
) -> Result<usize, Error> {
    let (before, after) = statement.split_once("$1").ok_or_else(|| Error::internal("a statement without rows"))?;
    let lasting = Lasting { before, rows: json(rows)?, after };
    Ok(match connection {
        AnyConnection::Postgres(postgres) => lasting.execute(postgres)?,
        AnyConnection::Sqlite(sqlite) => lasting.execute(sqlite)?,
    })
}

/// A statement with its rows as the one parameter; `sql_query` would be planned anew each time.
struct Lasting<'a> {
    before: &'a str,
    rows: String,
    after: &'a str,
}

impl<DB: Backend> QueryFragment<DB> for Lasting<'_>
where
    String: ToSql<Text, DB>,
    DB: HasSqlType<Text>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.before);
        out.push_bind_param::<Text, _>(&self.rows)?;
        out.push_sql(self.after);
        Ok(())
    }
}

impl QueryId for Lasting<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Connection> RunQueryDsl<Connection> for Lasting<'_> {}
