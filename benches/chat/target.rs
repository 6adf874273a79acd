//! Where calls are made: straight at the upstream, at nginx before it, or at this gateway.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http;
use crate::launch::{Launch, Program};
use crate::nginx;
use crate::program::{self, ADMIN_KEY, Setup};
use crate::table::Table;
use crate::words::{INPUT_TOKENS, OUTPUT_TOKENS};

/// How nginx passes calls on whose answers come whole.
pub(crate) const WHOLE: [&str; 1] = ["proxy_set_header Connection \"\""];
/// Likewise those whose answers are streams.
pub(crate) const STREAMED: [&str; 3] =
    ["proxy_set_header Connection \"\"", "proxy_buffering off", "proxy_read_timeout 600s"];

/// The end of the line that calls are made at.
pub(crate) struct Target {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The credential that it wants, if any.
    pub(crate) token: String,
    /// The program under test; none for a direct connection.
    pub(crate) program: Option<Program>,
    /// Calls that it answered, to the end.
    pub(crate) answered: Cell<u64>,
    /// The license that its calls are booked on, where they are booked.
    license_id: Option<String>,
}

/// How a gateway is started.
pub(crate) struct Variant<'a> {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// Which build.
    pub(crate) program: &'a str,
    /// RUST_LOG; none: as it comes.
    pub(crate) log: Option<&'a str>,
    /// DATABASE_URL; none: a SQLite file of its own.
    pub(crate) store: Option<&'a str>,
}

impl Target {
    /// No program between.
    pub(crate) fn direct(upstream: SocketAddr) -> Self {
        Self::new("direct", upstream)
    }

    /// nginx between, where it is installed.
    pub(crate) async fn nginx(launch: &Launch, upstream: SocketAddr, passing: &[&str]) -> io::Result<Option<Self>> {
        let started = nginx::start(launch, upstream, passing).await?;
        Ok(started.map(|(address, program)| Self { program: Some(program), ..Self::new("nginx", address) }))
    }

    /// This gateway between: one worker, and a license with every limit and budget that concerns calls, none of which
    /// is ever reached.
    pub(crate) async fn gateway(launch: &Launch, upstream: SocketAddr, variant: &Variant<'_>) -> io::Result<Self> {
        let mut setup = Setup::new(launch, upstream)?.with("DASHSCOPE_HTTP_BASE_URL", &format!("http://{upstream}"));
        if let Some(log) = variant.log {
            setup = setup.with("RUST_LOG", log);
        }
        if let Some(store) = variant.store {
            setup = setup.with("DATABASE_URL", store);
        }
        let (program, _) = setup.start(launch, variant.program).await?;
        let fields = json!({
            "label": "benchmark",
            "rpm_limit": 100_000_000,
            "tpm_limit": 1_000_000_000,
            "max_parallel_requests": 100_000,
            "budgets": [
                { "unit": "tokens", "limit": 1_000_000_000_000_u64, "window": "lifetime" },
                { "unit": "requests", "limit": 1_000_000_000_000_u64, "window": "lifetime" },
            ],
        });
        let (license_id, token) = program::issue(setup.address, &fields).await?;
        let (program, license_id) = (Some(program), Some(license_id));
        Ok(Self { token, program, license_id, ..Self::new(variant.name, setup.address) })
    }

    fn new(name: &'static str, address: SocketAddr) -> Self {
        Self { name, address, token: String::new(), program: None, answered: Cell::new(0), license_id: None }
    }

    /// The process under test.
    pub(crate) fn process(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    /// Compares what is booked with what was answered; a difference is a fault.
    pub(crate) async fn audit(&self, table: &mut Table) -> io::Result<()> {
        let Some(license_id) = &self.license_id else { return Ok(()) };
        let report = http::request(self.address, "GET /admin/usage?group_by=license", ADMIN_KEY, "").await?;
        let report: Value = serde_json::from_str(&report.body)?;
        let rows = report.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row.get("license_id").and_then(Value::as_str) == Some(license_id));
        let booked = |field: &str| row.as_ref().and_then(|row| row.get(field)?.as_u64()).unwrap_or_default();
        let answered = self.answered.get();
        let booked = (booked("requests"), booked("input_tokens"), booked("output_tokens"));
        let said = (answered, answered * INPUT_TOKENS, answered * OUTPUT_TOKENS);
        println!("  {:<9}answered {answered} calls, booked {}", self.name, booked.0);
        if booked != said {
            table.fault(format!("{}: requests, tokens in and out: booked {booked:?}, answered {said:?}", self.name));
        }
        Ok(())
    }
}
