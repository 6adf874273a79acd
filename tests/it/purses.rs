//! The books of HTTP calls under random misfortune, on a real store: several instances, transactions whose outcome
//! is lost, crashes, budgets that change or are reset, clocks that step. Never over a limit, never below nothing,
//! nothing lost, nothing twice, every hold ends.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use livetranslate::error::Error;
use livetranslate::payer;
use livetranslate::quota::calls::{self, Calls, Share};
use livetranslate::quota::heartbeat;
use livetranslate::quota::instance::Instance;
use livetranslate::quota::purse::Amounts;
use livetranslate::quota::{call_ledger, window};
use livetranslate::store::budgets::{self, Reset};
use livetranslate::store::calls::CallRow;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::journal::Journal;
use proptest::prelude::*;
use tokio::sync::oneshot::Receiver;

use crate::support::ledger::{execute, instance, store_with};
use crate::support::postgres::Database;

const INSTANCES: usize = 2;
/// What the tokens of calls that begin at once may pass their budget by: one call for each instance.
const SLACK: i64 = 60 * 2;

/// What may happen.
#[derive(Debug, Clone)]
enum Step {
    /// Calls begin at once, by turns with the key and without, that may need so many tokens each.
    Begin { at: usize, keyed: bool, tokens: i64, calls: usize },
    /// The oldest running call was answered, and used so many tokens of a hundred that it had set aside.
    Answer { at: usize, percent: i64 },
    /// It came to nothing.
    Drop { at: usize },
    /// A transaction: written, written without a word, or not written.
    Book { at: usize, outcome: Outcome },
    /// `kill -9`, and a new start in the same folder.
    Crash { at: usize },
    /// The operator changes the limit in requests.
    Limit { requests: i64 },
    /// The operator resets the license, or its key alone.
    Reset { key: bool },
    /// The clock goes on, or is set back.
    Clock { minutes: i64 },
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Heard,
    Lost,
    Failed,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..INSTANCES;
    let outcome = prop_oneof![6 => Just(Outcome::Heard), 1 => Just(Outcome::Lost), 1 => Just(Outcome::Failed)];
    prop_oneof![
        8 => (at.clone(), any::<bool>(), 1i64..60, 1usize..5)
            .prop_map(|(at, keyed, tokens, calls)| Step::Begin { at, keyed, tokens, calls }),
        6 => (at.clone(), 0i64..=100).prop_map(|(at, percent)| Step::Answer { at, percent }),
        2 => at.clone().prop_map(|at| Step::Drop { at }),
        8 => (at.clone(), outcome).prop_map(|(at, outcome)| Step::Book { at, outcome }),
        1 => at.prop_map(|at| Step::Crash { at }),
        1 => (5i64..40).prop_map(|requests| Step::Limit { requests }),
        1 => any::<bool>().prop_map(|key| Step::Reset { key }),
        3 => prop_oneof![3 => 1i64..400, 1 => -120i64..0].prop_map(|minutes| Step::Clock { minutes }),
    ]
}

/// A call that runs, and what it may have set aside.
struct Running {
    share: Share,
    keyed: bool,
    need: i64,
}

/// A call that waits for its share.
struct Waiting {
    answer: Receiver<Result<Share, Error>>,
    keyed: bool,
    need: i64,
}

/// One process.
struct Process {
    instance: Instance,
    calls: Calls,
    waiting: Vec<Waiting>,
    running: Vec<Running>,
}

fn payer_of(keyed: bool) -> String {
    payer::name("lic", keyed.then_some("k"))
}

impl Process {
    fn start(store: &Store, folder: &Path, (number, life): (usize, usize), now: Timestamp) -> Self {
        let journals = folder.join(number.to_string());
        calls::book_orphans(store, &journals, now).unwrap();
        let instance = instance(&format!("ins-{number}-{life}"));
        let before = life.checked_sub(1).map(|before| format!("ins-{number}-{before}"));
        store.run_blocking(|connection| heartbeat::begin(connection, &instance, before)).unwrap();
        let calls = Calls::default();
        calls.keep_in(Journal::open(&journals, &instance.id).unwrap());
        Self { instance, calls, waiting: Vec::new(), running: Vec::new() }
    }

