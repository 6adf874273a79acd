//! Backups: of either store, into either store, while a gateway serves; what can't be restored changes nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::RunQueryDsl as _;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use livetranslate::config::settings::Secret;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::{backup, migrate};
use serde_json::{Value, json};

use crate::support::app::{Backend, TestApp, on_both_stores, on_sqlite_with};
use crate::support::caller::Caller;
use crate::support::ledger::execute;
use crate::support::operator::{Answer, Operator};
use crate::support::postgres::Database;

/// Runs the program on a store: exit code and what it said.
fn run(arguments: &[&str], store_url: &str, data_dir: &Path) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_livetranslate"));
    program.args(arguments).env_clear().env("DATABASE_URL", store_url).env("DATA_DIR", data_dir);
    let done = program.current_dir(std::env::temp_dir()).output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (done.status.code(), said)
}

/// Where backups are restored to.
struct Target {
    folder: tempfile::TempDir,
    _database: Option<Database>,
    url: String,
}

impl Target {
    fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = matches!(backend, Backend::Postgres).then(Database::empty);
        let url = match &database {
            Some(database) => database.url.clone(),
            None => folder.path().join("restored.db").to_string_lossy().into_owned(),
        };
        Self { folder, _database: database, url }
    }

    fn restore(&self, file: &Path, force: bool) -> (Option<i32>, String) {
        let mut arguments = vec!["restore", file.to_str().unwrap()];
        arguments.extend(force.then_some("--force"));
        run(&arguments, &self.url, &self.folder.path().join("data"))
    }

    fn store(&self) -> Store {
        Store::open(Location::parse(&self.url).unwrap()).unwrap()
    }

    /// A gateway on it.
    async fn start(&self) -> TestApp {
        TestApp::start(Backend::Sqlite, |config| config.store.url = Secret::new(self.url.as_str())).await
    }
}

/// What the operator sees of everything.
async fn view(app: &TestApp) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in [
        "/admin/licenses?sort=created_at",
        "/admin/keys?sort=created_at",
        "/admin/accounts?q=main",
        "/admin/usage?group_by=model,license,key",
        "/admin/usage/events?sort=created_at",
        "/admin/audit?sort=created_at",
    ] {
        let mut answer = app.operator().get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        for row in answer.body["data"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("live");
            // What is held for calls here is free elsewhere.
            for budget in row["budgets"].as_array_mut().into_iter().flatten() {
                budget.as_object_mut().unwrap().retain(|name, _| name != "reserved" && name != "remaining");
            }
        }
        seen.push(answer.body["data"].clone());
    }
    seen
}

