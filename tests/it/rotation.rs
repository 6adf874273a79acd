//! Secrets that are replaced: what the old ones made goes on while both are there.

use livetranslate::config::Config;
use livetranslate::config::settings::Secret;
use livetranslate::store::accounts::{self, StoredAccount};
use livetranslate::store::connection::{Location, Store};
use serde_json::{Value, json};

use crate::support::app::{ENCRYPTION_KEY, TestApp, on_both_stores};
use crate::support::operator::{Answer, Operator};

const NEW_ENCRYPTION_KEY: &str = "another-encryption-key-32-signs!";
const NEW_SECRET_KEY: &str = "another-secret-key-for-tests-0123456789";

fn store(app: &TestApp) -> Store {
    Store::open(Location::parse(app.store_url()).unwrap()).unwrap()
}

fn sealed(app: &TestApp) -> Vec<StoredAccount> {
    let mut rows = store(app).run_blocking(accounts::all).unwrap();
    rows.retain(|row| row.sealed_credential.is_some());
    rows
}

async fn add(app: &TestApp, name: &str) -> Answer {
    let fields = json!({"name": name, "kind": "anthropic", "credential": "sk-upstream-credential"});
    let answer = app.operator().post("/admin/accounts", &fields).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer
}

/// A gateway with the new ENCRYPTION_KEY and the old one.
fn both(config: &mut Config) {
    config.secrets.encryption_key = Some(Secret::new(NEW_ENCRYPTION_KEY));
    config.secrets.encryption_key_previous = Some(Secret::new(ENCRYPTION_KEY));
}

#[test]
fn credentials_are_sealed_anew_by_one_command_that_may_be_broken_off() {
    on_both_stores(async |app| {
        let next = app.start_beside(both).await;
        // An instance that has the old key alone adds accounts while the new one is brought in.
        for name in ["one", "two", "three"] {
            add(app, name).await;
        }
        let before = sealed(app);
        let reseal = async || next.operator().post("/admin/accounts/reseal", &json!({})).await;
        // As if it had been broken off: the first is done, and one is damaged.
        let done = reseal().await;
        assert_eq!(done.body, json!({"resealed": 3, "already": 0, "failed": []}), "{}", done.text);
        let damaged = before[1].sealed_credential.as_deref().unwrap();
        let damaged = format!("{}AAAA", &damaged[..damaged.len() - 4]);
        let write = |connection: &mut _| {
            accounts::write(connection, &before[0])?;
            accounts::write(
                connection,
                &StoredAccount { sealed_credential: Some(damaged.clone()), ..before[1].clone() },
            )
        };
        store(app).run_blocking(write).unwrap();
        let again = reseal().await;
        assert_eq!((&again.body["resealed"], &again.body["already"]), (&json!(1), &json!(1)), "{}", again.text);
        assert_eq!(again.body["failed"][0]["id"], before[1].id.as_str());
        assert!(again.body["failed"][0]["reason"].as_str().unwrap().contains("restore a backup"), "{}", again.text);
        store(app).run_blocking(|connection| accounts::write(connection, &before[1])).unwrap();
        assert_eq!(reseal().await.body, json!({"resealed": 1, "already": 2, "failed": []}));
        assert_eq!(reseal().await.body, json!({"resealed": 0, "already": 3, "failed": []}));
        let after = sealed(app);
        let seals = |rows: &[StoredAccount]| rows.iter().map(|row| row.sealed_credential.clone()).collect::<Vec<_>>();
        assert!(seals(&before).iter().all(|old| !seals(&after).contains(old)));
        let audit = next.operator().get("/admin/audit?action=account.reseal").await;
        assert_eq!(audit.body["data"].as_array().unwrap().len(), 5);
        assert_eq!(audit.body["data"][0]["after"], json!({"credential": "not logged"}));
        next.stop().await;
        // The old key can be given up.
        let last =
            app.start_beside(|config| config.secrets.encryption_key = Some(Secret::new(NEW_ENCRYPTION_KEY))).await;
        let listed = last.operator().get("/admin/accounts?q=o").await;
        assert!(listed.body["data"].as_array().unwrap().iter().all(|account| account["live"].is_object()));
        last.stop().await;
    });
}

#[test]
fn an_account_that_changes_meanwhile_keeps_its_new_credential() {
    on_both_stores(async |app| {
        add(app, "main").await;
        let row = sealed(app).remove(0);
        let (id, seen) = (row.id.clone(), row.sealed_credential.clone().unwrap());
        let newer = StoredAccount { sealed_credential: Some("v1.newer.seal".to_owned()), ..row };
        let race = |connection: &mut _| {
            accounts::write(connection, &newer)?;
            accounts::reseal(connection, &id, &seen, "v1.older.credential")
        };
        assert!(!store(app).run_blocking(race).unwrap());
        assert_eq!(sealed(app)[0].sealed_credential.as_deref(), Some("v1.newer.seal"));
        store(app).run_blocking(|connection| accounts::delete(connection, &id)).unwrap();
    });
}

/// What a license's own page answers to a token.
async fn status(app: &TestApp, token: &str) -> u16 {
    Operator::with_bearer(app.url(), token).get("/v1/license").await.status
}

async fn issued(app: &TestApp) -> Value {
    app.operator().post("/admin/licenses", &json!({"plan": "trial"})).await.body
}

#[test]
fn licenses_of_the_previous_secret_key_go_on() {
    on_both_stores(async |app| {
        let old = issued(app).await;
        let old_token = old["token"].as_str().unwrap();
        let first = app
            .start_beside(|config| {
                config.secrets.secret_key_previous = config.secrets.secret_key.take();
                config.secrets.secret_key = Some(Secret::new(NEW_SECRET_KEY));
            })
            .await;
        let set = Operator::with_bearer(first.url(), "").get("/.well-known/jwks.json").await;
        let kids: Vec<&Value> = set.body["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        let kid = |token: &str| {
            use base64::Engine as _;
            let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
            serde_json::from_slice::<Value>(&header.unwrap()).unwrap()["kid"].clone()
        };
        let new = issued(&first).await;
        let new_token = new["token"].as_str().unwrap();
        assert_eq!(kids, [&kid(new_token), &kid(old_token)], "{}", set.text);
        assert_eq!((status(&first, old_token).await, status(&first, new_token).await), (200, 200));
        // A token that is asked for again is signed with the new key, and outlives the old one.
        let path = format!("/admin/licenses/{}/token", old["id"].as_str().unwrap());
        let renewed = first.operator().post(&path, &json!({})).await;
        let renewed = renewed.body["token"].as_str().unwrap();
        first.stop().await;
        let last = app.start_beside(|config| config.secrets.secret_key = Some(Secret::new(NEW_SECRET_KEY))).await;
        assert_eq!((status(&last, old_token).await, status(&last, renewed).await), (401, 200));
        last.stop().await;
    });
}
