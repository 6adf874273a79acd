//! Words of `/admin/plans`: a named set of limits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::admin::BudgetFields;

/// What a plan says; what is null it leaves open. The store keeps it in this form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanFields {
    /// The operator's note; licenses don't take it over.
    pub label: Option<String>,
    /// Kinds of use.
    pub scopes: Option<Vec<String>>,
    /// Models.
    pub models: Option<Vec<String>>,
    /// Addresses or CIDR networks.
    pub allowed_ips: Option<Vec<String>>,
    /// Days that a license lasts from its issue.
    pub valid_days: Option<u32>,
    /// Seconds that a license lasts from its first use.
    pub expires_after_first_use: Option<u64>,
    /// Requests a minute.
    pub rpm_limit: Option<u64>,
    /// Tokens a minute.
    pub tpm_limit: Option<u64>,
    /// Requests at once.
    pub max_parallel_requests: Option<u64>,
    /// Realtime sessions at once.
    pub max_sessions: Option<u64>,
    /// The longest session, seconds.
    pub max_session_seconds: Option<u64>,
    /// Seats.
    pub max_machines: Option<u64>,
    /// Budgets.
    pub budgets: Option<Vec<BudgetFields>>,
    /// The operator's own data; licenses don't take it over.
    pub metadata: Option<Map<String, Value>>,
}

/// A plan as the operator sees it.
#[derive(Debug, Clone, Serialize)]
pub struct PlanView {
    /// Its name.
    pub id: String,
    /// Whether it is one that the program brings along, unchanged.
    pub builtin: bool,
    /// What it says.
    #[serde(flatten)]
    pub fields: PlanFields,
    /// When it was made; null for a built-in one.
    pub created_at: Option<Timestamp>,
    /// When it last changed; null for a built-in one.
    pub updated_at: Option<Timestamp>,
}

/// `POST /admin/plans/{id}/apply`: what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct AppliedView {
    /// The plan.
    pub id: String,
    /// Licenses that took its limits over.
    pub licenses: usize,
}
