//! Words of `/admin/audit`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the list may be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Rows of a page.
    #[schemars(with = "Option<i64>", range(min = 1, max = 500))]
    pub limit: Option<String>,
    /// Where the page begins.
    pub cursor: Option<String>,
    /// `created_at` or `-created_at`.
    #[schemars(extend("enum" = ["-created_at", "created_at"]))]
    pub sort: Option<String>,
    /// A part of action, subject, actor or request id.
    #[schemars(length(max = 200))]
    pub q: Option<String>,
    /// One action, e.g. `license.suspend`; `license.` stands for all that begin so.
    pub action: Option<String>,
    /// The id of what was changed.
    pub subject: Option<String>,
    /// From then on: a time (RFC 3339), or a date in UTC.
    pub start: Option<String>,
    /// Up to then; a date is included.
    pub end: Option<String>,
}

/// A change that the operator made.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct AuditView {
    /// `aud_…`.
    pub id: String,
    /// When.
    pub occurred_at: Timestamp,
    /// `operator`, or `operator (previous key)` for whoever came with ADMIN_KEY_PREVIOUS.
    pub actor: String,
    /// The client's address; null in entries of earlier versions.
    pub address: Option<String>,
    /// What, e.g. `license.suspend`.
    pub action: String,
    /// The id of what was changed.
    pub subject: String,
    /// The fields that changed, as they were; null where nothing was there, or nothing is told.
    pub before: Option<Map<String, Value>>,
    /// The same fields as they are since; null where nothing is there any more, or nothing is told.
    pub after: Option<Map<String, Value>>,
    /// What else is to be said of it.
    pub detail: Map<String, Value>,
    /// The request that asked for it.
    pub request_id: String,
}
