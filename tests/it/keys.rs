//! Keys narrow their license: limits and budgets of their own, a secret that is replaced with grace, a clock of their
//! own.

use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores, on_both_stores_with, on_sqlite, on_sqlite_with};
use crate::support::caller::Caller;
use crate::support::customer::{Customer, MODEL};
use crate::support::operator::{Answer, Operator};

const CHAT: &str = "/v1/chat/completions";
const OMNI: &str = "qwen3.5-omni-plus-realtime";

/// A license and a key that joined it.
struct Pair {
    license: Value,
    key: Value,
}

impl Pair {
    async fn make(app: &TestApp, license: Value, mut key: Value) -> Self {
        let license = made(app, "/admin/licenses", &license).await;
        key["license_id"] = license["id"].clone();
        let key = made(app, "/admin/keys", &key).await;
        Self { license, key }
    }

    fn key_path(&self) -> String {
        format!("/admin/keys/{}", text(&self.key, "id"))
    }

    fn secret(&self) -> &str {
        text(&self.key, "key")
    }

    /// Somebody with the key.
    fn customer(&self, app: &TestApp) -> Customer {
        Customer::new(app.url(), text(&self.license, "id"), self.secret())
    }
}

async fn made(app: &TestApp, path: &str, fields: &Value) -> Value {
    let answer = app.operator().post(path, fields).await;
    assert_eq!(answer.status, 201, "{fields}: {}", answer.text);
    answer.body
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

async fn send(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.operator().send(method, path, &[], body).await
}

async fn standing(app: &TestApp, bearer: &str) -> (u16, String) {
    let answer = Operator::with_bearer(app.url(), bearer).get("/v1/license").await;
    (answer.status, answer.code().to_owned())
}

async fn asks(app: &TestApp, bearer: &str) -> (u16, String) {
    let answer = Caller::new(app.url(), bearer).post(CHAT, &Caller::question("hello")).await;
    (answer.status, answer.code().to_owned())
}

/// Speaks until the gateway ends the session; its close code.
async fn speaks_to_the_end(customer: &Customer) -> u16 {
    let mut call = customer.dial().await;
    call.until("session.created").await;
    for _ in 0..40 {
        call.audio(100, 3_000).await;
    }
    call.ending().await.code()
}

#[test]
fn a_key_has_limits_of_its_own() {
    on_both_stores(async |app| {
        let fields = json!({"label": "till", "models": ["qwen-plus", "gpt-5"], "scopes": ["chat", "native"],
            "allowed_ips": ["127.9.9.9/8"], "rpm_limit": 90, "tpm_limit": 4_000, "max_parallel_requests": 3,
            "max_sessions": 2, "max_session_seconds": 30, "max_machines": 1, "metadata": {"shop": 7},
            "expires_after_first_use": 3600, "budgets": [{"unit": "requests", "limit": 9, "window": "1d"}]});
        let license = json!({"models": ["qwen-*"], "scopes": ["chat", "realtime"], "rpm_limit": 50,
            "budgets": [{"unit": "requests", "limit": 100}]});
        let pair = Pair::make(app, license, fields.clone()).await;
        let key = &pair.key;
        for name in [
            "label",
            "models",
            "scopes",
            "rpm_limit",
            "tpm_limit",
            "max_parallel_requests",
            "max_sessions",
            "max_session_seconds",
            "max_machines",
            "metadata",
            "expires_after_first_use",
        ] {
            assert_eq!(key[name], fields[name], "{name}: {key}");
        }
        assert_eq!((&key["allowed_ips"], &key["own_license"]), (&json!(["127.0.0.0/8"]), &json!(false)));
        assert_eq!((key["budgets"].as_array().unwrap().len(), &key["budgets"][0]["owner"]), (1, &json!("key")));
        assert_eq!(asks(app, pair.secret()).await.0, 200);
        app.calls_ended().await;
        let own = Operator::with_bearer(app.url(), pair.secret()).get("/v1/license").await.body;
        assert_eq!((&own["scopes"], &own["models"]), (&json!(["chat"]), &json!(["qwen-plus"])), "{own}");
        assert_eq!(
            (&own["rpm_limit"], &own["tpm_limit"], &own["max_sessions"]),
            (&json!(50), &json!(4_000), &json!(2))
        );
        let budgets: Vec<(&str, i64)> = own["budgets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|budget| (text(budget, "owner"), budget["used"].as_i64().unwrap()))
            .collect();
        assert_eq!(budgets, [("license", 1), ("key", 1)]);
        assert!(own["expires_at"].is_string(), "its first use has set its clock running");
        let patch = json!({"models": null, "scopes": null, "rpm_limit": null, "max_machines": null, "metadata": {"a": 1},
            "budgets": [{"unit": "requests", "limit": 4, "window": "1d"}, {"unit": "tokens", "limit": 5}]});
        let changed = send(app, "PATCH", &pair.key_path(), patch).await;
        assert_eq!(
            (&changed.body["models"], &changed.body["rpm_limit"]),
            (&json!([]), &Value::Null),
            "{}",
            changed.text
        );
        assert_eq!(
            (&changed.body["tpm_limit"], &changed.body["metadata"]),
            (&json!(4_000), &json!({"shop": 7, "a": 1}))
        );
        assert_eq!((&changed.body["budgets"][0]["used"], &changed.body["budgets"][0]["limit"]), (&json!(1), &json!(4)));
        let listed = app.operator().get("/admin/keys").await;
        assert_eq!(listed.body["data"][0]["budgets"], changed.body["budgets"], "{}", listed.text);
        assert_eq!(listed.body["data"][0]["first_used_at"], changed.body["first_used_at"]);
        for (patch, param) in [
            (json!({"plan": "trial"}), "plan"),
            (json!({"colour": null}), "colour"),
            (json!({"rpm_limit": 0}), "rpm_limit"),
            (json!({"budgets": [{"unit": "tokens", "limit": -1}]}), "budgets[0].limit"),
            (json!({"license_id": "x"}), "license_id"),
        ] {
            let refused = send(app, "PATCH", &pair.key_path(), patch).await;
            assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!(param)), "{}", refused.text);
        }
    });
}

