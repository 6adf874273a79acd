//! The upstream accounts of one process, shared by its threads: who takes which call, and how each is doing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::account::{Account, State};
use super::breaker::{Call, Phase};
use super::choice::{self, Candidate, NoAccount, Wanted};
use super::cooling::Standing;
use super::health::Health;
use super::outcome::Outcome;
use crate::metrics::Metrics;

/// The accounts; cheap to clone. Its lock is held for moments only, never while anybody waits.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    seats: Mutex<Vec<Seat>>,
    /// Calls that belong to no conversation take one lot after the other.
    lots: AtomicU64,
    /// Each health has a number: what is reported of calls from before it was forgotten is not heard.
    healths: AtomicU64,
    metrics: Metrics,
}

/// An account and how it is doing.
struct Seat {
    account: Arc<Account>,
    health: Health,
    health_number: u64,
    in_flight: u32,
    served: u64,
    failed: u64,
    /// In the order of [`Outcome::WORDS`].
    outcomes: Vec<IntCounter>,
}

/// How an account is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountState {
    /// The account's id.
    pub id: String,
    /// Calls under way.
    pub in_flight: u32,
    /// Whether it is asked like any other: it doesn't cool down, and its breaker is closed.
    pub healthy: bool,
    /// Whole seconds, rounded up, until it is asked again.
    pub cooling_seconds: Option<u64>,
    /// Whether it isn't asked until then, though there be no other.
    pub barred: bool,
    /// Models that it is not asked for like any other; this is apart from how the account is.
    pub cooling_models: usize,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// [`Outcome::word`] of its latest failure.
    pub last_failure: Option<&'static str>,
    /// Calls that were served.
    pub served: u64,
    /// Calls that failed by the account's or the provider's fault.
    pub failed: u64,
}

/// An account that takes a call. It counts as one of the account's calls until it is dropped.
pub struct Pick {
    /// The account.
    pub account: Arc<Account>,
    pool: Pool,
    model: String,
    call: Call,
    health_number: u64,
}

