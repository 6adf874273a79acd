//! Who is live: admits sessions within their limits and passes the operator's word to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, Recipient};
use jiff::Timestamp;

use crate::error::Error;
use crate::metrics::Metrics;

/// What the roster tells a live session.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Control {
    /// End now, for this reason.
    End(Error),
    /// The license ends at another time now.
    ExpiresAt(Option<Timestamp>),
    /// This instance is going away: end after the running sentence, at the latest then.
    GoAway(Instant),
}

/// A live session as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The session's id.
    pub id: String,
    /// Whose session it is.
    pub license_id: String,
    /// The API key it came with, if not the license itself.
    pub key_id: Option<String>,
    /// The model it speaks to.
    pub model: String,
    /// When it was admitted.
    pub started_at: Timestamp,
}

/// The handle that the rest of the house holds.
#[derive(Clone)]
pub struct Roster {
    actor: Addr<RosterActor>,
    seats: Arc<AtomicU64>,
}

/// A session's place on the roster, given back when dropped.
pub struct Seat {
    session_id: String,
    /// Tells it from the seat that the session had here before it was elsewhere.
    number: u64,
    roster: Roster,
}

impl Roster {
    /// Starts the roster on the current arbiter; `capacity` is MAX_SESSIONS.
    #[must_use]
    pub fn start(capacity: usize, metrics: Metrics) -> Self {
        let actor =
            RosterActor { capacity, metrics, draining: None, places: HashMap::new(), by_license: HashMap::new() };
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
        let seat = Seat { session_id: view.id.clone(), number, roster: self.clone() };
        self.actor.send(Admit { view, number, max_sessions }).await.map_err(Error::internal)??;
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

    /// Tells a license's sessions when it ends now.
    pub fn license_changed(&self, license_id: &str, expires_at: Option<Timestamp>) {
        self.tell(Command::ExpiresAt(license_id.to_owned(), expires_at));
    }

    /// A session's client left, or came back.
    pub fn set_away(&self, session_id: &str, away: bool) {
        self.tell(Command::Away(session_id.to_owned(), away));
    }

    /// Says something to one session, if it is live here.
    pub fn tell_session(&self, session_id: &str, control: Control) {
        self.tell(Command::Tell(session_id.to_owned(), control));
    }

    /// Ends one session; false if it isn't live here.
    pub async fn end_session(&self, session_id: &str) -> bool {
        self.actor.send(EndSession(session_id.to_owned())).await.unwrap_or(false)
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
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.tell(Command::Leave(std::mem::take(&mut self.session_id), self.number));
    }
}

/// The actor behind the handle; it lives as long as the process.
pub struct RosterActor {
    capacity: usize,
    metrics: Metrics,
    draining: Option<Instant>,
    places: HashMap<String, Place>,
    /// Sessions with a client.
    by_license: HashMap<String, u64>,
}

struct Place {
    view: SessionView,
    /// Its seat's.
    number: u64,
    /// Its client is not there: it doesn't count towards `max_sessions` here.
    away: bool,
    link: Option<Recipient<Control>>,
    /// Said before the link was there, in order.
    unsaid: Vec<Control>,
}

impl Place {
    #[expect(clippy::disallowed_methods, reason = "a word of the operator must arrive, and is rare")]
    fn tell(&mut self, control: Control) {
        match &self.link {
            Some(link) => link.do_send(control),
            None => self.unsaid.push(control),
        }
    }
}

impl Actor for RosterActor {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
struct Admit {
    view: SessionView,
    number: u64,
    max_sessions: Option<u64>,
}

#[derive(Message)]
#[rtype(result = "bool")]
struct EndSession(String);

#[derive(Message)]
#[rtype(result = "Vec<SessionView>")]
struct List;

#[derive(Message)]
#[rtype(result = "()")]
enum Command {
    Attach(String, u64, Recipient<Control>),
    Leave(String, u64),
    Away(String, bool),
    Tell(String, Control),
    EndLicense(String, Error),
    EndKey(String, Error),
    ExpiresAt(String, Option<Timestamp>),
    Drain(Instant),
}

impl Handler<Admit> for RosterActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, Admit { view, number, max_sessions }: Admit, _: &mut Context<Self>) -> Self::Result {
        if self.draining.is_some() {
            return Err(Error::Draining);
        }
        if let Some(mut before) = self.leave(&view.id) {
            before.tell(Control::End(Error::SessionGone));
        }
        let held = self.by_license.get(&view.license_id).copied().unwrap_or(0);
        if let Some(limit) = max_sessions.filter(|limit| held >= *limit) {
            return Err(Error::SessionLimit { limit });
        }
        if self.places.len() >= self.capacity {
            return Err(Error::Overloaded);
        }
        *self.by_license.entry(view.license_id.clone()).or_default() += 1;
        self.places.insert(view.id.clone(), Place { view, number, away: false, link: None, unsaid: Vec::new() });
        self.metrics.sessions_started.inc();
        self.metrics.sessions_live.inc();
        Ok(())
    }
}

