//! Where sessions are opened: straight at the upstream, or at a program before it.

use std::net::SocketAddr;

use crate::launch::Program;

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

    /// The process under test.
    pub(crate) fn process(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }
}
