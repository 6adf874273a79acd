//! Accounts that fail: while another one serves, callers don't notice.

use futures_util::future::join_all;
use livetranslate::config::settings::Secret;
use livetranslate::simulator::http::faults::HttpFaults;
use livetranslate::simulator::server::{Options, Simulator};
use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores, on_sqlite, on_sqlite_with};
use crate::support::caller::Caller;

const CHAT: &str = "/v1/chat/completions";

/// A provider that makes trouble, and an account with it.
async fn shaky(app: &TestApp, http_faults: HttpFaults) -> Simulator {
    let simulator = Simulator::start(Options { http_faults, ..Options::default() }).await.unwrap();
    let fields = json!({"name": "shaky", "kind": "dashscope", "base_url": simulator.http_base(),
        "credential": "sk-shaky", "weight": 100});
    let made = app.operator().post("/admin/accounts", &fields).await;
    assert_eq!(made.status, 201, "{}", made.text);
    simulator
}

async fn alice(app: &TestApp) -> Caller {
    Caller::new(app.url(), &app.licensee_with(json!({})).await.token)
}

fn faults() -> Vec<(&'static str, HttpFaults)> {
    let faults = HttpFaults::default;
    let status = |status| HttpFaults { status: Some(status), ..faults() };
    vec![
        ("401", status(401)),
        ("403", status(403)),
        ("429", status(429)),
        ("429 with a wait", HttpFaults { retry_after: Some(20), ..status(429) }),
        ("500", status(500)),
        ("503", status(503)),
        ("arrears", HttpFaults { code: Some("Arrearage".to_owned()), ..faults() }),
        ("no answer", HttpFaults { drop_before_headers: true, ..faults() }),
        ("headers alone", HttpFaults { drop_after_chunks: Some(0), ..faults() }),
        ("an error first", HttpFaults { error_after_chunks: Some(0), status: Some(500), ..faults() }),
    ]
}

#[test]
fn no_call_fails_that_another_account_could_serve() {
    for (name, fault) in faults() {
        on_sqlite(async |app| {
            let shaky = shaky(app, HttpFaults { percent: Some(60), ..fault.clone() }).await;
            let alice = alice(app).await;
            for round in 0..4 {
                let calls = (0..12).map(|number| {
                    let (alice, text) = (&alice, format!("conversation {round} {number}"));
                    async move {
                        let streams = number % 2 == 0;
                        let question = if streams { Caller::streamed(&text) } else { Caller::question(&text) };
                        let answer = alice.post(CHAT, &question).await;
                        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
                        assert!(!streams || answer.text.ends_with("data: [DONE]\n\n"), "{name}: {}", answer.text);
                    }
                });
                join_all(calls).await;
            }
            assert!(!shaky.calls().is_empty(), "{name}: it was asked");
            app.calls_ended().await;
            let usage = app.operator().get("/admin/usage").await;
            assert_eq!(usage.body["totals"]["requests"], 48, "{name}: once each");
            shaky.stop().await;
        });
    }
}

#[test]
fn an_account_that_hangs_leaves_time_for_another() {
    let patience = |config: &mut livetranslate::config::Config| {
        config.server.request_timeout_ms = 4_000;
    };
    on_sqlite_with(patience, async |app| {
        let shaky = shaky(app, HttpFaults { hang: true, ..HttpFaults::default() }).await;
        let alice = alice(app).await;
        let calls = (0..8).map(|number| {
            let (alice, text) = (&alice, format!("number {number}"));
            let question = if number % 2 == 0 { Caller::streamed(&text) } else { Caller::question(&text) };
            async move { alice.post(CHAT, &question).await.status }
        });
        assert!(join_all(calls).await.into_iter().all(|status| status == 200));
        assert!(!shaky.calls().is_empty(), "it was asked");
        shaky.stop().await;
    });
}

#[test]
fn what_is_booked_is_what_served() {
    on_both_stores(async |app| {
        let fault = HttpFaults { percent: Some(50), status: Some(500), ..HttpFaults::default() };
        let shaky = shaky(app, fault).await;
        let alice = alice(app).await;
        let both = || app.simulator().call_totals().finished > 0 && shaky.call_totals().finished > 0;
        for round in 0.. {
            assert!(round < 500, "one account serves everything");
            let calls = (0..4).map(|number| {
                let question = Caller::question(&format!("number {round} {number}"));
                let alice = &alice;
                async move { alice.post(CHAT, &question).await.status }
            });
            assert!(join_all(calls).await.into_iter().all(|status| status == 200));
            if round >= 10 && both() {
                break;
            }
            // An account that failed is avoided for a moment.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let usage = app.operator().get("/admin/usage").await;
        let served = [app.simulator().call_totals(), shaky.call_totals()];
        let tokens: u64 = served.iter().map(|totals| totals.prompt_tokens).sum();
        assert_eq!(usage.body["totals"]["input_tokens"], tokens);
        shaky.stop().await;
    });
}

#[test]
fn a_stream_that_breaks_off_says_so_and_is_not_begun_again() {
    on_sqlite(async |app| {
        let alice = alice(app).await;
        let broken = HttpFaults { drop_after_chunks: Some(3), words: Some(20), ..HttpFaults::default() };
        app.simulator().next_http_faults(broken);
        let answer = alice.post(CHAT, &Caller::streamed("one two three")).await;
        assert_eq!(answer.status, 200);
        let last = answer.text.trim_end().rsplit("data: ").next().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!(last["error"]["code"], "upstream_unavailable", "{}", answer.text);
        assert!(!answer.text.contains("[DONE]"));
        assert_eq!(app.simulator().calls().len(), 1);
        let events = app.operator().get("/admin/usage/events").await;
        assert_eq!(events.body["data"][0]["usage_source"], "estimated", "{}", events.text);
    });
}

#[test]
fn our_account_is_kept_out_of_streams() {
    on_sqlite(async |app| {
        let alice = alice(app).await;
        let code = Some("Arrearage".to_owned());
        let fault = HttpFaults { error_after_chunks: Some(2), code, words: Some(20), ..HttpFaults::default() };
        app.simulator().next_http_faults(fault);
        let answer = alice.post(CHAT, &Caller::streamed("one two three")).await;
        assert!(answer.text.contains("upstream_unavailable"), "{}", answer.text);
        assert!(!answer.text.contains("Arrearage") && !answer.text.contains("good standing"), "{}", answer.text);
    });
}

#[test]
fn voices_find_another_account_too() {
    on_sqlite_with(
        |config| {
            config.upstream.dashscope_api_key = Some(Secret::new("sk-wrong"));
        },
        async |app| {
            let customer = app.licensee(60.0).await;
            let path = format!("/v1/realtime?model={}", crate::support::customer::MODEL);
            assert_eq!(customer.dial_at(&path).await.err(), Some(502));
            let fields = json!({"name": "right", "kind": "dashscope", "base_url": app.simulator().http_base(),
                "credential": crate::support::app::PROVIDER_KEY});
            assert_eq!(app.operator().post("/admin/accounts", &fields).await.status, 201);
            customer.dial().await.hang_up().await;
        },
    );
}
