//! Who is live: admits sessions within their limits and passes the operator's word to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use actix::{Actor, Addr, Recipient};

use super::control::{Control, Found, SessionView};
use super::messages::TakeUp;
use super::places::{Admit, Command, EndSession, Find, List, Places};
use crate::error::Error;
use crate::metrics::Metrics;

/// The handle that the rest of the house holds.
#[derive(Clone)]
pub struct Roster {
    actor: Addr<Places>,
    seats: Arc<AtomicU64>,
}

/// A session's place on the roster, given back when dropped.
pub struct Seat {
    session_id: String,
    /// Tells it from the seat that the session had here before it was elsewhere.
    number: u64,
    memory: Arc<AtomicUsize>,
    roster: Roster,
}

impl Roster {
    /// Starts the roster on the current arbiter; `capacity` is MAX_SESSIONS, `memory_limit`
    /// CONTINUITY_MEMORY_BYTES.
    #[must_use]
    pub fn start(capacity: usize, memory_limit: usize, metrics: Metrics) -> Self {
        let actor = Places::new(capacity, memory_limit, metrics);
        Self { actor: actor.start(), seats: Arc::default() }
    }

    /// Gives a session a place. Whoever has it here from before is told that it is gone.
    ///
    /// # Errors
    /// `Draining`, `Overloaded` at MAX_SESSIONS, `SessionLimit` when the license's `max_sessions` are all here with
    /// their clients: others, and those that give way, are known to the ledger alone.
    pub async fn admit(&self, view: SessionView, max_sessions: Option<u64>) -> Result<Seat, Error> {
        // The seat is there before the answer: who leaves while it is on its way gives the place back.
        let number = self.seats.fetch_add(1, Ordering::Relaxed);
        let memory = Arc::new(AtomicUsize::new(0));
        let seat = Seat { session_id: view.id.clone(), number, memory: memory.clone(), roster: self.clone() };
        self.actor.send(Admit { view, number, max_sessions, memory }).await.map_err(Error::internal)??;
        Ok(seat)
    }

    /// Ends every session of a license.
    pub fn end_license(&self, license_id: &str, why: Error) {
        self.tell(Command::EndLicense(license_id.to_owned(), why));
    }

    /// Ends every session that came with an API key.
    pub fn end_key(&self, key_id: &str, why: Error) {
        self.tell(Command::EndKey(key_id.to_owned(), why));
    }

    /// Says something to one session, if it is live here.
    pub fn tell_session(&self, session_id: &str, control: Control) {
        self.tell(Command::Tell(session_id.to_owned(), control));
    }

    /// Ends one session; false if it isn't live here.
    pub async fn end_session(&self, session_id: &str) -> bool {
        self.actor.send(EndSession(session_id.to_owned())).await.unwrap_or(false)
    }

    /// The live session that this token's hash authorizes to take up, if it is here.
    pub async fn find(&self, resume_hash: &str) -> Option<Found> {
        self.actor.send(Find(resume_hash.to_owned())).await.ok().flatten()
    }

    /// Every live session, oldest first.
    pub async fn sessions(&self) -> Vec<SessionView> {
        self.actor.send(List).await.unwrap_or_default()
    }

    /// Admits no one any more and sends everyone home by `deadline`.
    pub fn drain(&self, deadline: Instant) {
        self.tell(Command::Drain(deadline));
    }

    #[expect(clippy::disallowed_methods, reason = "rare words of operators and ends of sessions: they must arrive")]
    fn tell(&self, command: Command) {
        self.actor.do_send(command);
    }
}

impl Seat {
    /// The session that holds this seat.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Says where words for this session go; what was said meanwhile is passed on at once.
    pub fn attach(&self, link: Recipient<Control>) {
        self.roster.tell(Command::Attach(self.session_id.clone(), self.number, link));
    }

    /// The session can be taken up by who has the token of this hash.
    pub fn can_be_taken_up(&self, resume_hash: String, link: Recipient<TakeUp>) {
        self.roster.tell(Command::TakeUps(self.session_id.clone(), self.number, resume_hash, link));
    }

    /// The session's client left, or came back.
    pub fn set_away(&self, away: bool) {
        self.roster.tell(Command::Away(self.session_id.clone(), self.number, away.then(Instant::now)));
    }

    /// What the session keeps for its continuity, bytes.
    pub fn report_memory(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.tell(Command::Leave(std::mem::take(&mut self.session_id), self.number));
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
