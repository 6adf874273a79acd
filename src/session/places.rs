//! The actor behind the roster: who has a place, and who must give his up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult, Recipient};

use super::control::{Control, Found, SessionView};
use super::messages::TakeUp;
use crate::error::Error;
use crate::metrics::Metrics;

/// Memory for continuity is looked at this often.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// Lives as long as the process.
pub(super) struct Places {
    capacity: usize,
    memory_limit: usize,
    metrics: Metrics,
    draining: Option<Instant>,
    places: HashMap<String, Place>,
    /// Sessions with a client.
    by_license: HashMap<String, u64>,
    /// Sessions by the hash of the token that takes them up.
    by_hash: HashMap<String, String>,
}

struct Place {
    view: SessionView,
    /// Its seat's.
    number: u64,
    /// Its client is not there since then: it doesn't count towards `max_sessions` here.
    away_since: Option<Instant>,
    take_up: Option<(String, Recipient<TakeUp>)>,
    memory: Arc<AtomicUsize>,
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

impl Places {
    /// Nobody is there yet.
    pub(super) fn new(capacity: usize, memory_limit: usize, metrics: Metrics) -> Self {
        Self {
            capacity,
            memory_limit,
            metrics,
            draining: None,
            places: HashMap::new(),
            by_license: HashMap::new(),
            by_hash: HashMap::new(),
        }
    }
}

impl Actor for Places {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(MEMORY_EVERY, |places, _| places.spare_memory());
    }
}

#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(super) struct Admit {
    pub(super) view: SessionView,
    pub(super) number: u64,
    pub(super) max_sessions: Option<u64>,
    pub(super) memory: Arc<AtomicUsize>,
}

#[derive(Message)]
#[rtype(result = "Option<Found>")]
pub(super) struct Find(pub(super) String);

#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct EndSession(pub(super) String);

#[derive(Message)]
#[rtype(result = "Vec<SessionView>")]
pub(super) struct List;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Command {
    Attach(String, u64, Recipient<Control>),
    Leave(String, u64),
    TakeUps(String, u64, String, Recipient<TakeUp>),
    Away(String, u64, Option<Instant>),
    Tell(String, Control),
    EndLicense(String, Error),
    EndKey(String, Error),
    Drain(Instant),
}

impl Handler<Admit> for Places {
    type Result = Result<(), Error>;

    fn handle(&mut self, Admit { view, number, max_sessions, memory }: Admit, _: &mut Context<Self>) -> Self::Result {
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
        let place = Place { view, number, away_since: None, take_up: None, memory, link: None, unsaid: Vec::new() };
        self.places.insert(place.view.id.clone(), place);
        self.metrics.sessions_started.inc();
        self.metrics.sessions_live.inc();
        Ok(())
    }
}

impl Handler<EndSession> for Places {
    type Result = bool;

    fn handle(&mut self, EndSession(session_id): EndSession, _: &mut Context<Self>) -> bool {
        let place = self.places.get_mut(&session_id);
        place.map(|place| place.tell(Control::End(Error::SessionEnded))).is_some()
    }
}

impl Handler<Find> for Places {
    type Result = MessageResult<Find>;

    fn handle(&mut self, Find(hash): Find, _: &mut Context<Self>) -> Self::Result {
        let place = self.by_hash.get(&hash).and_then(|session_id| self.places.get(session_id));
        let found = place.and_then(|place| {
            let (_, link) = place.take_up.as_ref()?;
            Some(Found { view: place.view.clone(), link: link.clone() })
        });
        MessageResult(found)
    }
}

impl Handler<List> for Places {
    type Result = MessageResult<List>;

    fn handle(&mut self, _: List, _: &mut Context<Self>) -> Self::Result {
        let mut views: Vec<SessionView> = self.places.values().map(|place| place.view.clone()).collect();
        views.sort_by(|left, right| left.id.cmp(&right.id));
        MessageResult(views)
    }
}

impl Handler<Command> for Places {
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
            Command::TakeUps(session_id, number, hash, link) => {
                if let Some(place) = self.places.get_mut(&session_id).filter(|place| place.number == number) {
                    place.take_up = Some((hash.clone(), link));
                    self.by_hash.insert(hash, session_id);
                }
            }
            Command::Away(session_id, number, since) => {
                if self.has(&session_id, number) {
                    self.set_away(&session_id, since);
                }
            }
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
            Command::Drain(deadline) => {
                self.draining = Some(deadline);
                self.tell_where(|_| true, &Control::GoAway(deadline));
            }
        }
    }
}

impl Places {
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
        if let Some((hash, _)) = &place.take_up {
            self.by_hash.remove(hash);
        }
        if place.away_since.is_none() {
            self.uncount(&place.view.license_id);
        }
        Some(place)
    }

    fn set_away(&mut self, session_id: &str, since: Option<Instant>) {
        let changed = |place: &&mut Place| place.away_since.is_some() != since.is_some();
        let Some(place) = self.places.get_mut(session_id).filter(changed) else { return };
        place.away_since = since;
        let license_id = place.view.license_id.clone();
        if since.is_some() {
            self.uncount(&license_id);
        } else {
            *self.by_license.entry(license_id).or_default() += 1;
        }
    }

    /// Beyond the limit the longest away sessions go; when none is left, audio that is kept for clients.
    fn spare_memory(&mut self) {
        let size = |place: &Place| place.memory.load(Ordering::Relaxed);
        let mut held: usize = self.places.values().map(size).sum();
        if held <= self.memory_limit {
            return;
        }
        let mut away: Vec<&mut Place> = self.places.values_mut().filter(|place| place.away_since.is_some()).collect();
        away.sort_by_key(|place| place.away_since);
        for place in away {
            if held <= self.memory_limit {
                return;
            }
            held -= size(place).min(held);
            place.tell(Control::End(Error::Overloaded));
        }
        if held > self.memory_limit {
            self.tell_where(|_| true, &Control::SpareMemory);
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
