//! Whatever sessions ask, whichever transactions fail, and whichever instance has them: nothing is booked twice or
//! lost, and a budget is never passed by more than one frame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use livetranslate::clock;
use livetranslate::error::Error;
use livetranslate::quota::batch::{Batch, Opening, Outcome};
use livetranslate::quota::book::{Answer, Book, STORE_PATIENCE};
use livetranslate::quota::tally::{Ack, Tally};
use livetranslate::quota::{healing, ledger};
use livetranslate::store::budgets::{self, Reset};
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::instances;
use proptest::prelude::*;

use crate::support::ledger::{
    execute, give_the_key_a_budget, hash, instance, recorded, resumable, sessions_stored, store_with,
    used_and_reserved, used_of_the_key,
};
use crate::support::postgres::Database;

const FRAME: u64 = 1_600;
const LIMIT: i64 = 160_000;
/// Every second session comes with a key that has a budget of its own, which rolls.
const LIMIT_OF_THE_KEY: i64 = 70_000;

#[derive(Debug, Clone)]
enum Act {
    Open(usize),
    /// Session number so forwards frames until its lease ends, so many at most; then asks.
    Speak(usize, u64),
    GiveBack(usize),
    /// Everything that a session has said is done.
    Finish(usize),
    Close(usize),
    /// An instance's next step: make a batch, write it, hear of it.
    Step(usize, Luck),
    Tick(usize),
    /// A session's client goes to another instance, or comes back to the same.
    Move(usize, usize),
    /// An instance dies, another one heals what it has left behind, and it starts again.
    Crash(usize),
    /// The operator has the license, and its key, counted anew.
    Reset,
    /// The clock goes on by so many minutes, or is set back.
    Clock(i64),
}

#[derive(Debug, Clone, Copy)]
enum Luck {
    Good,
    /// Nothing was written.
    Lost,
    /// All was written, but the answer didn't arrive.
    Unknown,
}

fn act() -> impl Strategy<Value = Act> {
    let luck = prop_oneof![8 => Just(Luck::Good), 1 => Just(Luck::Lost), 1 => Just(Luck::Unknown)];
    prop_oneof![
        3 => (0_usize..2).prop_map(Act::Open),
        10 => (0_usize..8, 1_u64..40).prop_map(|(who, frames)| Act::Speak(who, frames)),
        1 => (0_usize..8).prop_map(Act::GiveBack),
        2 => (0_usize..8).prop_map(Act::Finish),
        1 => (0_usize..8).prop_map(Act::Close),
        24 => (0_usize..2, luck).prop_map(|(side, luck)| Act::Step(side, luck)),
        3 => (0_usize..2).prop_map(Act::Tick),
        3 => (0_usize..8, 0_usize..2).prop_map(|(who, side)| Act::Move(who, side)),
        1 => (0_usize..2).prop_map(Act::Crash),
        1 => Just(Act::Reset),
        1 => (-60_i64..900).prop_map(Act::Clock),
    ]
}

/// One instance: its book, and the batch that is on its way.
struct Side {
    name: String,
    book: Book,
    tick: bool,
    flight: Option<Flight>,
}

struct Flight {
    batch: Batch,
    tallies: HashMap<String, Arc<Tally>>,
    answer: Option<Result<Outcome, Error>>,
}

/// A session as its client sees it.
struct Client {
    session_id: String,
    /// The instance that it is connected to; `None` while it looks for one.
    home: Option<usize>,
    tally: Arc<Tally>,
    waits: bool,
    /// The highest ack that it has heard.
    acked: Ack,
}

/// Two instances over one store, with sessions that behave as links do.
struct World {
    store: Store,
    sides: [Side; 2],
    now: Instant,
    clients: Vec<Client>,
    opening: HashMap<String, Arc<Tally>>,
    names: usize,
    refused: bool,
    /// What clients that said goodbye had forwarded.
    finished: u64,
    wall: Timestamp,
    /// What was booked when the operator had all counted anew: in all, and with the key.
    forgotten: (i64, i64),
    /// How often budgets may have been used up since the beginning: the license's, and the key's.
    allowed: (u64, u64),
}

