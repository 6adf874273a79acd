//! The two sides of a session, and how they press.

use std::time::Duration;

/// One of the two sides of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The customer's.
    Client,
    /// The provider's.
    Upstream,
}

/// For how long each direction has stood still while something was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Towards the customer.
    pub downlink: Duration,
    /// Towards the provider.
    pub uplink: Duration,
}
