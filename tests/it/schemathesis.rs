//! Schemathesis reads `/openapi.json` and calls every route with what it allows and forbids: no 5xx, and no answer that
//! is not as documented. `SCHEMATHESIS_EXAMPLES=200` makes it look longer.

use std::process::{Command, Output};

use crate::support::app::{ADMIN_KEY, TestApp, on_postgres, on_sqlite};

/// Calls of each route, besides those that the document's bounds lead to.
const EXAMPLES: &str = "6";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection";
/// It can't speak WebSocket; `openapi.rs` looks at those routes.
const SOCKETS: &str = r"^/v1/realtime$|^/api-ws/";
/// Asks whatever host an account names, and so leaves this machine.
const ACCOUNT_TEST: &str = r"^/admin/accounts/\{id\}/test$";

#[test]
fn it_finds_nothing_on_sqlite() {
    on_sqlite(async |app| {
        let customer = format!("^/admin/|{SOCKETS}");
        run(app, &["--exclude-path-regex", &customer]).await;
        run(app, &["--include-path-regex", "^/admin/", "--exclude-path-regex", ACCOUNT_TEST]).await;
    });
}

/// What customers call hardly differs between stores.
#[test]
fn it_finds_nothing_on_postgres() {
    on_postgres(async |app| {
        run(app, &["--include-path-regex", "^/admin/", "--exclude-path-regex", ACCOUNT_TEST]).await;
    });
}

/// Looks at some routes. Those of customers come first: what the operator's add to a gateway changes how calls end.
async fn run(app: &TestApp, routes: &[&str]) {
    let license = app.licensee_with(serde_json::json!({})).await.token;
    let settings = app.folder().join("schemathesis.toml");
    let text = format!(
        "[auth.openapi.admin]\nbearer = \"{ADMIN_KEY}\"\n\n[auth.openapi.license]\nbearer = \"{license}\"\n\n\
         [checks.negative_data_rejection]\nexpected-statuses = [{REFUSALS}]\n",
    );
    std::fs::write(&settings, text).unwrap();
    let python = std::env::var_os("TEST_PYTHON").unwrap_or_else(|| panic!("run ./tests/run.sh, or set TEST_PYTHON"));
    let mut command = Command::new(python);
    let examples = std::env::var_os("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|| EXAMPLES.into());
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(&settings)
        .args(["run", &format!("{}/openapi.json", app.url()), "--url", &app.url(), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "1", "--continue-on-failure", "--no-color"])
        .arg("--max-examples")
        .arg(examples)
        .args(routes)
        .current_dir(app.folder())
        .env("no_proxy", "*");
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (found, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{found}\n{complaints}");
    app.calls_ended().await;
}

/// What may be said to a request that breaks the schema.
const REFUSALS: &str = r#""400", "401", "403", "404", "405", "408", "409", "412", "413", "429""#;
