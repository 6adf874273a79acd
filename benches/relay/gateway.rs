//! This gateway as its operator runs it: one worker, a store of its own, and a license with a budget, so that
//! leases, metering and heartbeats are on.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;
use crate::launch::Launch;
use crate::target::{Target, free_address};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_livetranslate");
const ADMIN_KEY: &str = "relay-benchmark-admin-key-7f21c0";

/// Starts a gateway before the upstream that admits so many sessions, with a license for all of them.
pub(crate) async fn start(launch: &Launch, upstream: SocketAddr, max_sessions: usize) -> io::Result<Target> {
    start_program(PROGRAM, launch, upstream, max_sessions).await
}

/// The same with another build of this gateway.
pub(crate) async fn start_program(
    program: &str,
    launch: &Launch,
    upstream: SocketAddr,
    max_sessions: usize,
) -> io::Result<Target> {
    let mut gateway = cold_start(program, launch, upstream, max_sessions).await?.0;
    let fields = json!({
        "label": "benchmark",
        "budgets": [{ "unit": "audio_seconds", "limit": 100_000_000, "window": "lifetime" }],
    });
    let issued = http::request(gateway.address, "POST /admin/licenses", ADMIN_KEY, &fields.to_string()).await?;
    let license: Value = serde_json::from_str(&issued.body).unwrap_or_default();
    let token = license.get("token").and_then(Value::as_str);
    let token = token.ok_or_else(|| io::Error::other(format!("no license was issued: {}", issued.body)))?;
    gateway.token = token.to_owned();
    Ok(gateway)
}

/// Starts a gateway on an empty store; also, how long it took to become ready.
pub(crate) async fn cold_start(
    program: &str,
    launch: &Launch,
    upstream: SocketAddr,
    max_sessions: usize,
) -> io::Result<(Target, Duration)> {
    const READY_WITHIN: Duration = Duration::from_secs(20);
    let (folder, address) = (launch.folder("gateway")?, free_address()?);
    let environment = [
        ("SERVER_HOST", address.ip().to_string()),
        ("SERVER_PORT", address.port().to_string()),
        ("LIVETRANSLATE__SERVER__WORKERS", "1".to_owned()),
        ("MAX_SESSIONS", max_sessions.to_string()),
        ("MAX_CONNECTIONS", "16000".to_owned()),
        ("DATABASE_URL", format!("sqlite://{}", folder.join("central.db").display())),
        ("DATA_DIR", folder.display().to_string()),
        ("SECRET_KEY", "relay-benchmark-secret-4e8b1f6a90d2c357e1".to_owned()),
        ("ADMIN_KEY", ADMIN_KEY.to_owned()),
        ("DASHSCOPE_API_KEY", "sk-benchmark".to_owned()),
        ("DASHSCOPE_WEBSOCKET_BASE_URL", format!("ws://{upstream}/api-ws/v1")),
    ];
    let begun = Instant::now();
    let mut process = launch.start(program, &["serve"], &environment, &folder)?;
    while begun.elapsed() < READY_WITHIN {
        process.check()?;
        if http::request(address, "GET /readyz", "", "").await.is_ok_and(|answer| answer.status == 200) {
            let took = begun.elapsed();
            let target = Target { name: "gateway", address, token: String::new(), program: Some(process) };
            return Ok((target, took));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(io::Error::other("the gateway did not become ready"))
}
