//! What handlers may use: the rooms below, handed up in one struct.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::accounts::Accounts;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::metrics::Metrics;
use crate::quota::keeper::Quota;
use crate::quota::rates::Rates;
use crate::quota::running::RunningCalls;
use crate::session::roster::Roster;
use crate::signer::Signer;
use crate::store::connection::Store;
use crate::upstream::pool::Pool;

/// One per process, shared by all workers.
#[derive(Clone)]
pub struct Gateway {
    /// Every setting.
    pub config: Arc<Config>,
    /// The door to the store.
    pub store: Store,
    /// Signs and verifies licenses.
    pub signer: Arc<Signer>,
    /// Licenses' accounts and budgets.
    pub quota: Quota,
    /// Whom the store has found good: who may come in while it is away.
    pub credentials: Credentials,
    /// The upstream accounts as the operator manages them.
    pub accounts: Accounts,
    /// The upstream accounts as calls use them.
    pub pool: Pool,
    /// Who is live.
    pub roster: Roster,
    /// How fast licenses call.
    pub rates: Rates,
    /// The HTTP calls that run here.
    pub running: RunningCalls,
    /// Figures for `/metrics`.
    pub metrics: Metrics,
    /// Set when this instance is going away.
    pub going_away: Arc<AtomicBool>,
}

impl Gateway {
    /// A license, or a key of it, was changed here: nothing that was known of it is relied on any more.
    pub fn license_changed(&self, license_id: &str) {
        self.credentials.forget_license(license_id);
        self.quota.calls().doubt(license_id);
        self.running.doubt(license_id);
    }

    /// Whether this instance is going away: not ready, no new sessions.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.going_away.load(Ordering::Acquire)
    }
}