#[test]
fn the_limits_of_a_key_with_its_own_license_are_the_licenses() {
    on_both_stores(async |app| {
        let key = made(app, "/admin/keys", &json!({"label": "shop", "models": ["qwen-*"], "rpm_limit": null})).await;
        assert_eq!(
            (&key["own_license"], &key["models"], &key["rpm_limit"]),
            (&json!(true), &json!(["qwen-*"]), &Value::Null)
        );
        let path = format!("/admin/keys/{}", text(&key, "id"));
        let patch = json!({"max_sessions": 4, "metadata": {"x": 1}, "budgets": [{"unit": "tokens", "limit": 7}]});
        let changed = send(app, "PATCH", &path, patch).await.body;
        let license = app.operator().get(&format!("/admin/licenses/{}", text(&key, "license_id"))).await.body;
        for name in ["max_sessions", "metadata", "budgets", "models", "expires_at"] {
            assert_eq!(changed[name], license[name], "{name}");
        }
        assert_eq!((&license["max_sessions"], &license["budgets"][0]["limit"]), (&json!(4), &json!(7)));
    });
}

#[test]
fn a_keys_budget_and_its_licenses_refuse_each_for_itself() {
    on_both_stores(async |app| {
        let requests = |limit: u64| json!({"budgets": [{"unit": "requests", "limit": limit}]});
        let pair = Pair::make(app, requests(5), requests(2)).await;
        let quota = (429, "insufficient_quota".to_owned());
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(asks(app, pair.secret()).await.0);
        }
        assert_eq!(answers, [200, 200, 429]);
        let mut fields = requests(10);
        fields["license_id"] = pair.license["id"].clone();
        let other = made(app, "/admin/keys", &fields).await;
        for _ in 0..3 {
            assert_eq!(asks(app, text(&other, "key")).await.0, 200);
        }
        assert_eq!(asks(app, text(&other, "key")).await, quota, "the key has left, the license has not");
        assert_eq!(asks(app, text(&pair.license, "token")).await, quota);
        app.calls_ended().await;
        let used = async |path: &str| app.operator().get(path).await.body["budgets"][0]["used"].clone();
        let license_path = format!("/admin/licenses/{}", text(&pair.license, "id"));
        let other_path = format!("/admin/keys/{}", text(&other, "id"));
        assert_eq!(
            (used(&pair.key_path()).await, used(&other_path).await, used(&license_path).await),
            (json!(2), json!(3), json!(5))
        );
        // A key's reset is its own affair.
        send(app, "POST", &format!("{}/reset-usage", pair.key_path()), Value::Null).await;
        assert_eq!(
            (used(&pair.key_path()).await, used(&other_path).await, used(&license_path).await),
            (json!(0), json!(3), json!(5))
        );
        assert_eq!(asks(app, pair.secret()).await, quota);
        send(app, "POST", &format!("{license_path}/reset-usage"), Value::Null).await;
        assert_eq!(asks(app, pair.secret()).await.0, 200);
        // What a deleted key has used stays used.
        app.calls_ended().await;
        send(app, "DELETE", &pair.key_path(), Value::Null).await;
        assert_eq!(used(&license_path).await, json!(1));
        assert_eq!(app.operator().get(&pair.key_path()).await.body["budgets"], json!([]));
    });
}

