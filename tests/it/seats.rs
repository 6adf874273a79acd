//! Seats: a license is activated on so many machines, and no more.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores, on_both_stores_with, on_sqlite};
use crate::support::operator::{Answer, Operator};

async fn issued(app: &TestApp, fields: Value) -> Value {
    let answer = app.operator().post("/admin/licenses", &fields).await;
    assert_eq!(answer.status, 201, "{fields}: {}", answer.text);
    answer.body
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// A customer's program.
struct Program(Operator);

impl Program {
    fn new(app: &TestApp, credential: &str) -> Self {
        Self(Operator::with_bearer(app.url(), credential))
    }

    async fn does(&self, action: &str, fingerprint: &str) -> Answer {
        self.0.post(&format!("/v1/licenses/{action}"), &json!({ "fingerprint": fingerprint })).await
    }

    /// `valid` and `code` of a validation, which must answer 200.
    async fn verdict(&self, body: Value) -> (bool, String) {
        let answer = self.0.post("/v1/licenses/validate", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (answer.body["valid"].as_bool().unwrap(), text(&answer.body, "code").to_owned())
    }
}

#[test]
fn a_license_is_activated_on_so_many_machines() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"max_machines": 2, "plan": "trial"})).await;
        let program = Program::new(app, text(&license, "token"));
        let about = |fingerprint: &str| json!({ "fingerprint": fingerprint });
        assert_eq!(program.verdict(json!({})).await, (true, "valid".into()));
        assert_eq!(program.verdict(about("a")).await, (false, "machine_not_activated".into()));
        let first = program.does("activate", "a").await;
        assert_eq!(
            (first.status, &first.body["machines"], &first.body["max_machines"]),
            (201, &json!(1), &json!(2)),
            "{}",
            first.text
        );
        let fields = json!({"fingerprint": "a", "name": "till 1", "metadata": {"os": "x"}});
        let again = program.0.post("/v1/licenses/activate", &fields).await;
        assert_eq!((again.status, &again.body["name"], &again.body["machines"]), (200, &json!("till 1"), &json!(1)));
        assert_eq!(again.body["activated_at"], first.body["activated_at"]);
        assert_eq!(program.does("activate", "b").await.status, 201);
        let third = program.does("activate", "c").await;
        assert_eq!((third.status, third.code()), (403, "machine_limit_exceeded"), "{}", third.text);
        assert_eq!(program.verdict(about("c")).await, (false, "machine_limit_exceeded".into()));
        assert_eq!(program.does("heartbeat", "c").await.code(), "machine_not_activated");
        assert_eq!(program.does("heartbeat", "c").await.status, 404);
        let beat = program.does("heartbeat", "b").await;
        assert_eq!(beat.status, 200, "{}", beat.text);
        let due = text(&beat.body, "heartbeat_due_at").parse::<jiff::Timestamp>().unwrap()
            - text(&beat.body, "last_heartbeat_at").parse::<jiff::Timestamp>().unwrap();
        assert_eq!(due.total(jiff::Unit::Second).unwrap(), 600.0);
        for _ in 0..2 {
            let gone = program.does("deactivate", "a").await;
            assert_eq!(
                (gone.status, &gone.body["deactivated"], &gone.body["machines"]),
                (200, &json!(true), &json!(1))
            );
        }
        assert_eq!(program.does("activate", "c").await.status, 201);
        let answer = program.0.post("/v1/licenses/validate", &about("c")).await.body;
        assert_eq!((&answer["valid"], &answer["machine"]["fingerprint"]), (&json!(true), &json!("c")), "{answer}");
        assert_eq!((&answer["license"]["plan"], &answer["license"]["status"]), (&json!("trial"), &json!("active")));
        let path = format!("/admin/licenses/{}/machines", text(&license, "id"));
        let listed = app.operator().get(&format!("{path}?sort=created_at")).await;
        let names: Vec<&str> =
            listed.body["data"].as_array().unwrap().iter().map(|machine| text(machine, "fingerprint")).collect();
        assert_eq!(names, ["b", "c"]);
        let freed = app.operator().send("DELETE", &format!("{path}/b"), &[], String::new()).await;
        assert_eq!((freed.status, program.verdict(about("b")).await.1), (200, "machine_not_activated".to_owned()));
        // A limit that is lowered is for who came first.
        program.does("activate", "d").await;
        let license_path = format!("/admin/licenses/{}", text(&license, "id"));
        app.operator().send("PATCH", &license_path, &[], json!({"max_machines": 1}).to_string()).await;
        assert_eq!(
            (program.verdict(about("c")).await.0, program.verdict(about("d")).await.1),
            (true, "machine_limit_exceeded".to_owned())
        );
    });
}

