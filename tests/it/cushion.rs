//! Two instances on one store that goes away again and again: what they grant without it was reserved before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use livetranslate::clock;
use livetranslate::error::Error;
use livetranslate::quota::batch::Opening;
use livetranslate::quota::book::Book;
use livetranslate::quota::instance::Instance;
use livetranslate::quota::ledger;
use livetranslate::quota::tally::Tally;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::schema::{cushions, sessions};
use proptest::prelude::*;

use crate::support::ledger::{instance, recorded, store_with, used_and_reserved};

const FRAME: u64 = 16_000;
/// Enough for cushions at first, and used up within a case.
const LIMIT: i64 = 400 * 16_000;

#[derive(Debug, Clone)]
enum Act {
    Open(usize),
    Speak(usize, usize, u64),
    Close(usize, usize),
    Write(usize, Luck),
    /// The store doesn't answer: the instance goes on by itself.
    GoOn(usize),
    /// The store is lost for a while, and all of an instance's sessions speak on.
    Absence(usize, usize),
    /// All of an instance's sessions speak, with the store.
    Busy(usize, usize),
    Admit(usize),
}

#[derive(Debug, Clone, Copy)]
enum Luck {
    Good,
    Lost,
    Unknown,
    /// It goes on while the transaction runs, which then succeeds.
    Late,
}

fn act() -> impl Strategy<Value = Act> {
    let luck = prop_oneof![
        8 => Just(Luck::Good),
        2 => Just(Luck::Lost),
        2 => Just(Luck::Unknown),
        2 => Just(Luck::Late)
    ];
    prop_oneof![
        2 => (0_usize..2).prop_map(Act::Open),
        8 => (0_usize..2, 0_usize..6, 1_u64..30).prop_map(|(at, who, frames)| Act::Speak(at, who, frames)),
        1 => (0_usize..2, 0_usize..6).prop_map(|(at, who)| Act::Close(at, who)),
        10 => (0_usize..2, luck).prop_map(|(at, luck)| Act::Write(at, luck)),
        4 => (0_usize..2).prop_map(Act::GoOn),
        2 => (0_usize..2, 1_usize..30).prop_map(|(at, rounds)| Act::Absence(at, rounds)),
        2 => (0_usize..2, 1_usize..20).prop_map(|(at, rounds)| Act::Busy(at, rounds)),
        1 => (0_usize..2).prop_map(Act::Admit),
    ]
}

struct Talker {
    id: String,
    tally: Arc<Tally>,
    waits: bool,
    open: bool,
}

struct Place {
    instance: Instance,
    book: Book,
    talkers: Vec<Talker>,
    /// The last transaction failed: only then the book goes on by itself.
    away: bool,
}

struct World {
    store: Store,
    places: Vec<Place>,
    now: Instant,
    opened: usize,
    forwarded: u64,
    without_store: u64,
}

impl World {
    fn new(store: Store) -> Self {
        let place =
            |id: &str| Place { instance: instance(id), book: Book::default(), talkers: Vec::new(), away: false };
        let places = vec![place("a"), place("b")];
        Self { store, places, now: Instant::now(), opened: 0, forwarded: 0, without_store: 0 }
    }

    fn opening(&mut self, at: usize) -> (Opening, Arc<Tally>) {
        self.opened += 1;
        let tally = Arc::new(Tally::default());
        let id = format!("s{}", self.opened);
        self.places[at].talkers.push(Talker { id: id.clone(), tally: tally.clone(), waits: false, open: false });
        let opening = Opening {
            session_id: id,
            license_id: "lic".into(),
            key_id: None,
            model: "m".into(),
            started_at: clock::now(),
            max_sessions: None,
            max_sessions_of_key: None,
            resume_hash: None,
        };
        (opening, tally)
    }

    fn speak(&mut self, at: usize, who: usize, frames: u64) {
        let place = &mut self.places[at];
        let count = place.talkers.len().max(1);
        let Some(talker) = place.talkers.get_mut(who % count).filter(|talker| talker.open && !talker.waits) else {
            return;
        };
        for _ in 0..frames {
            if talker.tally.granted() < talker.tally.forwarded() + FRAME {
                assert!(place.book.demand(&talker.id, FRAME, self.now));
                talker.waits = true;
                return;
            }
            talker.tally.forward(FRAME);
            self.forwarded += FRAME;
            self.without_store += if place.away { FRAME } else { 0 };
        }
    }

    fn all_speak(&mut self, at: usize) {
        for who in 0..self.places[at].talkers.len() {
            self.speak(at, who, 5);
        }
    }

    fn close(&mut self, at: usize, who: usize) {
        let place = &mut self.places[at];
        let count = place.talkers.len().max(1);
        if place.talkers.get(who % count).is_some_and(|talker| talker.open) {
            let talker = place.talkers.remove(who % count);
            assert!(place.book.close(&talker.id, "done"));
        }
    }

    fn answer(place: &mut Place, answers: Vec<(String, Result<(), Error>)>) {
        for (id, answer) in answers {
            let Some(index) = place.talkers.iter().position(|talker| talker.id == id) else { continue };
            if place.talkers[index].open {
                place.talkers[index].waits = false;
            } else if answer.is_ok() {
                place.talkers[index].open = true;
            } else {
                place.talkers.remove(index);
            }
        }
    }

