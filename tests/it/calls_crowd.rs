//! Many calls at once, callers who leave, accounts that fail: all is booked, once.

use futures_util::future::join_all;
use livetranslate::simulator::http::faults::HttpFaults;
use serde_json::json;

use crate::support::app::{on_both_stores, on_both_stores_with};
use crate::support::caller::Caller;

#[test]
fn two_hundred_streams_half_of_them_left() {
    on_both_stores(async |app| {
        let license = app.licensee_with(json!({})).await;
        let alice = Caller::new(app.url(), &license.token);
        for _ in 0..200 {
            app.simulator().next_http_faults(HttpFaults {
                words: Some(40),
                chunk_delay_ms: Some(2),
                ..HttpFaults::default()
            });
        }
        let calls = (0..200usize).map(|number| {
            let alice = &alice;
            async move {
                let question = Caller::streamed(&format!("question number {number}"));
                if number % 2 == 0 {
                    let answer = alice.post("/v1/chat/completions", &question).await;
                    assert!(answer.text.ends_with("data: [DONE]\n\n"), "{} {}", answer.status, answer.text);
                } else {
                    alice.leave_after("/v1/chat/completions", &question, number % 17).await;
                }
            }
        });
        join_all(calls).await;
        app.calls_ended().await;
        let counted = app.simulator().call_totals();
        let usage = app.operator().get("/admin/usage").await;
        let totals = &usage.body["totals"];
        assert_eq!(totals["requests"], 200);
        assert_eq!(totals["input_tokens"], counted.prompt_tokens, "{totals}");
        assert_eq!(totals["output_tokens"], counted.completion_tokens, "{totals}");
    });
}

#[test]
fn three_hundred_requests_are_three_hundred() {
    on_both_stores_with(
        |config| config.server.workers = 2,
        async |app| {
            let license =
                app.licensee_with(json!({"budgets": [{"unit": "requests", "limit": 300, "window": "1d"}]})).await;
            let alice = Caller::new(app.url(), &license.token);
            let calls = (0..16).map(|_| async {
                let mut answered = 0;
                loop {
                    let answer = alice.post("/v1/chat/completions", &Caller::question("x")).await;
                    match (answer.status, answer.code()) {
                        (200, _) => answered += 1,
                        (429, "insufficient_quota") => break answered,
                        other => panic!("{other:?} {}", answer.text),
                    }
                }
            });
            let answered: u32 = join_all(calls).await.into_iter().sum();
            assert_eq!(answered, 300);
        },
    );
}
