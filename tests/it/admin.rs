//! The operator's door: licenses, keys, usage, the audit log.

use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores, on_sqlite};
use crate::support::operator::{Answer, Operator};

const NONE: &[(&str, &str)] = &[];

async fn send(operator: &Operator, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    operator.send(method, path, NONE, body).await
}

async fn issued(app: &TestApp, fields: Value) -> Value {
    let answer = app.operator().post("/admin/licenses", &fields).await;
    assert_eq!(answer.status, 201, "{fields}: {}", answer.text);
    answer.body
}

/// Status and error code that `GET /v1/license` answers to this bearer.
async fn standing(app: &TestApp, bearer: &str) -> (u16, String) {
    let answer = Operator::with_bearer(app.url(), bearer).get("/v1/license").await;
    (answer.status, answer.code().to_owned())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn only_the_admin_key_opens_the_door() {
    on_sqlite(async |app| {
        for bearer in ["", "wrong", "an-admin-key-for-test"] {
            for path in
                ["/admin/licenses", "/admin/keys", "/admin/usage", "/admin/sessions", "/admin/audit", "/admin/stats"]
            {
                // Each from an address of its own: none fails too often.
                let from = [("x-forwarded-for", if bearer == "wrong" { "198.51.100.1" } else { "198.51.100.2" })];
                let guest = Operator::with_bearer(app.url(), bearer);
                let answer = guest.send("GET", path, &from, String::new()).await;
                assert_eq!((answer.status, answer.code()), (401, "invalid_api_key"), "{path}");
            }
        }
    });
}

#[test]
fn a_trial_by_its_plan_alone() {
    on_both_stores(async |app| {
        let answer = app.operator().post("/admin/licenses", &json!({"plan": "trial"})).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let license = answer.body;
        assert_eq!(license["plan"], "trial");
        assert_eq!(license["status"], "active");
        assert_eq!(license["scopes"], json!(["realtime", "chat", "messages", "native"]));
        let budget = &license["budgets"][0];
        assert_eq!((budget["unit"].as_str(), budget["window"].as_str()), (Some("audio_seconds"), Some("lifetime")));
        assert_eq!((budget["limit"].as_f64(), budget["remaining"].as_f64()), (Some(600.0), Some(600.0)));
        let days = license["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
            - license["created_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(days.total(jiff::Unit::Hour).unwrap(), 30.0 * 24.0);
        assert_eq!(text(&license, "token").split('.').count(), 3);
        let own = Operator::with_bearer(app.url(), text(&license, "token")).get("/v1/license").await;
        assert_eq!(own.status, 200);
        assert_eq!(own.body["budgets"], license["budgets"]);
    });
}

#[test]
fn wrong_fields_are_refused_by_name() {
    on_sqlite(async |app| {
        for (body, param) in [
            (json!({"plan": "gold"}), json!("plan")),
            (json!({"colour": 1}), json!("colour")),
            (json!({"status": "active"}), json!("status")),
            (json!({"label": 1}), json!("label")),
            (json!({"expires_at": "2001-01-01T00:00:00Z"}), json!("expires_at")),
            (json!({"budgets": [{"unit": "tokens"}]}), json!("budgets[0].limit")),
            (json!({"budgets": [{"unit": "tokens", "limit": 1, "mode": "rolling"}]}), json!("budgets[0].mode")),
            (json!([]), Value::Null),
        ] {
            let answer = app.operator().post("/admin/licenses", &body).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{body}: {}", answer.text);
            assert_eq!(answer.body["error"]["param"], param, "{body}: {}", answer.text);
        }
        let broken = app.operator().send("POST", "/admin/licenses", NONE, "{".into()).await;
        assert_eq!(broken.status, 400);
        let huge = app.operator().send("POST", "/admin/licenses", NONE, "x".repeat(300_000)).await;
        assert_eq!((huge.status, huge.code()), (413, "request_too_large"));
        let wrong = app.operator().get("/admin/licenses?colour=red").await;
        assert_eq!((wrong.status, &wrong.body["error"]["param"]), (400, &json!("colour")));
        let missing = app.operator().get("/admin/licenses/lic_nothing").await;
        assert_eq!((missing.status, missing.code()), (404, "not_found"));
    });
}

#[test]
fn a_license_is_suspended_reinstated_and_revoked() {
    on_both_stores(async |app| {
        let license = issued(app, json!({})).await;
        let (id, token) = (text(&license, "id"), text(&license, "token"));
        let path = format!("/admin/licenses/{id}");
        assert_eq!(standing(app, token).await.0, 200);
        for _ in 0..2 {
            let answer = send(&app.operator(), "POST", &format!("{path}/suspend"), Value::Null).await;
            assert_eq!((answer.status, &answer.body["status"]), (200, &json!("suspended")));
        }
        assert_eq!(standing(app, token).await, (403, "license_suspended".into()));
        send(&app.operator(), "POST", &format!("{path}/reinstate"), Value::Null).await;
        assert_eq!(standing(app, token).await.0, 200);
        for _ in 0..2 {
            let answer = send(&app.operator(), "DELETE", &path, Value::Null).await;
            assert_eq!((answer.status, &answer.body["status"]), (200, &json!("revoked")));
        }
        assert_eq!(standing(app, token).await, (403, "license_revoked".into()));
        for action in ["reinstate", "suspend", "renew", "token"] {
            let answer = send(&app.operator(), "POST", &format!("{path}/{action}"), Value::Null).await;
            assert_eq!((answer.status, answer.code()), (409, "conflict"), "{action}");
        }
    });
}

#[test]
fn a_patch_merges_and_needs_the_version_it_names() {
    on_both_stores(async |app| {
        let license = issued(
            app,
            json!({"label": "a", "rpm_limit": 5, "metadata": {"x": 1, "y": 2},
            "budgets": [{"unit": "audio_seconds", "limit": 60}]}),
        )
        .await;
        let path = format!("/admin/licenses/{}", text(&license, "id"));
        let tag = app.operator().get(&path).await.header("etag").unwrap().to_owned();
        let patch = json!({"rpm_limit": null, "max_sessions": 2, "metadata": {"x": null, "z": 3},
            "budgets": [{"unit": "audio_seconds", "limit": 90.5}, {"unit": "tokens", "limit": 10, "window": "1d"}]});
        let if_match = [("if-match", tag.as_str())];
        let changed = app.operator().send("PATCH", &path, &if_match, patch.to_string()).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(changed.body["label"], "a");
        assert_eq!(changed.body["rpm_limit"], Value::Null);
        assert_eq!(changed.body["max_sessions"], 2);
        assert_eq!(changed.body["metadata"], json!({"y": 2, "z": 3}));
        assert_eq!(changed.body["budgets"][0]["limit"], 90.5);
        assert_eq!(changed.body["budgets"][1]["limit"], 10);
        assert!(changed.body["budgets"][1]["resets_at"].is_string());
        let stale = app.operator().send("PATCH", &path, &if_match, json!({"label": "b"}).to_string()).await;
        assert_eq!((stale.status, stale.code()), (412, "precondition_failed"));
        let cleared = send(&app.operator(), "PATCH", &path, json!({"budgets": null})).await;
        assert_eq!(cleared.body["budgets"], json!([]));
        let refused = send(&app.operator(), "PATCH", &path, json!({"id": "x"})).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("id")));
    });
}

#[test]
fn renewing_keeps_old_tokens_and_rotating_does_not() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"plan": "trial"})).await;
        let (id, old) = (text(&license, "id"), text(&license, "token"));
        let renewed = send(&app.operator(), "POST", &format!("/admin/licenses/{id}/renew"), json!({"days": 10})).await;
        assert_eq!(renewed.status, 200, "{}", renewed.text);
        let end = |body: &Value| text(body, "expires_at").parse::<jiff::Timestamp>().unwrap();
        assert_eq!((end(&renewed.body) - end(&license)).total(jiff::Unit::Hour).unwrap(), 240.0);
        assert_eq!(standing(app, old).await.0, 200);
        assert_eq!(standing(app, text(&renewed.body, "token")).await.0, 200);
        let path = format!("/admin/licenses/{id}/token");
        let rotated = send(&app.operator(), "POST", &path, json!({"rotate": true})).await;
        assert_eq!(standing(app, old).await, (401, "invalid_api_key".into()));
        assert_eq!(standing(app, text(&rotated.body, "token")).await.0, 200);
        let both = json!({"days": 1, "expires_at": "2999-01-01T00:00:00Z"});
        assert_eq!(send(&app.operator(), "POST", &format!("/admin/licenses/{id}/renew"), both).await.status, 400);
    });
}

