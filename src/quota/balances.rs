//! What the budgets of a batch's licenses have left, as the running transaction sees them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::batch::Marks;
use super::periods::start_periods;
use super::standing::{Remaining, Standing, Warning};
use super::window;
use crate::clock;
use crate::error::Error;
use crate::payer;
use crate::store::backend::AnyConnection;
use crate::store::charging::{self, BudgetRow, Charge};

/// Unit of source audio; counted in samples.
pub const AUDIO: &str = "audio_seconds";
/// Unit of tokens, in and out.
pub const TOKENS: &str = "tokens";
/// Unit of sessions and requests.
pub const REQUESTS: &str = "requests";

const SAMPLES_A_SECOND: f64 = 16_000.0;

/// The budgets of every license in a batch that wants something, and of its keys: by license.
pub struct Balances(HashMap<String, Vec<BudgetRow>>);

impl Balances {
    /// Reads the budgets of these licenses and of their keys, and turns the pages of those that are due.
    ///
    /// # Errors
    /// The store's.
    pub fn load_current(
        connection: &mut AnyConnection,
        license_ids: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let loaded = Self::load(connection, license_ids)?;
        let turned = start_periods(connection, loaded.0.values().flatten(), now)?;
        if turned { loaded.again(connection) } else { Ok(loaded) }
    }

    fn load(connection: &mut AnyConnection, mut license_ids: Vec<String>) -> Result<Self, Error> {
        license_ids.sort_unstable();
        license_ids.dedup();
        let mut by_license: HashMap<String, Vec<BudgetRow>> = HashMap::new();
        for row in charging::budgets_of(connection, &license_ids)? {
            by_license.entry(row.license_id.clone()).or_default().push(row);
        }
        Ok(Self(by_license))
    }

    /// The same budgets, as they are now.
    ///
    /// # Errors
    /// The store's.
    pub fn again(&self, connection: &mut AnyConnection) -> Result<Self, Error> {
        Self::load(connection, self.0.keys().cloned().collect())
    }

    /// The next opening of the batch sees this one.
    pub fn count_request(&mut self, payer: &str) {
        self.spend(payer, REQUESTS, 1);
    }

    /// The rest of the batch sees what was used.
    pub fn spend(&mut self, payer: &str, unit: &str, units: i64) {
        self.each(payer, unit, |row| row.used_units += units);
    }

    /// The next payer of the batch sees what this one holds now.
    pub fn hold(&mut self, payer: &str, unit: &str, units: i64) {
        self.each(payer, unit, |row| row.reserved_units = (row.reserved_units + units).max(0));
    }

    fn each(&mut self, payer: &str, unit: &str, change: impl Fn(&mut BudgetRow)) {
        let rows = self.0.get_mut(payer::license(payer)).into_iter().flatten();
        let key_id = payer::key(payer);
        rows.filter(|row| row.unit == unit && concerns(row, key_id)).for_each(change);
    }

    /// The budgets that a payer is counted on: its license's, and those of its key.
    pub fn of<'a>(&'a self, payer: &'a str) -> impl Iterator<Item = &'a BudgetRow> + Clone {
        let rows = self.0.get(payer::license(payer)).map_or(&[][..], Vec::as_slice);
        let key_id = payer::key(payer);
        rows.iter().filter(move |row| concerns(row, key_id))
    }

    /// How a payer stands with this cushion.
    #[must_use]
    pub fn standing(&self, payer: &str, cushion: i64) -> Standing {
        let unused = |row: &BudgetRow| row.limit_units - row.used_units;
        let tightest = |unit| self.of(payer).filter(|row| row.unit == unit).min_by_key(|row| unused(row));
        let audio = self.of(payer).filter(|row| row.unit == AUDIO);
        let left = audio.map(|row| unused(row) - row.reserved_units).min().unwrap_or(0);
        let units = [(AUDIO, SAMPLES_A_SECOND), (TOKENS, 1.0)];
        let remaining = units.into_iter().filter_map(|(unit, scale)| {
            let row = tightest(unit)?;
            let shown = |units: i64| units.max(0) as f64 / scale;
            Some(Remaining { unit, remaining: shown(unused(row)), limit: shown(row.limit_units) })
        });
        Standing {
            limits: (tightest(AUDIO).is_some(), tightest(TOKENS).is_some(), tightest(REQUESTS).is_some()),
            left,
            cushion,
            tokens: tightest(TOKENS).map_or(i64::MAX, unused),
            remaining: remaining.collect(),
        }
    }