impl Pool {
    /// A pool without accounts.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let (seats, lots, healths) = (Mutex::default(), AtomicU64::default(), AtomicU64::default());
        Self { shared: Arc::new(Shared { seats, lots, healths, metrics }) }
    }

    /// From now on these are the accounts. One whose id stays keeps its calls and its health; its health is
    /// forgotten where its credential or address changed.
    pub fn replace(&self, accounts: Vec<Account>) {
        let mut seats = self.seats();
        let mut before = std::mem::take(&mut *seats);
        let names: Vec<String> = before.iter().map(|seat| seat.account.name.clone()).collect();
        for account in accounts {
            let known = before.iter().position(|seat| seat.account.id == account.id);
            let known = known.map(|place| before.swap_remove(place));
            seats.push(self.seat(Arc::new(account), known));
        }
        let gone = names.iter().filter(|name| seats.iter().all(|seat| seat.account.name != **name));
        gone.for_each(|name| self.forget_figures(name));
    }

    fn seat(&self, account: Arc<Account>, known: Option<Seat>) -> Seat {
        let figure = |word| self.shared.metrics.account_outcomes.with_label_values(&[account.name.as_str(), word]);
        let outcomes = Outcome::WORDS.map(figure).to_vec();
        let fresh = || (Health::default(), self.shared.healths.fetch_add(1, Ordering::Relaxed));
        let Some(known) = known else {
            let (health, health_number) = fresh();
            return Seat { account, health, health_number, in_flight: 0, served: 0, failed: 0, outcomes };
        };
        let same = known.account.credential == account.credential && known.account.base_url == account.base_url;
        let (health, health_number) = if same { (known.health, known.health_number) } else { fresh() };
        Seat { account, health, health_number, outcomes, ..known }
    }

    fn forget_figures(&self, name: &str) {
        let metrics = &self.shared.metrics;
        // There may be none: gauges are made when somebody looks.
        let _in_flight = metrics.account_in_flight.remove_label_values(&[name]);
        let _available = metrics.account_available.remove_label_values(&[name]);
        for word in Outcome::WORDS {
            let _outcome = metrics.account_outcomes.remove_label_values(&[name, word]);
        }
    }

    /// The account that takes a call.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(&self, wanted: &Wanted<'_>, now: Instant) -> Result<Pick, NoAccount> {
        let lot = wanted.sticky.unwrap_or_else(|| self.shared.lots.fetch_add(1, Ordering::Relaxed));
        let mut seats = self.seats();
        let candidates: Vec<Candidate<'_>> = seats.iter().map(|seat| seat.candidate(wanted, now)).collect();
        let id = choice::choose(&candidates, wanted, lot, now)?.id.clone();
        let chosen = seats.iter_mut().find(|seat| seat.account.id == id).ok_or(NoAccount::None)?;
        chosen.in_flight += 1;
        let call = chosen.health.begin(wanted.caller, now);
        let (account, health_number) = (chosen.account.clone(), chosen.health_number);
        Ok(Pick { account, pool: self.clone(), model: wanted.model.to_owned(), call, health_number })
    }

    /// Every account.
    #[must_use]
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.seats().iter().map(|seat| seat.account.clone()).collect()
    }

    /// How each account is doing.
    #[must_use]
    pub fn states(&self, now: Instant) -> Vec<AccountState> {
        self.seats().iter().map(|seat| seat.state(now)).collect()
    }

    /// Forgets what an account's calls came to: it has been found to work.
    pub fn forgive(&self, id: &str) {
        let number = self.shared.healths.fetch_add(1, Ordering::Relaxed);
        if let Some(seat) = self.seats().iter_mut().find(|seat| seat.account.id == id) {
            (seat.health, seat.health_number) = (Health::default(), number);
        }
    }

    /// Brings the gauges up to date; counters are so at all times.
    pub fn measure(&self, now: Instant) {
        let metrics = &self.shared.metrics;
        for seat in self.seats().iter() {
            let name = [seat.account.name.as_str()];
            metrics.account_in_flight.with_label_values(&name).set(i64::from(seat.in_flight));
            metrics.account_available.with_label_values(&name).set(i64::from(seat.available(now)));
        }
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.shared.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn candidate(&self, wanted: &Wanted<'_>, now: Instant) -> Candidate<'_> {
        let standing = self.health.standing_for(wanted.model, wanted.caller, now);
        Candidate { account: &self.account, standing, full: self.full() }
    }

    fn full(&self) -> bool {
        self.account.max_concurrency.is_some_and(|most| self.in_flight >= most)
    }

    fn available(&self, now: Instant) -> bool {
        let barred = matches!(self.health.standing(now), Standing::Barred(_));
        self.account.state == State::Enabled && !barred && !self.full()
    }

    fn state(&self, now: Instant) -> AccountState {
        let (standing, phase) = (self.health.standing(now), self.health.phase(now));
        let cooling_seconds = match standing {
            Standing::Ready => None,
            Standing::Spared(until) | Standing::Barred(until) => Some(rounded_up(until - now)),
        };
        AccountState {
            id: self.account.id.clone(),
            in_flight: self.in_flight,
            healthy: standing == Standing::Ready && phase == Phase::Closed,
            cooling_seconds,
            barred: matches!(standing, Standing::Barred(_)),
            cooling_models: self.health.cooling_models(now),
            breaker: phase.word(),
            last_failure: self.health.last_failure,
            served: self.served,
            failed: self.failed,
        }
    }
}

fn rounded_up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

impl Pick {
    /// What came of the call, as soon as it is known: a stream is served at its first byte. If it breaks off later,
    /// that is reported as well.
    pub fn report(&self, outcome: Outcome, now: Instant) {
        let mut seats = self.pool.seats();
        let Some(seat) = seats.iter_mut().find(|seat| seat.account.id == self.account.id) else { return };
        seat.served += u64::from(outcome == Outcome::Served);
        seat.failed += u64::from(outcome.is_failure());
        let place = Outcome::WORDS.iter().position(|word| *word == outcome.word());
        if let Some(figure) = place.and_then(|place| seat.outcomes.get(place)) {
            figure.inc();
        }
        if seat.health_number == self.health_number {
            seat.health.report(self.call, &self.model, outcome, now);
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        let mut seats = self.pool.seats();
        let Some(seat) = seats.iter_mut().find(|seat| seat.account.id == self.account.id) else { return };
        seat.in_flight = seat.in_flight.saturating_sub(1);
        if seat.health_number == self.health_number {
            seat.health.release(self.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;
    use crate::upstream::account::{Kind, Mode};

    const SECOND: Duration = Duration::from_secs(1);

    fn account(id: &str) -> Account {
        Account {
            id: id.to_owned(),
            name: format!("name of {id}"),
            kind: Kind::Openai,
            base_url: "https://upstream.example".to_owned(),
            credential: Secret::new("sk-x"),
            mode: Mode::Compatible,
            models: Vec::new(),
            weight: 1,
            priority: 0,
            max_concurrency: None,
            state: State::Enabled,
        }
    }

    fn pool(accounts: Vec<Account>) -> Pool {
        let pool = Pool::new(Metrics::new("test").unwrap());
        pool.replace(accounts);
        pool
    }

    const WANTED: Wanted<'_> = Wanted { kinds: &[Kind::Openai], model: "m", sticky: None, caller: 0, tried: &[] };

    fn state(pool: &Pool, now: Instant) -> AccountState {
        pool.states(now).remove(0)
    }

    #[test]
    fn a_pick_takes_a_place_until_it_is_dropped() {
        fn sendable<T: Send>(_: &T) {}
        let now = Instant::now();
        let pool = pool(vec![Account { max_concurrency: Some(2), ..account("a") }]);
        let one = pool.choose(&WANTED, now).unwrap();
        let other = pool.choose(&WANTED, now).unwrap();
        sendable(&one);
        assert_eq!(pool.choose(&WANTED, now).err(), Some(NoAccount::Busy { retry_after: SECOND }));
        assert_eq!(state(&pool, now).in_flight, 2);
        drop(one);
        assert!(pool.choose(&WANTED, now).is_ok());
        drop(other);
        assert_eq!(state(&pool, now).in_flight, 0);
    }

    #[test]
    fn conversations_stay_where_they_are() {
        let now = Instant::now();
        let pool = pool(vec![account("a"), account("b"), account("c")]);
        let place = |sticky, tried: &[String]| {
            pool.choose(&Wanted { sticky, tried, ..WANTED }, now).unwrap().account.id.clone()
        };
        for conversation in 0..20 {
            let home = place(Some(conversation), &[]);
            assert_eq!(place(Some(conversation), &[]), home);
            assert_ne!(place(Some(conversation), std::slice::from_ref(&home)), home, "another one is tried");
        }
        let mut homes: Vec<String> = (0..20).map(|_| place(None, &[])).collect();
        homes.sort_unstable();
        homes.dedup();
        assert_eq!(homes.len(), 3, "calls of no conversation go everywhere");
    }

    #[test]
    fn what_changes_keeps_its_calls_and_its_health_unless_it_is_another_account() {
        let now = Instant::now();
        let pool = pool(vec![account("a")]);
        let call = pool.choose(&WANTED, now).unwrap();
        call.report(Outcome::BadKey, now);
        pool.replace(vec![Account { weight: 7, ..account("a") }, account("b")]);
        let kept = state(&pool, now);
        assert_eq!((kept.in_flight, kept.failed, kept.cooling_seconds), (1, 1, Some(300)));
        pool.replace(vec![Account { credential: Secret::new("sk-new"), ..account("a") }]);
        let changed = state(&pool, now);
        assert_eq!((changed.in_flight, changed.failed, changed.healthy), (1, 1, true));
        call.report(Outcome::BadKey, now);
        assert!(state(&pool, now).healthy, "that was the old key");
        drop(call);
        assert_eq!(state(&pool, now).in_flight, 0);
        pool.replace(Vec::new());
        assert_eq!(pool.choose(&WANTED, now).err(), Some(NoAccount::None));
    }

    #[test]
    fn a_model_that_is_refused_leaves_the_others() {
        let now = Instant::now();
        let pool = pool(vec![account("a")]);
        let of = |model| pool.choose(&Wanted { model, ..WANTED }, now);
        of("odd").unwrap().report(Outcome::RateLimited(Some(SECOND * 20)), now);
        assert_eq!(of("odd").err(), Some(NoAccount::Busy { retry_after: SECOND * 20 }));
        of("m").unwrap().report(Outcome::Served, now);
        let state = state(&pool, now);
        assert_eq!((state.healthy, state.cooling_models, state.last_failure), (true, 1, Some("rate_limited")));
    }

    #[test]
    fn one_trial_goes_through_whatever_becomes_of_it() {
        let now = Instant::now();
        let pool = pool(vec![account("a")]);
        for _ in 0..5 {
            pool.choose(&WANTED, now).unwrap().report(Outcome::TimedOut, now);
        }
        assert_eq!(pool.choose(&WANTED, now).err(), Some(NoAccount::Busy { retry_after: SECOND * 5 }));
        let later = now + SECOND * 5;
        let through = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| pool.choose(&WANTED, later).ok())).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!((through.len(), state(&pool, later).breaker), (1, "half_open"));
        drop(through);
        pool.choose(&WANTED, later).unwrap().report(Outcome::Served, later);
        let healed = state(&pool, later);
        assert_eq!((healed.healthy, healed.breaker, healed.last_failure), (true, "closed", Some("timed_out")));
        assert_eq!((healed.served, healed.failed), (1, 5));
    }

    #[test]
    fn figures_carry_names_and_go_with_them() {
        let now = Instant::now();
        let pool = pool(vec![account("a")]);
        let call = pool.choose(&WANTED, now).unwrap();
        call.report(Outcome::Served, now);
        let text = || {
            pool.measure(now);
            String::from_utf8(pool.shared.metrics.text().unwrap()).unwrap()
        };
        for line in [
            "livetranslate_account_in_flight{account=\"name of a\"} 1",
            "livetranslate_account_available{account=\"name of a\"} 1",
            "livetranslate_account_outcomes_total{account=\"name of a\",outcome=\"served\"} 1",
            "livetranslate_account_outcomes_total{account=\"name of a\",outcome=\"bad_key\"} 0",
        ] {
            assert!(text().contains(line), "{line}");
        }
        pool.replace(vec![Account { name: "another".to_owned(), ..account("a") }]);
        call.report(Outcome::Served, now);
        drop(call);
        assert!(!text().contains("name of a") && text().contains("account_available{account=\"another\"} 1"));
    }
}
