//! Many rows in one statement: a JSON array that both backends read as a table.

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
