//! The sentences about browsers' one-time tickets.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::tickets;
use crate::error::Error;

/// A ticket as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = tickets)]
pub struct Ticket {
    /// Hash of the ticket.
    pub secret_hash: String,
    /// The license that it stands for.
    pub license_id: String,
    /// The API key that it was made with.
    pub key_id: Option<String>,
    /// Until when it may be used.
    pub expires_at_us: i64,
}

/// Adds a ticket and removes those that were never used in time.
///
/// # Errors
/// The store's.
pub fn insert(connection: &mut AnyConnection, ticket: &Ticket, now_us: i64) -> Result<(), Error> {
    diesel::delete(tickets::table.filter(tickets::expires_at_us.le(now_us))).execute(connection)?;
    diesel::insert_into(tickets::table).values(ticket).execute(connection)?;
    Ok(())
}

/// Takes a ticket, so that nobody else can: its license id and key id, if it is known and not too old.
///
/// # Errors
/// The store's.
pub fn take(
    connection: &mut AnyConnection,
    secret_hash: &str,
    now_us: i64,
) -> Result<Option<(String, Option<String>)>, Error> {
    let valid = tickets::table.filter(tickets::secret_hash.eq(secret_hash)).filter(tickets::expires_at_us.gt(now_us));
    let taken = diesel::delete(valid).returning((tickets::license_id, tickets::key_id)).get_result(connection);
    Ok(taken.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{License, Limits, Status};
    use crate::store::connection::{Location, Store};
    use crate::store::{licenses, migrate};

    #[test]
    fn a_ticket_is_good_once_and_not_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Location::Sqlite(folder.path().join("x.db"))).unwrap();
        store.run_blocking(migrate::run).unwrap();
        let license = License {
            id: "lic_a".into(),
            token_id: String::new(),
            plan: None,
            label: None,
            status: Status::Active,
            scopes: Vec::new(),
            models: Vec::new(),
            allowed_ips: Vec::new(),
            limits: Limits::default(),
            max_sessions: None,
            max_session_seconds: None,
            metadata: serde_json::Map::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            expires_at: None,
            expires_after_first_use: None,
            first_used_at: None,
        };
        let ticket = |hash: &str, expires_at_us| Ticket {
            secret_hash: hash.into(),
            license_id: "lic_a".into(),
            key_id: None,
            expires_at_us,
        };
        store
            .run_blocking(|connection| {
                licenses::insert(connection, &license)?;
                insert(connection, &ticket("one", 10), 0)?;
                assert_eq!(take(connection, "two", 5)?, None);
                assert_eq!(take(connection, "one", 10)?, None);
                assert_eq!(take(connection, "one", 9)?, Some(("lic_a".to_owned(), None)));
                assert_eq!(take(connection, "one", 9)?, None);
                insert(connection, &ticket("three", 10), 0)?;
                insert(connection, &ticket("four", 30), 20)?;
                assert_eq!(tickets::table.count().get_result::<i64>(connection)?, 1);
                Ok(())
            })
            .unwrap();
    }
}
