//! The tables of a store as a backup sees them, whatever they hold: their names, columns and order, and their rows as
//! they go from one store to another.

use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::backend::AnyConnection;
use super::record_set::record_set;
use crate::error::Error;

/// What instances hold while they run, and what is void in another place or time.
const PASSING: [&str; 4] = ["instances", "cushions", "call_holds", "tickets"];
/// What isn't ours to copy.
const FOREIGN: [&str; 2] = ["__diesel_schema_migrations", super::facts::TABLE];
/// Rows that are written at once, and bytes of them.
const ROWS: usize = 1_000;
/// See [`ROWS`].
const BYTES: usize = 512 << 10;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns' names and types, in words of PostgreSQL.
    columns: Vec<(String, &'static str)>,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

#[derive(QueryableByName)]
struct Reference {
    #[diesel(sql_type = Text)]
    child: String,
    #[diesel(sql_type = Text)]
    parent: String,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Every table of a migrated SQLite file that holds something of ours, those that are referred to first.
///
/// # Errors
/// The store's; `Internal` for a type of column that nobody has thought of.
pub fn all(sqlite: &mut SqliteConnection) -> Result<Vec<Table>, Error> {
    let columns: Vec<Column> = diesel::sql_query(
        "SELECT m.name AS table_name, c.name AS column_name, upper(c.type) AS kind \
         FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name, c.cid",
    )
    .load(sqlite)?;
    let references: Vec<Reference> = diesel::sql_query(
        "SELECT m.name AS child, f.\"table\" AS parent \
         FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
    )
    .load(sqlite)?;
    let mut tables: Vec<Table> = Vec::new();
    for column in columns.into_iter().filter(|column| !FOREIGN.contains(&column.table_name.as_str())) {
        let kind = kind(&column)?;
        match tables.last_mut().filter(|table| table.name == column.table_name) {
            Some(table) => table.columns.push((column.column_name, kind)),
            None => tables.push(Table { name: column.table_name, columns: vec![(column.column_name, kind)] }),
        }
    }
    Ok(in_order(tables, &references))
}

fn kind(column: &Column) -> Result<&'static str, Error> {
    match column.kind.as_str() {
        "TEXT" => Ok("text"),
        "BIGINT" | "INTEGER" => Ok("bigint"),
        "BOOLEAN" => Ok("boolean"),
        "DOUBLE PRECISION" | "REAL" | "DOUBLE" => Ok("double precision"),
        other => {
            let (table, column) = (&column.table_name, &column.column_name);
            Err(Error::internal(format!("backups know no columns of type {other}: {table}.{column}")))
        }
    }
}

/// Those first that refer to nothing but what came before them.
fn in_order(mut left: Vec<Table>, references: &[Reference]) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |table: &Table| {
            let mut parents = references.iter().filter(|reference| reference.child == table.name);
            parents.any(|reference| {
                reference.parent != table.name && left.iter().any(|other| other.name == reference.parent)
            })
        };
        let (ready, waiting): (Vec<Table>, Vec<Table>) = left.iter().cloned().partition(|table| !waits(table));
        if ready.is_empty() {
            // They refer to each other: no order helps.
            ordered.extend(waiting);
            break;
        }
        ordered.extend(ready);
        left = waiting;
    }
    ordered
}

