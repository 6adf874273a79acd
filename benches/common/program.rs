//! The gateway as its operator runs it: the real program, with a folder, a port and a store of its own.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;
use crate::launch::{Launch, Program, free_address};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_livetranslate");
/// The bearer of its admin API.
pub(crate) const ADMIN_KEY: &str = "benchmark-admin-key-7f21c0";

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where and how a gateway runs; it may be started again and again.
pub(crate) struct Setup {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Setup {
    /// A gateway on an empty SQLite store before this upstream.
    pub(crate) fn new(launch: &Launch, upstream: SocketAddr) -> io::Result<Self> {
        let (folder, address) = (launch.folder("gateway")?, free_address()?);
        let environment = vec![
            ("SERVER_HOST", address.ip().to_string()),
            ("SERVER_PORT", address.port().to_string()),
            ("LIVETRANSLATE__SERVER__WORKERS", "1".to_owned()),
            ("MAX_CONNECTIONS", "16000".to_owned()),
            ("DATABASE_URL", format!("sqlite://{}", folder.join("central.db").display())),
            ("DATA_DIR", folder.display().to_string()),
            ("SECRET_KEY", "benchmark-secret-4e8b1f6a90d2c357e1".to_owned()),
            ("ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("DASHSCOPE_API_KEY", "sk-benchmark".to_owned()),
            ("DASHSCOPE_WEBSOCKET_BASE_URL", format!("ws://{upstream}/api-ws/v1")),
        ];
        Ok(Self { address, folder, environment })
    }

    /// The same with another value of a setting.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Starts `program` there and waits until it is ready; also, how long that took.
    pub(crate) async fn start(&self, launch: &Launch, program: &str) -> io::Result<(Program, Duration)> {
        let begun = Instant::now();
        let mut process = launch.start(program, &["serve"], &self.environment, &self.folder)?;
        while begun.elapsed() < READY_WITHIN {
            process.check()?;
            if http::request(self.address, "GET /readyz", "", "").await.is_ok_and(|answer| answer.status == 200) {
                return Ok((process, begun.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(io::Error::other("the gateway did not become ready"))
    }
}

/// Issues a license with these fields; its id, and the token that a customer uses.
pub(crate) async fn issue(address: SocketAddr, fields: &Value) -> io::Result<(String, String)> {
    let answer = http::request(address, "POST /admin/licenses", ADMIN_KEY, &fields.to_string()).await?;
    let license: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let field = |name: &str| license.get(name).and_then(Value::as_str).map(str::to_owned);
    let issued = field("id").zip(field("token"));
    issued.ok_or_else(|| io::Error::other(format!("no license was issued: {}", answer.body)))
}