#[test]
fn a_voice_ends_with_the_budget_of_key_or_license() {
    on_both_stores(async |app| {
        let audio = |limit: f64| json!({"budgets": [{"unit": "audio_seconds", "limit": limit}]});
        let narrow = Pair::make(app, audio(60.0), audio(1.0)).await;
        assert_eq!(speaks_to_the_end(&narrow.customer(app)).await, 4029);
        app.settled().await;
        assert!(app.upstream_samples() <= 32_000, "{}", app.upstream_samples());
        let path = format!("/v1/realtime?model={MODEL}");
        assert_eq!(narrow.customer(app).refusal(&path).await.code(), "insufficient_quota");
        let token = app.customer(&Customer::new(app.url(), "", text(&narrow.license, "token")));
        let mut call = token.dial().await;
        call.until("session.created").await;
        call.finish().await;
        let wide = Pair::make(app, audio(1.0), audio(60.0)).await;
        assert_eq!(speaks_to_the_end(&wide.customer(app)).await, 4029);
        app.settled().await;
        let left = app.operator().get(&wide.key_path()).await.body["budgets"][0]["remaining"].as_f64().unwrap();
        assert!((57.9..60.0).contains(&left), "{left}");
    });
}

#[test]
fn models_and_scopes_are_those_of_both() {
    on_both_stores(async |app| {
        let license = json!({"models": ["qwen-*", MODEL], "scopes": ["chat", "realtime"]});
        let pair = Pair::make(
            app,
            license,
            json!({"models": ["qwen-plus", OMNI], "scopes": ["chat", "realtime", "messages"]}),
        )
        .await;
        let caller = Caller::new(app.url(), pair.secret());
        let asked = async |model: &str| {
            let mut question = Caller::question("hi");
            question["model"] = json!(model);
            let answer = caller.post(CHAT, &question).await;
            (answer.status, answer.code().to_owned())
        };
        let refused = (403, "model_not_allowed".to_owned());
        assert_eq!(asked("qwen-plus").await.0, 200);
        assert_eq!(asked("qwen-max").await, refused, "the key lacks it");
        assert_eq!(asked(OMNI).await, refused, "the license lacks it");
        let customer = pair.customer(app);
        for model in [MODEL, OMNI] {
            assert_eq!(
                customer.refusal(&format!("/v1/realtime?model={model}")).await.code(),
                "model_not_allowed",
                "{model}"
            );
            let ticket = customer.api().post("/v1/realtime/sessions", &json!({ "model": model })).await;
            assert_eq!((ticket.status, ticket.code()), (403, "model_not_allowed"), "{model}");
        }
        let question = json!({"model": "qwen-plus", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        let messages = caller.post("/v1/messages", &question).await;
        assert_eq!(messages.status, 403, "{}", messages.text);
        let listed = caller.get("/v1/models").await;
        let ids: Vec<&str> = listed.body["data"].as_array().unwrap().iter().map(|model| text(model, "id")).collect();
        assert_eq!(ids, ["qwen-plus"]);
        send(app, "PATCH", &pair.key_path(), json!({"scopes": ["messages"]})).await;
        assert_eq!(asked("qwen-plus").await, (403, "scope_not_allowed".to_owned()));
        assert_eq!(customer.refusal(&format!("/v1/realtime?model={MODEL}")).await.code(), "model_not_allowed");
        send(app, "PATCH", &pair.key_path(), json!({"models": null})).await;
        assert_eq!(customer.refusal(&format!("/v1/realtime?model={MODEL}")).await.code(), "scope_not_allowed");
    });
}

#[test]
fn addresses_are_those_of_both_and_only_trusted_proxies_name_them() {
    let from = async |app: &TestApp, bearer: &str, address: &str| {
        let caller = Operator::with_bearer(app.url(), bearer);
        let answer = caller.send("GET", "/v1/license", &[("x-forwarded-for", address)], String::new()).await;
        (answer.status, answer.code().to_owned())
    };
    let refused = (403, "ip_not_allowed".to_owned());
    let fields = || {
        (
            json!({"allowed_ips": ["203.0.113.0/24", "127.0.0.1"]}),
            json!({"allowed_ips": ["203.0.113.7/32", "198.51.100.0/24"]}),
        )
    };
    on_sqlite(async |app| {
        let (license, key) = fields();
        let pair = Pair::make(app, license, key).await;
        let token = text(&pair.license, "token");
        assert_eq!(from(app, pair.secret(), "203.0.113.7").await.0, 200);
        assert_eq!(from(app, pair.secret(), "203.0.113.8").await, refused, "not the key's");
        assert_eq!(from(app, pair.secret(), "198.51.100.1").await, refused, "not the license's");
        assert_eq!(from(app, pair.secret(), "203.0.113.7, 198.51.100.9").await, refused, "what the client wrote");
        assert_eq!((from(app, token, "203.0.113.8").await.0, standing(app, token).await.0), (200, 200));
        assert_eq!(standing(app, pair.secret()).await, refused);
    });
    on_sqlite_with(
        |config| config.server.trusted_proxies.clear(),
        async |app| {
            let (license, key) = fields();
            let pair = Pair::make(app, license, key).await;
            assert_eq!(from(app, pair.secret(), "203.0.113.7").await, refused, "nobody's word counts");
            assert_eq!(from(app, text(&pair.license, "token"), "192.0.2.1").await.0, 200);
        },
    );
}

#[test]
fn an_old_secret_lasts_for_its_grace() {
    on_both_stores(async |app| {
        let pair = Pair::make(app, json!({}), json!({"label": "a"})).await;
        let (first, path) = (pair.secret().to_owned(), pair.key_path());
        let rotate = async |body: Value| send(app, "POST", &format!("{path}/rotate"), body).await;
        assert_eq!(asks(app, &first).await.0, 200);
        let rotated = rotate(json!({"grace_seconds": 3600})).await;
        assert_eq!(rotated.header("cache-control"), Some("no-store"));
        let second = text(&rotated.body, "key").to_owned();
        assert!(rotated.body["previous_valid_until"].is_string(), "{}", rotated.text);
        assert_eq!(
            (standing(app, &first).await.0, standing(app, &second).await.0, asks(app, &first).await.0),
            (200, 200, 200)
        );
        send(app, "POST", &format!("{path}/block"), Value::Null).await;
        for secret in [&first, &second] {
            assert_eq!(asks(app, secret).await, (403, "license_suspended".to_owned()));
        }
        send(app, "POST", &format!("{path}/unblock"), Value::Null).await;
        let third = text(&rotate(json!({"grace_seconds": 2_592_000})).await.body, "key").to_owned();
        let unknown = (401, "invalid_api_key".to_owned());
        assert_eq!(
            (asks(app, &first).await, standing(app, &first).await),
            (unknown.clone(), unknown.clone()),
            "two rotations ago"
        );
        assert_eq!((asks(app, &second).await.0, asks(app, &third).await.0), (200, 200));
        let fourth = rotate(Value::Null).await;
        assert_eq!(fourth.body["previous_valid_until"], Value::Null);
        assert_eq!((asks(app, &third).await, asks(app, text(&fourth.body, "key")).await.0), (unknown.clone(), 200));
        let (fourth, fifth) = (text(&fourth.body, "key").to_owned(), rotate(json!({"grace_seconds": 1})).await);
        assert_eq!(asks(app, &fourth).await.0, 200);
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while asks(app, &fourth).await.0 == 200 {
            assert!(std::time::Instant::now() < limit, "a grace of a second does not end");
        }
        assert_eq!(asks(app, &fourth).await, unknown);
        for (body, param) in [(json!({"grace_seconds": 2_592_001}), "grace_seconds"), (json!({"grace": 1}), "grace")] {
            let refused = rotate(body).await;
            assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!(param)));
        }
        // Nobody needs to put a secret into a URL, but whoever does can only delete it.
        let fifth = text(&fifth.body, "key");
        assert_eq!(app.operator().get(&format!("/admin/keys/{fifth}")).await.status, 404);
        assert_eq!(send(app, "DELETE", &format!("/admin/keys/{first}"), Value::Null).await.status, 404);
        assert_eq!(send(app, "DELETE", &format!("/admin/keys/{fifth}"), Value::Null).await.status, 200);
        assert_eq!(asks(app, fifth).await, unknown);
    });
}

