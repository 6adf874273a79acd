//! One transaction for HTTP calls: books those that were answered, and sets what this instance holds for the next.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::balances::{Balances, REQUESTS, Sums, TOKENS};
use super::instance::Instance;
use super::purse::{Amounts, CallLine, CallStanding, Limited};
use super::window;
use crate::error::Error;
use crate::payer;
use crate::store::accounting;
use crate::store::backend::AnyConnection;
use crate::store::call_holds::{self, Hold};
use crate::store::calls::{self, CallRow};
use crate::store::charging;

/// So much more than is wished for must be left in a budget, or nothing of it is held in advance.
const PLENTY: i64 = 8;

/// What one transaction writes.
#[derive(Debug, Clone, Default)]
pub struct CallBatch {
    /// Calls that were answered.
    pub rows: Vec<CallRow>,
    /// The payers concerned, each once.
    pub lines: Vec<CallLine>,
    /// Whether some of the rows may be written already.
    pub doubt: bool,
}

/// Writes a batch in one transaction; answers how each line's payer stands, in the lines' order. Blocks.
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
        let rows = unrecorded(connection, batch)?;
        let theirs = rows.iter().map(|row| row.license_id.as_str());
        let license_ids: BTreeSet<&str> =
            batch.lines.iter().map(|line| payer::license(&line.payer)).chain(theirs).collect();
        let license_ids: Vec<String> = license_ids.into_iter().map(str::to_owned).collect();
        let (mut balances, mut sums) = (Balances::load_current(connection, license_ids.clone(), now)?, Sums::default());
        book(connection, &rows, (&mut balances, &mut sums), now)?;
        let holds = call_holds::of_instance(connection, &instance.id, &license_ids)?;
        let holds: HashMap<String, Hold> = holds.into_iter().map(|hold| (hold.payer(), hold)).collect();
        let (mut standings, mut changed) = (Vec::with_capacity(batch.lines.len()), Vec::new());
        for line in &batch.lines {
            let (license_id, key_id) = (payer::license(&line.payer), payer::key(&line.payer));
            let nothing = Hold { license_id: license_id.to_owned(), key_id: key_id.to_owned(), tokens: 0, requests: 0 };
            let before = holds.get(&line.payer).unwrap_or(&nothing);
            let standing = serve(line, &balances, before);
            let change = (standing.held.tokens - before.tokens, standing.held.requests - before.requests);
            for (unit, change) in [(TOKENS, change.0), (REQUESTS, change.1)] {
                sums.add(unit, (license_id, Some(key_id)), (0, change));
                balances.hold(&line.payer, unit, change);
            }
            if change != (0, 0) {
                let Amounts { tokens, requests } = standing.held;
                changed.push(Hold { tokens, requests, ..before.clone() });
            }
            standings.push(standing);
        }
        call_holds::set(connection, &instance.id, &changed)?;
        // The ledger is this transaction's alone: what was read above is so still.
        sums.book(connection, now)?;
        Ok(standings)
    })
}

/// The batch's calls that are not in the usage ledger yet.
fn unrecorded<'a>(connection: &mut AnyConnection, batch: &'a CallBatch) -> Result<Cow<'a, [CallRow]>, Error> {
    if !batch.doubt {
        return Ok(Cow::Borrowed(&batch.rows));
    }
    let ids: Vec<String> = batch.rows.iter().map(|row| row.id.clone()).collect();
    let known: BTreeSet<String> = calls::recorded(connection, &ids)?.into_iter().collect();
    Ok(batch.rows.iter().filter(|row| !known.contains(&row.id)).cloned().collect())
}

/// Books calls that were answered in the usage ledger, and on every budget of their license and key, whatever its limit.
/// `balances` has all that is concerned; what is left to be booked is added to `sums`.
fn book<'a>(
    connection: &mut AnyConnection,
    rows: &'a [CallRow],
    (balances, sums): (&mut Balances, &mut Sums<'a>),
    now: Timestamp,
) -> Result<(), Error> {
    calls::append(connection, rows)?;
    // Answered before a period began: that budget has forgotten it.
    let payer = |row: &CallRow| payer::name(&row.license_id, row.key_id.as_deref());
    let is_late = |row: &&CallRow| balances.of(&payer(row)).any(|budget| budget.period_start_us > row.occurred_at_us);
    let (late, timely): (Vec<&CallRow>, Vec<&CallRow>) = rows.iter().partition(is_late);
    for row in &late {
        let owners = (row.license_id.as_str(), row.key_id.as_deref().unwrap_or(payer::NO_KEY));
        let (times, leaving) = ((row.occurred_at_us, now.as_microsecond()), window::leaving(now));
        for (unit, units) in used(row) {
            charging::charge_late(connection, owners, (unit, units), times, &leaving)?;
        }
    }
    if !late.is_empty() {
        *balances = balances.again(connection)?;
    }
    for row in timely {
        for (unit, units) in used(row) {
            sums.add(unit, (&row.license_id, row.key_id.as_deref()), (units, 0));
            balances.spend(&payer(row), unit, units);
        }
    }
    Ok(())
}

fn used(row: &CallRow) -> [(&'static str, i64); 2] {
    [(TOKENS, row.input_tokens + row.output_tokens), (REQUESTS, 1)]
}

/// Books calls that somebody may have booked before, in one transaction.
///
/// # Errors
/// The store's.
pub fn book_late(connection: &mut AnyConnection, rows: &[CallRow], now: Timestamp) -> Result<(), Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let batch = CallBatch { rows: rows.to_vec(), lines: Vec::new(), doubt: true };
        let rows = unrecorded(connection, &batch)?;
        let license_ids: BTreeSet<&str> = rows.iter().map(|row| row.license_id.as_str()).collect();
        let license_ids = license_ids.into_iter().map(str::to_owned).collect();
        let (mut balances, mut sums) = (Balances::load_current(connection, license_ids, now)?, Sums::default());
        book(connection, &rows, (&mut balances, &mut sums), now)?;
        sums.book(connection, now)
    })
}

/// Gives back what instances held that are gone.
///
/// # Errors
/// The store's.
pub fn give_back(connection: &mut AnyConnection, holds: &[Hold], now: Timestamp) -> Result<(), Error> {
    let mut sums = Sums::default();
    for hold in holds {
        let owners = (hold.license_id.as_str(), Some(hold.key_id.as_str()));
        sums.add(TOKENS, owners, (0, -hold.tokens));
        sums.add(REQUESTS, owners, (0, -hold.requests));
    }
    sums.book(connection, now)
}

/// One unit's part of a line.
struct Unit {
    /// What may be held in all; `None`: no limit.
    available: Option<i64>,
    held: i64,
    wish: i64,
}

impl Unit {
    fn new(balances: &Balances, payer: &str, unit: &str, (before, keep, wish): (i64, i64, i64)) -> Self {
        let budgets = balances.of(payer).filter(|row| row.unit == unit);
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
    let id = line.payer.as_str();
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
        warnings: balances.warnings(id),
    }
}
