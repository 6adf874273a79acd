//! One transaction for HTTP calls: books those that were answered, and sets what this instance holds for the next.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::balances::{Balances, REQUESTS, Sums, TOKENS, charges};
use super::instance::Instance;
use super::periods::start_periods;
use super::purse::{Amounts, CallLine, CallStanding, Limited};
use crate::error::Error;
use crate::store::accounting::{self, BudgetRow};
use crate::store::backend::AnyConnection;
use crate::store::call_holds::{self, Hold};
use crate::store::calls::{self, CallRow};

/// So much more than is wished for must be left in a budget, or nothing of it is held in advance.
const PLENTY: i64 = 8;

/// What one transaction writes.
#[derive(Debug, Clone, Default)]
pub struct CallBatch {
    /// Calls that were answered.
    pub rows: Vec<CallRow>,
    /// The licenses concerned, each once.
    pub lines: Vec<CallLine>,
    /// Whether some of the rows may be written already.
    pub doubt: bool,
}

/// Writes a batch in one transaction; answers how each line's license stands, in the lines' order. Blocks.
///
/// # Errors
/// `StorageUnavailable`; nothing is written then, or all of it.
pub fn write(
    connection: &mut AnyConnection,
    batch: &CallBatch,
    instance: &Instance,
    now: Timestamp,
) -> Result<Vec<CallStanding>, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        start_periods(connection, now)?;
        book(connection, &batch.rows, batch.doubt)?;
        let license_ids: Vec<String> = batch.lines.iter().map(|line| line.license_id.clone()).collect();
        let balances = Balances::load(connection, license_ids.clone())?;
        let holds = call_holds::of_instance(connection, &instance.id, &license_ids)?;
        let holds: HashMap<String, Hold> = holds.into_iter().map(|hold| (hold.license_id.clone(), hold)).collect();
        let mut standings = Vec::with_capacity(batch.lines.len());
        let (mut tokens, mut requests) = (Sums::new(), Sums::new());
        for line in &batch.lines {
            let nothing = Hold { license_id: line.license_id.clone(), tokens: 0, requests: 0 };
            let before = holds.get(&line.license_id).unwrap_or(&nothing);
            let standing = serve(line, &balances, before);
            let now_held = standing.held;
            tokens.entry(&line.license_id).or_default().1 += now_held.tokens - before.tokens;
            requests.entry(&line.license_id).or_default().1 += now_held.requests - before.requests;
            let hold = Hold { tokens: now_held.tokens, requests: now_held.requests, ..before.clone() };
            if hold != *before {
                call_holds::set(connection, &instance.id, &hold)?;
            }
            standings.push(standing);
        }
        // The ledger is this transaction's alone: what was read above is so still.
        accounting::charge(connection, TOKENS, &charges(tokens))?;
        accounting::charge(connection, REQUESTS, &charges(requests))?;
        Ok(standings)
    })
}

/// Books calls that were answered on every budget of their license, whatever its limit, and in the usage ledger.
///
/// # Errors
/// The store's.
fn book(connection: &mut AnyConnection, rows: &[CallRow], doubt: bool) -> Result<(), Error> {
    let known: BTreeSet<String> = if doubt {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        calls::recorded(connection, &ids)?.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let new: Vec<CallRow>;
    let rows = if known.is_empty() {
        rows
    } else {
        new = rows.iter().filter(|row| !known.contains(&row.id)).cloned().collect();
        &new
    };
    calls::append(connection, rows)?;
    let (mut tokens, mut requests) = (Sums::new(), Sums::new());
    let license_ids: BTreeSet<&str> = rows.iter().map(|row| row.license_id.as_str()).collect();
    let license_ids: Vec<String> = license_ids.into_iter().map(str::to_owned).collect();
    let balances = Balances::load(connection, license_ids)?;
    for row in rows {
        let used = row.input_tokens + row.output_tokens;
        let begun = |budget: &&BudgetRow| budget.period_start_us > row.occurred_at_us;
        if balances.of(&row.license_id).iter().any(|budget| begun(&budget)) {
            // Answered before a period began: that budget has forgotten it.
            accounting::charge_late(connection, &row.license_id, (TOKENS, used), row.occurred_at_us)?;
            accounting::charge_late(connection, &row.license_id, (REQUESTS, 1), row.occurred_at_us)?;
            continue;
        }
        tokens.entry(&row.license_id).or_default().0 += used;
        requests.entry(&row.license_id).or_default().0 += 1;
    }
    accounting::charge(connection, TOKENS, &charges(tokens))?;
    accounting::charge(connection, REQUESTS, &charges(requests))
}

/// Books calls that somebody may have booked before, in one transaction.
///
/// # Errors
/// The store's.
pub fn book_late(connection: &mut AnyConnection, rows: &[CallRow], now: Timestamp) -> Result<(), Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        start_periods(connection, now)?;
        book(connection, rows, true)
    })
}