#[test]
fn lists_are_paged_and_narrowed() {
    on_both_stores(async |app| {
        for label in ["Tokyo", "Osaka", "tokyo two"] {
            issued(app, json!({ "label": label })).await;
        }
        let labels = |answer: &Answer| {
            let data = answer.body["data"].as_array().unwrap().iter();
            data.map(|license| text(license, "label").to_owned()).collect::<Vec<_>>()
        };
        let first = app.operator().get("/admin/licenses?limit=2").await;
        assert_eq!((labels(&first), &first.body["has_more"]), (vec!["tokyo two".into(), "Osaka".into()], &json!(true)));
        let cursor = text(&first.body, "next_cursor");
        let second = app.operator().get(&format!("/admin/licenses?limit=2&cursor={cursor}")).await;
        assert_eq!((labels(&second), &second.body["next_cursor"]), (vec!["Tokyo".into()], &Value::Null));
        let found = app.operator().get("/admin/licenses?q=TOKYO&sort=created_at&status=active").await;
        assert_eq!(labels(&found), ["Tokyo", "tokyo two"]);
        assert!(found.body["data"][0]["token"].is_null());
        assert!(labels(&app.operator().get("/admin/licenses?status=expired").await).is_empty());
    });
}

#[test]
fn a_label_alone_makes_a_key() {
    on_both_stores(async |app| {
        let made = app.operator().post("/admin/keys", &json!({"label": "shop"})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let (id, key) = (text(&made.body, "id").to_owned(), text(&made.body, "key").to_owned());
        assert!(key.starts_with(&format!("sk-lt-{id}-")));
        assert_eq!(made.body["rpm_limit"], 60);
        assert_eq!(made.body["budgets"][0]["limit"], 600.0);
        assert!(made.body["expires_at"].is_string());
        let own = Operator::with_bearer(app.url(), &key).get("/v1/license").await;
        assert_eq!((own.status, &own.body["key_id"]), (200, &json!(id)));
        let listed = app.operator().get("/admin/keys").await;
        assert_eq!(listed.body["data"][0]["id"], id.as_str());
        assert!(!listed.text.contains(&key));
        let path = format!("/admin/keys/{id}");
        send(&app.operator(), "POST", &format!("{path}/block"), Value::Null).await;
        assert_eq!(standing(app, &key).await, (403, "license_suspended".into()));
        send(&app.operator(), "POST", &format!("{path}/unblock"), Value::Null).await;
        let rotated = send(&app.operator(), "POST", &format!("{path}/rotate"), Value::Null).await;
        assert_eq!(standing(app, &key).await, (401, "invalid_api_key".into()));
        let key = text(&rotated.body, "key").to_owned();
        assert_eq!(standing(app, &key).await.0, 200);
        let patched = send(&app.operator(), "PATCH", &path, json!({"label": "till", "rpm_limit": 7})).await;
        assert_eq!((&patched.body["label"], &patched.body["rpm_limit"]), (&json!("till"), &json!(7)));
        for _ in 0..2 {
            let answer = send(&app.operator(), "DELETE", &format!("/admin/keys/{key}"), Value::Null).await;
            assert_eq!((answer.status, answer.body), (200, json!({"id": id, "deleted": true})));
        }
        assert_eq!(standing(app, &key).await, (401, "invalid_api_key".into()));
        let license = app.operator().get(&format!("/admin/licenses/{}", text(&made.body, "license_id"))).await;
        assert_eq!(license.body["status"], "revoked");
    });
}

#[test]
fn a_second_key_shares_a_license() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"label": "team"})).await;
        let fields = json!({"license_id": license["id"], "label": "ci"});
        let made = app.operator().post("/admin/keys", &fields).await;
        assert_eq!((made.status, &made.body["license_id"]), (201, &license["id"]), "{}", made.text);
        assert_eq!(made.body["expires_at"], Value::Null);
        let planned = json!({"license_id": license["id"], "plan": "trial"});
        let refused = app.operator().post("/admin/keys", &planned).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("plan")));
        let nowhere = app.operator().post("/admin/keys", &json!({"license_id": "lic_nothing"})).await;
        assert_eq!((nowhere.status, &nowhere.body["error"]["param"]), (400, &json!("license_id")));
        send(&app.operator(), "DELETE", &format!("/admin/keys/{}", text(&made.body, "id")), Value::Null).await;
        assert_eq!(standing(app, text(&license, "token")).await.0, 200);
    });
}

