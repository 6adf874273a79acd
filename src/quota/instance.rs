//! This process among those on the store.

use jiff::SignedDuration;

/// What its transactions say of this process.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `ins_…`, new with each start.
    pub id: String,
    /// RESUME_WINDOW_SECONDS: for how long a session without an instance can be resumed.
    pub resume_window: SignedDuration,
    /// STORE_GRACE_SECONDS: for how long sessions go on without the store.
    pub grace_seconds: u64,
}
