//! Budgets beside the ledger: what they say is what the rows and sums say, and is set to it where it isn't.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use livetranslate::config::Config;
use livetranslate::quota::window;
use livetranslate::retention;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::reconciliation::{self, Comparison, Wanted};
use livetranslate::store::usage_sums::DAY_US;
use serde_json::json;

use crate::support::app::on_both_stores;
use crate::support::ledger::{execute, on_both_ledgers};
use crate::support::usage::{DAYS, Dice, FIRST, Noted, at, fill};

/// Every budget beside the ledger.
fn compared(store: &Store) -> Vec<Comparison> {
    let wanted = Wanted { all: true, most: 100, ..Wanted::default() };
    let now_us = at(FIRST).as_microsecond() + (DAYS + 1) * DAY_US;
    store.run_blocking(|connection| reconciliation::compare(connection, &wanted, now_us)).unwrap()
}

/// By the license's budgets, and by the key's that it is held for.
fn reserved_is_what_is_held(store: &Store) {
    execute(
        store,
        "INSERT INTO cushions (instance_id, license_id, key_id, units) VALUES ('i', 'lic', 'k1', 7), \
         ('i', 'lic', '', 4)",
    );
    execute(
        store,
        "INSERT INTO call_holds (instance_id, license_id, key_id, tokens, requests) VALUES ('i', 'lic2', 'k2', 3, 2)",
    );
    for row in compared(store) {
        let held = match (row.license_id.as_str(), row.key_id.as_str(), row.unit.as_str()) {
            ("lic", "", "audio_seconds") => 11,
            ("lic", "k1", "audio_seconds") => 7,
            ("lic2", _, "tokens") => 3,
            ("lic2", _, "requests") => 2,
            _ => 0,
        };
        assert_eq!(row.held_units, held, "{row:?}");
    }
    execute(store, "DELETE FROM cushions");
    execute(store, "DELETE FROM call_holds");
}