    fn write(&mut self, at: usize, luck: Luck, tick: bool) {
        self.now += Duration::from_millis(700);
        let place = &mut self.places[at];
        let (batch, tallies) = place.book.prepare(self.now, tick || place.away);
        if batch.is_empty() {
            return;
        }
        let write = || self.store.run_blocking(|c| ledger::write(c, &batch, &place.instance, clock::now()));
        let failure = Error::storage("made up");
        let answers = match luck {
            Luck::Good => {
                let outcome = write().unwrap();
                place.away = batch.doubt;
                place.book.enter(&batch, outcome, tallies, self.now)
            }
            Luck::Late => {
                let outcome = write().unwrap();
                let mut answers = place.book.admit_waiting(self.now);
                answers.extend(place.book.go_on(None));
                // The next one is a tick's.
                place.away = true;
                Self::answer(place, std::mem::take(&mut answers));
                place.book.enter(&batch, outcome, tallies, self.now)
            }
            Luck::Lost | Luck::Unknown => {
                if matches!(luck, Luck::Unknown) {
                    write().unwrap();
                }
                place.away = true;
                let mut answers = place.book.admit_waiting(self.now);
                answers.extend(place.book.fail(&batch, &failure, self.now));
                answers
            }
        };
        Self::answer(place, answers);
    }

    fn go_on(&mut self, at: usize) {
        let place = &mut self.places[at];
        if place.away {
            let answers = place.book.go_on(None);
            Self::answer(place, answers);
        }
    }

    fn run(&mut self, act: Act) {
        match act {
            Act::Open(at) => {
                let (opening, tally) = self.opening(at);
                self.places[at].book.open(opening, tally);
            }
            Act::Speak(at, who, frames) => self.speak(at, who, frames),
            Act::Close(at, who) => self.close(at, who),
            Act::Write(at, luck) => self.write(at, luck, self.opened.is_multiple_of(2)),
            Act::GoOn(at) => self.go_on(at),
            Act::Absence(at, rounds) => {
                self.write(at, Luck::Lost, true);
                for _ in 0..rounds {
                    self.go_on(at);
                    self.all_speak(at);
                }
            }
            Act::Busy(at, rounds) => {
                for _ in 0..rounds {
                    self.write(at, Luck::Good, true);
                    self.all_speak(at);
                }
            }
            Act::Admit(at) => {
                if self.places[at].away {
                    let (opening, tally) = self.opening(at);
                    let place = &mut self.places[at];
                    let id = opening.session_id.clone();
                    let answer = place.book.admit(&Arc::new(opening), tally, self.now);
                    Self::answer(place, vec![(id, answer)]);
                }
            }
        }
    }

    fn settle(&mut self) {
        for at in [0, 1, 0, 1, 0, 1] {
            self.write(at, Luck::Good, true);
        }
        for at in [0, 1] {
            while self.places[at].talkers.iter().any(|talker| talker.open) {
                let who = self.places[at].talkers.iter().position(|talker| talker.open).unwrap();
                self.close(at, who);
            }
            for _ in 0..4 {
                self.write(at, Luck::Good, true);
            }
            assert_eq!(self.places[at].book.open_accounts(), 0);
        }
    }

    fn sum(&self, what: impl FnOnce(&mut AnyConnection) -> i64) -> i64 {
        self.store.run_blocking(|connection| Ok(what(connection))).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_budget_holds_without_the_store(acts in prop::collection::vec(act(), 20..120)) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(store_with(Location::Sqlite(folder.path().join("x.db")), LIMIT));
        let begin = [Act::Open(0), Act::Open(0), Act::Open(1), Act::Open(1), Act::Busy(0, 2), Act::Busy(1, 2)];
        for act in begin.into_iter().chain(acts) {
            world.run(act);
            prop_assert!(world.forwarded < LIMIT as u64 + FRAME, "the budget was passed by more than a frame");
        }
        world.settle();
        let forwarded = world.forwarded as i64;
        prop_assert_eq!(used_and_reserved(&world.store), (forwarded, 0));
        prop_assert_eq!(world.sum(|c| cushions::table.count().get_result(c).unwrap()), 0);
        let live = world.sum(|c| sessions::table.filter(sessions::status.eq("live")).count().get_result(c).unwrap());
        prop_assert_eq!(live, 0);
        prop_assert_eq!(recorded(&world.store), forwarded);
    }
}

#[test]
fn sessions_go_on_without_the_store_and_new_ones_begin() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(store_with(Location::Sqlite(folder.path().join("x.db")), 3_600 * 16_000));
    world.run(Act::Open(0));
    world.write(0, Luck::Good, true);
    world.speak(0, 0, 1);
    for _ in 0..2 {
        world.write(0, Luck::Good, true);
    }
    world.write(0, Luck::Lost, true);
    world.speak(0, 0, 1);
    world.write(0, Luck::Lost, true);
    world.run(Act::Admit(0));
    for _ in 0..40 {
        world.go_on(0);
        world.speak(0, 0, 3);
        world.speak(0, 1, 3);
    }
    assert!(world.without_store > 60 * 16_000, "{} samples", world.without_store);
    let used: HashMap<&str, u64> =
        world.places[0].talkers.iter().map(|t| (t.id.as_str(), t.tally.forwarded())).collect();
    assert!(used.values().all(|samples| *samples > 0), "{used:?}");
    world.settle();
    assert_eq!(used_and_reserved(&world.store), (world.forwarded as i64, 0));
}
