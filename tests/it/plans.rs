//! Plans: named sets of limits, which licenses take over when they are issued.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::app::{ADMIN_KEY, TestApp, on_both_stores, on_sqlite};
use crate::support::operator::Answer;

async fn send(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.operator().send(method, path, &[], body).await
}

async fn issued(app: &TestApp, fields: Value) -> Value {
    let answer = app.operator().post("/admin/licenses", &fields).await;
    assert_eq!(answer.status, 201, "{fields}: {}", answer.text);
    answer.body
}

/// What the operator's program prints as JSON.
async fn commanded(app: &TestApp, arguments: &[&str]) -> Value {
    let key_file = app.folder().join("admin-key");
    std::fs::write(&key_file, ADMIN_KEY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_livetranslate"));
    command.args(arguments).args(["--json", "--server", &app.url(), "--admin-key-file"]).arg(&key_file);
    command.env_clear().current_dir(app.folder());
    let done = actix_web::rt::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn the_operators_commands_say_the_same() {
    on_sqlite(async |app| {
        let line = [
            "plan",
            "create",
            "gold",
            "--valid-days",
            "9",
            "--audio-seconds",
            "60",
            "--window",
            "1d",
            "--rpm-limit",
            "7",
        ];
        let plan = commanded(app, &line).await;
        assert_eq!((&plan["valid_days"], &plan["budgets"][0]["window"]), (&json!(9), &json!("1d")), "{plan}");
        let changed = commanded(app, &["plan", "change", "gold", "--clear", "rpm_limit", "--max-machines", "2"]).await;
        assert_eq!((&changed["rpm_limit"], &changed["max_machines"]), (&Value::Null, &json!(2)));
        assert_eq!(commanded(app, &["plan", "show", "trial"]).await["builtin"], true);
        assert_eq!(commanded(app, &["plan", "list"]).await["data"].as_array().unwrap().len(), 2);
        let license =
            commanded(app, &["license", "issue", "--plan", "gold", "--scope", "chat", "--allowed-ip", "10.0.0.0/8"])
                .await;
        let id = license["id"].as_str().unwrap();
        assert_eq!((&license["max_machines"], &license["allowed_ips"]), (&json!(2), &json!(["10.0.0.0/8"])));
        assert_eq!(commanded(app, &["license", "machines", id]).await["data"], json!([]));
        assert_eq!(commanded(app, &["license", "release", id, "a/b"]).await["fingerprint"], "a/b");
        let key =
            commanded(app, &["key", "create", "--license", id, "--tokens", "5", "--max-parallel-requests", "1"]).await;
        assert_eq!((&key["budgets"][0]["limit"], &key["max_parallel_requests"]), (&json!(5), &json!(1)));
        let rotated = commanded(app, &["key", "rotate", key["id"].as_str().unwrap(), "--grace", "1h"]).await;
        assert!(rotated["previous_valid_until"].is_string() && rotated["key"] != key["key"]);
        assert_eq!(commanded(app, &["plan", "apply", "gold"]).await["licenses"], 1);
        assert_eq!(commanded(app, &["plan", "delete", "gold"]).await["deleted"], true);
    });
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.body["data"].as_array().unwrap().iter().map(|plan| plan["id"].as_str().unwrap()).collect()
}

fn gold() -> Value {
    json!({"id": "gold", "label": "Gold", "rpm_limit": 600, "max_machines": 3, "models": ["qwen-*"], "valid_days": 10,
        "allowed_ips": ["127.1.1.1/8"], "metadata": {"price": 5}, "budgets": [
            {"unit": "audio_seconds", "limit": 60.5, "window": "1d", "tz": "Asia/Tokyo"},
            {"unit": "tokens", "limit": 1000, "window": "1mo", "mode": "rolling", "soft_limit": 900}]})
}

#[test]
fn a_license_takes_over_what_it_leaves_out() {
    on_both_stores(async |app| {
        let made = app.operator().post("/admin/plans", &gold()).await;
        assert_eq!((made.status, made.header("location")), (201, Some("/admin/plans/gold")), "{}", made.text);
        assert_eq!(
            (&made.body["builtin"], &made.body["tpm_limit"], &made.body["allowed_ips"]),
            (&json!(false), &Value::Null, &json!(["127.0.0.0/8"]))
        );
        let license = issued(app, json!({"plan": "gold", "rpm_limit": 5, "max_machines": null, "label": "mine"})).await;
        assert_eq!(
            (&license["plan"], &license["label"], &license["metadata"]),
            (&json!("gold"), &json!("mine"), &json!({}))
        );
        assert_eq!(
            (&license["rpm_limit"], &license["max_machines"], &license["models"]),
            (&json!(5), &Value::Null, &json!(["qwen-*"]))
        );
        assert_eq!(
            (&license["budgets"][0]["limit"], &license["budgets"][0]["tz"]),
            (&json!(60.5), &json!("Asia/Tokyo"))
        );
        assert_eq!(
            (&license["budgets"][1]["mode"], &license["budgets"][1]["soft_limit"]),
            (&json!("rolling"), &json!(900))
        );
        let days = |license: &Value| {
            let time = |name: &str| license[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            (time("expires_at") - time("created_at")).total(jiff::Unit::Hour).unwrap() / 24.0
        };
        assert_eq!(days(&license), 10.0);
        let endless = issued(app, json!({"plan": "gold", "expires_at": null})).await;
        assert_eq!(endless["expires_at"], Value::Null);
        // A key's license is made with a plan as well; what the plan leaves open is as the settings say.
        let key = app.operator().post("/admin/keys", &json!({"label": "k", "plan": "gold"})).await.body;
        assert_eq!(
            (&key["plan"], &key["rpm_limit"], &key["models"]),
            (&json!("gold"), &json!(600), &json!(["qwen-*"]))
        );
        // The copy is the license's: what becomes of the plan is nothing to it.
        let changed = send(
            app,
            "PATCH",
            "/admin/plans/gold",
            json!({"rpm_limit": null, "max_machines": 9, "metadata": {"price": null, "x": 1}}),
        )
        .await;
        assert_eq!(
            (&changed.body["rpm_limit"], &changed.body["max_machines"], &changed.body["metadata"]),
            (&Value::Null, &json!(9), &json!({"x": 1})),
            "{}",
            changed.text
        );
        let path = format!("/admin/licenses/{}", license["id"].as_str().unwrap());
        assert_eq!(app.operator().get(&path).await.body["rpm_limit"], 5);
        for _ in 0..2 {
            let deleted = send(app, "DELETE", "/admin/plans/gold", Value::Null).await;
            assert_eq!((deleted.status, deleted.body), (200, json!({"id": "gold", "deleted": true})));
        }
        assert_eq!(
            (app.operator().get("/admin/plans/gold").await.status, &app.operator().get(&path).await.body["plan"]),
            (404, &json!("gold"))
        );
        let refused = app.operator().post("/admin/licenses", &json!({"plan": "gold"})).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("plan")));
        let audit = app.operator().get("/admin/audit?subject=gold&sort=created_at").await;
        let actions: Vec<&str> =
            audit.body["data"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["plan.create", "plan.change", "plan.delete"]);
        assert!(!audit.text.contains("price"));
    });
}

#[test]
fn the_trial_can_be_replaced_and_comes_back() {
    on_both_stores(async |app| {
        let audio = async || issued(app, json!({"plan": "trial"})).await["budgets"].clone();
        let builtin = app.operator().get("/admin/plans/trial").await;
        assert_eq!(
            (&builtin.body["builtin"], &builtin.body["valid_days"]),
            (&json!(true), &json!(30)),
            "{}",
            builtin.text
        );
        assert_eq!(audio().await[0]["limit"], 600.0);
        let changed =
            send(app, "PATCH", "/admin/plans/trial", json!({"budgets": [{"unit": "requests", "limit": 3}]})).await;
        assert_eq!(
            (&changed.body["builtin"], &changed.body["valid_days"]),
            (&json!(false), &json!(30)),
            "{}",
            changed.text
        );
        assert_eq!((&audio().await[0]["unit"], audio().await.as_array().unwrap().len()), (&json!("requests"), 1));
        assert_eq!(app.operator().post("/admin/plans", &json!({"id": "trial"})).await.status, 409);
        let key = app.operator().post("/admin/keys", &json!({"label": "k"})).await.body;
        assert_eq!(key["budgets"][0]["unit"], "requests");
        send(app, "DELETE", "/admin/plans/trial", Value::Null).await;
        assert_eq!(audio().await[0]["limit"], 600.0);
        assert_eq!(app.operator().post("/admin/plans", &json!({"id": "trial"})).await.status, 201);
        assert_eq!(audio().await, json!([]));
    });
}

#[test]
fn applied_a_plan_changes_its_active_licenses() {
    on_both_stores(async |app| {
        send(
            app,
            "POST",
            "/admin/plans",
            json!({"id": "team", "rpm_limit": 5, "budgets": [{"unit": "tokens", "limit": 10}]}),
        )
        .await;
        let (mut theirs, other) = (Vec::new(), issued(app, json!({"rpm_limit": 1})).await);
        for _ in 0..103 {
            theirs.push(
                issued(app, json!({"plan": "team", "max_sessions": 4, "expires_at": "2999-01-01T00:00:00Z"})).await,
            );
        }
        let path = |license: &Value| format!("/admin/licenses/{}", license["id"].as_str().unwrap());
        send(app, "POST", &format!("{}/suspend", path(&theirs[0])), Value::Null).await;
        send(
            app,
            "PATCH",
            "/admin/plans/team",
            json!({"rpm_limit": 7, "valid_days": 1, "budgets": [{"unit": "tokens", "limit": 20}]}),
        )
        .await;
        let stale =
            app.operator().send("POST", "/admin/plans/team/apply", &[("if-match", "\"1\"")], String::new()).await;
        assert_eq!((stale.status, stale.code()), (412, "precondition_failed"));
        let applied = send(app, "POST", "/admin/plans/team/apply", Value::Null).await;
        assert_eq!((applied.status, applied.body), (200, json!({"id": "team", "licenses": 102})));
        let now = async |license: &Value| {
            let license = app.operator().get(&path(license)).await.body;
            json!([
                license["rpm_limit"],
                license["max_sessions"],
                license["budgets"][0]["limit"],
                license["expires_at"]
            ])
        };
        assert_eq!(now(&theirs[0]).await, json!([5, 4, 10, "2999-01-01T00:00:00Z"]), "suspended");
        for license in [&theirs[1], &theirs[102]] {
            assert_eq!(now(license).await, json!([7, 4, 20, "2999-01-01T00:00:00Z"]));
        }
        assert_eq!(now(&other).await[0], 1);
        assert_eq!(send(app, "POST", "/admin/plans/none/apply", Value::Null).await.status, 404);
    });
}

#[test]
fn plans_are_listed_by_page_and_checked_by_field() {
    on_both_stores(async |app| {
        for id in ["a", "b_1", "c-2"] {
            assert_eq!(app.operator().post("/admin/plans", &json!({ "id": id })).await.status, 201);
        }
        assert_eq!(ids(&app.operator().get("/admin/plans").await), ["c-2", "b_1", "a", "trial"]);
        assert_eq!(ids(&app.operator().get("/admin/plans?sort=created_at").await), ["trial", "a", "b_1", "c-2"]);
        assert_eq!(ids(&app.operator().get("/admin/plans?q=B_").await), ["b_1"]);
        for sort in ["created_at", "-created_at"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = app.operator().get(&format!("/admin/plans?limit=1&sort={sort}{cursor}")).await;
                seen.extend(ids(&page).into_iter().map(str::to_owned));
                let Some(next) = page.body["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            seen.sort_unstable();
            assert_eq!(seen, ["a", "b_1", "c-2", "trial"], "{sort}");
        }
        for (body, param) in [
            (json!({}), "id"),
            (json!({"id": "Gold"}), "id"),
            (json!({"id": ""}), "id"),
            (json!({"id": "x".repeat(65)}), "id"),
            (json!({"id": "x", "plan": "trial"}), "plan"),
            (json!({"id": "x", "expires_at": null}), "expires_at"),
            (json!({"id": "x", "valid_days": 0}), "valid_days"),
            (json!({"id": "x", "rpm_limit": 0}), "rpm_limit"),
            (json!({"id": "x", "budgets": [{"unit": "tokens", "limit": 1.5}]}), "budgets[0].limit"),
            (json!({"id": "x", "scopes": ["fly"]}), "scopes[0]"),
            (json!({"id": "x", "allowed_ips": ["x"]}), "allowed_ips[0]"),
        ] {
            let refused = app.operator().post("/admin/plans", &body).await;
            assert_eq!(
                (refused.status, &refused.body["error"]["param"]),
                (400, &json!(param)),
                "{body}: {}",
                refused.text
            );
        }
        let refused = send(app, "PATCH", "/admin/plans/a", json!({"colour": null})).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("colour")));
        let tag = app.operator().get("/admin/plans/a").await.header("etag").unwrap().to_owned();
        let tagged = async |method: &str, body: &str| {
            app.operator().send(method, "/admin/plans/a", &[("if-match", tag.as_str())], body.to_owned()).await.status
        };
        assert_eq!(
            (tagged("PATCH", r#"{"rpm_limit":1}"#).await, tagged("PATCH", "{}").await, tagged("DELETE", "").await),
            (200, 412, 412)
        );
        let again = async || {
            app.operator()
                .send("POST", "/admin/plans", &[("idempotency-key", "k")], r#"{"id":"once"}"#.to_owned())
                .await
        };
        assert_eq!((again().await.status, again().await.status), (201, 200));
        assert_eq!(app.operator().post("/admin/plans", &json!({"id": "once"})).await.status, 409);
    });
}