#[test]
fn a_repeated_request_makes_nothing_twice() {
    on_both_stores(async |app| {
        for (path, secret) in [("/admin/licenses", "token"), ("/admin/keys", "key")] {
            let again = async |key: &str, body: Value| {
                app.operator().send("POST", path, &[("idempotency-key", key)], body.to_string()).await
            };
            let (first, twin) =
                futures_util::future::join(again("one", json!({"label": "a"})), again("one", json!({"label": "a"})))
                    .await;
            assert_eq!(first.body["id"], twin.body["id"], "{} {}", first.text, twin.text);
            let secrets = [&first, &twin].iter().filter(|answer| answer.body[secret].is_string()).count();
            assert_eq!(secrets, 1);
            let other = again("one", json!({"label": "b"})).await;
            assert_eq!((other.status, other.code()), (409, "conflict"));
            assert_eq!(again("two", json!({"label": "b"})).await.status, 201);
        }
    });
}

#[test]
fn a_session_shows_in_usage_and_a_reset_forgets_it() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        call.audio(1_500, 3_000).await;
        let live = app.operator().get("/admin/sessions").await;
        assert_eq!(live.body["data"][0]["license_id"], alice.license_id.as_str(), "{}", live.text);
        call.finish().await;
        app.settled().await;
        let session_id = text(&live.body["data"][0], "id");
        let path = "/admin/usage?group_by=day,model,license,key&tz=Asia/Tokyo";
        let usage = app.operator().get(path).await;
        let row = &usage.body["data"][0];
        assert_eq!(row["license_id"], alice.license_id.as_str(), "{}", usage.text);
        assert_eq!((row["audio_seconds"].as_f64(), row["sessions"].as_i64()), (Some(1.5), Some(1)));
        assert_eq!(usage.body["totals"]["audio_seconds"], 1.5);
        let csv = app.operator().send("GET", path, &[("accept", "text/csv")], String::new()).await;
        let lines: Vec<&str> = csv.text.lines().collect();
        assert_eq!(
            lines[0],
            "day,model,license_id,key_id,audio_seconds,input_tokens,output_tokens,sessions,cached_tokens,reasoning_tokens,requests"
        );
        assert!(lines[1].contains(",1.5,") && lines.len() == 2, "{}", csv.text);
        let events = app.operator().get(&format!("/admin/usage/events?license_id={}", alice.license_id)).await;
        assert_eq!(events.body["data"][0]["session_id"], session_id);
        let ended = send(&app.operator(), "DELETE", &format!("/admin/sessions/{session_id}"), Value::Null).await;
        assert_eq!(ended.body, json!({"id": session_id, "ended": true}));
        assert_eq!(app.operator().get("/admin/stats").await.body["last_24_hours"]["audio_seconds"], 1.5);
        assert_eq!(alice.audio_used().await, 1.5);
        app.operator().post("/admin/usage/reset", &json!({"license_id": alice.license_id})).await;
        assert_eq!(alice.audio_used().await, 0.0);
        assert_eq!(app.operator().get(path).await.body["totals"]["audio_seconds"], 1.5);
    });
}