    fn begin(&mut self, keyed: bool, need: i64) {
        let (payer, amounts) = (payer_of(keyed), Amounts { tokens: need, requests: 1 });
        match self.calls.take(&payer, amounts, false) {
            Some(share) => self.running.push(Running { share, keyed, need }),
            None => self.waiting.push(Waiting { answer: self.calls.wait(&payer, amounts), keyed, need }),
        }
    }

    /// One transaction; returns the calls that it booked, if it was written.
    fn book(&mut self, store: &Store, outcome: Outcome, (now, at): (Instant, Timestamp)) -> Option<Vec<CallRow>> {
        let booking = self.calls.prepare(now)?;
        let (batch, instance) = (booking.batch.clone(), self.instance.clone());
        let write = || {
            let write = |connection: &mut _| call_ledger::write(connection, &batch, &instance, at);
            store.run_blocking(write).unwrap()
        };
        let error = Error::storage("lost");
        let written = match outcome {
            Outcome::Heard => {
                self.calls.enter(booking, &write(), now);
                true
            }
            Outcome::Lost => {
                write();
                self.calls.fail(booking, &error, false, now);
                true
            }
            Outcome::Failed => {
                self.calls.fail(booking, &error, false, now);
                false
            }
        };
        for mut call in std::mem::take(&mut self.waiting) {
            match call.answer.try_recv() {
                Ok(Ok(share)) => self.running.push(Running { share, keyed: call.keyed, need: call.need }),
                Ok(Err(_)) => {}
                Err(_) => self.waiting.push(call),
            }
        }
        written.then(|| batch.rows.clone())
    }
}

fn row(id: i64, keyed: bool, tokens: i64, at: Timestamp) -> CallRow {
    CallRow {
        id: format!("call-{id}"),
        license_id: "lic".into(),
        key_id: keyed.then(|| "k".to_owned()),
        model: "m".into(),
        route: "chat".into(),
        account: None,
        input_tokens: tokens,
        cached_tokens: 0,
        output_tokens: 0,
        reasoning_tokens: 0,
        usage_source: "upstream".into(),
        occurred_at_us: at.as_microsecond(),
    }
}

/// A budget as it should be.
#[derive(Debug, Clone)]
struct Wanted {
    id: &'static str,
    unit: &'static str,
    span: &'static str,
    rolling: bool,
    of_key: bool,
    /// The highest that was ever allowed.
    limit: i64,
    start_us: i64,
    end_us: Option<i64>,
    used: i64,
    /// Of a rolling one: when what was used leaves, and how much.
    slices: Vec<(i64, i64)>,
}

impl Wanted {
    fn new(id: &'static str, (unit, limit): (&'static str, i64), span: &'static str, of_key: bool) -> Self {
        let rolling = span == "5h";
        Self { id, unit, span, rolling, of_key, limit, start_us: 0, end_us: None, used: 0, slices: Vec::new() }
    }

    fn insert(&mut self, store: &Store, now: Timestamp) {
        let (start, end) = window::first(self.span, self.rolling, "UTC", now).unwrap();
        self.start_us = if self.span == "lifetime" { 0 } else { start.as_microsecond() };
        self.end_us = end.map(Timestamp::as_microsecond);
        let end = self.end_us.map_or("NULL".to_owned(), |end| end.to_string());
        let (mode, key) = (if self.rolling { "rolling" } else { "fixed" }, if self.of_key { "k" } else { "" });
        execute(
            store,
            &format!(
                "INSERT INTO budgets (id, license_id, key_id, unit, window_span, window_mode, tz, limit_units, \
                 period_start_us, period_end_us) VALUES ('{}', 'lic', '{key}', '{}', '{}', '{mode}', 'UTC', {}, {}, {end})",
                self.id, self.unit, self.span, self.limit, self.start_us
            ),
        );
    }

    fn turn_page(&mut self, now: Timestamp) {
        let now_us = now.as_microsecond();
        if self.rolling {
            let gone: i64 = self.slices.iter().filter(|(leaves, _)| *leaves <= now_us).map(|(_, used)| used).sum();
            self.slices.retain(|(leaves, _)| *leaves > now_us);
            self.used -= gone;
        } else if self.end_us.is_some_and(|end| end <= now_us) {
            let (start, end) = window::period(self.span, "UTC", now).unwrap();
            let start_us = start.as_microsecond().max(self.start_us);
            (self.start_us, self.end_us, self.used) = (start_us, end.map(Timestamp::as_microsecond), 0);
        }
    }

    fn count(&mut self, row: &CallRow, now: Timestamp) {
        let others = self.of_key && row.key_id.is_none();
        let forgotten = row.occurred_at_us < self.start_us && self.start_us <= now.as_microsecond();
        if others || forgotten {
            return;
        }
        let units = if self.unit == "tokens" { row.input_tokens } else { 1 };
        self.used += units;
        if self.rolling && units > 0 {
            let leaves = window::leaving(now).iter().find(|(span, _)| *span == self.span).unwrap().1;
            self.slices.push((leaves, units));
        }
    }

    fn reset(&mut self, now: Timestamp) {
        (self.used, self.start_us) = (0, now.as_microsecond());
        self.slices.clear();
    }
}