impl World {
    fn new(store: Store) -> Self {
        let side = |name: &str| Side { name: name.into(), book: Book::default(), tick: false, flight: None };
        let sides = [side("a"), side("b")];
        for side in &sides {
            store.run_blocking(|connection| instances::see(connection, &side.name, 1)).unwrap();
        }
        let (clients, opening) = (Vec::new(), HashMap::new());
        Self {
            store,
            sides,
            now: Instant::now(),
            clients,
            opening,
            names: 0,
            refused: false,
            finished: 0,
            wall: clock::now(),
            forgotten: (0, 0),
            allowed: (1, 1),
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("s{}", self.names)
    }

    fn open(&mut self, side: usize) {
        let (session_id, tally) = (self.name(), Arc::new(Tally::default()));
        let key_id = with_key(&session_id).then(|| "k".to_owned());
        self.sides[side].book.open(Opening { key_id, ..resumable(&session_id) }, tally.clone());
        self.opening.insert(session_id, tally);
    }

    /// A client that is connected and waits for nothing.
    fn free(&mut self, who: usize) -> Option<&mut Client> {
        let count = self.clients.len();
        let client = self.clients.get_mut(who % count.max(1))?;
        (client.home.is_some() && !client.waits && !client.tally.lost()).then_some(client)
    }

    fn demand(&mut self, who: usize, need: u64) {
        let count = self.clients.len();
        let client = &mut self.clients[who % count];
        client.waits = true;
        assert!(self.sides[client.home.unwrap()].book.demand(&client.session_id, need, self.now));
    }

    fn speak(&mut self, who: usize, frames: u64) {
        for _ in 0..frames {
            let Some(client) = self.free(who) else { return };
            if client.tally.granted() < client.tally.forwarded() + FRAME {
                return self.demand(who, FRAME);
            }
            client.tally.forward(FRAME);
        }
    }

    fn give_back(&mut self, who: usize) {
        if self.free(who).is_some() {
            self.demand(who, 0);
        }
    }

    fn finish(&mut self, who: usize) {
        if let Some(client) = self.free(who) {
            let metered = client.tally.forwarded();
            client.tally.finish_through(Ack { samples: metered * 3 / 2, metered });
        }
    }

    fn close(&mut self, who: usize) {
        if self.free(who).is_some() {
            let client = self.clients.remove(who % self.clients.len());
            assert!(self.sides[client.home.unwrap()].book.close(&client.session_id, "done"));
            self.finished += client.tally.forwarded();
        }
    }

    /// The client's connection breaks; whoever had it has it still, and doesn't know.
    fn r#move(&mut self, who: usize, side: usize) {
        let count = self.clients.len();
        let Some(client) = self.clients.get_mut(who % count.max(1)) else { return };
        (client.home, client.waits) = (None, false);
        self.sides[side].book.resume(hash(&client.session_id));
    }

    fn crash(&mut self, side: usize) {
        let name = format!("{}+", self.sides[side].name);
        let dead = std::mem::replace(
            &mut self.sides[side],
            Side { name: name.clone(), book: Book::default(), tick: false, flight: None },
        );
        self.opening.retain(|_, tally| Arc::strong_count(tally) > 1);
        for client in self.clients.iter_mut().filter(|client| client.home == Some(side)) {
            (client.home, client.waits) = (None, false);
        }
        let heal = |connection: &mut _| {
            instances::see(connection, &name, 1)?;
            healing::heal(connection, &[(dead.name, 1)], &instance("healer"), self.wall)
        };
        self.store.run_blocking(heal).unwrap();
    }