#[test]
fn every_first_use_starts_a_keys_clock_once() {
    on_both_stores(async |app| {
        for path in ["chat", "ticket", "validate", "socket"] {
            let pair = Pair::make(app, json!({}), json!({"expires_after_first_use": 3600, "expires_at": null})).await;
            let customer = pair.customer(app);
            let seen = async || app.operator().get(&pair.key_path()).await.body;
            assert_eq!(
                (seen().await["first_used_at"].clone(), seen().await["expires_at"].clone()),
                (Value::Null, Value::Null)
            );
            let use_it = async || match path {
                "chat" => asks(app, pair.secret()).await.0,
                "ticket" => customer.api().post("/v1/realtime/sessions", &json!({})).await.status,
                "validate" => customer.api().post("/v1/licenses/validate", &json!({})).await.status,
                _ => {
                    customer.dial().await.finish().await;
                    200
                }
            };
            let twice = futures_util::future::join(use_it(), use_it()).await;
            assert!(twice.0 < 300 && twice.1 < 300, "{path}");
            let first = seen().await;
            let (used, end) = (text(&first, "first_used_at"), text(&first, "expires_at"));
            let lasts = end.parse::<jiff::Timestamp>().unwrap() - used.parse::<jiff::Timestamp>().unwrap();
            assert_eq!(lasts.total(jiff::Unit::Second).unwrap(), 3600.0, "{path}");
            use_it().await;
            assert_eq!(seen().await["expires_at"], first["expires_at"], "{path}");
            let longer = send(app, "PATCH", &pair.key_path(), json!({"expires_after_first_use": 7200})).await.body;
            let lasts = text(&longer, "expires_at").parse::<jiff::Timestamp>().unwrap()
                - used.parse::<jiff::Timestamp>().unwrap();
            assert_eq!(lasts.total(jiff::Unit::Second).unwrap(), 7200.0, "{path}");
        }
        app.settled().await;
    });
}

