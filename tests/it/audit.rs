//! The audit log: who changed what, from where, before and after, for how long.

use livetranslate::clock;
use livetranslate::config::Config;
use livetranslate::retention;
use livetranslate::store::audit::{self, Entry};
use livetranslate::store::connection::{Location, Store};
use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores, on_both_stores_with};
use crate::support::operator::Answer;

const DAY_US: i64 = 86_400_000_000;

async fn send(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    let from = [("x-forwarded-for", "203.0.113.7"), ("x-request-id", "the-request")];
    app.operator().send(method, path, &from, body.to_string()).await
}

async fn entries(app: &TestApp, query: &str) -> Vec<Value> {
    let answer = app.operator().get(&format!("/admin/audit?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer.body["data"].as_array().unwrap().clone()
}

#[test]
fn a_change_is_kept_with_before_and_after() {
    on_both_stores(async |app| {
        let fields = json!({"label": "a", "rpm_limit": 5, "metadata": {"private": "x"}});
        let license = send(app, "POST", "/admin/licenses", fields).await.body;
        let id = license["id"].as_str().unwrap();
        let path = format!("/admin/licenses/{id}");
        let patch = json!({"label": "b", "rpm_limit": null, "metadata": {"private": "y"}});
        assert_eq!(send(app, "PATCH", &path, patch).await.status, 200);
        for action in ["suspend", "reinstate", "reset-usage", "token", "renew"] {
            let body = if action == "token" { json!({"rotate": true}) } else { json!({}) };
            let answer = send(app, "POST", &format!("{path}/{action}"), body).await;
            assert_eq!(answer.status, 200, "{action}: {}", answer.text);
        }
        let kept = entries(app, &format!("subject={id}&sort=created_at")).await;
        let actions: Vec<&str> = kept.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        let all = ["create", "change", "suspend", "reinstate", "reset_usage", "token", "renew"];
        assert_eq!(actions, all.map(|action| format!("license.{action}")));
        for entry in &kept {
            assert_eq!((&entry["actor"], &entry["address"]), (&json!("operator"), &json!("203.0.113.7")));
            assert_eq!(entry["request_id"], "the-request");
        }
        assert_eq!((&kept[0]["before"], &kept[0]["after"]["label"]), (&Value::Null, &json!("a")));
        assert_eq!(kept[1]["before"], json!({"label": "a", "rpm_limit": 5, "metadata": "not logged"}));
        assert_eq!(kept[1]["after"], json!({"label": "b", "rpm_limit": null, "metadata": "not logged"}));
        assert_eq!(
            (&kept[2]["before"], &kept[2]["after"]),
            (&json!({"status": "active"}), &json!({"status": "suspended"}))
        );
        assert_eq!(kept[5]["detail"], json!({"rotate": true}));
        assert_eq!(kept[6]["before"], json!({"expires_at": null}));
        assert!(kept[6]["after"]["expires_at"].is_string());
        let said = json!(kept).to_string();
        assert!(!said.contains("private") && !said.contains(license["token"].as_str().unwrap()), "{said}");
        // What is refused changes nothing, and so does who knows no key.
        assert_eq!(send(app, "PATCH", &path, json!({"colour": 1})).await.status, 400);
        assert_eq!(entries(app, "").await.len(), kept.len());
    });
}

#[test]
fn accounts_change_without_their_credentials() {
    on_both_stores(async |app| {
        let fields =
            json!({"name": "main", "kind": "openai", "base_url": "http://127.0.0.1:1", "credential": "sk-first"});
        let account = send(app, "POST", "/admin/accounts", fields).await.body;
        let path = format!("/admin/accounts/{}", account["id"].as_str().unwrap());
        send(app, "PATCH", &path, json!({"weight": 7, "credential": "sk-second"})).await;
        send(app, "POST", &format!("{path}/drain"), json!({})).await;
        send(app, "DELETE", &path, json!({})).await;
        let kept = entries(app, "action=account.&sort=created_at").await;
        assert_eq!((&kept[0]["before"], &kept[0]["after"]["name"]), (&Value::Null, &json!("main")));
        assert_eq!(kept[1]["before"], json!({"weight": 1, "credential": "not logged"}));
        assert_eq!(kept[1]["after"], json!({"weight": 7, "credential": "not logged"}));
        assert_eq!(kept[2]["after"], json!({"state": "draining"}));
        assert_eq!((&kept[3]["before"]["weight"], &kept[3]["after"]), (&json!(7), &Value::Null));
        let said = json!(kept).to_string();
        assert!(!said.contains("sk-") && !said.contains("v1."), "{said}");
    });
}

/// An entry of so many days ago.
fn entry(number: usize, action: &str, days_ago: i64) -> Entry {
    Entry {
        id: format!("aud_{number:04}"),
        occurred_at_us: clock::now().as_microsecond() - days_ago * DAY_US,
        actor: "operator".into(),
        action: action.into(),
        subject: format!("lic_{}", number % 3),
        detail: "{}".into(),
        request_id: format!("req-{number}"),
        address: None,
    }
}

#[test]
fn the_list_is_narrowed_and_paged_while_it_grows() {
    on_both_stores(async |app| {
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        let add = |entry: Entry| store.run_blocking(|connection| audit::append(connection, &entry)).unwrap();
        // The clocks of two instances: ids and times need not go together.
        (0..9).for_each(|number| add(entry(number, "license.change", i64::try_from(number).unwrap())));
        add(entry(9, "key.rotate", 3));
        add(entry(10, "license_change", 3));
        let count = async |query: &str| entries(app, query).await.len();
        assert_eq!(count("action=license.change").await, 9);
        assert_eq!((count("action=license.").await, count("action=key.").await, count("action=").await), (9, 1, 0));
        assert_eq!((count("subject=lic_1").await, count("subject=lic_9").await), (4, 0));
        assert_eq!((count("q=ROTATE").await, count("q=req-1").await, count("q=%25").await), (1, 2, 0));
        let day = |days_ago: i64| clock::at(clock::now().as_microsecond() - days_ago * DAY_US).to_string();
        let (start, end) = (day(4).split('T').next().unwrap().to_owned(), day(2).split('T').next().unwrap().to_owned());
        assert_eq!(count(&format!("start={start}&end={end}")).await, 5);
        assert_eq!(count(&format!("start={}", day(0))).await, 0);
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.operator().get(&format!("/admin/audit?limit=2{cursor}")).await.body;
            seen.extend(page["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
            add(entry(100 + seen.len(), "license.change", 0));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let expected = [0, 1, 2, 10, 9, 3, 4, 5, 6, 7, 8].map(|number| format!("aud_{number:04}"));
        assert_eq!(seen.len(), expected.len(), "{seen:?}");
        seen.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(seen, expected, "each once");
        for (query, param) in
            [("status=x", "status"), ("start=x", "start"), ("limit=0", "limit"), ("cursor=x", "cursor")]
        {
            let wrong = app.operator().get(&format!("/admin/audit?{query}")).await;
            assert_eq!((wrong.status, &wrong.body["error"]["param"]), (400, &json!(param)), "{query}");
        }
    });
}

#[test]
fn old_entries_are_forgotten() {
    on_both_stores(async |app| {
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        let fill = |connection: &mut _| {
            (0..1_200).try_for_each(|number| audit::append(connection, &entry(number, "license.change", 31)))?;
            audit::append(connection, &entry(2_000, "license.change", 29))
        };
        store.run_blocking(fill).unwrap();
        let mut config = Config::defaults().unwrap();
        config.store.audit_retention_days = 30;
        assert_eq!(retention::sweep(&store, &config, clock::now()).await.unwrap(), 1_200);
        let left = entries(app, "").await;
        assert_eq!((left.len(), &left[0]["id"]), (1, &json!("aud_2000")));
    });
}

#[test]
fn the_log_can_be_turned_off() {
    on_both_stores_with(
        |config| config.keys.enable_operation_log = false,
        async |app| {
            assert_eq!(send(app, "POST", "/admin/licenses", json!({"label": "a"})).await.status, 201);
            assert!(entries(app, "").await.is_empty());
        },
    );
}
