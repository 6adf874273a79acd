//! Where sessions are opened: straight at the upstream, or at a program before it.

use std::io;
use std::net::SocketAddr;

use crate::launch::{Launch, Program};
use crate::nginx;

/// How nginx passes WebSockets on.
const PASSING: [&str; 5] = [
    "proxy_set_header Upgrade $http_upgrade",
    "proxy_set_header Connection upgrade",
    "proxy_buffer_size 16k",
    "proxy_buffers 8 16k",
    "proxy_read_timeout 600s",
];

/// The end of the line that sessions are opened at.
pub(crate) struct Target {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The credential that it wants, if any.
    pub(crate) token: String,
    /// Its sessions can be resumed: the gateway's continuity extension is on.
    pub(crate) resumable: bool,
    /// The program under test; none for a direct connection.
    pub(crate) program: Option<Program>,
}

impl Target {
    /// No program between.
    pub(crate) fn direct(upstream: SocketAddr) -> Self {
        Self { name: "direct", address: upstream, token: String::new(), resumable: false, program: None }
    }

    /// nginx between, where it is installed.
    pub(crate) async fn nginx(launch: &Launch, upstream: SocketAddr) -> io::Result<Option<Self>> {
        let started = nginx::start(launch, upstream, &PASSING).await?;
        Ok(started.map(|(address, program)| Self {
            name: "nginx",
            address,
            token: String::new(),
            resumable: false,
            program: Some(program),
        }))
    }

    /// The process under test.
    pub(crate) fn process(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }
}