impl Handler<EndSession> for RosterActor {
    type Result = bool;

    fn handle(&mut self, EndSession(session_id): EndSession, _: &mut Context<Self>) -> bool {
        let place = self.places.get_mut(&session_id);
        place.map(|place| place.tell(Control::End(Error::SessionEnded))).is_some()
    }
}

impl Handler<List> for RosterActor {
    type Result = MessageResult<List>;

    fn handle(&mut self, _: List, _: &mut Context<Self>) -> Self::Result {
        let mut views: Vec<SessionView> = self.places.values().map(|place| place.view.clone()).collect();
        views.sort_by(|left, right| left.id.cmp(&right.id));
        MessageResult(views)
    }
}

impl Handler<Command> for RosterActor {
    type Result = ();

    fn handle(&mut self, command: Command, _: &mut Context<Self>) {
        match command {
            Command::Attach(session_id, number, link) => {
                if self.has(&session_id, number) {
                    self.attach(&session_id, link);
                }
            }
            Command::Leave(session_id, number) => {
                if self.has(&session_id, number) {
                    self.leave(&session_id);
                }
            }
            Command::Away(session_id, away) => self.set_away(&session_id, away),
            Command::Tell(session_id, control) => {
                if let Some(place) = self.places.get_mut(&session_id) {
                    place.tell(control);
                }
            }
            Command::EndLicense(license_id, why) => {
                self.tell_where(|view| view.license_id == license_id, &Control::End(why));
            }
            Command::EndKey(key_id, why) => {
                self.tell_where(|view| view.key_id.as_deref() == Some(&key_id), &Control::End(why));
            }
            Command::ExpiresAt(license_id, at) => {
                self.tell_where(|view| view.license_id == license_id, &Control::ExpiresAt(at));
            }
            Command::Drain(deadline) => {
                self.draining = Some(deadline);
                self.tell_where(|_| true, &Control::GoAway(deadline));
            }
        }
    }
}

impl RosterActor {
    fn attach(&mut self, session_id: &str, link: Recipient<Control>) {
        let Some(place) = self.places.get_mut(session_id) else { return };
        place.link = Some(link);
        std::mem::take(&mut place.unsaid).into_iter().for_each(|control| place.tell(control));
    }

    fn has(&self, session_id: &str, number: u64) -> bool {
        self.places.get(session_id).is_some_and(|place| place.number == number)
    }

    fn leave(&mut self, session_id: &str) -> Option<Place> {
        let place = self.places.remove(session_id)?;
        self.metrics.sessions_live.dec();
        if !place.away {
            self.uncount(&place.view.license_id);
        }
        Some(place)
    }

    fn set_away(&mut self, session_id: &str, away: bool) {
        let Some(place) = self.places.get_mut(session_id).filter(|place| place.away != away) else { return };
        place.away = away;
        let license_id = place.view.license_id.clone();
        if away {
            self.uncount(&license_id);
        } else {
            *self.by_license.entry(license_id).or_default() += 1;
        }
    }

    fn uncount(&mut self, license_id: &str) {
        if let Some(held) = self.by_license.get_mut(license_id) {
            *held -= 1;
            if *held == 0 {
                self.by_license.remove(license_id);
            }
        }
    }

    fn tell_where(&mut self, concerned: impl Fn(&SessionView) -> bool, control: &Control) {
        for place in self.places.values_mut().filter(|place| concerned(&place.view)) {
            place.tell(control.clone());
        }
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
