//! What the budgets of a batch's licenses have left, as the running transaction sees them.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::batch::Marks;
use super::standing::{Remaining, Standing};
use crate::clock;
use crate::error::Error;
use crate::store::accounting::{self, BudgetRow, Charge};
use crate::store::backend::AnyConnection;

/// Unit of source audio; counted in samples.
pub const AUDIO: &str = "audio_seconds";
/// Unit of tokens, in and out.
pub const TOKENS: &str = "tokens";
/// Unit of sessions and requests.
pub const REQUESTS: &str = "requests";

const SAMPLES_A_SECOND: f64 = 16_000.0;

/// The budgets of every license in a batch that wants something.
pub struct Balances(HashMap<String, Vec<BudgetRow>>);

impl Balances {
    /// Reads the budgets of these licenses.
    ///
    /// # Errors
    /// The store's.
    pub fn load(connection: &mut AnyConnection, mut license_ids: Vec<String>) -> Result<Self, Error> {
        license_ids.sort_unstable();
        license_ids.dedup();
        let mut by_license: HashMap<String, Vec<BudgetRow>> = HashMap::new();
        for row in accounting::budgets_of(connection, &license_ids)? {
            by_license.entry(row.license_id.clone()).or_default().push(row);
        }
        Ok(Self(by_license))
    }

    /// The next opening of the batch sees this one.
    pub fn count_request(&mut self, license_id: &str) {
        let rows = self.0.get_mut(license_id).into_iter().flatten();
        rows.filter(|row| row.unit == REQUESTS).for_each(|row| row.used_units += 1);
    }

    /// A license's budgets.
    #[must_use]
    pub fn of(&self, license_id: &str) -> &[BudgetRow] {
        self.0.get(license_id).map_or(&[], Vec::as_slice)
    }

    /// How a license stands with this cushion, when `reserved` units more are reserved.
    #[must_use]
    pub fn standing(&self, license_id: &str, reserved: i64, cushion: i64) -> Standing {
        let budgets = self.of(license_id);
        let unused = |row: &BudgetRow| row.limit_units - row.used_units;
        let tightest = |unit| budgets.iter().filter(|row| row.unit == unit).min_by_key(|row| unused(row));
        let audio = budgets.iter().filter(|row| row.unit == AUDIO);
        let left = audio.map(|row| unused(row) - row.reserved_units).min().unwrap_or(0) - reserved;
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

    /// Whether nothing of a budget in this unit is left but what is reserved.
    #[must_use]
    pub fn is_reserved(&self, license_id: &str, unit: &str) -> bool {
        let mut budgets = self.of(license_id).iter().filter(|row| row.unit == unit);
        budgets.any(|row| row.used_units + row.reserved_units >= row.limit_units)
    }

    /// When the last of the license's used-up budgets of these units starts anew: `None` if none is
    /// used up, `Some(None)` if one never does.
    #[must_use]
    pub fn used_up(&self, license_id: &str, units: &[&str]) -> Option<Option<Timestamp>> {
        let concerned = self.of(license_id).iter().filter(|row| units.contains(&row.unit.as_str()));
        let used_up = concerned.filter(|row| row.used_units >= row.limit_units);
        // A lifetime budget has no end: it outlasts every other.
        let ends: Vec<Option<i64>> = used_up.map(|row| row.period_end_us).collect();
        let last = ends.iter().copied().collect::<Option<Vec<i64>>>();
        (!ends.is_empty()).then(|| last.and_then(|ends| ends.into_iter().max()).map(clock::at))
    }
}

/// Used and reserved units by license.
pub type Sums<'a> = BTreeMap<&'a str, (i64, i64)>;

/// What of these sums must be booked: each license once.
#[must_use]
pub fn charges(sums: Sums<'_>) -> Vec<Charge> {
    let moved = sums.into_iter().filter(|(_, sum)| *sum != (0, 0));
    moved.map(|(license_id, (used, reserved))| Charge { license_id: license_id.to_owned(), used, reserved }).collect()
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
