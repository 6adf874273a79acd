//! What handlers may use: the rooms below, handed up in one struct.

use std::sync::Arc;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::session::roster::Roster;
use crate::store::connection::Store;

/// One per process, shared by all workers.
#[derive(Clone)]
pub struct Gateway {
    /// Every setting.
    pub config: Arc<Config>,
    /// The door to the store.
    pub store: Store,
    /// Who is live.
    pub roster: Roster,
    /// Figures for `/metrics`.
    pub metrics: Metrics,
}