/// Used and reserved units of every budget, by id.
fn stored(store: &Store) -> HashMap<String, (i64, i64)> {
    use diesel::prelude::*;
    use livetranslate::store::schema::budgets;
    let columns = (budgets::id, (budgets::used_units, budgets::reserved_units));
    let rows: Vec<(String, (i64, i64))> =
        store.run_blocking(|connection| Ok(budgets::table.select(columns).load(connection)?)).unwrap();
    rows.into_iter().collect()
}

/// Everything, and how it should be.
struct World<'a> {
    store: &'a Store,
    folder: &'a Path,
    processes: Vec<Process>,
    lives: [usize; INSTANCES],
    now: Timestamp,
    wanted: Vec<Wanted>,
    /// Answered, by each instance, and maybe not booked.
    answered: Vec<Vec<CallRow>>,
    booked: HashSet<String>,
    calls: i64,
}

impl<'a> World<'a> {
    fn new(store: &'a Store, folder: &'a Path, limits: (i64, i64, i64)) -> Self {
        let now: Timestamp = "2026-11-21T22:40:10Z".parse().unwrap();
        let mut wanted = vec![
            Wanted::new("tokens", ("tokens", limits.0), "lifetime", false),
            Wanted::new("requests", ("requests", limits.1), "1d", false),
            Wanted::new("of-key", ("requests", limits.2), "5h", true),
            Wanted::new("tokens-of-key", ("tokens", limits.0 / 2 + 1), "1d", true),
        ];
        wanted.iter_mut().for_each(|budget| budget.insert(store, now));
        let start = |number| Process::start(store, folder, (number, 0), now);
        Self {
            store,
            folder,
            processes: (0..INSTANCES).map(start).collect(),
            lives: [0; INSTANCES],
            now,
            wanted,
            answered: vec![Vec::new(); INSTANCES],
            booked: HashSet::new(),
            calls: 0,
        }
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Begin { at, keyed, tokens, calls } => {
                (0..calls).for_each(|call| self.processes[at].begin(keyed ^ (call % 2 == 1), tokens));
            }
            Step::Answer { at, percent } => {
                if !self.processes[at].running.is_empty() {
                    let Running { share, keyed, need } = self.processes[at].running.remove(0);
                    let row = row(self.calls, keyed, need * percent / 100, self.now);
                    self.calls += 1;
                    self.answered[at].push(row.clone());
                    share.settle(row);
                }
            }
            Step::Drop { at } => drop(self.processes[at].running.pop()),
            Step::Book { at, outcome } => self.book(at, outcome, Instant::now()),
            Step::Crash { at } => self.crash(at),
            Step::Limit { requests } => {
                execute(self.store, &format!("UPDATE budgets SET limit_units = {requests} WHERE id = 'requests'"));
                self.wanted[1].limit = self.wanted[1].limit.max(requests);
            }
            Step::Reset { key } => {
                let whose = if key { Reset::Key("k".into()) } else { Reset::License("lic".into()) };
                let now_us = self.now.as_microsecond();
                self.store.run_blocking(|connection| budgets::reset(connection, &whose, now_us)).unwrap();
                let concerned = self.wanted.iter_mut().filter(|budget| !key || budget.of_key);
                concerned.for_each(|budget| budget.reset(self.now));
            }
            Step::Clock { minutes } => self.now += SignedDuration::from_mins(minutes),
        }
    }

    fn book(&mut self, at: usize, outcome: Outcome, now: Instant) {
        let written = self.processes[at].book(self.store, outcome, (now, self.now));
        if let Some(rows) = written {
            self.enter(&rows);
        }
    }

    fn enter(&mut self, rows: &[CallRow]) {
        self.wanted.iter_mut().for_each(|budget| budget.turn_page(self.now));
        for row in rows.iter().filter(|row| self.booked.insert(row.id.clone())) {
            self.wanted.iter_mut().for_each(|budget| budget.count(row, self.now));
        }
    }

    fn crash(&mut self, at: usize) {
        self.lives[at] += 1;
        // The dead hold no locks; what they had in mind is gone.
        let dead =
            Process { instance: instance("none"), calls: Calls::default(), waiting: Vec::new(), running: Vec::new() };
        drop(std::mem::replace(&mut self.processes[at], dead));
        self.processes[at] = Process::start(self.store, self.folder, (at, self.lives[at]), self.now);
        // Its journal has what it had not booked, and nothing is booked where there is no journal.
        let rows = std::mem::take(&mut self.answered[at]);
        let left: Vec<CallRow> = rows.into_iter().filter(|row| !self.booked.contains(&row.id)).collect();
        if !left.is_empty() {
            self.enter(&left);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let stored = stored(self.store);
        for budget in &self.wanted {
            let (used, reserved) = stored[budget.id];
            let slack = if budget.unit == "tokens" { SLACK } else { 0 };
            prop_assert!(used >= 0 && reserved >= 0, "{}: {used} used, {reserved} reserved", budget.id);
            prop_assert!(used <= budget.limit + slack, "{}: {used} of {}", budget.id, budget.limit);
            let given = used + if budget.unit == "requests" { reserved } else { 0 };
            prop_assert!(given <= budget.limit + slack, "{}: {given} given, {} allowed", budget.id, budget.limit);
        }
        Ok(())
    }

    /// Everybody leaves, and what lies idle is given back.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for at in 0..INSTANCES {
            self.processes[at].running.clear();
            self.processes[at].waiting.clear();
            for seconds in [5, 10, 15] {
                self.book(at, Outcome::Heard, Instant::now() + Duration::from_secs(seconds));
            }
        }
        let stored = stored(self.store);
        for budget in &self.wanted {
            prop_assert_eq!(stored[budget.id], (budget.used, 0), "{}", budget.id);
        }
        prop_assert_eq!(i64::try_from(self.booked.len()).unwrap(), self.calls, "every call is booked, once");
        Ok(())
    }
}

