//! Everything that can be refused is refused before the upgrade, in words that programs and people understand.

use serde_json::json;

use crate::support::app::{TestApp, on_both_stores, on_sqlite, on_sqlite_with};
use crate::support::customer::{Customer, MODEL, open, refusal, upgrade};
use livetranslate::simulator::faults::Faults;

fn path() -> String {
    format!("/v1/realtime?model={MODEL}")
}

async fn refused(customer: &Customer) -> (u16, String) {
    let answer = customer.refusal(&path()).await;
    assert!(answer.body["request_id"].is_string(), "{}", answer.text);
    assert_eq!(answer.header("x-request-id"), answer.body["request_id"].as_str());
    if matches!(answer.status, 429 | 503) {
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    (answer.status, answer.code().to_owned())
}

#[test]
fn credentials() {
    on_both_stores(async |app| {
        let nobody = Customer::new(app.url(), "", "");
        assert_eq!(refused(&nobody).await, (401, "invalid_api_key".into()));
        let stranger = Customer::new(app.url(), "", "sk-lt-aaaaaaaaaaaa-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
        assert_eq!(refused(&stranger).await, (401, "invalid_api_key".into()));
        let alice = app.licensee(60.0).await;
        let mut forged = alice.token.clone();
        forged.truncate(forged.len() - 4);
        let forger = Customer::new(app.url(), "", &(forged + "AAAA"));
        assert_eq!(refused(&forger).await, (401, "invalid_api_key".into()));

        let license = format!("/admin/licenses/{}", alice.license_id);
        let operator = app.operator();
        operator.post(&format!("{license}/suspend"), &json!({})).await;
        assert_eq!(refused(&alice).await, (403, "license_suspended".into()));
        operator.post(&format!("{license}/reinstate"), &json!({})).await;
        alice.dial().await.hang_up().await;
        operator.post(&format!("{license}/revoke"), &json!({})).await;
        assert_eq!(refused(&alice).await, (403, "license_revoked".into()));
    });
}

#[test]
fn a_request_that_is_no_upgrade_books_nothing() {
    on_sqlite(async |app| {
        let alice = app.licensee_with(json!({"budgets": [{"unit": "requests", "limit": 1}]})).await;
        let answer = alice.api().get(&path()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"));
        alice.dial().await.hang_up().await;
    });
}

#[test]
fn an_expired_license() {
    on_both_stores(async |app| {
        let soon = livetranslate::clock::now() + jiff::SignedDuration::from_millis(1_200);
        let alice = app.licensee_with(json!({ "expires_at": soon })).await;
        alice.dial().await.hang_up().await;
        while livetranslate::clock::now() < soon {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(refused(&alice).await, (401, "license_expired".into()));
        app.operator().post(&format!("/admin/licenses/{}/renew", alice.license_id), &json!({ "days": 1 })).await;
        alice.dial().await.hang_up().await;
    });
}

#[test]
fn what_a_license_does_not_include() {
    on_sqlite(async |app| {
        let wrong = |fields| async move { refused(&app.licensee_with(fields).await).await };
        assert_eq!(wrong(json!({ "scopes": ["chat"] })).await, (403, "scope_not_allowed".into()));
        assert_eq!(wrong(json!({ "models": ["qwen3-omni-*"] })).await, (403, "model_not_allowed".into()));
        assert_eq!(wrong(json!({ "allowed_ips": ["203.0.113.0/24"] })).await, (403, "ip_not_allowed".into()));
        let alice = app.licensee(60.0).await;
        let model = async |model: &str| alice.refusal(&format!("/v1/realtime{model}")).await;
        assert_eq!(model("?model=gpt-4o-realtime").await.code(), "model_not_found");
        assert_eq!(model("?model=gummy-realtime-v1").await.status, 404);
        assert_eq!(model("?model=qwen3-livetranslate-%26x%3Dy").await.status, 404, "no way into the provider's URL");
        let unnamed = model("").await;
        assert_eq!((unnamed.status, unnamed.code()), (400, "invalid_request"));
        assert_eq!(unnamed.body["error"]["param"], "model");
        assert_eq!(alice.api().get(&path()).await.status, 400, "a plain GET is told to upgrade");
    });
}

#[test]
fn a_used_up_budget() {
    on_both_stores(async |app| {
        let alice = app.licensee(0.5).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        for _ in 0..8 {
            call.audio(100, 0).await;
        }
        let ending = call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (4029, "insufficient_quota"));
        app.settled().await;
        assert_eq!(app.upstream_samples(), 8_000);
        let answer = alice.refusal(&path()).await;
        assert_eq!((answer.status, answer.code()), (429, "insufficient_quota"));
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert!(answer.body["error"].as_object().unwrap().contains_key("resets_at"));
        let reset = format!("/admin/licenses/{}/reset-usage", alice.license_id);
        app.operator().post(&reset, &json!({})).await;
        alice.dial().await.hang_up().await;
    });
}

#[test]
fn too_many_sessions() {
    on_both_stores(async |app| {
        let alice = app.licensee_with(json!({ "max_sessions": 1 })).await;
        let first = alice.dial().await;
        assert_eq!(refused(&alice).await, (429, "session_limit_exceeded".into()));
        first.hang_up().await;
        alice.dial().await.hang_up().await;
    });
    on_sqlite_with(
        |config| config.server.max_sessions = 1,
        async |app| {
            let (alice, bob) = (app.licensee(60.0).await, app.licensee(60.0).await);
            let first = alice.dial().await;
            assert_eq!(refused(&bob).await, (503, "overloaded".into()));
            first.hang_up().await;
        },
    );
}

#[test]
fn a_provider_that_refuses() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        for (status, expected) in [
            (401, (502, "upstream_unavailable")),
            (403, (502, "upstream_unavailable")),
            (429, (503, "upstream_rate_limited")),
            (500, (502, "upstream_unavailable")),
        ] {
            app.next_faults(Faults { refuse: Some(status), ..Faults::default() });
            let (status, code) = refused(&alice).await;
            assert_eq!((status, code.as_str()), expected);
        }
        app.settled().await;
        assert!(alice.audio_used().await.abs() < 1e-9);
    });
    on_sqlite_with(
        |config| config.upstream.dashscope_api_key = None,
        async |app| {
            let alice = app.licensee(60.0).await;
            assert_eq!(refused(&alice).await, (503, "no_upstream_available".into()));
        },
    );
}