impl Table {
    /// Whether its rows outlive the instances that wrote them.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !PASSING.contains(&self.name.as_str())
    }

    /// How many rows it has.
    ///
    /// # Errors
    /// The store's.
    pub fn count(&self, connection: &mut AnyConnection) -> Result<i64, Error> {
        let count: Count =
            diesel::sql_query(format!("SELECT count(*) AS count FROM {}", self.name)).get_result(connection)?;
        Ok(count.count)
    }

    /// Removes all rows.
    ///
    /// # Errors
    /// The store's; `Conflict` while others refer to them.
    pub fn empty(&self, connection: &mut AnyConnection) -> Result<(), Error> {
        diesel::sql_query(format!("DELETE FROM {}", self.name)).execute(connection)?;
        Ok(())
    }

    /// Copies all rows, a handful in memory at a time; returns how many.
    ///
    /// # Errors
    /// Either store's.
    pub fn copy(&self, from: &mut AnyConnection, to: &mut AnyConnection) -> Result<i64, Error> {
        let (mut copied, mut batch) = (0, Batch::default());
        let mut take = |line: QueryResult<Line>| {
            batch.push(&line?.line);
            if batch.is_full() {
                copied += self.insert(to, &mut batch)?;
            }
            Ok::<(), Error>(())
        };
        match from {
            AnyConnection::Postgres(postgres) => {
                let rows = diesel::sql_query(self.lines_of_postgres());
                rows.load_iter::<Line, PgRowByRowLoadingMode>(postgres)?.try_for_each(&mut take)?;
            }
            AnyConnection::Sqlite(sqlite) => {
                let rows = diesel::sql_query(self.lines_of_sqlite());
                rows.load_iter::<Line, diesel::connection::DefaultLoadingMode>(sqlite)?.try_for_each(&mut take)?;
            }
        }
        Ok(copied + self.insert(to, &mut batch)?)
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn lines_of_postgres(&self) -> String {
        format!("SELECT row_to_json(r)::text AS line FROM (SELECT {} FROM {}) r", self.names(), self.name)
    }

    fn lines_of_sqlite(&self) -> String {
        let members: Vec<String> = self.columns.iter().map(|(name, _)| format!("'{name}', {name}")).collect();
        format!("SELECT json_object({}) AS line FROM {}", members.join(", "), self.name)
    }

    fn insert(&self, to: &mut AnyConnection, batch: &mut Batch) -> Result<i64, Error> {
        if batch.rows == 0 {
            return Ok(0);
        }
        let columns: Vec<(&str, &str)> = self.columns.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        let (names, rows) = (self.names(), record_set(to, &columns));
        let statement = format!("{rows} INSERT INTO {} ({names}) SELECT {names} FROM v", self.name);
        let inserted = diesel::sql_query(statement).bind::<Text, _>(batch.take()).execute(to)?;
        i64::try_from(inserted).map_err(Error::internal)
    }
}

/// Rows as the inside of a JSON array.
#[derive(Default)]
struct Batch {
    rows: usize,
    text: String,
}

impl Batch {
    fn push(&mut self, line: &str) {
        self.text.push(if self.rows == 0 { '[' } else { ',' });
        self.text.push_str(line);
        self.rows += 1;
    }

    fn is_full(&self) -> bool {
        self.rows >= ROWS || self.text.len() >= BYTES
    }

    fn take(&mut self) -> String {
        self.rows = 0;
        self.text.push(']');
        std::mem::take(&mut self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Location, Store};
    use crate::store::migrate;

    #[test]
    fn every_table_is_known_and_comes_after_those_that_it_refers_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Location::Sqlite(folder.path().join("x.db"))).unwrap();
        store.run_blocking(migrate::run).unwrap();
        let read = |connection: &mut AnyConnection| match connection {
            AnyConnection::Sqlite(sqlite) => all(sqlite),
            AnyConnection::Postgres(_) => unreachable!(),
        };
        let tables = store.run_blocking(read).unwrap();
        let place = |name: &str| tables.iter().position(|table| table.name == name).unwrap();
        for child in ["api_keys", "budgets", "sessions", "tickets", "upstream_tasks"] {
            assert!(place("licenses") < place(child), "{child}");
        }
        assert!(PASSING.iter().all(|name| !tables.get(place(name)).unwrap().lasts()));
        assert!(tables.iter().all(|table| !FOREIGN.contains(&table.name.as_str())));
    }

    #[test]
    fn a_circle_of_references_ends() {
        let table = |name: &str| Table { name: name.to_owned(), columns: Vec::new() };
        let refers = |child: &str, parent: &str| Reference { child: child.to_owned(), parent: parent.to_owned() };
        let references = [refers("a", "b"), refers("b", "a"), refers("b", "b"), refers("c", "d")];
        let ordered = in_order(["a", "b", "c", "d"].map(table).to_vec(), &references);
        let names: Vec<&str> = ordered.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["d", "c", "a", "b"]);
    }
}
