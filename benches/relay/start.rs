//! S8: how soon the gateway is ready, and how much it takes before anyone has come.

use std::fs;
use std::io;
use std::time::Duration;

use crate::gateway;
use crate::launch::Launch;
use crate::resident;
use crate::spread;
use crate::table::Better::Less;
use crate::table::{Row, Table};
use crate::upstream::Upstream;

const READY: Row =
    Row { id: "S8", what: "cold start to ready, fresh SQLite", unit: "s", better: Less, must: 1.0, goal: 0.3 };
const MEMORY: Row = Row { id: "S8", what: "memory when idle", unit: "MB", better: Less, must: 40.0, goal: 20.0 };
const BINARY: Row = Row { id: "S8", what: "stripped binary", unit: "MB", better: Less, must: 25.0, goal: 15.0 };

/// Starts the gateway three times on an empty store.
pub(crate) async fn measure(launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    const STARTS: usize = 3;
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let (gateway, took) = gateway::cold_start(crate::program::PROGRAM, launch, upstream.address(), 1_000).await?;
        seconds.push(took.as_secs_f64());
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(process) = gateway.process() {
            megabytes.push(resident::resident_kib(process, "VmRSS")? * 1_024.0 / 1e6);
        }
    }
    table.add(READY, spread::median(&seconds), String::new());
    table.add(MEMORY, spread::median(&megabytes), String::new());
    let size = fs::metadata(crate::program::PROGRAM)?.len() as f64 / 1e6;
    let stripped = !cfg!(debug_assertions);
    table.add(BINARY, stripped.then_some(size), String::new());
    Ok(())
}
