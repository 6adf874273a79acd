//! Who is live: admits sessions within their limits and passes the operator's word to them.

use std::collections::HashMap;
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
}

/// A session's place on the roster, given back when dropped.
pub struct Seat {
    session_id: String,
    roster: Roster,
}

impl Roster {
    /// Starts the roster on the current arbiter; `capacity` is MAX_SESSIONS.
    #[must_use]
    pub fn start(capacity: usize, metrics: Metrics) -> Self {
        let actor =
            RosterActor { capacity, metrics, draining: None, places: HashMap::new(), by_license: HashMap::new() };
        Self { actor: actor.start() }
    }

    /// Gives a new session a place.
    ///
    /// # Errors
    /// `Draining`, `Overloaded` at MAX_SESSIONS, `SessionLimit` at the license's `max_sessions`.
    pub async fn admit(&self, view: SessionView, max_sessions: Option<u64>) -> Result<Seat, Error> {
        // The seat is there before the answer: who leaves while it is on its way gives the place back.
        let seat = Seat { session_id: view.id.clone(), roster: self.clone() };
        self.actor.send(Admit { view, max_sessions }).await.map_err(Error::internal)??;
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
        self.roster.tell(Command::Attach(self.session_id.clone(), link));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.tell(Command::Leave(std::mem::take(&mut self.session_id)));
    }
}

/// The actor behind the handle; it lives as long as the process.
pub struct RosterActor {
    capacity: usize,
    metrics: Metrics,
    draining: Option<Instant>,
    places: HashMap<String, Place>,
    by_license: HashMap<String, u64>,
}

struct Place {
    view: SessionView,
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
    Attach(String, Recipient<Control>),
    Leave(String),
    EndLicense(String, Error),
    EndKey(String, Error),
    ExpiresAt(String, Option<Timestamp>),
    Drain(Instant),
}

impl Handler<Admit> for RosterActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, Admit { view, max_sessions }: Admit, _: &mut Context<Self>) -> Self::Result {
        if self.draining.is_some() {
            return Err(Error::Draining);
        }
        let held = self.by_license.get(&view.license_id).copied().unwrap_or(0);
        if let Some(limit) = max_sessions.filter(|limit| held >= *limit) {
            return Err(Error::SessionLimit { limit });
        }
        if self.places.len() >= self.capacity {
            return Err(Error::Overloaded);
        }
        *self.by_license.entry(view.license_id.clone()).or_default() += 1;
        self.places.insert(view.id.clone(), Place { view, link: None, unsaid: Vec::new() });
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
            Command::Attach(session_id, link) => self.attach(&session_id, link),
            Command::Leave(session_id) => self.leave(&session_id),
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

    fn leave(&mut self, session_id: &str) {
        let Some(place) = self.places.remove(session_id) else { return };
        self.metrics.sessions_live.dec();
        let license_id = &place.view.license_id;
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
mod tests {
    use super::*;
    use futures_util::FutureExt;

    struct Listener(tokio::sync::mpsc::UnboundedSender<Control>);

    impl Actor for Listener {
        type Context = Context<Self>;
    }

    impl Handler<Control> for Listener {
        type Result = ();

        fn handle(&mut self, control: Control, _: &mut Context<Self>) {
            self.0.send(control).unwrap();
        }
    }

    fn view() -> SessionView {
        SessionView {
            id: crate::ids::session(),
            license_id: "lic_1".into(),
            key_id: None,
            model: "m".into(),
            started_at: crate::clock::now(),
        }
    }

    fn roster() -> Roster {
        Roster::start(10, Metrics::new("test").unwrap())
    }

    #[test]
    fn who_leaves_while_being_admitted_leaves_no_place_behind() {
        actix::System::new().block_on(async {
            let roster = roster();
            assert!(roster.admit(view(), Some(1)).now_or_never().is_none(), "the answer takes a turn of the actor");
            assert_eq!(roster.sessions().await, []);
            let seat = roster.admit(view(), Some(1)).await;
            assert!(seat.is_ok());
            assert!(matches!(roster.admit(view(), Some(1)).await, Err(Error::SessionLimit { limit: 1 })));
            assert_eq!(roster.sessions().await.len(), 1, "a refused session takes nobody's place away");
        });
    }

    #[test]
    fn every_word_said_before_the_link_is_there_arrives() {
        actix::System::new().block_on(async {
            let roster = roster();
            let seat = roster.admit(view(), None).await.unwrap();
            roster.end_license("lic_1", Error::LicenseSuspended);
            roster.license_changed("lic_1", None);
            let (words, mut heard) = tokio::sync::mpsc::unbounded_channel();
            seat.attach(Listener(words).start().recipient());
            assert!(matches!(heard.recv().await, Some(Control::End(Error::LicenseSuspended))));
            assert!(matches!(heard.recv().await, Some(Control::ExpiresAt(None))));
        });
    }
}