#[test]
fn one_of_many_gets_the_last_seat() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"max_machines": 3})).await;
        let program = Program::new(app, text(&license, "token"));
        let machines: Vec<String> = (0..16).map(|number| format!("machine {number}")).collect();
        let answers = join_all(machines.iter().map(|name| program.does("activate", name))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![201; 3], vec![403; 13]].concat());
        let same = join_all((0..8).map(|_| program.does("deactivate", "machine 0"))).await;
        assert!(same.iter().all(|answer| answer.status == 200));
        let listed = app.operator().get(&format!("/admin/licenses/{}/machines", text(&license, "id"))).await;
        assert!(listed.body["data"].as_array().unwrap().len() <= 3);
        let other = issued(app, json!({"max_machines": 1})).await;
        let program = Program::new(app, text(&other, "token"));
        let twins = join_all((0..8).map(|_| program.does("activate", "one"))).await;
        let made = twins.iter().filter(|answer| answer.status == 201).count();
        assert!(made == 1 && twins.iter().all(|answer| answer.status < 300));
    });
}

#[test]
fn whoever_stops_sending_heartbeats_gives_the_seat_up() {
    on_both_stores_with(
        |config| config.licenses.machine_timeout_seconds = 1,
        async |app| {
            let license = issued(app, json!({"max_machines": 2})).await;
            let program = Program::new(app, text(&license, "token"));
            program.does("activate", "silent").await;
            program.does("activate", "beating").await;
            assert_eq!(program.does("heartbeat", "beating").await.status, 200);
            assert_eq!(program.does("activate", "third").await.status, 403);
            let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while program.does("activate", "third").await.status == 403 {
                assert!(std::time::Instant::now() < limit, "a dead machine keeps its seat");
            }
            assert_eq!(program.does("heartbeat", "beating").await.code(), "machine_not_activated");
            let verdict = program.verdict(json!({"fingerprint": "beating"})).await;
            assert_eq!(verdict, (false, "machine_limit_exceeded".into()));
            assert!(program.verdict(json!({"fingerprint": "silent"})).await.0, "it never sent one");
        },
    );
}

#[test]
fn a_verdict_is_always_told() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"expires_after_first_use": 1})).await;
        let (id, token) = (text(&license, "id"), text(&license, "token"));
        for unknown in ["", "nonsense", "sk-lt-abcdefghijkl-abcdefghijklmnopqrstuvwxyz012345", &format!("{token}x")] {
            let answer = Program::new(app, unknown).0.post("/v1/licenses/validate", &json!({"fingerprint": "a"})).await;
            assert_eq!(
                (answer.status, &answer.body["valid"], &answer.body["code"]),
                (200, &json!(false), &json!("invalid_api_key"))
            );
            assert_eq!((&answer.body["license"], answer.body.get("machines")), (&Value::Null, None));
        }
        let program = Program::new(app, token);
        assert!(program.verdict(json!({})).await.0);
        let seen = app.operator().get(&format!("/admin/licenses/{id}")).await.body;
        assert!(seen["first_used_at"].is_string(), "a validation is a use: {seen}");
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while program.verdict(json!({})).await.0 {
            assert!(std::time::Instant::now() < limit, "it does not end");
        }
        assert_eq!(program.verdict(json!({})).await.1, "license_expired");
        assert_eq!(
            (program.does("activate", "a").await.status, program.does("activate", "a").await.code()),
            (401, "license_expired")
        );
        for (action, code) in [("suspend", "license_suspended"), ("revoke", "license_revoked")] {
            app.operator().post(&format!("/admin/licenses/{id}/{action}"), &json!({})).await;
            let answer = program.0.post("/v1/licenses/validate", &json!({"fingerprint": "a"})).await;
            assert_eq!(
                (&answer.body["code"], &answer.body["license"]["id"]),
                (&json!(code), &json!(id)),
                "{}",
                answer.text
            );
        }
        let elsewhere = issued(app, json!({"allowed_ips": ["203.0.113.0/24"]})).await;
        assert_eq!(Program::new(app, text(&elsewhere, "token")).verdict(json!({})).await.1, "ip_not_allowed");
    });
}