    fn step(&mut self, side: usize, luck: Luck) {
        let place = &mut self.sides[side];
        let Some(flight) = &mut place.flight else {
            let (batch, tallies) = place.book.prepare(self.now, std::mem::take(&mut place.tick));
            place.flight = (!batch.is_empty()).then_some(Flight { batch, tallies, answer: None });
            return;
        };
        if flight.answer.is_none() {
            let write = |batch: &Batch| {
                let write = |connection: &mut _| ledger::write(connection, batch, &instance(&place.name), self.wall);
                self.store.run_blocking(write).unwrap()
            };
            let failure = Error::storage("made up");
            flight.answer = Some(match luck {
                Luck::Good => Ok(write(&flight.batch)),
                Luck::Lost => Err(failure),
                Luck::Unknown => {
                    write(&flight.batch);
                    Err(failure)
                }
            });
            return;
        }
        let flight = place.flight.take().unwrap();
        let answers = self.enter(side, flight);
        for (session_id, answer) in answers {
            self.refused |= answer.is_err();
            let client = self.clients.iter_mut().find(|client| client.session_id == session_id);
            if let Some(client) = client.filter(|client| client.home == Some(side)) {
                client.waits = false;
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.home == Some(side)) {
            client.acked = client.tally.acknowledged();
        }
    }

    fn enter(&mut self, side: usize, flight: Flight) -> Vec<Answer> {
        let (book, batch) = (&mut self.sides[side].book, flight.batch);
        let mut outcome = match flight.answer.unwrap() {
            Ok(outcome) => outcome,
            Err(error) => return book.fail(&batch, &error, self.now),
        };
        let resumptions = std::mem::take(&mut outcome.resumptions);
        let mut answers = book.enter(&batch, outcome, flight.tallies, self.now);
        for (resume_hash, resumed) in batch.resumptions.iter().zip(resumptions) {
            let place = self.clients.iter().position(|client| hash(&client.session_id) == *resume_hash);
            let Ok(restored) = resumed else { continue };
            let (tally, before) = book.take_over(&restored, self.now);
            answers.extend(before);
            assert_eq!(tally.forwarded(), restored.booked.samples);
            let Some(client) = place.map(|place| &mut self.clients[place]) else { continue };
            assert!(restored.ack.metered >= client.acked.metered, "an ack is kept");
            assert!(restored.ack.metered <= restored.booked.samples, "what is acknowledged is booked");
            (client.home, client.waits, client.tally) = (Some(side), false, tally);
        }
        for (session_id, answer) in &answers {
            let opened = batch.openings.iter().any(|opening| opening.session_id == *session_id);
            if let Some(tally) = self.opening.remove(session_id).filter(|_| opened && answer.is_ok()) {
                let (session_id, home) = (session_id.clone(), Some(side));
                self.clients.push(Client { session_id, home, tally, waits: false, acked: Ack::default() });
            }
        }
        answers
    }

    /// Samples booked in all, and with the key.
    fn booked(&self) -> (i64, i64) {
        let stored = sessions_stored(&self.store);
        let keyed = stored.iter().filter(|(id, ..)| with_key(id)).map(|(_, _, booked, _)| *booked).sum();
        (stored.iter().map(|(_, _, booked, _)| *booked).sum(), keyed)
    }

    fn reset(&mut self) {
        let (whose, now_us) = (Reset::License("lic".into()), self.wall.as_microsecond());
        self.store.run_blocking(|connection| budgets::reset(connection, &whose, now_us)).unwrap();
        self.forgotten = self.booked();
        self.allowed = (self.allowed.0 + 1, self.allowed.1 + 1);
    }

    fn turn_clock(&mut self, minutes: i64) {
        self.wall += jiff::SignedDuration::from_mins(minutes);
        self.allowed.1 += 1;
    }

    /// No budget is below nothing, or passed by more than a frame, whatever was granted meanwhile.
    fn check(&self) -> Result<(), TestCaseError> {
        let ((used, reserved), (used_of_key, held_of_key, slices)) =
            (used_and_reserved(&self.store), used_of_the_key(&self.store));
        prop_assert!(used >= 0 && reserved >= 0 && used_of_key >= 0 && held_of_key >= 0);
        prop_assert!(used + reserved < LIMIT + FRAME as i64, "{used} used, {reserved} reserved");
        prop_assert!(used_of_key + held_of_key < LIMIT_OF_THE_KEY + FRAME as i64, "{used_of_key}, {held_of_key}");
        prop_assert_eq!(used_of_key, slices);
        let most = LIMIT as u64 * self.allowed.0 + FRAME * self.allowed.0;
        prop_assert!(self.forwarded() < most, "the budget was passed by more than a frame");
        let most = (LIMIT_OF_THE_KEY as u64 + FRAME) * self.allowed.1;
        prop_assert!(self.forwarded_with_key() < most, "the key's budget was passed by more than a frame");
        Ok(())
    }

    /// A whole transaction.
    fn write(&mut self, side: usize, luck: Luck) {
        if self.sides[side].flight.is_none() {
            self.step(side, luck);
        }
        while self.sides[side].flight.is_some() {
            self.step(side, luck);
        }
    }

    /// Samples that were forwarded for clients that are connected, and for those that said goodbye.
    fn forwarded(&self) -> u64 {
        let live = self.clients.iter().filter(|client| client.home.is_some() && !client.tally.lost());
        self.finished + live.map(|client| client.tally.forwarded()).sum::<u64>()
    }

    /// Likewise, of those with the key.
    fn forwarded_with_key(&self) -> u64 {
        let live = self.clients.iter().filter(|client| client.home.is_some() && !client.tally.lost());
        live.filter(|client| with_key(&client.session_id)).map(|client| client.tally.forwarded()).sum()
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            (0..2).for_each(|side| self.write(side, Luck::Good));
        }
        let home: Vec<(String, u64)> = self
            .clients
            .iter()
            .filter(|client| client.home.is_some() && !client.tally.lost())
            .map(|client| (client.session_id.clone(), client.tally.forwarded()))
            .collect();
        for _ in 0..4 {
            for side in 0..2 {
                self.sides[side].book.close_all("done");
                self.write(side, Luck::Good);
            }
        }
        assert!(self.sides.iter().all(|side| side.book.open_accounts() == 0));
        let stored = sessions_stored(&self.store);
        for (session_id, forwarded) in home {
            let booked = stored.iter().find(|(id, ..)| *id == session_id).map(|(_, _, booked, _)| *booked);
            assert_eq!(booked, Some(forwarded as i64), "{session_id} is booked as it was forwarded");
        }
        assert!(stored.iter().all(|(_, status, booked, acked)| status != "live" && acked <= booked), "{stored:?}");
        let (booked, keyed) = self.booked();
        let counted = booked - self.forgotten.0;
        assert!(counted < LIMIT + FRAME as i64, "the budget was passed by more than a frame");
        assert_eq!(used_and_reserved(&self.store), (counted, 0), "the budget has what the sessions have");
        let (used, reserved, slices) = used_of_the_key(&self.store);
        assert_eq!((used, reserved), (slices, 0), "so has the key's");
        assert!(used < LIMIT_OF_THE_KEY + FRAME as i64, "the key's budget was passed by more than a frame");
        if self.allowed.0 == self.allowed.1 {
            assert_eq!(used, keyed - self.forgotten.1, "nothing has left its window");
        }
        assert_eq!(recorded(&self.store), booked, "each sample is recorded once");
    }
}

