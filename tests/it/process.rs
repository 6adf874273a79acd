//! The gateway as a process of its own: memory under a flood, a hard kill, an orderly end.

use std::cell::Cell;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use livetranslate::simulator::server::{Options, Simulator};
use serde_json::json;

use crate::support::caller::Caller;
use crate::support::customer::Customer;
use crate::support::operator::Operator;

const ADMIN_KEY: &str = "an-admin-key-for-tests";

/// A `livetranslate serve` over a folder that outlives it.
struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    async fn start(folder: &std::path::Path, simulator: &Simulator) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_livetranslate"))
            .arg("serve")
            .current_dir(folder)
            .env("SERVER_PORT", port.to_string())
            .env("LIVETRANSLATE__SERVER__WORKERS", "1")
            .env("SECRET_KEY", "a-secret-key-for-tests-0123456789abcdef")
            .env("ADMIN_KEY", ADMIN_KEY)
            .env("DATABASE_URL", "sqlite://central.db")
            .env("DASHSCOPE_API_KEY", "sk-provider-key-for-tests")
            .env("DASHSCOPE_WEBSOCKET_BASE_URL", simulator.websocket_base())
            .env("DASHSCOPE_HTTP_BASE_URL", simulator.http_base())
            .env("LOG_LEVEL", "warn")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Self { child, url: format!("http://127.0.0.1:{port}") };
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }

    fn operator(&self) -> Operator {
        Operator::with_bearer(self.url.clone(), ADMIN_KEY)
    }

    async fn licensee(&self) -> Customer {
        let budgets = json!([{ "unit": "audio_seconds", "limit": 3600, "window": "lifetime" }]);
        let license = self.operator().post("/admin/licenses", &json!({ "budgets": budgets })).await.body;
        Customer::new(self.url.clone(), license["id"].as_str().unwrap(), license["token"].as_str().unwrap())
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn with_simulator(test: impl AsyncFn(&Simulator, &std::path::Path)) {
    actix_web::rt::System::new().block_on(async {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        test(&simulator, folder.path()).await;
        simulator.stop().await;
    });
}

#[test]
fn a_flood_of_tiny_frames_costs_less_than_a_mebibyte() {
    with_simulator(async |simulator, folder| {
        let gateway = Gateway::start(folder, simulator).await;
        let alice = gateway.licensee().await;
        // The first sessions fill buffers and pools that stay.
        for _ in 0..3 {
            let mut call = alice.dial().await;
            flood(&mut call, 2_000).await;
            call.hang_up().await;
        }
        let before = gateway.memory();
        let mut call = alice.dial().await;
        flood(&mut call, 300_000).await;
        let after = gateway.memory();
        assert!(after < before + 1_024, "{before} KiB became {after} KiB");
        call.hang_up().await;
    });
}

/// Sends tiny frames, reading what comes back now and then.
async fn flood(call: &mut crate::support::customer::Call, count: usize) {
    for n in 1..=count {
        call.text("{}").await;
        if n % 500 == 0 {
            for _ in 0..500 {
                call.until("error").await;
            }
        }
    }
}

#[test]
fn what_was_booked_survives_a_hard_kill() {
    with_simulator(async |simulator, folder| {
        let mut gateway = Gateway::start(folder, simulator).await;
        let alice = gateway.licensee().await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        for _ in 0..30 {
            call.audio(100, 0).await;
        }
        while alice.audio_used().await < 3.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gateway.child.kill().unwrap();
        gateway.child.wait().unwrap();
        let again = Gateway::start(folder, simulator).await;
        let alice = Customer::new(again.url.clone(), &alice.license_id, &alice.token);
        assert!((alice.audio_used().await - 3.0).abs() < 1e-9);
        // Who lives in the same folder knows at once that the one before is dead.
        let budget = alice.api().get("/v1/license").await.body["budgets"][0].clone();
        assert_eq!(budget["reserved"], 0.0, "the lease is given back at the start");
        let listed = again.operator().get("/admin/sessions").await.body["data"].clone();
        assert_eq!(listed, json!([]));
        alice.dial().await.hang_up().await;
    });
}

#[test]
fn calls_that_were_answered_are_booked_after_a_hard_kill() {
    with_simulator(async |simulator, folder| {
        let mut gateway = Gateway::start(folder, simulator).await;
        let alice = gateway.licensee().await;
        let answered = Cell::new(0);
        let calls = join_all((0..8).map(|number| {
            let alice = Caller::new(gateway.url.clone(), &alice.token);
            let answered = &answered;
            async move {
                let question = if number % 2 == 0 { Caller::question("a b c") } else { Caller::streamed("a b c") };
                while let Some(answer) = alice.try_post("/v1/chat/completions", &question).await {
                    let whole = answer.contains("\"total_tokens\"") || answer.ends_with("data: [DONE]\n\n");
                    answered.set(answered.get() + i64::from(whole));
                }
            }
        }));
        let killed = async {
            while answered.get() < 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            gateway.child.kill().unwrap();
            gateway.child.wait().unwrap();
        };
        futures_util::future::join(calls, killed).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut again = Gateway::start(folder, simulator).await;
            let totals = again.operator().get("/admin/usage").await.body["totals"].clone();
            let license = Customer::new(again.url.clone(), &alice.license_id, &alice.token);
            let budgets = license.api().get("/v1/license").await.body["budgets"].clone();
            seen.push((totals["requests"].as_i64().unwrap(), totals, budgets));
            again.child.kill().unwrap();
            again.child.wait().unwrap();
        }
        let (booked, asked) = (seen[0].0, i64::try_from(simulator.calls().len()).unwrap());
        assert!((answered.get()..=asked).contains(&booked), "{} answered, {booked} booked", answered.get());
        assert_eq!(seen[0], seen[1], "what was booked late is not booked again");
    });
}

#[test]
fn sigterm_ends_it_with_zero() {
    with_simulator(async |simulator, folder| {
        let mut gateway = Gateway::start(folder, simulator).await;
        let alice = gateway.licensee().await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        call.audio(500, 0).await;
        Command::new("kill").args(["-TERM", &gateway.child.id().to_string()]).status().unwrap();
        let ending = call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1001, "draining"));
        let status = actix_web::web::block(move || gateway.child.wait().unwrap()).await.unwrap();
        assert_eq!(status.code(), Some(0));
    });
}

#[test]
fn bad_settings_are_told_with_their_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_livetranslate"))
        .env("LIVETRANSLATE_ENV", "production")
        .env("DATABASE_URL", "sqlite:///nowhere.db")
        .env_remove("SECRET_KEY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SECRET_KEY"));
}
