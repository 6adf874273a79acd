//! `/admin/accounts`: upstream accounts are added, changed, tested, sealed, and known to every instance.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use livetranslate::config::settings::Secret;
use livetranslate::error::Error;
use livetranslate::store::accounts::{self, StoredAccount};
use livetranslate::store::connection::{Location, Store};
use serde_json::{Value, json};

use crate::support::app::{
    ADMIN_KEY, Backend, ENCRYPTION_KEY, TestApp, on_both_stores, on_both_stores_with, on_sqlite, on_sqlite_with,
};
use crate::support::operator::{Answer, Operator};
use crate::support::provider::Provider;

const CREDENTIAL: &str = "sk-upstream-credential-0123456789";
const ANOTHER_KEY: &str = "another-encryption-key-32-signs!";

async fn send(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.operator().send(method, path, &[], body).await
}

async fn added(app: &TestApp, name: &str) -> Value {
    let fields = json!({"name": name, "kind": "openai", "base_url": "http://127.0.0.1:1", "credential": CREDENTIAL});
    let answer = app.operator().post("/admin/accounts", &fields).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.body
}

fn path(account: &Value) -> String {
    format!("/admin/accounts/{}", account["id"].as_str().unwrap())
}

fn stored(app: &TestApp) -> Vec<StoredAccount> {
    let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
    store.run_blocking(accounts::all).unwrap()
}

#[test]
fn an_account_is_added_changed_switched_and_deleted() {
    on_both_stores(async |app| {
        let fields = json!({"name": "main", "kind": "dashscope", "credential": CREDENTIAL, "mode": "native",
            "models": ["qwen*"], "weight": 5, "priority": 2, "max_concurrency": 9});
        let made = app.operator().post("/admin/accounts", &fields).await;
        assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")), "{}", made.text);
        let path = path(&made.body);
        assert_eq!(made.header("location"), Some(path.as_str()));
        assert_eq!(made.body["base_url"], "https://dashscope-intl.aliyuncs.com");
        assert_eq!((&made.body["source"], &made.body["credential_set"]), (&json!("stored"), &json!(true)));
        assert_eq!(made.body["live"]["healthy"], true);
        let twin = app.operator().post("/admin/accounts", &fields).await;
        assert_eq!((twin.status, twin.code()), (409, "conflict"));
        assert!(twin.text.contains("named `main`"), "{}", twin.text);
        let patch = json!({"max_concurrency": null, "models": null, "mode": null, "priority": null, "weight": 7});
        let changed = send(app, "PATCH", &path, patch).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!((&changed.body["max_concurrency"], &changed.body["models"]), (&Value::Null, &json!([])));
        assert_eq!((&changed.body["mode"], &changed.body["priority"]), (&json!("compatible"), &json!(0)));
        assert_eq!((&changed.body["weight"], &changed.body["name"]), (&json!(7), &json!("main")));
        for (action, state) in [("drain", "draining"), ("disable", "disabled"), ("disable", "disabled")] {
            let switched = send(app, "POST", &format!("{path}/{action}"), Value::Null).await;
            assert_eq!((switched.status, &switched.body["state"]), (200, &json!(state)));
        }
        assert_eq!(app.operator().get("/admin/accounts?status=disabled").await.body["data"][0]["name"], "main");
        assert_eq!(send(app, "POST", &format!("{path}/enable"), Value::Null).await.body["state"], "enabled");
        for _ in 0..2 {
            let deleted = send(app, "DELETE", &path, Value::Null).await;
            assert_eq!((deleted.status, &deleted.body["deleted"]), (200, &json!(true)));
        }
        assert_eq!(app.operator().get(&path).await.status, 404);
        assert_eq!(send(app, "POST", &format!("{path}/drain"), Value::Null).await.status, 404);
        assert_eq!(send(app, "DELETE", "/admin/accounts/x", Value::Null).await.status, 404);
        let audit = app.operator().get("/admin/audit").await;
        let actions = audit.body["data"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap());
        let all = ["delete", "enable", "disable", "drain", "change", "create"];
        assert_eq!(actions.collect::<Vec<_>>(), all.map(|action| format!("account.{action}")));
    });
}