/// Whether a session comes with the key.
fn with_key(session_id: &str) -> bool {
    session_id.trim_start_matches('s').parse::<usize>().is_ok_and(|number| number % 2 == 0)
}

fn fresh_store(folder: &std::path::Path) -> Store {
    store_at(Location::Sqlite(folder.join("book.db")))
}

fn store_at(location: Location) -> Store {
    let store = store_with(location, LIMIT);
    give_the_key_a_budget(&store, LIMIT_OF_THE_KEY);
    store
}

fn live(store: Store, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut world = World::new(store);
    for act in acts {
        world.now += Duration::from_millis(300);
        match act {
            Act::Open(side) => world.open(side),
            Act::Speak(who, frames) => world.speak(who, frames),
            Act::GiveBack(who) => world.give_back(who),
            Act::Finish(who) => world.finish(who),
            Act::Close(who) => world.close(who),
            Act::Step(side, luck) => world.step(side, luck),
            Act::Tick(side) => {
                world.sides[side].tick = true;
                world.write(side, Luck::Good);
            }
            Act::Move(who, side) => world.r#move(who, side),
            Act::Crash(side) => world.crash(side),
            Act::Reset => world.reset(),
            Act::Clock(minutes) => world.turn_clock(minutes),
        }
        world.check()?;
    }
    world.settle();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn usage_is_exact(acts in prop::collection::vec(act(), 40..240)) {
        let folder = tempfile::tempdir().unwrap();
        live(fresh_store(folder.path()), acts)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn usage_is_exact_on_postgres(acts in prop::collection::vec(act(), 40..160)) {
        let database = Database::fresh();
        live(store_at(Location::Postgres(database.url.clone())), acts)?;
    }
}

#[test]
fn a_crash_gives_its_leases_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open(0);
    world.open(0);
    world.write(0, Luck::Good);
    for who in 0..2 {
        world.speak(who, 1);
    }
    world.write(0, Luck::Good);
    for who in 0..2 {
        world.speak(who, 3);
    }
    world.sides[0].tick = true;
    world.write(0, Luck::Good);
    let heal = |gone: &[(String, i64)]| {
        world.store.run_blocking(|connection| healing::heal(connection, gone, &instance("b"), clock::now())).unwrap()
    };
    let dead = |seen_at_us| vec![("a".to_owned(), seen_at_us)];
    assert_eq!(heal(&dead(0)), 0, "an instance that was seen since is left alone");
    assert!(used_and_reserved(&world.store).1 > 0);
    assert_eq!(heal(&dead(1)), 2);
    assert_eq!(heal(&[]), 0);
    let used = world.forwarded() as i64;
    assert_eq!(used_and_reserved(&world.store), (used, 0));
    assert_eq!(recorded(&world.store), used);
    assert!(sessions_stored(&world.store).iter().all(|(_, status, ..)| status == "parked"));
}