fn token(answer: &Answer, name: &str) -> String {
    answer.body[name].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

#[test]
fn a_backup_of_either_store_is_restored_into_either() {
    for (from, to) in [
        (Backend::Sqlite, Backend::Sqlite),
        (Backend::Sqlite, Backend::Postgres),
        (Backend::Postgres, Backend::Sqlite),
        (Backend::Postgres, Backend::Postgres),
    ] {
        actix_web::rt::System::new().block_on(async {
            let app = TestApp::start(from, |_| {}).await;
            let alice = app.licensee(60.0).await;
            let odd = json!({"label": "Ø'\"\\ \u{1F600} null", "rpm_limit": 999_999,
                "metadata": {"a": [1, 2.5, "\n\t"]}, "budgets": [{"unit": "tokens", "limit": 100_000, "window": "1mo"}]});
            let bob = app.operator().post("/admin/licenses", &odd).await;
            let key = app.operator().post("/admin/keys", &json!({"label": "own license"})).await;
            app.operator().post("/admin/keys", &json!({"license_id": bob.body["id"]})).await;
            let account = json!({"name": "main", "kind": "anthropic", "credential": "sk-upstream-credential"});
            app.operator().post("/admin/accounts", &account).await;
            let mut call = alice.dial().await;
            call.audio(1_500, 3_000).await;
            call.finish().await;
            app.settled().await;
            let question = Caller::question("How are you?");
            let answered = Caller::new(app.url(), &token(&bob, "token")).post("/v1/chat/completions", &question).await;
            assert_eq!(answered.status, 200, "{}", answered.text);
            app.calls_ended().await;
            // More than a JSON number of JavaScript's holds.
            let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
            execute(&store, "UPDATE budgets SET limit_units = 9007199254740993 WHERE unit = 'tokens'");
            let before = view(&app).await;
            let file = app.folder().join("central.backup");
            let (code, said) = run(&["backup", file.to_str().unwrap()], app.store_url(), &app.folder().join("other"));
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains("rows of the ") && said.contains("keep SECRET_KEY"), "{said}");
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            for secret in [token(&bob, "token"), token(&key, "key"), "sk-upstream-credential".to_owned()] {
                let bytes = std::fs::read(&file).unwrap();
                assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
            }
            let target = Target::new(to);
            let (code, said) = target.restore(&file, false);
            assert_eq!(code, Some(0), "{from:?} to {to:?}: {said}");
            assert!(said.starts_with("restored "), "{said}");
            let restored = target.start().await;
            assert_eq!(view(&restored).await, before, "{from:?} to {to:?}");
            let licenses = restored.operator().get("/admin/licenses").await;
            for license in licenses.body["data"].as_array().unwrap() {
                let mut budgets = license["budgets"].as_array().unwrap().iter();
                assert!(budgets.all(|budget| budget["reserved"].as_f64() == Some(0.0)), "{license}");
            }
            for credential in [token(&bob, "token"), token(&key, "key"), alice.token.clone()] {
                let own = Operator::with_bearer(restored.url(), &credential).get("/v1/license").await;
                assert_eq!(own.status, 200, "{}", own.text);
            }
            restored.stop().await;
            app.stop().await;
        });
    }
}

#[test]
fn what_live_sessions_hold_is_free_after_a_restore() {
    for from in [Backend::Sqlite, Backend::Postgres] {
        actix_web::rt::System::new().block_on(async {
            let app = TestApp::start(from, |_| {}).await;
            let alice = app.licensee(60.0).await;
            let mut call = alice.dial().await;
            call.until("session.created").await;
            call.audio(2_000, 0).await;
            let path = format!("/admin/licenses/{}", alice.license_id);
            let budget = async |app: &TestApp| app.operator().get(&path).await.body["budgets"][0].clone();
            // Until the keeper has written what was spoken.
            while budget(&app).await["used"].as_f64().unwrap() < 2.0 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert!(budget(&app).await["reserved"].as_f64().unwrap() > 0.0);
            let made = app.operator().post("/admin/backups", &json!({})).await;
            assert_eq!(made.status, 201, "{}", made.text);
            let file = kept(&app, &made.body);
            for to in [Backend::Sqlite, Backend::Postgres] {
                let target = Target::new(to);
                let (code, said) = target.restore(&file, false);
                assert_eq!(code, Some(0), "{said}");
                let restored = target.start().await;
                let left = budget(&restored).await;
                assert_eq!((left["used"].as_f64(), left["reserved"].as_f64()), (Some(2.0), Some(0.0)), "{left}");
                assert_eq!(restored.operator().get("/admin/sessions").await.body["data"], json!([]));
                let usage = restored.operator().get("/admin/usage").await;
                assert_eq!(usage.body["totals"]["audio_seconds"], 2.0, "what was booked is recorded: {}", usage.text);
                restored.stop().await;
            }
            call.hang_up().await;
            app.stop().await;
        });
    }
}

/// Where an instance keeps a backup.
fn kept(app: &TestApp, made: &Value) -> PathBuf {
    let name = format!("{}.{}.db", made["id"].as_str().unwrap(), made["store"].as_str().unwrap());
    app.folder().join("data/backups").join(name)
}

