//! A ledger full of small usage, and what a reader of its rows would note down.

use jiff::Timestamp;
use livetranslate::error::Error;
use livetranslate::store::accounting::{self, NewSession};
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::calls::{self, CallRow};
use livetranslate::store::connection::Store;
use livetranslate::store::usage::{self, UsageEvent};
use livetranslate::store::usage_sums::{DAY_US, QUARTER_US};

use super::ledger::execute;

/// Days around a change to and from daylight saving in Berlin, and in New York a week later.
pub(crate) const FIRST: &str = "2026-10-20T00:00:00Z";
pub(crate) const DAYS: i64 = 16;

/// A time.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Small numbers that look like chance and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 0 to below `sides`.
    pub(crate) fn roll(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 11).unwrap() % sides
    }
}

/// One row, as a reader of the ledger would note it down.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// When.
    pub(crate) at_us: i64,
    /// Who pays.
    pub(crate) license_id: String,
    /// The key.
    pub(crate) key_id: Option<String>,
    /// Model.
    pub(crate) model: String,
    /// Samples, tokens in, tokens out, cached, reasoning, requests, sessions.
    pub(crate) counts: [i64; 7],
}

/// Fills a ledger through the sentences that the gateway uses; what was used, noted down.
pub(crate) fn fill(store: &Store, rows: i64) -> Vec<Noted> {
    for id in ["lic2", "lic3"] {
        let license = "INSERT INTO licenses (id, token_id, status, scopes, models, allowed_ips, limits, metadata, \
             created_at_us, updated_at_us) VALUES (";
        execute(store, &format!("{license}'{id}', 't', 'active', '[]', '[]', '[]', '{{}}', '{{}}', 0, 0)"));
    }
    for (key, license) in [("k1", "lic"), ("k2", "lic2")] {
        let of_key = "INSERT INTO api_keys (id, license_id, own_license, secret_hash, status, created_at_us, \
             updated_at_us) VALUES (";
        execute(store, &format!("{of_key}'{key}', '{license}', FALSE, '{key}', 'active', 0, 0)"));
    }
    let mut dice = Dice(7);
    let noted: Vec<Noted> = (0..rows).map(|_| roll(&mut dice)).collect();
    for (number, row) in noted.iter().enumerate() {
        let enter = |connection: &mut AnyConnection| row.enter(connection, format!("id-{number}"));
        store.run_blocking(enter).unwrap();
    }
    noted
}

fn roll(dice: &mut Dice) -> Noted {
    let who = [("lic", None), ("lic", Some("k1")), ("lic2", Some("k2")), ("lic3", None)];
    let (license_id, key_id) = who[usize::try_from(dice.roll(4)).unwrap()];
    // Some exactly where quarters begin.
    let since = if dice.roll(10) == 0 { dice.roll(DAYS * 96) * QUARTER_US } else { dice.roll(DAYS * DAY_US) };
    let model = ["m1", "m2", "m3"][usize::try_from(dice.roll(3)).unwrap()];
    let counts = match dice.roll(3) {
        0 => [0, dice.roll(50), dice.roll(50), dice.roll(9), dice.roll(9), 1, 0],
        1 => [1 + dice.roll(16_000), dice.roll(50), dice.roll(50), 0, 0, 0, 0],
        _ => [0, 0, 0, 0, 0, 0, 1],
    };
    Noted {
        at_us: at(FIRST).as_microsecond() + since,
        license_id: license_id.to_owned(),
        key_id: key_id.map(str::to_owned),
        model: model.to_owned(),
        counts,
    }
}

impl Noted {
    /// Enters it: as a session that began, a call, or what a session used.
    fn enter(&self, connection: &mut AnyConnection, id: String) -> Result<(), Error> {
        let Self { at_us, license_id, key_id, model, counts } = self.clone();
        let [samples, input_tokens, output_tokens, cached_tokens, reasoning_tokens, requests, begun] = counts;
        if begun > 0 {
            let (instance_id, status) = ("ins".to_owned(), "ended".to_owned());
            let (started_at_us, resume_hash) = (at_us, None);
            let session = NewSession { id, license_id, key_id, model, instance_id, status, started_at_us, resume_hash };
            return accounting::open_sessions(connection, &[session]);
        }
        if requests > 0 {
            let (route, account, usage_source) = ("chat".to_owned(), None, "upstream".to_owned());
            let call = CallRow {
                id,
                license_id,
                key_id,
                model,
                route,
                account,
                input_tokens,
                cached_tokens,
                output_tokens,
                reasoning_tokens,
                usage_source,
                occurred_at_us: at_us,
            };
            return calls::append(connection, &[call]);
        }
        let event = UsageEvent {
            session_id: id,
            mark_samples: samples,
            mark_tokens: 0,
            license_id,
            key_id,
            model,
            samples,
            input_tokens,
            output_tokens,
            occurred_at_us: at_us,
        };
        usage::append(connection, &[event])
    }
}