    /// The payer's budgets that are used beyond their soft limit.
    #[must_use]
    pub fn warnings(&self, payer: &str) -> Arc<[Warning]> {
        let past = |row: &&BudgetRow| row.used_units >= soft_limit(row.limit_units, row.soft_limit_units);
        let warning = |row: &BudgetRow| {
            let scale = if row.unit == AUDIO { SAMPLES_A_SECOND } else { 1.0 };
            let shown = |units: i64| units as f64 / scale;
            Warning {
                unit: row.unit.clone(),
                window: row.window_span.clone(),
                used: shown(row.used_units),
                limit: shown(row.limit_units),
            }
        };
        self.of(payer).filter(past).map(warning).collect()
    }

    /// Whether nothing of a budget in this unit is left but what is reserved.
    #[must_use]
    pub fn is_reserved(&self, payer: &str, unit: &str) -> bool {
        let mut budgets = self.of(payer).filter(|row| row.unit == unit);
        budgets.any(|row| row.used_units + row.reserved_units >= row.limit_units)
    }

    /// When the last of the payer's budgets in this unit that have no room for `need` has something again, where that
    /// is known.
    #[must_use]
    pub fn comes_back(&self, payer: &str, unit: &str, need: i64) -> Option<Timestamp> {
        let short = |row: &&BudgetRow| row.used_units + row.reserved_units + need > row.limit_units;
        let ends = self.of(payer).filter(|row| row.unit == unit).filter(short).map(|row| row.period_end_us);
        ends.collect::<Option<Vec<i64>>>()?.into_iter().max().map(clock::at)
    }

    /// When the last of the payer's used-up budgets of these units has something again: `None` if none is
    /// used up, `Some(None)` if one never has.
    #[must_use]
    pub fn used_up(&self, payer: &str, units: &[&str]) -> Option<Option<Timestamp>> {
        let concerned = self.of(payer).filter(|row| units.contains(&row.unit.as_str()));
        let used_up = concerned.filter(|row| row.used_units >= row.limit_units);
        // A lifetime budget has no end: it outlasts every other.
        let ends: Vec<Option<i64>> = used_up.map(|row| row.period_end_us).collect();
        let last = ends.iter().copied().collect::<Option<Vec<i64>>>();
        (!ends.is_empty()).then(|| last.and_then(|ends| ends.into_iter().max()).map(clock::at))
    }
}

/// From where on callers are warned: what the operator said, else 80 % of the limit.
#[must_use]
pub fn soft_limit(limit_units: i64, soft_limit_units: Option<i64>) -> i64 {
    soft_limit_units.unwrap_or(limit_units / 5 * 4 + limit_units % 5 * 4 / 5)
}

fn concerns(row: &BudgetRow, key_id: &str) -> bool {
    row.key_id == payer::NO_KEY || row.key_id == key_id
}

/// Used and reserved units by unit, license and key: who uses a key is counted on both.
#[derive(Default)]
pub struct Sums<'a>(BTreeMap<(&'static str, &'a str, &'a str), (i64, i64)>);

impl<'a> Sums<'a> {
    /// Adds used and reserved units.
    pub fn add(
        &mut self,
        unit: &'static str,
        (license_id, key_id): (&'a str, Option<&'a str>),
        (used, reserved): (i64, i64),
    ) {
        let key_id = key_id.unwrap_or(payer::NO_KEY);
        let owners = [payer::NO_KEY, key_id];
        let owners = if key_id == payer::NO_KEY { &owners[..1] } else { &owners[..] };
        for owner in owners {
            let sum = self.0.entry((unit, license_id, owner)).or_default();
            sum.0 += used;
            sum.1 += reserved;
        }
    }

    /// Books the sums on the budgets.
    ///
    /// # Errors
    /// The store's.
    pub fn book(self, connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
        let moved = self.0.into_iter().filter(|(_, sum)| *sum != (0, 0));
        let charges: Vec<Charge> = moved
            .map(|((unit, license_id, key_id), (used, reserved))| Charge {
                unit,
                license_id: license_id.to_owned(),
                key_id: key_id.to_owned(),
                used,
                reserved,
            })
            .collect();
        charging::charge(connection, &charges, &window::leaving(now))
    }
}

/// Marks as the store has them.
#[must_use]
pub fn marks(samples: i64, input_tokens: i64, output_tokens: i64) -> Marks {
    Marks {
        samples: samples.unsigned_abs(),
        input_tokens: input_tokens.unsigned_abs(),
        output_tokens: output_tokens.unsigned_abs(),
    }
}

/// Tokens in and out.
#[must_use]
pub fn token_sum(marks: Marks) -> u64 {
    marks.input_tokens + marks.output_tokens
}

/// A column's value. Sums of one session stay far below 2⁶³.
#[must_use]
pub fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