#[test]
fn browsers_come_with_a_ticket_or_a_subprotocol() {
    on_both_stores(async |app: &TestApp| {
        let alice = app.licensee(60.0).await;
        let ticket = alice.api().post("/v1/realtime/sessions", &json!({})).await;
        assert!(ticket.body["expires_at"].is_string(), "{}", ticket.text);
        let url = ticket.body["ws_url"].as_str().unwrap().replace("ws://", "http://");
        let once = format!("{url}?model={MODEL}&ticket={}", ticket.body["ticket"].as_str().unwrap());
        open(upgrade(&once)).await.unwrap().hang_up().await;
        assert_eq!(open(upgrade(&once)).await.err(), Some(401), "a ticket is good once");

        let url = format!("{}{}", app.url(), path());
        let credential = format!("openai-insecure-api-key.{}", alice.token);
        open(upgrade(&url).protocols(["realtime", &credential])).await.unwrap().hang_up().await;
        let plain = refusal(&app.url(), &format!("{}&ticket={}", path(), alice.token), &[]).await;
        assert_eq!(plain.code(), "invalid_api_key", "a lasting key is not taken from a URL");
    });
}

#[test]
fn wrong_routes_and_methods() {
    on_sqlite(async |app| {
        let operator = app.operator();
        let answer = operator.get("/v1/nothing").await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"));
        let answer = operator.post("/health", &json!({})).await;
        assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
        let answer = operator.send("GET", "/healthz", &[("x-request-id", "my-own-id")], String::new()).await;
        assert_eq!(answer.header("x-request-id"), Some("my-own-id"));
        assert_eq!(answer.body, json!({ "ok": true }));
        let answer = operator.send("POST", "/admin/licenses", &[], "{not json".to_owned()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"));
        let answer = operator.post("/admin/licenses", &json!({ "budgets": [{ "unit": "pears", "limit": 1 }] })).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body["error"]["param"].as_str().unwrap().starts_with("budgets"), "{}", answer.text);
        let answer = operator.post("/admin/licenses", &json!({ "max_sesions": 1 })).await;
        assert_eq!((answer.status, &answer.body["error"]["param"]), (400, &json!("max_sesions")));
    });
}