#[test]
fn the_operator_makes_lists_and_deletes_backups() {
    on_both_stores(async |app| {
        let operator = app.operator();
        let make =
            async |key: &str| operator.send("POST", "/admin/backups", &[("idempotency-key", key)], String::new()).await;
        let (first, again, second) = (make("one").await, make("one").await, make("two").await);
        assert_eq!((first.status, again.status, second.status), (201, 200, 201), "{}", again.text);
        assert_eq!(first.body, again.body);
        let path = format!("/admin/backups/{}", first.body["id"].as_str().unwrap());
        assert_eq!(first.header("location"), Some(path.as_str()));
        let file = kept(app, &first.body);
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!(
            (metadata.permissions().mode() & 0o777, json!(metadata.len())),
            (0o600, first.body["bytes"].clone())
        );
        assert_eq!(operator.get(&path).await.body, first.body);
        let page = operator.get("/admin/backups?limit=1").await.body;
        assert_eq!((&page["data"], &page["has_more"]), (&json!([second.body]), &json!(true)));
        let cursor = page["next_cursor"].as_str().unwrap();
        let rest = operator.get(&format!("/admin/backups?limit=1&cursor={cursor}")).await.body;
        assert_eq!((&rest["data"], &rest["has_more"]), (&json!([first.body]), &json!(false)));
        for _ in 0..2 {
            let gone = operator.send("DELETE", &path, &[], String::new()).await;
            assert_eq!((gone.status, &gone.body["deleted"]), (200, &json!(true)));
        }
        assert!(!file.exists());
        assert_eq!(operator.get(&path).await.status, 404);
        for wrong in ["..%2Fsecrets.toml", "bak_1", "lock"] {
            for method in ["GET", "DELETE"] {
                let answer = operator.send(method, &format!("/admin/backups/{wrong}"), &[], String::new()).await;
                assert_eq!((answer.status, answer.code()), (404, "not_found"), "{method} {wrong}");
            }
        }
        let strange = operator.post("/admin/backups", &json!({"name": "x"})).await;
        assert_eq!((strange.status, &strange.body["error"]["param"]), (400, &json!("name")));
        let strange = operator.get("/admin/backups?status=x").await;
        assert_eq!((strange.status, &strange.body["error"]["param"]), (400, &json!("status")));
        let audit = operator.get("/admin/audit?action=backup.&sort=created_at").await;
        let actions: Vec<&str> =
            audit.body["data"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["backup.create", "backup.create", "backup.delete"]);
    });
}

#[test]
fn a_repeat_lets_no_backup_go() {
    on_both_stores(async |app| {
        let operator = app.operator();
        let make =
            async |key: &str| operator.send("POST", "/admin/backups", &[("idempotency-key", key)], String::new()).await;
        let first = make("one").await;
        let file = kept(app, &first.body);
        let copy = || file.with_file_name(format!("{}.copy.db", livetranslate::ids::backup()));
        for _ in 1..livetranslate::store::backups::MOST {
            std::fs::copy(&file, copy()).unwrap();
        }
        let again = make("one").await;
        assert_eq!((again.status, &again.body), (200, &first.body), "{}", again.text);
        assert!(file.exists());
        assert_eq!(make("two").await.status, 201);
        assert!(!file.exists(), "a new one lets the oldest go");
        assert_eq!(make("one").await.status, 404);
    });
}

#[test]
fn a_backup_needs_room() {
    let narrow = |config: &mut livetranslate::config::Config| config.store.disk_margin_bytes = 1 << 60;
    on_sqlite_with(narrow, async |app| {
        let refused = app.operator().post("/admin/backups", &json!({})).await;
        assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.text);
        assert!(refused.text.contains("make room"), "{}", refused.text);
        assert_eq!(app.operator().get("/admin/backups").await.body["data"], json!([]));
    });
}