#[test]
fn every_change_leaves_a_trail() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"label": "a", "metadata": {"private": 1}})).await;
        let id = text(&license, "id");
        send(&app.operator(), "PATCH", &format!("/admin/licenses/{id}"), json!({"label": "b"})).await;
        send(&app.operator(), "POST", &format!("/admin/licenses/{id}/suspend"), Value::Null).await;
        let audit = app.operator().get(&format!("/admin/audit?subject={id}&sort=created_at")).await;
        let entries = audit.body["data"].as_array().unwrap();
        let actions: Vec<&str> = entries.iter().map(|entry| text(entry, "action")).collect();
        assert_eq!(actions, ["license.create", "license.change", "license.suspend"]);
        assert!(entries.iter().all(|entry| !text(entry, "request_id").is_empty()));
        assert!(!audit.text.contains("private") && !audit.text.contains(text(&license, "token")));
    });
}

#[test]
fn a_ticket_opens_one_session() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let answer = alice.api().post("/v1/realtime/sessions", &json!({})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(text(&answer.body, "ws_url").ends_with("/v1/realtime"));
        let ticket = text(&answer.body, "ticket");
        let path = format!("/v1/realtime?model={}&ticket={ticket}", crate::support::customer::MODEL);
        let url = format!("{}{path}", app.url());
        let mut call = crate::support::customer::open(crate::support::customer::upgrade(&url)).await.unwrap();
        call.until("session.created").await;
        call.hang_up().await;
        assert_eq!(crate::support::customer::open(crate::support::customer::upgrade(&url)).await.err(), Some(401));
        let refused = alice.api().post("/v1/realtime/sessions", &json!({"model": "gpt-5"})).await;
        assert_eq!((refused.status, refused.code()), (404, "model_not_found"));
    });
}

#[test]
fn the_first_use_starts_the_clock() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"expires_after_first_use": 3600})).await;
        assert_eq!(license["expires_at"], Value::Null);
        let own = Operator::with_bearer(app.url(), text(&license, "token")).get("/v1/license").await;
        assert!(own.body["expires_at"].is_string(), "{}", own.text);
        let seen = app.operator().get(&format!("/admin/licenses/{}", text(&license, "id"))).await;
        assert_eq!(seen.body["expires_at"], own.body["expires_at"]);
        assert!(seen.body["first_used_at"].is_string());
    });
}

#[test]
fn the_key_set_names_the_tokens_key() {
    on_sqlite(async |app| {
        use base64::Engine as _;
        let license = issued(app, json!({})).await;
        let header = text(&license, "token").split('.').next().unwrap();
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let set = Operator::with_bearer(app.url(), "").get("/.well-known/jwks.json").await;
        assert_eq!(set.body["keys"][0]["kid"], header["kid"]);
        assert_eq!((&header["alg"], &set.body["keys"][0]["crv"]), (&json!("EdDSA"), &json!("Ed25519")));
    });
}
