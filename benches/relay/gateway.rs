//! This gateway as a target: one worker, a store of its own, and a license with a budget, so that leases, metering
//! and heartbeats are on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::launch::Launch;
use crate::program::{self, PROGRAM, Setup};
use crate::target::Target;

/// Starts a gateway before the upstream that admits so many sessions, with a license for all of them.
/// `resumable`: the continuity extension is on for all of them.
pub(crate) async fn start(
    launch: &Launch,
    upstream: SocketAddr,
    max_sessions: usize,
    resumable: bool,
) -> io::Result<Target> {
    Ok(Target { resumable, ..start_program(PROGRAM, launch, upstream, max_sessions).await? })
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
    gateway.token = program::issue(gateway.address, &fields).await?.1;
    Ok(gateway)
}

/// Starts a gateway on an empty store; also, how long it took to become ready.
pub(crate) async fn cold_start(
    program: &str,
    launch: &Launch,
    upstream: SocketAddr,
    max_sessions: usize,
) -> io::Result<(Target, Duration)> {
    // A load that hangs up does not come back.
    let setup = Setup::new(launch, upstream)?
        .with("MAX_SESSIONS", &max_sessions.to_string())
        .with("RESUME_WINDOW_SECONDS", "1");
    let (process, took) = setup.start(launch, program).await?;
    Ok((
        Target {
            name: "gateway",
            address: setup.address,
            token: String::new(),
            resumable: false,
            program: Some(process),
        },
        took,
    ))
}