/// Gives back what instances held that are gone.
///
/// # Errors
/// The store's.
pub fn give_back(connection: &mut AnyConnection, holds: &[Hold]) -> Result<(), Error> {
    let (mut tokens, mut requests) = (Sums::new(), Sums::new());
    for hold in holds {
        tokens.entry(&hold.license_id).or_default().1 -= hold.tokens;
        requests.entry(&hold.license_id).or_default().1 -= hold.requests;
    }
    accounting::charge(connection, TOKENS, &charges(tokens))?;
    accounting::charge(connection, REQUESTS, &charges(requests))
}

/// One unit's part of a line.
struct Unit {
    /// What may be held in all; `None`: no limit.
    available: Option<i64>,
    held: i64,
    wish: i64,
}

impl Unit {
    fn new(balances: &Balances, license_id: &str, unit: &str, (before, keep, wish): (i64, i64, i64)) -> Self {
        let budgets = balances.of(license_id).iter().filter(|row| row.unit == unit);
        let left = budgets.map(|row| row.limit_units - row.used_units - row.reserved_units).min();
        let available = left.map(|left| left + before);
        Self { available, held: if available.is_some() { keep } else { 0 }, wish }
    }

    fn room(&self) -> i64 {
        self.available.map_or(i64::MAX, |available| available - self.held)
    }

    /// What an ask gets: all of it, or what is left of it where that is something.
    fn grant(&self, need: i64) -> Option<i64> {
        let grant = self.room().min(need).max(0);
        (grant > 0 || need == 0).then_some(grant)
    }

    fn hold(&mut self, amount: i64) {
        if self.available.is_some() {
            self.held += amount;
        }
    }

    /// Holds something in advance, where there is plenty; tells whether there isn't.
    fn stock(&mut self, spare: i64) -> bool {
        let scarce = self.available.is_some() && self.room() / PLENTY < self.wish;
        if !scarce {
            self.hold((self.wish - spare).max(0));
        }
        scarce
    }
}

fn serve(line: &CallLine, balances: &Balances, before: &Hold) -> CallStanding {
    let id = line.license_id.as_str();
    let mut tokens = Unit::new(balances, id, TOKENS, (before.tokens, line.keep.tokens, line.wish.tokens));
    let mut requests = Unit::new(balances, id, REQUESTS, (before.requests, line.keep.requests, line.wish.requests));
    let used_up = balances.used_up(id, &[TOKENS, REQUESTS]);
    // Whoever needs no tokens doesn't care that there are none.
    let out_of_requests = balances.used_up(id, &[REQUESTS]);
    let mut grants = Vec::with_capacity(line.asks.len());
    for ask in &line.asks {
        // A request is one or none.
        let whole = requests.grant(ask.requests).filter(|granted| *granted == ask.requests);
        let stopped = if ask.tokens == 0 { out_of_requests } else { used_up };
        let granted = match (stopped, tokens.grant(ask.tokens), whole) {
            (None, Some(some), Some(one)) => Some(Amounts { tokens: some, requests: one }),
            _ => None,
        };
        if let Some(granted) = granted {
            tokens.hold(granted.tokens);
            requests.hold(granted.requests);
        }
        grants.push(granted);
    }
    let asked = line.asks.iter().fold(Amounts::default(), |mut sum, ask| {
        sum += *ask;
        sum
    });
    // Who asks now will ask again.
    tokens.wish = tokens.wish.max(asked.tokens);
    requests.wish = requests.wish.max(asked.requests);
    let scarce = (tokens.stock(line.spare.tokens), requests.stock(line.spare.requests));
    CallStanding {
        limited: Limited { tokens: tokens.available.is_some(), requests: requests.available.is_some() },
        held: Amounts { tokens: tokens.held, requests: requests.held },
        grants,
        used_up,
        scarce: Limited { tokens: scarce.0, requests: scarce.1 },
    }
}