fn run(store: &Store, steps: &[Step], limits: (i64, i64, i64)) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(store, folder.path(), limits);
    for step in steps {
        world.act(step);
        world.check()?;
    }
    world.settle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_books_are_right(
        steps in prop::collection::vec(step(), 1..80),
        limits in (1i64..600, 1i64..40, 1i64..20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        run(&store_with(Location::Sqlite(folder.path().join("x.db")), 0), &steps, limits)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn on_postgres_too(
        steps in prop::collection::vec(step(), 1..80),
        limits in (1i64..600, 1i64..40, 1i64..20),
    ) {
        let database = Database::fresh();
        run(&store_with(Location::Postgres(database.url.clone()), 0), &steps, limits)?;
    }
}

/// A license and its key share a budget of the license: neither lets in more than it has.
#[test]
fn a_license_and_its_key_share() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Location::Sqlite(folder.path().join("x.db")), 0);
    let mut world = World::new(&store, folder.path(), (1_000_000, 7, 6));
    for _ in 0..20 {
        for keyed in [true, false] {
            world.processes[0].begin(keyed, 1);
            world.processes[1].begin(keyed, 1);
        }
        (0..INSTANCES).for_each(|at| world.book(at, Outcome::Heard, Instant::now()));
    }
    let running = || world.processes.iter().flat_map(|process| &process.running);
    assert_eq!(running().count(), 7, "all that the license has, and no more");
}
