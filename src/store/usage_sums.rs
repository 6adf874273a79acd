//! The sums of the usage ledger, kept for ever: whatever adds a row of usage, or a session, adds to them in the same
//! transaction. `migrations/` explains the grains.

use std::collections::BTreeMap;

use serde::Serialize;

use super::backend::AnyConnection;
use super::record_set::{self, record_set};
use crate::error::Error;

/// A quarter of an hour, at which the days of every time zone begin.
pub const QUARTER_US: i64 = 15 * 60 * 1_000_000;
/// A day of UTC.
pub const DAY_US: i64 = 96 * QUARTER_US;

/// Rows added by one statement.
const AT_ONCE: usize = 5_000;

/// Which span and which things a sum tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// A quarter of an hour by license, key and model.
    Quarter,
    /// A quarter of an hour of all licenses by model.
    QuarterModel,
    /// A day by license, key and model.
    Day,
    /// A day by license.
    DayLicense,
    /// A day of all licenses by model.
    DayModel,
}

impl Grain {
    /// Every one.
    const ALL: [Self; 5] = [Self::Quarter, Self::QuarterModel, Self::Day, Self::DayLicense, Self::DayModel];

    /// Its name in the store.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Quarter => "quarter",
            Self::QuarterModel => "quarter_model",
            Self::Day => "day",
            Self::DayLicense => "day_license",
            Self::DayModel => "day_model",
        }
    }

    fn place<'a>(self, used: &Used<'a>) -> Place<'a> {
        let (span, license_id, key_id, model) = match self {
            Self::Quarter => (QUARTER_US, used.license_id, used.key_id, used.model),
            Self::QuarterModel => (QUARTER_US, "", "", used.model),
            Self::Day => (DAY_US, used.license_id, used.key_id, used.model),
            Self::DayLicense => (DAY_US, used.license_id, "", ""),
            Self::DayModel => (DAY_US, "", "", used.model),
        };
        Place { grain: self, start_us: used.at_us.div_euclid(span) * span, license_id, key_id, model }
    }
}

/// One row's usage, or a session that began.
#[derive(Debug, Clone, Copy)]
pub struct Used<'a> {
    /// When.
    pub at_us: i64,
    /// Who pays.
    pub license_id: &'a str,
    /// The API key, or nothing.
    pub key_id: &'a str,
    /// Model.
    pub model: &'a str,
    /// How much.
    pub counts: Counts,
}

/// What is summed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Audio.
    pub samples: i64,
    /// Input tokens.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Of the input tokens, cached.
    pub cached_tokens: i64,
    /// Of the output tokens, reasoning.
    pub reasoning_tokens: i64,
    /// HTTP calls.
    pub requests: i64,
    /// Sessions that began.
    pub sessions: i64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.samples += other.samples;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cached_tokens += other.cached_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.requests += other.requests;
        self.sessions += other.sessions;
    }
}

/// A row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Place<'a> {
    grain: Grain,
    start_us: i64,
    license_id: &'a str,
    key_id: &'a str,
    model: &'a str,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(flatten)]
    counts: Counts,
}

/// Adds to the sums of every grain, in the transaction that adds the rows.
///
/// # Errors
/// The store's.
pub fn add<'a>(connection: &mut AnyConnection, used: impl IntoIterator<Item = Used<'a>>) -> Result<(), Error> {
    const COLUMNS: [(&str, &str); 12] = [
        ("grain", "text"),
        ("start_us", "bigint"),
        ("license_id", "text"),
        ("key_id", "text"),
        ("model", "text"),
        ("samples", "bigint"),
        ("input_tokens", "bigint"),
        ("output_tokens", "bigint"),
        ("cached_tokens", "bigint"),
        ("reasoning_tokens", "bigint"),
        ("requests", "bigint"),
        ("sessions", "bigint"),
    ];
    const KEY: usize = 5;
    let rows = gather(used);
    if rows.is_empty() {
        return Ok(());
    }
    let names = COLUMNS.map(|(name, _)| name);
    let counted = names.iter().skip(KEY).map(|name| format!("{name} = usage_sums.{name} + excluded.{name}"));
    let counted: Vec<String> = counted.collect();
    let (all, key) = (names.join(", "), names.get(..KEY).unwrap_or_default().join(", "));
    // Without a WHERE SQLite takes ON for the beginning of a join.
    let statement = format!(
        "{} INSERT INTO usage_sums ({all}) SELECT {all} FROM v WHERE true ON CONFLICT ({key}) DO UPDATE SET {}",
        record_set(connection, &COLUMNS),
        counted.join(", ")
    );
    for some in rows.chunks(AT_ONCE) {
        record_set::run(connection, &statement, some)?;
    }
    Ok(())
}

/// Each sum once: a statement may not change a row twice. In their order, in which each transaction takes them.
fn gather<'a>(used: impl IntoIterator<Item = Used<'a>>) -> Vec<Row<'a>> {
    let mut sums: BTreeMap<Place<'a>, Counts> = BTreeMap::new();
    for used in used {
        for grain in Grain::ALL {
            *sums.entry(grain.place(&used)).or_default() += used.counts;
        }
    }
    sums.into_iter().map(|(place, counts)| Row { place, counts }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(license_id: &'a str, model: &'a str, at_us: i64) -> Used<'a> {
        let counts = Counts { input_tokens: 10, requests: 1, ..Counts::default() };
        Used { at_us, license_id, key_id: "", model, counts }
    }

    #[test]
    fn rows_are_gathered_by_grain() {
        let last = DAY_US - 1;
        let calls = [call("a", "m", last), call("b", "m", last), call("a", "n", DAY_US)];
        let rows = gather(calls);
        let of = |grain: Grain| rows.iter().filter(|row| row.place.grain == grain).collect::<Vec<_>>();
        assert_eq!([of(Grain::Quarter).len(), of(Grain::Day).len(), of(Grain::DayLicense).len()], [3, 3, 3]);
        let totals = of(Grain::QuarterModel);
        assert_eq!(totals.len(), 2);
        assert_eq!((totals[0].place.start_us, totals[0].place.model), (DAY_US - QUARTER_US, "m"));
        assert_eq!(totals[0].counts, Counts { requests: 2, input_tokens: 20, ..Counts::default() });
        assert_eq!(of(Grain::DayModel)[1].place.start_us, DAY_US);
    }
}