#[test]
fn an_action_wants_the_version_it_names_and_is_not_done_twice() {
    on_both_stores(async |app| {
        let pair = Pair::make(app, json!({"plan": "trial"}), json!({})).await;
        let license_path = format!("/admin/licenses/{}", text(&pair.license, "id"));
        let tagged = async |method: &str, path: &str, tag: &str, body: Value| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            app.operator().send(method, path, &[("if-match", tag)], body).await
        };
        let key_actions = [
            ("POST", "/block"),
            ("POST", "/unblock"),
            ("POST", "/rotate"),
            ("POST", "/reset-usage"),
            ("PATCH", ""),
            ("DELETE", ""),
        ];
        let license_actions = [
            ("POST", "/suspend"),
            ("POST", "/reinstate"),
            ("POST", "/renew"),
            ("POST", "/token"),
            ("POST", "/reset-usage"),
            ("PATCH", ""),
            ("DELETE", ""),
        ];
        for (path, actions) in [(pair.key_path(), &key_actions[..]), (license_path.clone(), &license_actions[..])] {
            for (method, action) in actions {
                let body = if *method == "PATCH" { json!({"label": "x"}) } else { Value::Null };
                let stale = tagged(method, &format!("{path}{action}"), "\"1\"", body.clone()).await;
                assert_eq!((stale.status, stale.code()), (412, "precondition_failed"), "{method} {action}");
                let tag = app.operator().get(&path).await.header("etag").unwrap().to_owned();
                if *method != "DELETE" {
                    let good = tagged(method, &format!("{path}{action}"), &tag, body).await;
                    assert_eq!(good.status, 200, "{method} {action}: {}", good.text);
                    assert!(good.header("etag").is_some(), "{method} {action}");
                }
            }
        }
        for (path, secret) in [
            (format!("{}/rotate", pair.key_path()), "key"),
            (format!("{license_path}/renew"), "token"),
            (format!("{license_path}/token"), "token"),
        ] {
            let body = if path.ends_with("token") { json!({"rotate": true}) } else { json!({}) };
            let again =
                async || app.operator().send("POST", &path, &[("idempotency-key", "k")], body.to_string()).await;
            let (first, second) = (again().await, again().await);
            assert!(first.body[secret].is_string() && second.body[secret].is_null(), "{path}: {}", second.text);
            assert_eq!((second.status, &first.body["updated_at"]), (200, &second.body["updated_at"]), "{path}");
            assert_eq!(first.body["expires_at"], second.body["expires_at"], "{path}");
            assert_eq!(standing(app, text(&first.body, secret)).await.0, 200);
            let other = app.operator().send("POST", &path, &[("idempotency-key", "k")], "{ }".to_owned()).await;
            assert_eq!((other.status, other.code()), (409, "conflict"), "{path}");
        }
        assert_eq!(tagged("DELETE", &pair.key_path(), "*", Value::Null).await.status, 200);
    });
}

