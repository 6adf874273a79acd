//! The operator's commands against a gateway: what they print for people and for programs, and their exit codes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::app::{ADMIN_KEY, TestApp, on_sqlite};
use crate::support::provider::Provider;

const CREDENTIAL: &str = "sk-upstream-credential-0123456789";

/// What a command came to.
struct Done {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Done {
    /// What it printed, as JSON.
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.error);
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}", self.out))
    }
}

/// Runs the program with the admin key in the environment, these variables and this standard input.
async fn run_with(app: &TestApp, arguments: &[&str], variables: &[(&'static str, &'static str)], input: &str) -> Done {
    let mut program = Command::new(env!("CARGO_BIN_EXE_livetranslate"));
    program.args(arguments).args(["--server", &app.url()]).env_clear().env("ADMIN_KEY", ADMIN_KEY);
    program.envs(variables.iter().copied()).current_dir(app.folder());
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    // The gateway lives on this thread, in part.
    let ended = actix_web::web::block(move || {
        let mut child = program.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
        child.wait_with_output().unwrap()
    });
    let ended = ended.await.unwrap();
    let [out, error] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(!error.contains("panicked"), "{error}");
    Done { code: ended.status.code(), out, error }
}

async fn run(app: &TestApp, arguments: &[&str]) -> Done {
    run_with(app, arguments, &[], "").await
}

#[test]
fn accounts_are_kept_from_the_command_line() {
    on_sqlite(async |app| {
        let provider = Provider::start(CREDENTIAL).await;
        let file = app.folder().join("credential");
        std::fs::write(&file, format!("{CREDENTIAL}\n")).unwrap();
        let add =
            ["account", "add", "--kind", "openai", "--base-url", &provider.url, "--model", "qwen*", "--weight", "3"];
        let with = |more: &[&'static str]| [&add[..], more].concat();
        let from_file = [&add[..], &["one", "--credential-file", file.to_str().unwrap(), "--json"]].concat();
        let one = run(app, &from_file).await.json();
        assert_eq!((&one["name"], &one["models"], &one["weight"]), (&json!("one"), &json!(["qwen*"]), &json!(3)));
        let from_input = with(&["two", "--credential-file", "-", "--json"]);
        let two = run_with(app, &from_input, &[], &format!("{CREDENTIAL}\n")).await.json();
        let from_variable = with(&["three", "--credential-env", "MY_KEY"]);
        let three = run_with(app, &from_variable, &[("MY_KEY", CREDENTIAL)], "").await;
        assert_eq!(three.code, Some(0), "{}", three.error);
        assert!(three.out.contains("credential set") && three.out.contains("healthy"), "{}", three.out);
        let id = one["id"].as_str().unwrap();
        for account in [&one, &two] {
            let tested = run(app, &["account", "test", account["id"].as_str().unwrap(), "--json"]).await.json();
            assert_eq!(tested["ok"], true, "{tested}");
        }
        let list = run(app, &["account", "list", "--q", "ONE"]).await;
        let lines: Vec<Vec<&str>> = list.out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["ID", "NAME", "KIND", "SOURCE", "STATE", "HEALTHY", "PRIORITY", "WEIGHT"]);
        assert_eq!(lines[1..], [vec![id, "one", "openai", "stored", "enabled", "true", "0", "3"]]);
        let first = run(app, &["account", "list", "--limit", "1", "--oldest-first"]).await;
        assert!(
            first.out.contains("env-dashscope") && first.error.contains("there is more: --cursor"),
            "{}",
            first.error
        );
        let changed =
            ["account", "change", id, "--priority", "2", "--name", "uno", "--fields", "{\"models\": null}", "--json"];
        let changed = run(app, &changed).await.json();
        assert_eq!(
            (&changed["name"], &changed["priority"], &changed["models"]),
            (&json!("uno"), &json!(2), &json!([]))
        );
        for (action, state) in [("drain", "draining"), ("disable", "disabled"), ("enable", "enabled")] {
            assert_eq!(run(app, &["account", action, id, "--json"]).await.json()["state"], state);
        }
        let wrong = run_with(app, &["account", "change", id, "--credential-file", "-"], &[], "sk-wrong").await;
        assert_eq!(wrong.code, Some(0), "{}", wrong.error);
        let tested = run(app, &["account", "test", id]).await;
        assert_eq!(tested.code, Some(1), "{}", tested.out);
        assert!(tested.out.contains("refuses the credential"), "{}", tested.out);
        let resealed = run(app, &["account", "reseal", "--json"]).await.json();
        assert_eq!(resealed, json!({"resealed": 0, "already": 3, "failed": []}));
        assert_eq!(run(app, &["account", "delete", id, "--json"]).await.json()["deleted"], true);
        let gone = run(app, &["account", "show", id]).await;
        assert_eq!(gone.code, Some(1), "{}", gone.out);
        assert!(gone.error.contains("404 not_found"), "{}", gone.error);
        for done in [three, list, run(app, &["account", "list", "--json"]).await] {
            assert!(!done.out.contains(CREDENTIAL) && !done.error.contains(CREDENTIAL));
        }
    });
}

