//! What a session is made of.

use std::time::Duration;

use super::relay::Relay;
use super::roster::Seat;
use super::socket::ClientSocket;
use crate::metrics::Metrics;
use crate::quota::lease::Lease;
use crate::upstream::dashscope::{Dialer, Socket};

/// What a session is made of once it is admitted and the provider has answered.
pub struct Parts {
    /// What it decides by.
    pub relay: Relay,
    /// Its place; given back when the session ends.
    pub seat: Seat,
    /// Its hold on the budgets.
    pub lease: Lease,
    /// The provider's first socket.
    pub upstream: Socket,
    /// Opens others.
    pub dialer: Dialer,
    /// The customer's, for the last resort.
    pub client_socket: Option<ClientSocket>,
    /// For how long a customer who takes nothing is waited for.
    pub slow_after: Duration,
    /// SHA-256 of the token that authorizes a resume, hex.
    pub resume_hash: Option<String>,
    /// Figures.
    pub metrics: Metrics,
}
