//! Calls that somebody made to do harm, or that met harm on their way: bounded, refused early, blamed on nobody else.

use diesel::RunQueryDsl as _;
use futures_util::future::join_all;
use livetranslate::config::Config;
use livetranslate::simulator::http::faults::HttpFaults;
use livetranslate::store::connection::{Location, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::app::{PROVIDER_KEY, TestApp, on_sqlite, on_sqlite_with};
use crate::support::caller::Caller;
use crate::support::stub::Stub;

const CHAT: &str = "/v1/chat/completions";
const JOBS: &str = "/api/v1/services/aigc/text2image/image-synthesis";

fn byok(config: &mut Config) {
    config.upstream.allow_byok = true;
}

async fn begin_job(alice: &Caller) -> String {
    let job = json!({"model": "wan-image", "input": {"prompt": "a cat"}});
    let begun = alice.send("POST", JOBS, &[("X-DashScope-Async", "enable")], &job).await;
    begun.body["output"]["task_id"].as_str().unwrap_or_else(|| panic!("{}", begun.text)).to_owned()
}

async fn caller(app: &TestApp, fields: Value) -> Caller {
    Caller::new(app.url(), &app.licensee_with(fields).await.token)
}

/// A provider of which the test says what it answers: the only account there is.
async fn only_account(app: &TestApp, kind: &str, credential: &str) -> Stub {
    let stub = Stub::start().await;
    app.operator().post("/admin/accounts/env-dashscope/disable", &Value::Null).await;
    let fields = json!({"name": "stub", "kind": kind, "base_url": stub.url, "credential": credential});
    let made = app.operator().post("/admin/accounts", &fields).await;
    assert_eq!(made.status, 201, "{}", made.text);
    stub
}

/// What a request is answered with of which nothing but the head is ever sent.
async fn headed(app: &TestApp, token: &str, length: usize) -> String {
    let address = app.url().trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn what_can_not_be_sent_is_refused_before_an_account_is_chosen() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let message = json!({"model": "qwen-plus", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
        let long = alice.post(&format!("/v1/messages?q={}", "q".repeat(5_000)), &message).await;
        assert_eq!(long.status, 400, "{}", long.text);
        assert!(long.text.contains("the query string"), "{}", long.text);
        let native = "/api/v1/services/aigc/text-generation/generation";
        for (path, name) in [("/v1/messages", "anthropic-beta"), (native, "x-dashscope-workspace"), (native, "accept")]
        {
            let long = alice.send("POST", path, &[(name, &"h".repeat(1_025))], &message).await;
            assert_eq!(long.status, 400, "{}", long.text);
            assert!(long.text.contains(name), "{}", long.text);
        }
        assert!(app.simulator().calls().is_empty());
        assert_eq!(alice.post(CHAT, &Caller::question("x")).await.status, 200);
    });
}

#[test]
fn a_connection_that_was_reset_is_made_anew() {
    on_sqlite(async |app| {
        let stub = only_account(app, "openai", "sk-x").await;
        stub.says(200, "", r#"{"object":"chat.completion","choices":[]}"#);
        stub.resets_kept_connections();
        let alice = caller(app, json!({})).await;
        for _ in 0..3 {
            let answer = alice.post(CHAT, &Caller::question("x")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        assert_eq!(stub.asked("POST"), 5, "two of them on connections that were kept");
    });
}

#[test]
fn limits_apply_before_a_body_is_read() {
    on_sqlite(async |app| {
        let license = app.licensee_with(json!({"rpm_limit": 1})).await;
        let too_large = headed(app, &license.token, 1 << 30).await;
        assert!(too_large.starts_with("HTTP/1.1 413 "), "{too_large}");
        let alice = Caller::new(app.url(), &license.token);
        assert_eq!(alice.post(CHAT, &Caller::question("x")).await.status, 200);
        let refused = headed(app, &license.token, 1_000_000).await;
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        let poor = app.licensee_with(json!({"tpm_limit": 500})).await;
        let poor = Caller::new(app.url(), &poor.token);
        let mut long = Caller::question("x");
        long["max_tokens"] = json!(480);
        assert_eq!(poor.post(CHAT, &long).await.status, 200);
        assert_eq!(poor.post(CHAT, &Caller::question("x")).await.status, 200, "what it uses is little");
        let refused = poor.post(CHAT, &long).await;
        assert_eq!((refused.status, refused.code()), (429, "rate_limit_exceeded"), "{}", refused.text);
    });
}

#[test]
fn errors_tell_the_limits_too() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({"rpm_limit": 9, "tpm_limit": 90_000})).await;
        let remaining = |answer: &crate::support::operator::Answer, status: u16| {
            assert_eq!(answer.status, status, "{}", answer.text);
            assert_eq!(answer.header("x-ratelimit-remaining-tokens"), Some("90000"), "nothing was used");
            answer.header("x-ratelimit-remaining-requests").unwrap().to_owned()
        };
        assert_eq!(remaining(&alice.post(CHAT, &json!([])).await, 400), "8");
        app.simulator().next_http_faults(HttpFaults { status: Some(500), ..HttpFaults::default() });
        assert_eq!(remaining(&alice.post(CHAT, &Caller::question("x")).await, 502), "7");
    });
}