#[test]
fn wrong_usage_is_told() {
    on_sqlite(async |app| {
        let cases: [(&[&str], i32, &str); 7] = [
            (&["account", "add", "x", "--kind", "openai"], 2, "--credential-file FILE"),
            (
                &[
                    "account",
                    "add",
                    "x",
                    "--kind",
                    "openai",
                    "--fields",
                    "{\"credential\": \"sk\"}",
                    "--credential-env",
                    "ADMIN_KEY",
                ],
                2,
                "a credential is read with",
            ),
            (
                &["account", "add", "x", "--kind", "openai", "--credential-env", "NOTHING"],
                1,
                "NOTHING holds no credential",
            ),
            (&["account", "add", "x", "--kind", "openai", "--credential-file", "/nowhere"], 1, "can't read /nowhere"),
            (&["account", "add", "x", "--kind", "o", "--credential-env", "ADMIN_KEY"], 1, "kind is dashscope"),
            (&["account", "change", "x", "--fields", "[]"], 2, "--fields must be a JSON object"),
            (&["account", "sing"], 2, "sing"),
        ];
        for (arguments, code, sentence) in cases {
            let done = run(app, arguments).await;
            assert_eq!(done.code, Some(code), "{arguments:?}: {}", done.error);
            assert!(done.error.contains(sentence), "{arguments:?}: {}", done.error);
        }
        let file = app.folder().join("key");
        std::fs::write(&file, "not-the-admin-key").unwrap();
        let refused = run(app, &["account", "list", "--admin-key-file", file.to_str().unwrap()]).await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.error.contains("401 invalid_api_key"), "{}", refused.error);
    });
}

#[test]
fn sessions_and_usage_are_told_as_tables_and_as_json() {
    on_sqlite(async |app| {
        let (alice, bob) = (app.licensee(60.0).await, app.licensee(60.0).await);
        let mut call = alice.dial().await;
        call.until("session.created").await;
        let live = run(app, &["session", "list", "--license", &alice.license_id, "--json"]).await.json();
        let id = live["data"][0]["id"].as_str().unwrap();
        let others = run(app, &["session", "list", "--license", &bob.license_id]).await;
        assert_eq!((others.code, others.out.trim()), (Some(0), "nothing"));
        let table = run(app, &["session", "list"]).await;
        assert!(table.out.starts_with("ID ") && table.out.contains(id), "{}", table.out);
        call.audio(1_500, 3_000).await;
        call.finish().await;
        app.settled().await;
        let usage = ["usage", "--group-by", "license,model", "--json"];
        let sums = run(app, &usage).await.json();
        assert_eq!(sums["totals"]["audio_seconds"], 1.5);
        let table = run(app, &["usage", "--group-by", "license,model"]).await;
        let lines: Vec<Vec<&str>> = table.out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["MODEL", "LICENSE", "ID"], "{}", table.out);
        assert!(lines[1].contains(&alice.license_id.as_str()) && lines[1].contains(&"1.5"), "{}", table.out);
        let events =
            run(app, &["usage", "events", "--license", &alice.license_id, "--limit", "1", "--json"]).await.json();
        assert_eq!(events["data"][0]["session_id"], id);
        let wrong = run(app, &["usage", "--tz", "Atlantis"]).await;
        assert_eq!(wrong.code, Some(1));
        assert!(wrong.error.contains("IANA time zone"), "{}", wrong.error);
        assert_eq!(run(app, &["session", "end", id, "--json"]).await.json()["ended"], true);
    });
}
