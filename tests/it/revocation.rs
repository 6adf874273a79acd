//! What may not be used any more ends what runs with it: HTTP streams, calls that wait, sockets, on every instance.

use futures_util::future::join;
use livetranslate::config::Config;
use serde_json::{Value, json};

use crate::support::app::{Backend, TestApp, on_both_stores};
use crate::support::caller::Caller;
use crate::support::customer::Customer;
use crate::support::tap::{COST, Tap};

const CHAT: &str = "/v1/chat/completions";

/// What the operator does, and what callers hear of it.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// To the license, or to the key.
    path: fn(&Holder) -> String,
    method: &'static str,
    body: fn() -> Value,
    code: &'static str,
    status: u16,
}

/// Somebody with a license and a key of it.
struct Holder {
    license_id: String,
    key_id: String,
    key: String,
}

fn license(holder: &Holder) -> String {
    format!("/admin/licenses/{}", holder.license_id)
}

fn key(holder: &Holder) -> String {
    format!("/admin/keys/{}", holder.key_id)
}

fn soon() -> Value {
    json!({ "expires_at": livetranslate::clock::now() + jiff::SignedDuration::from_secs(1) })
}

#[rustfmt::skip]
const CASES: [Case; 7] = [
    Case { path: |holder| license(holder) + "/suspend", method: "POST", body: || json!({}), code: "license_suspended", status: 403 },
    Case { path: |holder| license(holder) + "/revoke", method: "POST", body: || json!({}), code: "license_revoked", status: 403 },
    Case { path: license, method: "DELETE", body: || Value::Null, code: "license_revoked", status: 403 },
    Case { path: license, method: "PATCH", body: soon, code: "license_expired", status: 401 },
    Case { path: |holder| key(holder) + "/block", method: "POST", body: || json!({}), code: "license_suspended", status: 403 },
    Case { path: key, method: "DELETE", body: || Value::Null, code: "license_revoked", status: 403 },
    Case { path: key, method: "PATCH", body: soon, code: "license_expired", status: 401 },
];

async fn holder(app: &TestApp) -> Holder {
    let license_id = app.licensee_with(json!({})).await.license_id;
    let made = app.operator().post("/admin/keys", &json!({ "license_id": license_id })).await.body;
    let word = |field: &str| made[field].as_str().unwrap().to_owned();
    Holder { license_id, key_id: word("id"), key: word("key") }
}

/// Does it at one instance while a stream and a call that waits run at another.
async fn end(case: Case, (at, of): (&TestApp, &TestApp), tap: &Tap, asked: usize) {
    let holder = holder(at).await;
    let caller = Caller::new(of.url(), &holder.key);
    let mut stream = caller.open(CHAT, &Caller::streamed("x")).await;
    stream.until("first").await;
    let question = Caller::question("x");
    let (answer, ()) = join(caller.post(CHAT, &question), async {
        tap.asked(asked + 2).await;
        let body = (case.body)();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let json = [("content-type", "application/json")];
        let done = at.operator().send(case.method, &(case.path)(&holder), &json, body).await;
        assert_eq!(done.status, 200, "{case:?} {}", done.text);
    })
    .await;
    assert_eq!((answer.status, answer.code()), (case.status, case.code), "{case:?}");
    let (said, whole) = stream.rest().await;
    let event: Value = serde_json::from_str(said.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["error"]["code"], case.code, "{said}");
    assert!(whole && event["request_id"].is_string(), "{said}");
}

/// Ends calls at the second of these that are ended at the first, and looks at what they cost.
async fn ended(at: &TestApp, of: &TestApp, tap: &Tap) {
    for (number, case) in CASES.into_iter().enumerate() {
        end(case, (at, of), tap, 2 * number).await;
    }
    // Somebody whom nothing of that concerns goes on.
    let other = holder(at).await;
    let mut stream = Caller::new(of.url(), &other.key).open(CHAT, &Caller::streamed("x")).await;
    stream.until("first").await;
    tap.finish();
    let (said, whole) = stream.rest().await;
    assert!(whole && said.ends_with("data: [DONE]\n\n"), "{said}");
    of.calls_ended().await;
    // As when a caller leaves: what the provider reports in the end is booked.
    let totals = at.operator().get("/admin/usage").await.body["totals"].clone();
    let calls = 2 * u64::try_from(CASES.len()).unwrap() + 1;
    let booked = ["requests", "input_tokens", "output_tokens"].map(|unit| totals[unit].as_u64().unwrap());
    assert_eq!(booked, [calls, calls * COST.0, calls * COST.1]);
}

#[test]
fn calls_end_on_the_instance_where_it_is_said() {
    actix_web::rt::System::new().block_on(async {
        let tap = Tap::start().await;
        let asks_it = |config: &mut Config| config.upstream.dashscope_http_base_url = tap.url.clone();
        let app = TestApp::start(Backend::Sqlite, asks_it).await;
        ended(&app, &app, &tap).await;
        app.stop().await;
    });
}

#[test]
fn calls_end_on_other_instances() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        actix_web::rt::System::new().block_on(async {
            let tap = Tap::start().await;
            let asks_it = |config: &mut Config| config.upstream.dashscope_http_base_url = tap.url.clone();
            let first = TestApp::start(backend, asks_it).await;
            let second = first.start_beside(asks_it).await;
            ended(&first, &second, &tap).await;
            second.stop().await;
            first.stop().await;
        });
    }
}

#[test]
fn a_revoked_license_ends_socket_and_stream_of_another_instance() {
    actix_web::rt::System::new().block_on(async {
        let tap = Tap::start().await;
        let asks_it = |config: &mut Config| config.upstream.dashscope_http_base_url = tap.url.clone();
        let first = TestApp::start(Backend::Postgres, asks_it).await;
        let second = first.start_beside(asks_it).await;
        let alice = first.licensee(60.0).await;
        let there: Customer = second.customer(&alice);
        let mut call = there.dial().await;
        call.until("session.created").await;
        let stream = Caller::new(second.url(), &alice.token).open(CHAT, &Caller::streamed("x")).await;
        first.operator().post(&format!("/admin/licenses/{}/revoke", alice.license_id), &json!({})).await;
        let ending = call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1008, "license_revoked"));
        let (said, _) = stream.rest().await;
        assert!(said.contains("\"code\":\"license_revoked\""), "{said}");
        tap.finish();
        second.stop().await;
        first.stop().await;
    });
}

/// A key's new end counts for its live sessions, whatever else of the license changes meanwhile.
#[test]
fn a_key_that_is_given_an_end_ends_its_socket() {
    on_both_stores(async |app| {
        let alice = app.licensee(600.0).await;
        let key = app.operator().post("/admin/keys", &json!({"license_id": alice.license_id})).await;
        let (id, secret) = (key.body["id"].as_str().unwrap(), key.body["key"].as_str().unwrap());
        let bob = Customer::new(app.url(), &alice.license_id, secret);
        let call = bob.dial().await;
        let (_sink, mut stream) = call.split();
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
        let patch = |path: String, body: Value| async move {
            let operator = app.operator();
            let answer = operator.send("PATCH", &path, &[("content-type", "application/json")], body.to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        };
        patch(format!("/admin/keys/{id}"), json!({"expires_at": end.to_string()})).await;
        patch(format!("/admin/licenses/{}", alice.license_id), json!({"label": "another"})).await;
        assert_eq!(stream.close_code().await, 1008);
        assert!(jiff::Timestamp::now() >= end, "not before its end");
    });
}