#[test]
fn who_finds_no_account_is_told_when_to_come_again() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let limited = HttpFaults { status: Some(429), retry_after: Some(30), ..HttpFaults::default() };
        app.simulator().next_http_faults(limited);
        let wait = |answer: &crate::support::operator::Answer, code: &str| {
            assert_eq!((answer.status, answer.code()), (503, code), "{}", answer.text);
            assert!(!answer.text.contains("DASHSCOPE"), "that is the operator's business: {}", answer.text);
            answer.header("retry-after").unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(wait(&alice.post(CHAT, &Caller::question("x")).await, "upstream_rate_limited"), 30);
        assert!(wait(&alice.post(CHAT, &Caller::question("x")).await, "no_upstream_available") > 20);
        app.operator().post("/admin/accounts/env-dashscope/disable", &Value::Null).await;
        assert!(wait(&alice.post(CHAT, &Caller::question("x")).await, "no_upstream_available") > 0);
    });
}

#[test]
fn what_a_jobs_provider_says_of_our_account_stays_ours() {
    on_sqlite(async |app| {
        let stub = only_account(app, "dashscope", "sk-x").await;
        stub.says(200, "", r#"{"output":{"task_id":"job-1","task_status":"PENDING"},"request_id":"r"}"#);
        let alice = caller(app, json!({"rpm_limit": 6})).await;
        let path = format!("/api/v1/tasks/{}", begin_job(&alice).await);
        for (said, code, status, told) in [
            (403, "AccessDenied", 502, "upstream_unavailable"),
            (400, "Arrearage", 502, "upstream_unavailable"),
            (429, "Throttling", 503, "upstream_rate_limited"),
            (400, "InvalidParameter", 400, "InvalidParameter"),
        ] {
            stub.says(said, "retry-after: 9\r\n", &json!({"code": code, "message": "of ours"}).to_string());
            let answer = alice.get(&path).await;
            assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(told)), "{}", answer.text);
            assert_eq!(answer.header("retry-after"), (status == 503).then_some("9"));
        }
        let cancelled = alice.post(&format!("{path}/cancel"), &Value::Null).await;
        assert_eq!(cancelled.header("x-ratelimit-remaining-requests"), Some("0"), "{:?}", cancelled.headers);
        let refused = alice.get(&path).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (429, Some("rate_limit_exceeded")));
    });
}

