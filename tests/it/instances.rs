//! Several gateways on one PostgreSQL: what is said at one is done at the other.

use std::time::Instant;

use livetranslate::credentials::Credentials;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::{keys, rights};
use serde_json::{Value, json};

use crate::support::app::{Backend, TestApp, on_both_stores};
use crate::support::customer::{Call, Customer};

/// Runs a test on two instances on one PostgreSQL.
fn on_two(test: impl AsyncFn(&TestApp, &TestApp)) {
    on_two_of(Backend::Postgres, &test);
}

fn on_two_of(backend: Backend, test: &impl AsyncFn(&TestApp, &TestApp)) {
    actix_web::rt::System::new().block_on(async {
        let first = TestApp::start(backend, |_| {}).await;
        let second = first.start_beside(|_| {}).await;
        test(&first, &second).await;
        second.stop().await;
        first.stop().await;
    });
}

async fn live(customer: &Customer) -> Call {
    let mut call = customer.dial().await;
    call.until("session.created").await;
    call
}

async fn sessions(app: &TestApp) -> Vec<Value> {
    app.operator().get("/admin/sessions").await.body["data"].as_array().unwrap().clone()
}

#[test]
fn suspension_at_one_ends_sessions_at_the_other() {
    let test = async |first: &TestApp, second: &TestApp| {
        for (action, code) in [("suspend", "license_suspended"), ("revoke", "license_revoked")] {
            let alice = first.licensee(60.0).await;
            let mut call = live(&second.customer(&alice)).await;
            first.operator().post(&format!("/admin/licenses/{}/{action}", alice.license_id), &json!({})).await;
            let ending = call.ending().await;
            assert_eq!((ending.code(), ending.error_code()), (1008, code));
        }
    };
    on_two_of(Backend::Postgres, &test);
    // Nothing notifies here: it is found by looking.
    on_two_of(Backend::Sqlite, &test);
}

#[test]
fn a_key_blocked_or_deleted_at_one_opens_nothing_at_the_other() {
    on_two(async |first, second| {
        for deletes in [false, true] {
            let key = first.operator().post("/admin/keys", &json!({ "label": "x" })).await.body;
            let (id, secret) = (key["id"].as_str().unwrap(), key["key"].as_str().unwrap());
            let mut call = live(&Customer::new(second.url(), "", secret)).await;
            let path = format!("/admin/keys/{id}");
            let code = if deletes {
                first.operator().send("DELETE", &path, &[], String::new()).await;
                "license_revoked"
            } else {
                first.operator().post(&format!("{path}/block"), &json!({})).await;
                "license_suspended"
            };
            let ending = call.ending().await;
            assert_eq!((ending.code(), ending.error_code()), (1008, code));
        }
    });
}

#[test]
fn another_end_of_a_license_is_heard_everywhere() {
    on_two(async |first, second| {
        let alice = first.licensee(60.0).await;
        let mut call = live(&second.customer(&alice)).await;
        let soon = livetranslate::clock::now() + jiff::SignedDuration::from_secs(1);
        let patch = json!({ "expires_at": soon }).to_string();
        let json = [("content-type", "application/json")];
        let path = format!("/admin/licenses/{}", alice.license_id);
        let changed = first.operator().send("PATCH", &path, &json, patch).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let ending = call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1008, "license_expired"));
    });
}

#[test]
fn sessions_are_listed_and_ended_wherever_they_live() {
    on_two(async |first, second| {
        let alice = first.licensee(60.0).await;
        let (_here, mut there) = (live(&alice).await, live(&second.customer(&alice)).await);
        let listed = sessions(first).await;
        assert_eq!(listed, sessions(second).await);
        let instances: Vec<&str> = listed.iter().map(|session| session["instance_id"].as_str().unwrap()).collect();
        assert!(matches!(instances.as_slice(), [one, other] if one != other), "{listed:?}");
        assert_eq!(listed[0]["away_since"], Value::Null);
        // The newest comes first.
        let path = format!("/admin/sessions/{}", listed[0]["id"].as_str().unwrap());
        let ended = first.operator().send("DELETE", &path, &[], String::new()).await;
        assert_eq!((ended.status, &ended.body["ended"]), (200, &json!(true)));
        let ending = there.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1008, "session_ended"));
        second.settled().await;
        let repeated = second.operator().send("DELETE", &path, &[], String::new()).await;
        assert_eq!(repeated.status, 200);
        assert_eq!(sessions(second).await.len(), 1);
        let unknown = first.operator().send("DELETE", "/admin/sessions/gws_x", &[], String::new()).await;
        assert_eq!(unknown.status, 404);
    });
}

#[test]
fn max_sessions_holds_over_both() {
    on_two(async |first, second| {
        let alice = first.licensee_with(json!({ "max_sessions": 2 })).await;
        let elsewhere = second.customer(&alice);
        let (one, _two) = (live(&alice).await, live(&elsewhere).await);
        let path = "/v1/realtime?model=qwen3.5-livetranslate-flash-realtime";
        for customer in [&alice, &elsewhere] {
            let refusal = customer.refusal(path).await;
            assert_eq!((refusal.status, refusal.code()), (429, "session_limit_exceeded"));
        }
        one.hang_up().await;
        first.settled().await;
        live(&elsewhere).await.hang_up().await;
    });
}

#[test]
fn a_budget_is_shared_to_its_end() {
    on_two(async |first, second| {
        let alice = first.licensee(6.0).await;
        let mut calls = [live(&alice).await, live(&second.customer(&alice)).await];
        for _ in 0..80 {
            for call in &mut calls {
                call.audio(100, 0).await;
            }
        }
        for call in &mut calls {
            assert_eq!(call.ending().await.code(), 4029);
        }
        first.settled().await;
        second.settled().await;
        let seconds = first.upstream_samples() as f64 / 16_000.0;
        assert!((5.0..=6.1).contains(&seconds), "{seconds} s were accepted");
        assert!((alice.audio_used().await - seconds).abs() < 1e-9);
    });
}

#[test]
fn a_change_elsewhere_is_seen_in_what_is_remembered() {
    on_both_stores(async |app| {
        let operator = app.operator();
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        for change in ["suspend", "narrow", "block", "rotate", "delete"] {
            let license = operator.post("/admin/licenses", &json!({})).await.body;
            let license_id = license["id"].as_str().unwrap();
            let key = operator.post("/admin/keys", &json!({ "license_id": license_id })).await.body;
            let (id, callers) = (key["id"].as_str().unwrap(), Credentials::default());
            let read = |c: &mut AnyConnection| keys::find_with_license(c, id);
            let (key, license) = store.run_blocking(read).unwrap().unwrap();
            callers.remember("secret", &license, Some(&key), Instant::now());
            let compare = || {
                let asked = callers.doubt_all();
                let found = store.run_blocking(|c| rights::versions(c, &asked)).unwrap();
                callers.forget_changed(&asked, &found);
                callers.recall("secret").is_some()
            };
            assert!(compare(), "nothing has changed");
            let (of_license, of_key) = (format!("/admin/licenses/{license_id}"), format!("/admin/keys/{id}"));
            let (method, path, body) = match change {
                "suspend" => ("POST", format!("{of_license}/suspend"), "{}"),
                "narrow" => ("PATCH", of_license, r#"{"models":["none"]}"#),
                "delete" => ("DELETE", of_key, ""),
                action => ("POST", format!("{of_key}/{action}"), "{}"),
            };
            let content = [("content-type", "application/json")];
            let answer = operator.send(method, &path, &content, body.to_owned()).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert!(!compare(), "{change}");
        }
    });
}