#[test]
fn a_credential_is_kept_sealed_and_shown_to_nobody() {
    on_both_stores(async |app| {
        let account = added(app, "main").await;
        let patched = send(app, "PATCH", &path(&account), json!({"credential": "sk-second-credential"})).await;
        assert_eq!(patched.status, 200, "{}", patched.text);
        let tested = send(app, "POST", &format!("{}/test", path(&account)), Value::Null).await;
        assert_eq!((tested.status, &tested.body["ok"], &tested.body["status"]), (200, &json!(false), &Value::Null));
        let refused = send(app, "PATCH", &path(&account), json!({"credential": "sk refused"})).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("credential")));
        let mut said = account.to_string() + &patched.text + &tested.text + &refused.text;
        for path in ["/admin/accounts", "/admin/audit", "/metrics"] {
            said += &app.operator().get(path).await.text;
        }
        let rows = stored(app);
        said += &format!("{rows:?}");
        for secret in [CREDENTIAL, "sk-second-credential", "sk refused"] {
            assert!(!said.contains(secret), "{said}");
        }
        let sealed = rows.iter().find(|row| row.name == "main").unwrap().sealed_credential.as_deref().unwrap();
        assert!(sealed.starts_with("v1."), "{sealed}");
    });
}

#[test]
fn a_credential_is_never_logged() {
    actix_web::rt::System::new().block_on(async {
        let provider = Provider::start(CREDENTIAL).await;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("stderr");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut program = Command::new(env!("CARGO_BIN_EXE_livetranslate"));
        program.arg("serve").env_clear().current_dir(folder.path()).stderr(std::fs::File::create(&log).unwrap());
        program.env("SERVER_PORT", port.to_string()).env("ADMIN_KEY", ADMIN_KEY).env("LOG_LEVEL", "trace");
        let mut gateway = program.spawn().unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let operator = Operator::with_bearer(format!("http://127.0.0.1:{port}"), ADMIN_KEY);
        for kind in ["openai", "anthropic"] {
            let fields = json!({"name": kind, "kind": kind, "credential": CREDENTIAL, "base_url": provider.url});
            let account = operator.post("/admin/accounts", &fields).await.body;
            let tested = operator.post(&format!("{}/test", path(&account)), &json!({})).await;
            assert_eq!(tested.body["ok"], true, "{}", tested.text);
        }
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        let said = std::fs::read_to_string(log).unwrap();
        assert!(said.contains("/admin/accounts/{id}/test"), "{said}");
        assert!(!said.contains(CREDENTIAL), "{said}");
    });
}

