//! `Idempotency-Key`: a request that is sent again answers what it made the first time.

use jiff::{SignedDuration, Timestamp};

use super::access::Operator;
use super::body::Body;
use crate::error::Error;
use crate::license;
use crate::store::accounting;
use crate::store::backend::AnyConnection;
use crate::store::connection::Store;
use crate::store::idempotency::{self, Made};

/// A repeat is known for so long.
const MEMORY: SignedDuration = SignedDuration::from_hours(24);
const LONGEST_KEY: usize = 255;

/// What a request made.
pub enum Outcome {
    /// Just now.
    New,
    /// Before, when it was sent first: this.
    Earlier(String),
}

/// A request that makes something.
pub struct Request {
    /// Hashes of route and key, and of the body; `None` without an `Idempotency-Key`.
    repeat: Option<(String, String)>,
    now: Timestamp,
}

impl Request {
    /// The request to `route`.
    ///
    /// # Errors
    /// `InvalidRequest` for a key that is empty or too long.
    pub fn new(operator: &Operator, route: &str, body: &Body, now: Timestamp) -> Result<Self, Error> {
        let Some(key) = &operator.idempotency_key else { return Ok(Self { repeat: None, now }) };
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Error::field("Idempotency-Key", format!("Idempotency-Key has 1 to {LONGEST_KEY} bytes")));
        }
        let id = license::key_hash(&format!("{route}\n{key}"));
        let body_hash = license::key_hash(&String::from_utf8_lossy(body.bytes()));
        Ok(Self { repeat: Some((id, body_hash)), now })
    }

    /// What the request has made before, when it was sent first.
    ///
    /// # Errors
    /// `Conflict` when the key came with another body.
    pub async fn earlier(&self, store: &Store) -> Result<Option<String>, Error> {
        let Some((id, body_hash)) = self.repeat.clone() else { return Ok(None) };
        let oldest_us = self.oldest_us();
        let made = store.run(move |connection| idempotency::find(connection, &id, oldest_us)).await?;
        Ok(match made.map(|made| earlier(made, &body_hash)).transpose()? {
            Some(Outcome::Earlier(subject)) => Some(subject),
            Some(Outcome::New) | None => None,
        })
    }

    fn oldest_us(&self) -> i64 {
        self.now.saturating_sub(MEMORY).map_or(0, Timestamp::as_microsecond)
    }

    /// Makes the thing called `subject`, in one transaction, unless the request has made one before.
    ///
    /// # Errors
    /// `Conflict` when the key came with another body; what `make` returns.
    pub async fn make<F>(self, store: &Store, subject: String, make: F) -> Result<Outcome, Error>
    where
        F: FnOnce(&mut AnyConnection) -> Result<(), Error> + Send + 'static,
    {
        store.run(move |connection| self.run(connection, subject, make)).await
    }

    /// The same for who blocks.
    ///
    /// # Errors
    /// As [`Request::make`].
    pub fn run(
        self,
        connection: &mut AnyConnection,
        subject: String,
        make: impl FnOnce(&mut AnyConnection) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let oldest_us = self.oldest_us();
        let Some((id, body_hash)) = self.repeat else {
            return accounting::transaction(connection, |connection| locked(connection, make)).map(|()| Outcome::New);
        };
        if let Some(made) = idempotency::find(connection, &id, oldest_us)? {
            return earlier(made, &body_hash);
        }
        let made =
            Made { id: id.clone(), body_hash: body_hash.clone(), subject, created_at_us: self.now.as_microsecond() };
        let outcome = accounting::transaction(connection, |connection| {
            idempotency::insert(connection, &made, oldest_us)?;
            locked(connection, make)
        });
        match outcome {
            Ok(()) => Ok(Outcome::New),
            // The same request may have come twice at once.
            Err(Error::Conflict(why)) => match idempotency::find(connection, &id, oldest_us)? {
                Some(made) => earlier(made, &body_hash),
                None => Err(Error::Conflict(why)),
            },
            Err(error) => Err(error),
        }
    }
}

/// Whatever is made looks first whether it may be: nobody else changes anything meanwhile.
fn locked(
    connection: &mut AnyConnection,
    make: impl FnOnce(&mut AnyConnection) -> Result<(), Error>,
) -> Result<(), Error> {
    accounting::lock_ledger(connection)?;
    make(connection)
}

fn earlier(made: Made, body_hash: &str) -> Result<Outcome, Error> {
    if made.body_hash == body_hash {
        return Ok(Outcome::Earlier(made.subject));
    }
    Err(Error::Conflict("this Idempotency-Key was used with another body".to_owned()))
}