#[test]
fn a_job_is_known_to_its_license_though_the_store_was_away() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        let rename = |from: &str, to: &str| {
            let sentence = format!("ALTER TABLE {from} RENAME TO {to}");
            store.run_blocking(move |connection| Ok(diesel::sql_query(sentence).execute(connection)?)).unwrap();
        };
        rename("upstream_tasks", "away");
        let id = begin_job(&alice).await;
        rename("away", "upstream_tasks");
        while alice.get(&format!("/api/v1/tasks/{id}")).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn providers_are_asked_for_their_models_once_and_shown_as_ours() {
    on_sqlite_with(byok, async |app| {
        let stub = only_account(app, "openai", "sk-x").await;
        stub.says(200, "", r#"{"data":[{"id":"m","owned_by":"org-secret","permission":[],"created":5}]}"#);
        let alice = caller(app, json!({})).await;
        let lists = join_all((0..20).map(|_| alice.get("/v1/models"))).await;
        let shown = json!([{"id": "m", "object": "model", "created": 5, "owned_by": "system"}]);
        assert!(lists.iter().all(|list| list.body["data"] == shown), "{}", lists[0].text);
        let own = Caller::new(app.url(), PROVIDER_KEY).get("/v1/models").await;
        assert!(own.text.contains("qwen-plus") && !own.text.contains("\"m\""), "{}", own.text);
        assert_eq!(Caller::new(app.url(), "sk-wrong").get("/v1/models").await.status, 401);
        assert_eq!(stub.asked("GET "), 1, "neither again nor for others' keys");
    });
}

#[test]
fn a_licenses_models_are_there_though_the_provider_is_not() {
    on_sqlite(async |app| {
        let stub = only_account(app, "openai", "sk-x").await;
        stub.says(500, "", "{}");
        let alice = caller(app, json!({"models": ["qwen-plus", "other-*"]})).await;
        let list = alice.get("/v1/models").await;
        assert_eq!((list.status, &list.body["data"][0]["id"]), (200, &json!("qwen-plus")), "{}", list.text);
        assert_eq!(alice.get("/v1/models/qwen-plus").await.status, 200);
        assert_eq!(alice.get("/v1/models/other-one").await.status, 404);
    });
}

#[test]
fn models_to_fall_back_on_are_the_licenses_too() {
    on_sqlite(async |app| {
        let (alice, bob) = (caller(app, json!({"models": ["qwen-plus"]})).await, caller(app, json!({})).await);
        let mut question = Caller::question("x");
        for (models, status) in [(json!(["qwen-plus", "qwen-max"]), 400), (json!("qwen-max"), 400), (json!([]), 200)] {
            question["models"] = models;
            let answer = alice.post(CHAT, &question).await;
            assert_eq!(answer.status, status, "{}", answer.text);
            assert!(status == 200 || answer.body["error"]["param"] == "models", "{}", answer.text);
        }
        question["models"] = json!(["qwen-plus", "qwen-max"]);
        assert_eq!(bob.post(CHAT, &question).await.status, 200);
    });
}

#[test]
fn who_brings_a_key_is_told_its_providers_wait() {
    on_sqlite_with(byok, async |app| {
        let bare = Caller::new(app.url(), PROVIDER_KEY);
        for (said, told) in [(Some(9), "9"), (None, "2")] {
            let limited = HttpFaults { status: Some(429), retry_after: said, ..HttpFaults::default() };
            app.simulator().next_http_faults(limited);
            let answer = bare.post(CHAT, &Caller::question("x")).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, Some(told)), "{}", answer.text);
        }
    });
}

#[test]
fn a_subscribers_credential_is_tested_as_it_is_used() {
    on_sqlite(async |app| {
        let stub = only_account(app, "anthropic", "sk-ant-oat01-x").await;
        stub.says(200, "", "{}");
        let accounts = app.operator().get("/admin/accounts").await.body;
        let is_stub = |account: &&Value| account["name"] == "stub";
        let account = accounts["data"].as_array().unwrap().iter().find(is_stub).unwrap();
        let path = format!("/admin/accounts/{}/test", account["id"].as_str().unwrap());
        assert_eq!(app.operator().post(&path, &Value::Null).await.body["ok"], true);
        let head = stub.heads.borrow()[0].to_ascii_lowercase();
        assert!(head.contains("authorization: bearer sk-ant-oat01-x") && !head.contains("x-api-key"), "{head}");
    });
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    on_sqlite(async |app| {
        let nobody = Caller::new(app.url(), "");
        for (method, path, allowed) in [("GET", CHAT, "POST"), ("DELETE", "/health", "GET, HEAD")] {
            let refused = nobody.send(method, path, &[], &Value::Null).await;
            assert_eq!((refused.status, refused.code()), (405, "method_not_allowed"), "{}", refused.text);
            assert_eq!(refused.header("allow"), Some(allowed));
        }
    });
}

#[test]
fn an_error_that_the_native_protocol_tells_with_200_is_a_refusal() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let stub = only_account(app, "dashscope", "sk-x").await;
        let accounts = app.operator().get("/admin/accounts").await;
        let accounts = accounts.body["data"].as_array().unwrap().iter();
        let mut id =
            accounts.filter(|account| account["name"] == "stub").map(|account| account["id"].as_str().unwrap());
        let path = format!("/admin/accounts/{}", id.next().unwrap());
        let changed = app.operator().send("PATCH", &path, &[], json!({"mode": "native"}).to_string()).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        stub.says(200, "", r#"{"code":"InvalidParameter","message":"too hot","request_id":"r"}"#);
        let refused = alice.post("/v1/chat/completions", &Caller::question("x")).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_parameter_error"), "{}", refused.text);
        assert_eq!(app.operator().get("/admin/usage").await.body["totals"]["requests"], 0);
    });
}