#[test]
fn lists_are_paged_and_narrowed_and_repeats_make_nothing_twice() {
    on_both_stores(async |app| {
        for name in ["one", "two", "three"] {
            added(app, name).await;
        }
        let names = |answer: &Answer| {
            let data = answer.body["data"].as_array().unwrap().iter();
            data.map(|account| account["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let first = app.operator().get("/admin/accounts?limit=2").await;
        assert_eq!((names(&first), &first.body["has_more"]), (vec!["three".into(), "two".into()], &json!(true)));
        let cursor = first.body["next_cursor"].as_str().unwrap();
        let second = app.operator().get(&format!("/admin/accounts?limit=2&cursor={cursor}")).await;
        assert_eq!(names(&second), ["one", "env-dashscope"]);
        assert_eq!(names(&app.operator().get("/admin/accounts?q=TW&sort=created_at").await), ["two"]);
        for (query, param) in [("status=active", "status"), ("colour=red", "colour")] {
            let wrong = app.operator().get(&format!("/admin/accounts?{query}")).await;
            assert_eq!((wrong.status, &wrong.body["error"]["param"]), (400, &json!(param)));
        }
        let again = async |name: &str| {
            let fields = json!({"name": name, "kind": "anthropic", "credential": CREDENTIAL});
            app.operator().send("POST", "/admin/accounts", &[("idempotency-key", "k")], fields.to_string()).await
        };
        let (made, repeated) = (again("four").await, again("four").await);
        assert_eq!((made.status, repeated.status), (201, 200), "{}", repeated.text);
        assert_eq!(made.body["id"], repeated.body["id"]);
        assert_eq!(again("five").await.status, 409);
    });
}

#[test]
fn the_environments_keys_are_the_first_accounts() {
    let settings = |config: &mut livetranslate::config::Config| {
        config.upstream.anthropic_api_key = Some(Secret::new("sk-ant-environment"));
    };
    on_both_stores_with(settings, async |app| {
        let listed = app.operator().get("/admin/accounts?sort=created_at").await;
        let of = |index: usize, name: &str| listed.body["data"][index][name].clone();
        assert_eq!((of(0, "id"), of(1, "id")), (json!("env-anthropic"), json!("env-dashscope")));
        assert_eq!((of(0, "base_url"), of(0, "source")), (json!("https://api.anthropic.com"), json!("environment")));
        assert!(!listed.text.contains("sk-ant-environment"));
        let path = "/admin/accounts/env-anthropic";
        let patch =
            json!({"weight": 9, "priority": 3, "models": ["claude-*"], "max_concurrency": 4, "state": "disabled"});
        let changed = send(app, "PATCH", path, patch.clone()).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        for field in ["credential", "base_url", "name", "kind"] {
            let refused = send(app, "PATCH", path, json!({ field: "https://x.example" })).await;
            assert_eq!((refused.status, refused.code()), (409, "conflict"), "{field}");
            assert!(refused.text.contains("environment: change ANTHROPIC_"), "{}", refused.text);
        }
        let refused = send(app, "DELETE", path, Value::Null).await;
        assert_eq!((refused.status, refused.code()), (409, "conflict"));
        // What was changed outlives the process; without its key the account is gone.
        let next = app.start_beside(settings).await;
        let kept = next.operator().get(path).await;
        for (name, value) in patch.as_object().unwrap() {
            assert_eq!(kept.body[name], *value, "{name}");
        }
        next.stop().await;
        let without = app.start_beside(|_| {}).await;
        assert_eq!(without.operator().get(path).await.status, 404);
        assert_eq!(without.operator().get("/admin/accounts").await.body["data"].as_array().unwrap().len(), 1);
        without.stop().await;
    });
}

#[test]
fn a_test_asks_the_provider() {
    on_sqlite(async |app| {
        let provider = Provider::start(CREDENTIAL).await;
        for (kind, line) in [
            ("dashscope", "GET /compatible-mode/v1/models HTTP/1.1"),
            ("openai", "GET /v1/models HTTP/1.1"),
            ("anthropic", "GET /v1/models HTTP/1.1"),
        ] {
            let fields = json!({"name": kind, "kind": kind, "credential": CREDENTIAL, "base_url": provider.url});
            let account = app.operator().post("/admin/accounts", &fields).await.body;
            let test = async || send(app, "POST", &format!("{}/test", path(&account)), Value::Null).await;
            let found = test().await;
            assert_eq!((&found.body["ok"], &found.body["status"]), (&json!(true), &json!(200)), "{}", found.text);
            assert_eq!(provider.asked.borrow().last().map(String::as_str), Some(line));
            send(app, "PATCH", &path(&account), json!({"credential": "sk-wrong"})).await;
            let found = test().await;
            assert_eq!((&found.body["ok"], &found.body["status"]), (&json!(false), &json!(401)), "{}", found.text);
            assert!(found.text.contains("refuses the credential"), "{}", found.text);
        }
        assert_eq!(send(app, "POST", "/admin/accounts/acc_none/test", Value::Null).await.status, 404);
    });
}

#[test]
fn another_instance_learns_soon() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        actix_web::rt::System::new().block_on(async {
            let first = TestApp::start(backend, |_| {}).await;
            let second = first.start_beside(|_| {}).await;
            let account = added(&first, "main").await;
            let available = "livetranslate_account_available{account=\"main\"}";
            learned(&second, |text| text.contains(&format!("{available} 1"))).await;
            send(&first, "POST", &format!("{}/disable", path(&account)), Value::Null).await;
            learned(&second, |text| text.contains(&format!("{available} 0"))).await;
            send(&first, "DELETE", &path(&account), Value::Null).await;
            learned(&second, |text| !text.contains("account=\"main\"")).await;
            second.stop().await;
            first.stop().await;
        });
    }
}

/// The figures must come to look so: within 2 s, and what a busy machine adds.
async fn learned(app: &TestApp, looks_so: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = app.operator().get("/metrics").await.text;
        if looks_so(&text) {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn without_a_key_nothing_is_stored() {
    on_sqlite_with(
        |config| config.secrets.encryption_key = None,
        async |app| {
            let fields = json!({"name": "main", "kind": "anthropic", "credential": CREDENTIAL});
            let refused = app.operator().post("/admin/accounts", &fields).await;
            assert_eq!((refused.status, refused.code()), (409, "conflict"));
            assert!(refused.text.contains("ENCRYPTION_KEY is not set: make one with `openssl rand -hex 16`"));
            let own = send(app, "PATCH", "/admin/accounts/env-dashscope", json!({"weight": 3})).await;
            assert_eq!((own.status, &own.body["weight"]), (200, &json!(3)), "all else works");
        },
    );
}

#[test]
fn a_new_key_takes_over_from_the_previous_one() {
    on_both_stores(async |app| {
        added(app, "main").await;
        let before = stored(app);
        let next = app
            .start_beside(|config| {
                config.secrets.encryption_key = Some(Secret::new(ANOTHER_KEY));
                config.secrets.encryption_key_previous = Some(Secret::new(ENCRYPTION_KEY));
            })
            .await;
        next.stop().await;
        let after = stored(app);
        assert_ne!(before, after, "it was sealed anew");
        // The first instance can't open it any more, and goes on with what it knows.
        let account = added(app, "second").await;
        assert_eq!(account["live"]["healthy"], true);
        let listed = app.operator().get("/admin/accounts?q=main").await;
        assert_eq!(listed.body["data"][0]["live"]["healthy"], true, "{}", listed.text);
        send(app, "DELETE", &path(&account), Value::Null).await;
        let last = app.start_beside(|config| config.secrets.encryption_key = Some(Secret::new(ANOTHER_KEY))).await;
        last.stop().await;
    });
}

/// `livetranslate` on a store, as in production, with this key: exit code and what it said.
fn started(app: &TestApp, command: &str, encryption_key: Option<&str>) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_livetranslate"));
    program.arg(command).env_clear().current_dir(folder.path());
    program.env("LIVETRANSLATE_ENV", "production").env("DATABASE_URL", app.store_url()).env("SERVER_PORT", "0");
    program.env("SECRET_KEY", "k3JxQm9ZtW7cVb2NsR5yHd8LfP0aGuE4").env("ADMIN_KEY", ADMIN_KEY);
    program.envs(encryption_key.map(|key| ("ENCRYPTION_KEY", key)));
    let Output { status, stdout, stderr } = program.output().unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code(), said)
}

#[test]
fn a_wrong_key_is_found_at_start() {
    on_both_stores(async |app| {
        let account = added(app, "main").await;
        let (id, other) = (account["id"].as_str().unwrap(), "k3JxQm9ZtW7cVb2NsR5yHd8LfP0aGuE5");
        let remedy = format!("DELETE FROM accounts WHERE id = '{id}'");
        for (key, sentence) in [
            (Some(other), "the credential of the account `main` was sealed with another ENCRYPTION_KEY"),
            (None, "ENCRYPTION_KEY is not set: set the key that it was sealed with"),
        ] {
            let (code, said) = started(app, "serve", key);
            assert_eq!(code, Some(78), "{said}");
            assert!(said.contains(sentence) && said.contains(&remedy), "{said}");
            let (_, said) = started(app, "doctor", key);
            assert!(said.contains("mend  accounts") && said.contains(sentence), "{said}");
        }
        let (_, said) = started(app, "doctor", Some(ENCRYPTION_KEY));
        assert!(said.contains("ok    accounts  the credentials of 1 in the store can be opened"), "{said}");
    });
}

#[test]
fn there_are_five_hundred_at_most() {
    on_sqlite(async |app| {
        added(app, "first").await;
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        let row = stored(app).into_iter().find(|row| row.name == "first").unwrap();
        let fill = |connection: &mut _| {
            (2..500).try_for_each(|number| {
                let (id, name) = (format!("acc_{number}"), format!("number {number}"));
                accounts::insert(connection, &StoredAccount { id, name, ..row.clone() })
            })
        };
        store.run_blocking(fill).unwrap();
        let fields = json!({"name": "one more", "kind": "anthropic", "credential": CREDENTIAL});
        let refused = app.operator().post("/admin/accounts", &fields).await;
        assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.text);
    });
}

#[test]
fn what_names_twice_is_refused_by_the_store_too() {
    on_both_stores(async |app| {
        added(app, "main").await;
        let row = stored(app).into_iter().find(|row| row.name == "main").unwrap();
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        let twin = StoredAccount { id: "acc_twin".to_owned(), ..row };
        let refused = store.run_blocking(|connection| accounts::insert(connection, &twin));
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    });
}