#[test]
fn budgets_are_held_against_the_ledger() {
    on_both_ledgers(1, async |store| {
        let noted = fill(store, 400);
        execute(store, "DELETE FROM budgets");
        let first_us = at(FIRST).as_microsecond();
        let (mut dice, mut expected) = (Dice(5), BTreeMap::new());
        for number in 0..60 {
            let (license, key) = [("lic", ""), ("lic", "k1"), ("lic2", ""), ("lic2", "k2")][number % 4];
            let unit = ["audio_seconds", "tokens", "requests"][number % 3];
            // Where a period begins exactly with a row, that row is in it.
            let start_us = match number % 5 {
                0 => noted[number].at_us,
                1 => first_us + dice.roll(DAYS) * DAY_US,
                _ => first_us + dice.roll(DAYS * DAY_US),
            };
            let counts = |row: &Noted| match unit {
                "audio_seconds" => row.counts[0],
                "tokens" => row.counts[1] + row.counts[2],
                _ => row.counts[5] + row.counts[6],
            };
            let own = |row: &&Noted| {
                let key_id = row.key_id.as_deref().unwrap_or_default();
                row.at_us >= start_us && row.license_id == license && (key.is_empty() || key_id == key)
            };
            let used: i64 = noted.iter().filter(own).map(counts).sum();
            expected.insert(format!("b{number:02}"), used);
            execute(
                store,
                &format!(
                    "INSERT INTO budgets (id, license_id, key_id, unit, window_span, window_mode, tz, limit_units, \
                     used_units, period_start_us) VALUES ('b{number:02}', '{license}', '{key}', '{unit}', 'lifetime', \
                     'fixed', 'UTC', 1, {used}, {start_us})"
                ),
            );
        }
        let differing = |store: &Store| {
            let wanted = Wanted { most: 100, ..Wanted::default() };
            let now_us = first_us + (DAYS + 1) * DAY_US;
            let found = store.run_blocking(|connection| reconciliation::compare(connection, &wanted, now_us)).unwrap();
            found.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(compared(store).len(), expected.len());
        for row in compared(store) {
            assert_eq!(row.least_units, expected[&row.id], "{row:?}");
            assert!(row.agrees() && row.held_units == 0, "{row:?}");
        }
        assert!(differing(store).is_empty());
        execute(store, "UPDATE budgets SET used_units = used_units + 1000000 WHERE id = 'b07'");
        execute(store, "UPDATE budgets SET used_units = -1 WHERE id = 'b08'");
        execute(store, "UPDATE budgets SET reserved_units = 5 WHERE id = 'b09'");
        assert_eq!(differing(store), ["b07", "b08", "b09"]);
        reserved_is_what_is_held(store);
        for row in compared(store).iter().filter(|row| !row.agrees()) {
            store.run_blocking(|connection| reconciliation::correct(connection, row, &[], 0)).unwrap();
        }
        let corrected: BTreeMap<String, i64> =
            compared(store).into_iter().map(|row| (row.id, row.used_units)).collect();
        // A budget beyond what may be in it is set to the most that may be.
        assert!(corrected["b07"] >= expected["b07"] && corrected["b07"] - expected["b07"] < 100_000);
        assert_eq!(corrected["b08"], expected["b08"]);
        assert!(differing(store).is_empty());
        // When rows are gone, what may be in the first quarter of an hour is no difference.
        let mut config = Config::defaults().unwrap();
        config.store.usage_retention_days = 1;
        let now = at(FIRST) + SignedDuration::from_hours(24 * (DAYS + 3));
        retention::sweep(store, &config, now).await.unwrap();
        assert!(differing(store).is_empty());
    });
}

#[test]
fn rolling_budgets_are_cut_anew() {
    on_both_ledgers(1, async |store| {
        let noted = fill(store, 400);
        execute(store, "DELETE FROM budgets");
        execute(
            store,
            "INSERT INTO budgets (id, license_id, unit, window_span, window_mode, tz, limit_units, used_units, \
             period_start_us) VALUES ('b', 'lic', 'tokens', '1w', 'rolling', 'UTC', 1, 1, 0)",
        );
        // A slice that has left is no part of it, booked out or not.
        execute(store, "INSERT INTO budget_slices (budget_id, leaves_at_us, used_units) VALUES ('b', 5, 3)");
        let now = at(FIRST) + SignedDuration::from_hours(24 * 12) + SignedDuration::from_mins(50);
        let compared = |now: Timestamp| {
            let wanted = Wanted { all: true, most: 9, rolling: window::counting(now).into(), ..Wanted::default() };
            let compare =
                |connection: &mut AnyConnection| reconciliation::compare(connection, &wanted, now.as_microsecond());
            store.run_blocking(compare).unwrap().remove(0)
        };
        execute(store, &format!("DELETE FROM usage_events WHERE occurred_at_us >= {}", now.as_microsecond()));
        execute(
            store,
            &format!("DELETE FROM usage_sums WHERE start_us >= {} AND grain LIKE 'quarter%'", now.as_microsecond()),
        );
        execute(store, "DELETE FROM usage_sums WHERE grain LIKE 'day%'");
        execute(
            store,
            "INSERT INTO usage_sums SELECT 'day_license', start_us / 86400000000 * 86400000000, license_id, \
             '', '', CAST(SUM(samples) AS BIGINT), CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), \
             0, 0, CAST(SUM(requests) AS BIGINT), CAST(SUM(sessions) AS BIGINT) FROM usage_sums \
             WHERE grain = 'quarter' GROUP BY 2, 3",
        );
        let row = compared(now);
        assert_eq!(row.used_units, -2);
        let window = SignedDuration::from_hours(24 * 7);
        let from_us = (now - window).as_microsecond() / (30 * 60_000_000) * (30 * 60_000_000);
        let own = |row: &&Noted| row.license_id == "lic" && (from_us..now.as_microsecond()).contains(&row.at_us);
        let used: i64 = noted.iter().filter(own).map(|row| row.counts[1] + row.counts[2]).sum();
        assert_eq!((row.from_us, row.least_units), (from_us, used));
        let rolling = window::counting(now);
        let correct =
            |connection: &mut AnyConnection| reconciliation::correct(connection, &row, &rolling, now.as_microsecond());
        store.run_blocking(correct).unwrap();
        let row = compared(now);
        assert!(row.agrees() && row.used_units == used && used > 0, "{row:?}");
        // What was used leaves the window, and nothing stays.
        let halfway = compared(now + SignedDuration::from_hours(84));
        assert!(halfway.agrees() && (1..used).contains(&halfway.used_units), "{halfway:?}");
        assert_eq!(compared(now + window + SignedDuration::from_mins(31)).used_units, 0);
    });
}

#[test]
fn the_operator_reconciles() {
    on_both_stores(async |app| {
        let (alice, bob) = (app.licensee(60.0).await, app.licensee(60.0).await);
        for customer in [&alice, &bob] {
            let mut call = customer.dial().await;
            call.until("session.created").await;
            call.audio(500, 1_000).await;
            call.finish().await;
        }
        app.settled().await;
        let operator = app.operator();
        let differing = async |query: &str| {
            let answer = operator.get(&format!("/admin/usage/reconcile{query}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.body["data"].as_array().unwrap().clone()
        };
        assert!(differing("").await.is_empty());
        let all = differing("?all=true&limit=1").await;
        assert_eq!((all.len(), &all[0]["used"], &all[0]["difference"]), (1, &json!(0.5), &json!(0.0)));
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        execute(&store, "UPDATE budgets SET used_units = used_units + 16000, reserved_units = 1600");
        let found = differing(&format!("?license_id={}", alice.license_id)).await;
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0]["used"], &found[0]["ledger_used"]), (&json!(1.5), &json!(0.5)), "{found:?}");
        assert_eq!((&found[0]["difference"], &found[0]["difference_reserved"]), (&json!(1.0), &json!(0.1)));
        let one = operator.post("/admin/usage/reconcile", &json!({"license_id": alice.license_id})).await;
        assert_eq!((one.status, &one.body["corrected"]), (200, &json!(1)), "{}", one.text);
        assert_eq!(one.body["data"][0]["difference"], 1.0);
        assert_eq!(alice.audio_used().await, 0.5);
        assert_eq!(bob.audio_used().await, 1.5);
        let audit = operator.get(&format!("/admin/audit?subject={}", alice.license_id)).await;
        assert_eq!(audit.body["data"][0]["action"], "usage.reconcile", "{}", audit.text);
        let rest = operator.post("/admin/usage/reconcile", &json!({})).await;
        assert_eq!(rest.body["corrected"], 1);
        assert_eq!(bob.audio_used().await, 0.5);
        assert!(differing("").await.is_empty());
        let nobody = operator.post("/admin/usage/reconcile", &json!({"license_id": "lic_none"})).await;
        assert_eq!((nobody.status, &nobody.body["error"]["param"]), (400, &json!("license_id")));
        for (query, param) in [("?all=perhaps", "all"), ("?colour=red", "colour"), ("?limit=0", "limit")] {
            let answer = operator.get(&format!("/admin/usage/reconcile{query}")).await;
            assert_eq!((answer.status, &answer.body["error"]["param"]), (400, &json!(param)));
        }
    });
}
