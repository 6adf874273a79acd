//! The books of HTTP calls under random misfortune, on a real store: several instances, transactions whose outcome
//! is lost, crashes, budgets that change. Never over a limit, nothing lost, nothing twice, every hold ends.

use std::path::Path;
use std::time::{Duration, Instant};

use livetranslate::clock;
use livetranslate::error::Error;
use livetranslate::quota::call_ledger;
use livetranslate::quota::calls::{self, Calls, Share};
use livetranslate::quota::heartbeat;
use livetranslate::quota::instance::Instance;
use livetranslate::quota::purse::Amounts;
use livetranslate::store::calls::CallRow;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::journal::Journal;
use proptest::prelude::*;
use tokio::sync::oneshot::Receiver;

use crate::support::ledger::{execute, instance, store_with};

const INSTANCES: usize = 2;

/// What may happen.
#[derive(Debug, Clone)]
enum Step {
    /// A call begins that may need so many tokens.
    Begin { at: usize, tokens: i64 },
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
        8 => (at.clone(), 1i64..60).prop_map(|(at, tokens)| Step::Begin { at, tokens }),
        6 => (at.clone(), 0i64..=100).prop_map(|(at, percent)| Step::Answer { at, percent }),
        2 => at.clone().prop_map(|at| Step::Drop { at }),
        8 => (at.clone(), outcome).prop_map(|(at, outcome)| Step::Book { at, outcome }),
        1 => at.prop_map(|at| Step::Crash { at }),
        1 => (5i64..40).prop_map(|requests| Step::Limit { requests }),
    ]
}

/// A call that runs, and what it may have set aside.
struct Running {
    share: Share,
    need: i64,
}

/// One process.
struct Process {
    instance: Instance,
    calls: Calls,
    waiting: Vec<(Receiver<Result<Share, Error>>, i64)>,
    running: Vec<Running>,
}

impl Process {
    fn start(store: &Store, folder: &Path, number: usize, life: usize) -> Self {
        let journals = folder.join(number.to_string());
        calls::book_orphans(store, &journals).unwrap();
        let instance = instance(&format!("ins-{number}-{life}"));
        let before = life.checked_sub(1).map(|before| format!("ins-{number}-{before}"));
        store.run_blocking(|connection| heartbeat::begin(connection, &instance, before)).unwrap();
        let calls = Calls::default();
        calls.keep_in(Journal::open(&journals, &instance.id).unwrap());
        Self { instance, calls, waiting: Vec::new(), running: Vec::new() }
    }

    fn begin(&mut self, tokens: i64) {
        let need = Amounts { tokens, requests: 1 };
        match self.calls.take("lic", need, false) {
            Some(share) => self.running.push(Running { share, need: tokens }),
            None => self.waiting.push((self.calls.wait("lic", need), tokens)),
        }
    }

