//! Answers that tell how something stands, or that it is done.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admin::LicenseFields;

/// Something is gone.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Deleted {
    /// What.
    pub id: String,
    /// Always.
    #[schemars(extend("const" = true))]
    pub deleted: bool,
}

/// A session has ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Ended {
    /// Which.
    pub id: String,
    /// Always.
    #[schemars(extend("const" = true))]
    pub ended: bool,
}

/// Budgets have begun anew.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "UsageReset")]
pub struct UsageResetDone {
    /// Always.
    #[schemars(extend("const" = true))]
    pub reset: bool,
    /// Whose; null: every license's.
    pub license_id: Option<String>,
    /// How many began anew.
    pub budgets: usize,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct UsageCounts {
    /// Source audio.
    #[schemars(range(min = 0))]
    pub audio_seconds: f64,
    /// Tokens in.
    #[schemars(range(min = 0))]
    pub input_tokens: i64,
    /// Tokens out.
    #[schemars(range(min = 0))]
    pub output_tokens: i64,
    /// Realtime sessions that began.
    #[schemars(range(min = 0))]
    pub sessions: i64,
    /// Of the tokens in, those from a cache.
    #[schemars(range(min = 0))]
    pub cached_tokens: i64,
    /// Of the tokens out, those of reasoning.
    #[schemars(range(min = 0))]
    pub reasoning_tokens: i64,
    /// Calls to models.
    #[schemars(range(min = 0))]
    pub requests: i64,
}

/// The gateway at a glance.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Stats {
    /// How many licenses, by status.
    pub licenses: BTreeMap<String, i64>,
    /// How many keys, by status.
    pub keys: BTreeMap<String, i64>,
    /// On all instances.
    pub sessions_live: i64,
    /// What was used since this time yesterday.
    pub last_24_hours: UsageCounts,
}

/// Yes.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Alive {
    /// Always.
    #[schemars(extend("const" = true))]
    pub ok: bool,
}

/// How the gateway is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Health {
    /// All in all.
    #[schemars(extend("enum" = ["ok", "degraded", "unavailable"]))]
    pub status: &'static str,
    /// Now.
    pub timestamp: Timestamp,
    /// Of the gateway.
    pub version: &'static str,
    /// Seconds.
    pub uptime: u64,
    /// Part by part.
    pub components: HealthParts,
    /// Since when the store is away, if it is. For STORE_GRACE_SECONDS known callers are served all the same.
    pub database_away_since: Option<Timestamp>,
}

/// How the gateway is doing, part by part.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HealthParts {
    /// `disk full`: the data folder's disk has too little room, new sessions are refused.
    #[schemars(extend("enum" = ["ok", "unavailable", "disk full"]))]
    pub database: &'static str,
    /// Whether an account is set up that can take calls.
    #[schemars(extend("enum" = ["ok", "unconfigured", "unavailable"]))]
    pub upstream: &'static str,
    /// Whether limits are shared between instances.
    #[schemars(extend("enum" = ["ok", "unused", "unavailable"]))]
    pub redis: &'static str,
    /// Whether usage can be written.
    #[schemars(extend("enum" = ["ok", "failing"]))]
    pub quota: &'static str,
}

/// What this is, and where to go from here.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Front {
    /// Always `livetranslate-central`.
    pub service: &'static str,
    /// Of the gateway.
    pub version: &'static str,
    /// Paths, by what they are.
    pub links: BTreeMap<&'static str, &'static str>,
}

/// A ticket for one session.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Ticket {
    /// To be added as `?ticket=`.
    pub ticket: String,
    /// `/v1/realtime` at DOMAIN, or at the host that was asked; `model` and `ticket` are to be added.
    pub ws_url: String,
    /// It is good until then.
    pub expires_at: Timestamp,
}

/// What a ticket may be asked for with.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TicketFields {
    /// Checked now, so that a page learns early what it may not use.
    pub model: Option<String>,
}

/// A key that joins a license: what is said of it narrows that.
#[derive(JsonSchema)]
pub struct SharedKeyFields {
    /// The license that the key joins.
    pub license_id: String,
    /// What is said of the key.
    #[serde(flatten)]
    pub fields: LicenseFields,
}
