//! Whatever sessions ask, and whichever transactions fail: nothing is booked twice or lost, and a budget is
//! never passed by more than one frame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use livetranslate::clock;
use livetranslate::quota::batch::Opening;
use livetranslate::quota::book::{Book, STORE_PATIENCE};
use livetranslate::quota::instance::Instance;
use livetranslate::quota::tally::Tally;
use livetranslate::quota::{healing, ledger};
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::schema::{budgets, sessions, usage_events};
use livetranslate::store::{instances, migrate};
use proptest::prelude::*;

const FRAME: u64 = 1_600;
const LIMIT: i64 = 160_000;

#[derive(Debug, Clone)]
enum Act {
    Open,
    /// Session number so forwards frames until its lease ends, so many at most; then asks.
    Speak(usize, u64),
    GiveBack(usize),
    Close(usize),
    Write(Luck),
    Tick,
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
        2 => Just(Act::Open),
        8 => (0_usize..8, 1_u64..40).prop_map(|(who, frames)| Act::Speak(who, frames)),
        1 => (0_usize..8).prop_map(Act::GiveBack),
        1 => (0_usize..8).prop_map(Act::Close),
        10 => luck.prop_map(Act::Write),
        3 => Just(Act::Tick),
    ]
}

fn instance(id: &str) -> Instance {
    Instance { id: id.into(), resume_window: jiff::SignedDuration::from_secs(120), grace_seconds: 300 }
}

/// One instance's book over a real store, with sessions that behave as links do.
struct World {
    store: Store,
    book: Book,
    now: Instant,
    tick: bool,
    tallies: HashMap<String, Arc<Tally>>,
    /// Sessions in order; true while one waits for an answer.
    sessions: Vec<(String, bool)>,
    opened: usize,
    refused: bool,
    forwarded: u64,
}

impl World {
    fn new(store: Store) -> Self {
        Self {
            store,
            book: Book::default(),
            now: Instant::now(),
            tick: false,
            tallies: HashMap::new(),
            sessions: Vec::new(),
            opened: 0,
            refused: false,
            forwarded: 0,
        }
    }

    fn open(&mut self) {
        self.opened += 1;
        let session_id = format!("s{}", self.opened);
        let tally = Arc::new(Tally::default());
        let opening = Opening {
            session_id: session_id.clone(),
            license_id: "lic".into(),
            key_id: None,
            model: "m".into(),
            started_at: clock::now(),
            max_sessions: None,
            resume_hash: None,
        };
        self.book.open(opening, tally.clone());
        self.tallies.insert(session_id, tally);
    }

    fn speak(&mut self, who: usize, frames: u64) {
        let count = self.sessions.len();
        let Some((session_id, waits)) = self.sessions.get_mut(who % count.max(1)) else { return };
        if *waits {
            return;
        }
        let tally = &self.tallies[session_id];
        for _ in 0..frames {
            if tally.granted() < tally.forwarded() + FRAME {
                assert!(self.book.demand(session_id, FRAME, self.now));
                *waits = true;
                return;
            }
            tally.forward(FRAME);
            self.forwarded += FRAME;
        }
    }

    fn give_back(&mut self, who: usize) {
        let count = self.sessions.len();
        let Some((session_id, waits)) = self.sessions.get_mut(who % count.max(1)) else { return };
        if !*waits {
            assert!(self.book.demand(session_id, 0, self.now));
            *waits = true;
        }
    }

    fn close(&mut self, who: usize) {
        if !self.sessions.is_empty() {
            let (session_id, _) = self.sessions.remove(who % self.sessions.len());
            assert!(self.book.close(&session_id, "done"));
        }
    }

    fn write(&mut self, luck: Luck) {
        let (batch, tallies) = self.book.prepare(self.now, std::mem::take(&mut self.tick));
        if batch.is_empty() {
            return;
        }
        let write =
            || self.store.run_blocking(|connection| ledger::write(connection, &batch, &instance("i"), clock::now()));
        let failure = livetranslate::error::Error::storage("made up");
        let answers = match luck {
            Luck::Good => self.book.enter(&batch, write().unwrap(), tallies, self.now),
            Luck::Lost => self.book.fail(&batch, &failure, self.now),
            Luck::Unknown => {
                write().unwrap();
                self.book.fail(&batch, &failure, self.now)
            }
        };
        for (session_id, answer) in answers {
            if let Some(place) = self.sessions.iter().position(|(id, _)| *id == session_id) {
                self.sessions[place].1 = false;
                self.refused |= answer.is_err();
            } else if answer.is_ok() && batch.openings.iter().any(|opening| opening.session_id == session_id) {
                self.sessions.push((session_id, false));
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            self.write(Luck::Good);
        }
        while !self.sessions.is_empty() {
            self.close(0);
        }
        for _ in 0..4 {
            self.write(Luck::Good);
        }
        assert_eq!(self.book.open_accounts(), 0);
    }

    fn sum(&self, what: impl FnOnce(&mut livetranslate::store::backend::AnyConnection) -> i64) -> i64 {
        self.store.run_blocking(|connection| Ok(what(connection))).unwrap()
    }
}

fn fresh_store(folder: &std::path::Path) -> Store {
    let store = Store::open(Location::Sqlite(folder.join("book.db"))).unwrap();
    store.run_blocking(migrate::run).unwrap();
    store
        .run_blocking(|connection| {
            for statement in [
                "INSERT INTO licenses (id, token_id, status, scopes, models, allowed_ips, limits, metadata, \
                 created_at_us, updated_at_us) VALUES ('lic', 't', 'active', '[]', '[]', '[]', '{}', '{}', 0, 0)"
                    .to_owned(),
                format!(
                    "INSERT INTO budgets (id, license_id, unit, window_span, window_mode, tz, limit_units, \
                     period_start_us) VALUES ('b', 'lic', 'audio_seconds', 'lifetime', 'fixed', 'UTC', {LIMIT}, 0)"
                ),
            ] {
                diesel::sql_query(statement).execute(connection).unwrap();
            }
            Ok(())
        })
        .unwrap();
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn usage_is_exact(acts in prop::collection::vec(act(), 20..160)) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(fresh_store(folder.path()));
        for act in acts {
            world.now += Duration::from_millis(300);
            match act {
                Act::Open => world.open(),
                Act::Speak(who, frames) => world.speak(who, frames),
                Act::GiveBack(who) => world.give_back(who),
                Act::Close(who) => world.close(who),
                Act::Write(luck) => world.write(luck),
                Act::Tick => {
                    world.tick = true;
                    world.write(Luck::Good);
                }
            }
            prop_assert!(world.forwarded < LIMIT as u64 + FRAME, "the budget was passed by more than a frame");
        }
        world.settle();
        let forwarded = world.forwarded as i64;
        let sum = "the books must agree with what was forwarded";
        prop_assert_eq!(world.sum(|c| budgets::table.select(budgets::used_units).first(c).unwrap()), forwarded, "{}", sum);
        prop_assert_eq!(world.sum(|c| budgets::table.select(budgets::reserved_units).first(c).unwrap()), 0);
        let events: Vec<i64> = world.store.run_blocking(|c| Ok(usage_events::table.select(usage_events::samples).load(c)?)).unwrap();
        prop_assert_eq!(events.iter().sum::<i64>(), forwarded, "{}", sum);
        let live = world.sum(|c| sessions::table.filter(sessions::status.eq("live")).count().get_result(c).unwrap());
        prop_assert_eq!(live, 0);
    }
}