#[test]
fn one_session_may_use_a_budget_to_its_last_frame() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open(0);
    world.write(0, Luck::Good);
    while !world.refused {
        world.speak(0, 1_000);
        world.write(0, Luck::Good);
    }
    assert_eq!(world.forwarded(), LIMIT as u64);
}

#[test]
fn a_store_that_hangs_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open(0);
    world.write(0, Luck::Good);
    world.speak(0, 1);
    let book = &mut world.sides[0].book;
    let (batch, tallies) = book.prepare(world.now, false);
    let hangs = Error::storage("it hangs");
    assert!(book.tired(&hangs, STORE_PATIENCE, world.now + Duration::from_secs(9)).is_empty());
    let answers = book.tired(&hangs, STORE_PATIENCE, world.now + Duration::from_secs(10));
    assert!(matches!(answers.as_slice(), [(session_id, Err(_))] if session_id == "s1"), "{answers:?}");
    let write = |connection: &mut _| ledger::write(connection, &batch, &instance("a"), clock::now());
    let outcome = world.store.run_blocking(write);
    assert!(book.enter(&batch, outcome.unwrap(), tallies, world.now).is_empty(), "answered once");
    world.settle();
}

#[test]
fn who_was_suspended_since_he_was_let_in_gets_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open(0);
    execute(&world.store, "UPDATE licenses SET status = 'suspended'");
    world.write(0, Luck::Good);
    assert!(world.clients.is_empty());
    assert_eq!(world.sides[0].book.open_accounts(), 0);
}

#[test]
fn an_account_is_settled_though_nobody_waits_for_it() {
    actix_web::rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let metrics = livetranslate::metrics::Metrics::new("test").unwrap();
        let quota = livetranslate::quota::keeper::Quota::start(fresh_store(folder.path()), instance("a"), metrics);
        let lease = quota.open(Opening { resume_hash: None, ..resumable("s1") }).await.unwrap();
        drop(lease.settle("gone"));
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if quota.open_accounts() == 0 {
                return;
            }
        }
        panic!("the account is still open");
    });
}