    fn book(&mut self, store: &Store, outcome: Outcome, now: Instant) {
        let Some(booking) = self.calls.prepare(now) else { return };
        let (batch, instance) = (booking.batch.clone(), self.instance.clone());
        let write = || {
            let write = |connection: &mut _| call_ledger::write(connection, &batch, &instance, clock::now());
            store.run_blocking(write).unwrap()
        };
        let error = Error::storage("lost");
        match outcome {
            Outcome::Heard => self.calls.enter(booking, &write(), now),
            Outcome::Lost => {
                write();
                self.calls.fail(booking, &error, false, now);
            }
            Outcome::Failed => self.calls.fail(booking, &error, false, now),
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (mut answer, need) in waiting {
            match answer.try_recv() {
                Ok(Ok(share)) => self.running.push(Running { share, need }),
                Ok(Err(_)) => {}
                Err(_) => self.waiting.push((answer, need)),
            }
        }
    }
}

fn row(id: usize, tokens: i64) -> CallRow {
    CallRow {
        id: format!("call-{id}"),
        license_id: "lic".into(),
        key_id: None,
        model: "m".into(),
        route: "chat".into(),
        account: None,
        input_tokens: tokens,
        cached_tokens: 0,
        output_tokens: 0,
        reasoning_tokens: 0,
        usage_source: "upstream".into(),
        occurred_at_us: clock::now().as_microsecond(),
    }
}

/// Used and reserved units of a budget.
fn budget(store: &Store, unit: &str) -> (i64, i64) {
    use diesel::prelude::*;
    use livetranslate::store::schema::budgets;
    let row = budgets::table.filter(budgets::unit.eq(unit.to_owned()));
    let columns = (budgets::used_units, budgets::reserved_units);
    store.run_blocking(|connection| Ok(row.select(columns).first(connection)?)).unwrap()
}

fn run(steps: &[Step], tokens_limit: i64, requests_limit: i64) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Location::Sqlite(folder.path().join("x.db")), 0);
    for (unit, limit) in [("tokens", tokens_limit), ("requests", requests_limit)] {
        execute(
            &store,
            &format!(
                "INSERT INTO budgets (id, license_id, unit, window_span, window_mode, tz, limit_units, \
                 period_start_us) VALUES ('b-{unit}', 'lic', '{unit}', 'lifetime', 'fixed', 'UTC', {limit}, 0)"
            ),
        );
    }
    let mut lives = [0; INSTANCES];
    let mut processes: Vec<Process> =
        (0..INSTANCES).map(|number| Process::start(&store, folder.path(), number, 0)).collect();
    let (mut tokens, mut requests, mut most_allowed) = (0, 0, requests_limit);
    for step in steps {
        match *step {
            Step::Begin { at, tokens } => processes[at].begin(tokens),
            Step::Answer { at, percent } => {
                if !processes[at].running.is_empty() {
                    let Running { share, need } = processes[at].running.remove(0);
                    let used = need * percent / 100;
                    share.settle(row(requests, used));
                    tokens += used;
                    requests += 1;
                }
            }
            Step::Drop { at } => {
                processes[at].running.pop();
            }
            Step::Book { at, outcome } => processes[at].book(&store, outcome, Instant::now()),
            Step::Crash { at } => {
                lives[at] += 1;
                // The dead hold no locks; what they had in mind is gone.
                let dead = std::mem::replace(
                    &mut processes[at],
                    Process {
                        instance: instance("none"),
                        calls: Calls::default(),
                        waiting: Vec::new(),
                        running: Vec::new(),
                    },
                );
                drop(dead);
                processes[at] = Process::start(&store, folder.path(), at, lives[at]);
            }
            Step::Limit { requests } => {
                execute(&store, &format!("UPDATE budgets SET limit_units = {requests} WHERE unit = 'requests'"));
                most_allowed = most_allowed.max(requests);
            }
        }
        let running: usize = processes.iter().map(|process| process.running.len()).sum();
        let given = i64::try_from(requests + running).unwrap();
        prop_assert!(given <= most_allowed, "{given} requests were let in, {most_allowed} allowed");
        // What one call needs beyond what was left for it.
        prop_assert!(tokens <= tokens_limit + 60 * 2, "{tokens} of {tokens_limit}");
        prop_assert!(budget(&store, "requests").0 <= i64::try_from(requests).unwrap(), "booked twice");
    }
    for process in &mut processes {
        process.running.clear();
        process.waiting.clear();
        // What lies idle for a second is given back.
        for seconds in [5, 10, 15] {
            process.book(&store, Outcome::Heard, Instant::now() + Duration::from_secs(seconds));
        }
    }
    prop_assert_eq!(budget(&store, "requests"), (i64::try_from(requests).unwrap(), 0));
    prop_assert_eq!(budget(&store, "tokens"), (tokens, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_books_are_right(
        steps in prop::collection::vec(step(), 1..60),
        tokens_limit in 1i64..600,
        requests_limit in 1i64..40,
    ) {
        run(&steps, tokens_limit, requests_limit)?;
    }
}