#[test]
fn lists_stay_right_while_rows_are_added() {
    on_both_stores_with(
        |config| config.keys.expiry_days = 1,
        async |app| {
            let license = made(app, "/admin/licenses", &json!({})).await;
            let add = async |label: String| {
                made(app, "/admin/keys", &json!({"license_id": license["id"], "label": label})).await;
            };
            for number in 0..5 {
                add(format!("key {number}")).await;
            }
            for sort in ["created_at", "-created_at"] {
                let all =
                    async || app.operator().get("/admin/keys?limit=500").await.body["data"].as_array().unwrap().len();
                let before = all().await;
                let (mut seen, mut cursor) = (Vec::new(), String::new());
                loop {
                    let page = app.operator().get(&format!("/admin/keys?limit=2&sort={sort}{cursor}")).await;
                    assert_eq!(page.status, 200, "{}", page.text);
                    seen.extend(page.body["data"].as_array().unwrap().iter().map(|key| text(key, "id").to_owned()));
                    let Some(next) = page.body["next_cursor"].as_str() else { break };
                    cursor = format!("&cursor={next}");
                    if seen.len() < 10 {
                        add(format!("added to {sort}")).await;
                    }
                }
                let unique: std::collections::BTreeSet<_> = seen.iter().collect();
                assert_eq!(unique.len(), seen.len(), "{sort}: nothing twice");
                // What is added comes at the end of one order, and before the beginning of the other.
                let wanted = if sort == "created_at" { all().await } else { before };
                assert!(seen.len() == wanted && all().await > before, "{sort}: {}", seen.len());
            }
            let blocked = app.operator().get("/admin/keys").await.body["data"][0].clone();
            send(app, "POST", &format!("/admin/keys/{}/block", text(&blocked, "id")), Value::Null).await;
            let count = async |status: &str| {
                let answer = app.operator().get(&format!("/admin/keys?limit=500&status={status}")).await;
                answer.body["data"].as_array().map_or(0, Vec::len)
            };
            assert_eq!((count("blocked").await, count("expired").await, count("deleted").await), (1, 0, 0));
            assert!(count("active").await > 5);
            let wrong = app.operator().get("/admin/keys?subject=x").await;
            assert_eq!((wrong.status, &wrong.body["error"]["param"]), (400, &json!("subject")));
        },
    );
}