#[test]
fn a_crash_gives_its_leases_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open();
    world.open();
    world.write(Luck::Good);
    for who in 0..2 {
        world.speak(who, 1);
    }
    world.write(Luck::Good);
    for who in 0..2 {
        world.speak(who, 3);
    }
    world.tick = true;
    world.write(Luck::Good);
    let heal = |gone: &[(String, i64)]| {
        world.store.run_blocking(|connection| healing::heal(connection, gone, &instance("j"), clock::now())).unwrap()
    };
    world.store.run_blocking(|connection| instances::see(connection, "i", 7)).unwrap();
    assert_eq!(heal(&[("i".into(), 6)]), 0, "an instance that was seen since is left alone");
    assert!(world.sum(|c| budgets::table.select(budgets::reserved_units).first(c).unwrap()) > 0);
    assert_eq!(heal(&[("i".into(), 7)]), 2);
    assert_eq!(heal(&[]), 0);
    assert_eq!(world.sum(|c| budgets::table.select(budgets::reserved_units).first(c).unwrap()), 0);
    let used = world.sum(|c| budgets::table.select(budgets::used_units).first(c).unwrap());
    assert_eq!(used, world.forwarded as i64);
    let recorded: Vec<i64> =
        world.store.run_blocking(|c| Ok(usage_events::table.select(usage_events::samples).load(c)?)).unwrap();
    assert_eq!(recorded.iter().sum::<i64>(), used);
}

#[test]
fn one_session_may_use_a_budget_to_its_last_frame() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open();
    world.write(Luck::Good);
    while !world.refused {
        world.speak(0, 1_000);
        world.write(Luck::Good);
    }
    assert_eq!(world.forwarded, LIMIT as u64);
}

#[test]
fn a_store_that_hangs_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open();
    world.write(Luck::Good);
    world.speak(0, 1);
    let (batch, tallies) = world.book.prepare(world.now, false);
    let hangs = livetranslate::error::Error::storage("it hangs");
    assert!(world.book.tired(&hangs, STORE_PATIENCE, world.now + Duration::from_secs(9)).is_empty());
    let answers = world.book.tired(&hangs, STORE_PATIENCE, world.now + Duration::from_secs(10));
    assert!(matches!(answers.as_slice(), [(session_id, Err(_))] if session_id == "s1"), "{answers:?}");
    let outcome =
        world.store.run_blocking(|connection| ledger::write(connection, &batch, &instance("i"), clock::now()));
    assert!(world.book.enter(&batch, outcome.unwrap(), tallies, world.now).is_empty(), "answered once");
    world.settle();
    assert_eq!(world.sum(|c| budgets::table.select(budgets::reserved_units).first(c).unwrap()), 0);
}

#[test]
fn who_was_suspended_since_he_was_let_in_gets_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(fresh_store(folder.path()));
    world.open();
    world
        .store
        .run_blocking(|connection| {
            Ok(diesel::sql_query("UPDATE licenses SET status = 'suspended'").execute(connection)?)
        })
        .unwrap();
    world.write(Luck::Good);
    assert!(world.sessions.is_empty());
    assert_eq!(world.book.open_accounts(), 0);
}

#[test]
fn an_account_is_settled_though_nobody_waits_for_it() {
    actix_web::rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let metrics = livetranslate::metrics::Metrics::new("test").unwrap();
        let quota = livetranslate::quota::keeper::Quota::start(fresh_store(folder.path()), instance("i"), metrics);
        let opening = Opening {
            session_id: "s1".into(),
            license_id: "lic".into(),
            key_id: None,
            model: "m".into(),
            started_at: clock::now(),
            max_sessions: None,
            resume_hash: None,
        };
        let lease = quota.open(opening).await.unwrap();
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