/// A migrated store with one license, and a backup of it.
fn small() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Location::Sqlite(folder.path().join("x.db"))).unwrap();
    store.run_blocking(migrate::run).unwrap();
    execute(&store, &license("lic"));
    let file = folder.path().join("small.backup");
    store.run_blocking(|connection| backup::write(connection, &file, 7, 0)).unwrap();
    (folder, file)
}

fn license(id: &str) -> String {
    format!(
        "INSERT INTO licenses (id, token_id, status, scopes, models, allowed_ips, limits, metadata, created_at_us, \
         updated_at_us) VALUES ('{id}', 't', 'active', '[]', '[]', '[]', '{{}}', '{{}}', 0, 0)"
    )
}

/// Runs statements on a backup's file.
fn tamper(file: &Path, statements: &[&str]) {
    let store = Store::open(Location::Sqlite(file.to_owned())).unwrap();
    statements.iter().for_each(|statement| execute(&store, statement));
    execute(&store, "PRAGMA wal_checkpoint(TRUNCATE)");
}

#[test]
fn what_is_no_whole_backup_is_refused() {
    let (folder, file) = small();
    let copy = |name: &str| {
        let copy = folder.path().join(name);
        std::fs::copy(&file, &copy).unwrap();
        copy
    };
    let (short, fewer, newer, text) = (copy("short"), copy("fewer"), copy("newer"), folder.path().join("text"));
    let bytes = std::fs::read(&short).unwrap();
    std::fs::write(&short, &bytes[..bytes.len() / 2]).unwrap();
    tamper(&fewer, &["DELETE FROM licenses"]);
    tamper(&newer, &["INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')"]);
    std::fs::write(&text, "not a database at all, but quite long enough to be taken for a header of one").unwrap();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        for (wrong, why) in [
            (&short, "small"),
            (&fewer, "licenses has 0 rows instead of 1"),
            (&newer, "the backup is of a later version of this program (it has the migration 29990101000000)"),
            (&text, "is no backup of `livetranslate backup`"),
            (&folder.path().join("x.db"), "is no backup of `livetranslate backup`"),
            (&folder.path().join("nowhere"), "can't read"),
        ] {
            let target = Target::new(backend);
            let (code, said) = target.restore(wrong, true);
            assert_eq!(code, Some(1), "{said}");
            let why = if *wrong == short { "short" } else { why };
            assert!(said.contains(why) && !said.contains("panicked"), "{said}");
            assert!(!target.folder.path().join("data/restore.part").exists());
        }
    }
}

#[test]
fn an_older_backup_is_brought_up_to_date() {
    const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
    let (_folder, file) = small();
    let store = Store::open(Location::Sqlite(file.clone())).unwrap();
    let back = |connection: &mut AnyConnection| {
        let AnyConnection::Sqlite(sqlite) = connection else { unreachable!() };
        (0..2).for_each(|_| drop(sqlite.revert_last_migration(MIGRATIONS).unwrap()));
        diesel::sql_query(
            "DELETE FROM backup_facts WHERE name LIKE 'rows %' AND substr(name, 6) NOT IN \
             (SELECT name FROM sqlite_master)",
        )
        .execute(sqlite)?;
        Ok(())
    };
    store.run_blocking(back).unwrap();
    execute(&store, "PRAGMA wal_checkpoint(TRUNCATE)");
    drop(store);
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let target = Target::new(backend);
        let (code, said) = target.restore(&file, false);
        assert_eq!(code, Some(0), "{said}");
        assert!(target.store().run_blocking(migrate::pending).unwrap().is_empty());
    }
}

