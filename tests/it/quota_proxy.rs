//! quota-proxy's operators switch to this program with the settings, calls and scripts that they have.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use livetranslate::simulator::server::{Options, Simulator};
use serde_json::{Value, json};

use crate::support::caller::Caller;
use crate::support::operator::Operator;

const TOKEN: &str = "an-admin-token-of-theirs";

/// The program, with the settings of quota-proxy's manual.
struct Proxy {
    child: Child,
    url: String,
}

impl Proxy {
    async fn start(folder: &std::path::Path, simulator: &Simulator, others: &[(&str, &str)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_livetranslate"))
            .current_dir(folder)
            .env_clear()
            .env("PORT", port.to_string())
            .env("ADMIN_TOKEN", TOKEN)
            .env("STORE_PATH", "./quota.db")
            .env("LOG_LEVEL", "info")
            .env("DASHSCOPE_API_KEY", "sk-provider-key-for-tests")
            .env("DASHSCOPE_HTTP_BASE_URL", simulator.http_base())
            .env("DASHSCOPE_WEBSOCKET_BASE_URL", simulator.websocket_base())
            .envs(others.iter().copied())
            .stderr(Stdio::from(std::fs::File::create(folder.join("log")).unwrap()))
            .spawn()
            .unwrap();
        let proxy = Self { child, url: format!("http://127.0.0.1:{port}") };
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy
    }

    fn operator(&self) -> Operator {
        Operator::with_bearer(self.url.clone(), TOKEN)
    }

    async fn asks(&self, key: &str) -> (u16, String) {
        let answer = Caller::new(self.url.clone(), key).post("/v1/chat/completions", &Caller::question("hi")).await;
        (answer.status, answer.code().to_owned())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn days(key: &Value) -> f64 {
    let time = |name: &str| key[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    (time("expires_at") - time("created_at")).total(jiff::Unit::Hour).unwrap() / 24.0
}

#[test]
fn the_calls_of_its_manual_work() {
    actix_web::rt::System::new().block_on(async {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = [("ENABLE_RATE_LIMIT", "true"), ("MAX_REQUESTS_PER_MINUTE", "3"), ("KEY_EXPIRY_DAYS", "7")];
        let proxy = Proxy::start(folder.path(), &simulator, &settings).await;
        let health = Operator::with_bearer(proxy.url.clone(), "").get("/healthz").await;
        assert_eq!((health.status, health.body), (200, json!({"ok": true})));
        assert_eq!(Operator::with_bearer(proxy.url.clone(), "wrong").get("/admin/keys").await.status, 401);
        let made = proxy.operator().post("/admin/keys", &json!({"label": "somebody"})).await;
        assert_eq!((made.status, &made.body["label"], &made.body["plan"]), (201, &json!("somebody"), &json!("trial")));
        assert_eq!((days(&made.body), &made.body["rpm_limit"]), (7.0, &json!(3)));
        let key = made.body["key"].as_str().unwrap().to_owned();
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(proxy.asks(&key).await);
        }
        assert_eq!(statuses[3], (429, "rate_limit_exceeded".to_owned()));
        assert!(statuses[..3].iter().all(|(status, _)| *status == 200), "{statuses:?}");
        let listed = proxy.operator().get("/admin/keys").await;
        assert_eq!((listed.status, &listed.body["data"][0]["label"]), (200, &json!("somebody")));
        assert!(!listed.text.contains(&key), "a list shows no secret");
        let usage = proxy.operator().get("/admin/usage?group_by=key").await;
        assert_eq!((usage.status, &usage.body["totals"]["requests"]), (200, &json!(3)), "{}", usage.text);
        assert_eq!(proxy.operator().get("/admin/usage").await.status, 200);
        for body in ["", "{}"] {
            let reset = proxy.operator().send("POST", "/admin/usage/reset", &[], body.to_owned()).await;
            assert_eq!(reset.status, 200, "{body:?}: {}", reset.text);
        }
        // With the data where it was, after a restart.
        drop(proxy);
        let others = [("ENABLE_RATE_LIMIT", "false"), ("ENABLE_OPERATION_LOG", "false")];
        let proxy = Proxy::start(folder.path(), &simulator, &others).await;
        assert_eq!(proxy.asks(&key).await.0, 200);
        let unlimited = proxy.operator().post("/admin/keys", &json!({"label": "unlimited"})).await.body;
        assert_eq!((&unlimited["rpm_limit"], days(&unlimited)), (&Value::Null, 30.0));
        let logged = proxy.operator().get("/admin/audit").await;
        assert!(!logged.text.contains("unlimited") && logged.text.contains("somebody"), "{}", logged.text);
        let path = format!("/admin/keys/{key}");
        for _ in 0..2 {
            let deleted = proxy.operator().send("DELETE", &path, &[], String::new()).await;
            assert_eq!((deleted.status, &deleted.body["deleted"]), (200, &json!(true)), "{}", deleted.text);
        }
        let by_id = format!("/admin/keys/{}", unlimited["id"].as_str().unwrap());
        assert_eq!(proxy.operator().send("DELETE", &by_id, &[], String::new()).await.status, 200);
        assert_eq!(proxy.asks(&key).await, (401, "invalid_api_key".to_owned()));
        assert_eq!(proxy.operator().get("/admin/keys").await.body["data"], json!([]));
        assert!(folder.path().join("quota.db").exists());
        let secret = key.rsplit('-').next().unwrap();
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(!log.is_empty() && !log.contains(secret), "a secret is in the log");
        simulator.stop().await;
    });
}