#[test]
fn a_key_has_seats_of_its_own() {
    on_both_stores(async |app| {
        let license = issued(app, json!({"max_machines": 3})).await;
        let fields = json!({"license_id": license["id"], "max_machines": 1});
        let key = app.operator().post("/admin/keys", &fields).await.body;
        let (by_key, by_license) = (Program::new(app, text(&key, "key")), Program::new(app, text(&license, "token")));
        assert_eq!(by_license.does("activate", "a").await.status, 201);
        assert_eq!(by_key.does("activate", "b").await.status, 201);
        let refused = by_key.does("activate", "c").await;
        assert_eq!((refused.status, refused.code()), (403, "machine_limit_exceeded"));
        assert_eq!(by_key.does("activate", "a").await.status, 403, "nor does it take over another's");
        let told = by_key.0.post("/v1/licenses/validate", &json!({"fingerprint": "b"})).await.body;
        assert_eq!(
            (&told["valid"], &told["machines"], &told["max_machines"], &told["machine"]["key_id"]),
            (&json!(true), &json!(1), &json!(1), &key["id"])
        );
        assert_eq!(by_license.does("activate", "c").await.status, 201);
        assert_eq!(by_license.does("activate", "d").await.status, 403);
    });
}

#[test]
fn wrong_machines_are_refused_by_name() {
    on_sqlite(async |app| {
        let license = issued(app, json!({})).await;
        let program = Program::new(app, text(&license, "token"));
        let long = "x".repeat(256);
        for (body, param) in [
            (json!({}), "fingerprint"),
            (json!({"fingerprint": ""}), "fingerprint"),
            (json!({"fingerprint": "a\nb"}), "fingerprint"),
            (json!({"fingerprint": long}), "fingerprint"),
            (json!({"fingerprint": 5}), "fingerprint"),
            (json!({"fingerprint": "a", "name": ""}), "name"),
            (json!({"fingerprint": "a", "colour": 1}), "colour"),
            (json!({"fingerprint": "a", "metadata": {"x": "y".repeat(20_000)}}), "metadata"),
        ] {
            for action in ["activate", "deactivate", "heartbeat"] {
                let answer = program.0.post(&format!("/v1/licenses/{action}"), &body).await;
                assert_eq!(
                    (answer.status, &answer.body["error"]["param"]),
                    (400, &json!(param)),
                    "{action}: {}",
                    answer.text
                );
            }
        }
        let widest = "ü".repeat(255);
        assert_eq!(program.does("activate", &widest).await.status, 201);
        assert_eq!(program.does("activate", "a/b?c d").await.status, 201);
        let path = format!("/admin/licenses/{}/machines", text(&license, "id"));
        let freed = app.operator().send("DELETE", &format!("{path}/a%2Fb%3Fc%20d"), &[], String::new()).await;
        assert_eq!(freed.body["fingerprint"], "a/b?c d", "{}", freed.text);
        let left = app.operator().get(&path).await.body["data"].as_array().unwrap().len();
        assert_eq!(left, 1);
        assert_eq!(app.operator().get("/admin/licenses/lic_none/machines").await.status, 404);
        let without = Program::new(app, "").does("activate", "a").await;
        assert_eq!((without.status, without.code()), (401, "invalid_api_key"));
    });
}