#[test]
fn a_store_that_is_used_or_not_empty_is_not_replaced() {
    let (_folder, file) = small();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let target = Target::new(backend);
        assert_eq!(target.restore(&file, false).0, Some(0));
        let (store, ids) = (target.store(), |store: &Store| {
            let read = |connection: &mut AnyConnection| {
                use diesel::QueryDsl as _;
                use livetranslate::store::schema::licenses;
                Ok(licenses::table.select(licenses::id).order(licenses::id).load::<String>(connection)?)
            };
            store.run_blocking(read).unwrap()
        });
        execute(&store, &license("other"));
        let (code, said) = target.restore(&file, false);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("the store holds 2 licenses") && said.contains("--force"), "{said}");
        let now_us = livetranslate::clock::now().as_microsecond();
        execute(&store, &format!("INSERT INTO instances (id, seen_at_us) VALUES ('ins', {now_us} - 10000000)"));
        let (code, said) = target.restore(&file, true);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("1 instances use the store: stop them first"), "{said}");
        assert_eq!(ids(&store), ["lic", "other"], "nothing was changed");
        execute(&store, &format!("UPDATE instances SET seen_at_us = {now_us} - 60000000"));
        assert_eq!(target.restore(&file, true).0, Some(0));
        assert_eq!(ids(&store), ["lic"]);
    }
}

#[test]
fn a_running_gateway_keeps_its_store() {
    on_both_stores(async |app| {
        let (folder, file) = small();
        for data_dir in [app.folder().join("data"), folder.path().join("elsewhere")] {
            let (code, said) = run(&["restore", file.to_str().unwrap(), "--force"], app.store_url(), &data_dir);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("stop"), "{said}");
        }
    });
}

#[test]
fn commands_fail_with_sentences() {
    let (folder, file) = small();
    let (here, store) = (folder.path(), folder.path().join("x.db"));
    let store = store.to_str().unwrap();
    let taken = file.to_str().unwrap();
    for (arguments, url, code, sentence) in [
        (vec!["backup", taken], store, 1, "exists already"),
        (vec!["backup", "/nowhere/at/all"], store, 1, "can't make /nowhere/at/all.part"),
        (vec!["backup", "new"], "no/such/store.db", 1, "there is no store at no/such/store.db"),
        (vec!["backup"], store, 2, "required"),
        (vec!["restore", taken, "--loud"], store, 2, "--loud"),
        (vec!["backup", "new"], "mysql://x/y", 78, "DATABASE_URL"),
    ] {
        let (exit, said) = run(&arguments, url, &here.join("data"));
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(sentence) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_backup_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::fresh();
    for location in [Location::Sqlite(folder.path().join("x.db")), Location::Postgres(database.url.clone())] {
        let store = Store::open(location).unwrap();
        store.run_blocking(migrate::run).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = 0;
                while !ended.load(Ordering::Acquire) {
                    let both = |connection: &mut AnyConnection| {
                        livetranslate::store::accounting::transaction(connection, |connection| {
                            livetranslate::store::accounting::lock_ledger(connection)?;
                            diesel::sql_query(license(&format!("lic_{written}"))).execute(connection)?;
                            let key = format!(
                                "INSERT INTO api_keys (id, license_id, own_license, secret_hash, status, \
                                 created_at_us, updated_at_us) VALUES ('k{written}', 'lic_{written}', \
                                 {}, 'h', 'active', 0, 0)",
                                written % 2 == 0
                            );
                            diesel::sql_query(key).execute(connection)?;
                            Ok(())
                        })
                    };
                    store.run_blocking(both).unwrap();
                    written += 1;
                }
                written
            });
            let _ends_with_this = Ends(&ended);
            let mut last = 0;
            for number in 0..5 {
                let file = folder.path().join(format!("{}.{number}", backup_name(&store)));
                let facts = store.run_blocking(|connection| backup::write(connection, &file, 7, 0)).unwrap();
                assert_eq!(facts.rows["licenses"], facts.rows["api_keys"], "{facts:?}");
                assert!(facts.rows["licenses"] >= last);
                last = facts.rows["licenses"];
            }
            ended.store(true, Ordering::Release);
            assert!(i64::from(writer.join().unwrap()) >= last);
        });
    }
}

/// Tells the writer to end, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn backup_name(store: &Store) -> &'static str {
    store.run_blocking(|connection| Ok(backup::kind(connection))).unwrap()
}
