//! What a backup says of itself, in a table of its own: when it was made, of which store, and how many rows it holds.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::backend::AnyConnection;
use crate::error::Error;

/// The table.
pub(super) const TABLE: &str = "backup_facts";
const ROWS: &str = "rows ";

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// When it was made, microseconds since 1970.
    pub made_at_us: i64,
    /// `sqlite` or `postgres`.
    pub store: String,
    /// The version of the program that made it.
    pub program: String,
    /// Rows by table.
    pub rows: BTreeMap<String, i64>,
}

#[derive(QueryableByName)]
struct Fact {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    value: String,
}

impl Facts {
    /// Rows in all.
    #[must_use]
    pub fn rows_in_all(&self) -> i64 {
        self.rows.values().sum()
    }

    /// Writes them into a backup that has none yet.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn write(&self, backup: &mut AnyConnection) -> Result<(), Error> {
        diesel::sql_query(format!("CREATE TABLE {TABLE} (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)"))
            .execute(backup)?;
        let own = [
            ("made_at_us", self.made_at_us.to_string()),
            ("store", self.store.clone()),
            ("program", self.program.clone()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let rows = self.rows.iter().map(|(table, count)| (format!("{ROWS}{table}"), count.to_string()));
        for (name, value) in own.chain(rows) {
            diesel::sql_query(format!("INSERT INTO {TABLE} (name, value) VALUES ($1, $2)"))
                .bind::<Text, _>(name)
                .bind::<Text, _>(value)
                .execute(backup)?;
        }
        Ok(())
    }

    /// Reads them; `None` where there are none: it is no backup.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn read(backup: &mut AnyConnection) -> Result<Option<Self>, Error> {
        let there: Vec<Fact> = diesel::sql_query(format!(
            "SELECT name, name AS value FROM sqlite_master WHERE type = 'table' AND name = '{TABLE}'"
        ))
        .load(backup)?;
        if there.is_empty() {
            return Ok(None);
        }
        let mut facts = Self::default();
        for Fact { name, value } in
            diesel::sql_query(format!("SELECT name, value FROM {TABLE}")).load::<Fact>(backup)?
        {
            let number = || value.parse().map_err(|_| Error::storage(format!("`{name}` of the backup is {value}")));
            match name.as_str() {
                "made_at_us" => facts.made_at_us = number()?,
                "store" => facts.store = value,
                "program" => facts.program = value,
                other => {
                    if let Some(table) = other.strip_prefix(ROWS) {
                        facts.rows.insert(table.to_owned(), number()?);
                    }
                }
            }
        }
        Ok(Some(facts))
    }
}
