//! Windows that roll, soft limits and resets, as callers and operators see them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores};
use crate::support::caller::Caller;

const CHAT: &str = "/v1/chat/completions";

async fn caller(app: &TestApp, fields: Value) -> (String, Caller) {
    let alice = app.licensee_with(fields).await;
    (alice.license_id.clone(), Caller::new(app.url(), &alice.token))
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

#[test]
fn a_rolling_budget_tells_when_something_comes_back() {
    on_both_stores(async |app| {
        let budgets = json!([
            {"unit": "requests", "limit": 2, "window": "1d", "mode": "rolling"},
            {"unit": "requests", "limit": 50, "window": "1mo", "tz": "Asia/Tokyo"},
        ]);
        let (_, alice) = caller(app, json!({"budgets": budgets})).await;
        let before = Timestamp::now();
        let fresh = alice.get("/v1/license").await;
        assert_eq!(fresh.body["budgets"][0]["resets_at"], Value::Null, "nothing is used: {}", fresh.text);
        for _ in 0..2 {
            assert_eq!(alice.post(CHAT, &Caller::question("Hello")).await.status, 200);
        }
        let refused = alice.post(CHAT, &Caller::question("Hello")).await;
        assert_eq!((refused.status, refused.code()), (429, "insufficient_quota"), "{}", refused.text);
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        let wait = time(&refused.body["error"]["resets_at"]).duration_since(before);
        // A day, and what is left of a slice of five minutes.
        let (day, slice) = (SignedDuration::from_hours(24), SignedDuration::from_mins(6));
        assert!(wait >= day && wait <= day + slice, "{wait:?}");
        let shown = alice.get("/v1/license").await;
        let [rolling, monthly] = [0, 1].map(|index| shown.body["budgets"][index].clone());
        assert_eq!([&rolling["used"], &rolling["remaining"], &monthly["used"]], [2, 0, 2], "{}", shown.text);
        assert_eq!(time(&rolling["resets_at"]), time(&refused.body["error"]["resets_at"]));
    });
}

#[test]
fn a_soft_limit_warns() {
    on_both_stores(async |app| {
        let budgets = json!([
            {"unit": "requests", "limit": 10, "soft_limit": 1, "window": "1d"},
            {"unit": "tokens", "limit": 1_000_000},
        ]);
        let (id, alice) = caller(app, json!({"budgets": budgets})).await;
        let first = alice.post(CHAT, &Caller::question("Hello")).await;
        assert_eq!((first.status, first.header("x-quota-warning")), (200, None));
        // What is booked is known with the next transaction.
        let shown = app.operator().get(&format!("/admin/licenses/{id}")).await;
        assert_eq!(shown.body["budgets"][0]["soft_limit"], 1, "{}", shown.text);
        assert_eq!(shown.body["budgets"][1]["soft_limit"], 800_000, "80 % where nothing is said");
        alice.get("/v1/license").await;
        let second = alice.post(CHAT, &Caller::question("Hello")).await;
        let warning = second.header("x-quota-warning").unwrap_or_else(|| panic!("{:?}", second.headers));
        assert!(warning.starts_with("requests;window=1d;used=1;limit=10"), "{warning}");
        let figures = app.operator().get("/metrics").await;
        assert!(figures.text.contains("livetranslate_quota_warnings_total{unit=\"requests\"} 1"), "{}", figures.text);
    });
}

#[test]
fn a_reset_moves_a_mark_and_deletes_nothing() {
    on_both_stores(async |app| {
        let budgets = json!([
            {"unit": "requests", "limit": 1, "window": "1w", "mode": "rolling"},
            {"unit": "requests", "limit": 1},
        ]);
        let (id, alice) = caller(app, json!({"budgets": budgets})).await;
        for _ in 0..2 {
            assert_eq!(alice.post(CHAT, &Caller::question("Hello")).await.status, 200);
            assert_eq!(alice.post(CHAT, &Caller::question("Hello")).await.status, 429);
            let reset = app.operator().post(&format!("/admin/licenses/{id}/reset-usage"), &json!({})).await;
            assert_eq!(reset.status, 200, "{}", reset.text);
        }
        let usage = app.operator().get("/admin/usage").await;
        assert_eq!(usage.body["totals"]["requests"], 2, "{}", usage.text);
        let events = app.operator().get("/admin/usage/events").await;
        assert_eq!(events.body["data"].as_array().unwrap().len(), 2);
        assert_eq!(app.operator().post("/admin/usage/reset", &json!({})).await.status, 200);
        let usage = app.operator().get("/admin/usage").await;
        assert_eq!(usage.body["totals"]["requests"], 2, "{}", usage.text);
    });
}

#[test]
fn budgets_of_the_same_unit_differ_by_window_and_mode() {
    on_both_stores(async |app| {
        let budget = |window: &str, mode: &str| json!({"unit": "requests", "limit": 5, "window": window, "mode": mode});
        let both = json!({"budgets": [budget("1d", "fixed"), budget("1d", "rolling")]});
        let (id, alice) = caller(app, both.clone()).await;
        assert_eq!(alice.post(CHAT, &Caller::question("Hello")).await.status, 200);
        // What stays keeps what was used; what is new begins at nothing.
        let path = format!("/admin/licenses/{id}");
        let patch = json!({"budgets": [budget("1d", "rolling"), budget("5h", "rolling")]});
        alice.get("/v1/license").await;
        let operator = app.operator();
        let answer = operator.send("PATCH", &path, &[("content-type", "application/json")], patch.to_string()).await;
        let used = |index: usize| answer.body["budgets"][index]["used"].as_i64();
        assert_eq!((answer.status, used(0), used(1)), (200, Some(1), Some(0)), "{}", answer.text);
        for wrong in [budget("lifetime", "rolling"), budget("1d", "sliding")] {
            let refused = app.operator().post("/admin/licenses", &json!({"budgets": [wrong]})).await;
            assert_eq!((refused.status, refused.body["error"]["param"].as_str()), (400, Some("budgets[0].mode")));
        }
    });
}
