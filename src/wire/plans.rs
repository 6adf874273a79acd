//! Words of `/admin/plans`: a named set of limits.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::admin::BudgetFields;

/// What a plan says; what is null it leaves open. The store keeps it in this form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlanFields {
    /// The operator's note; licenses don't take it over.
    #[schemars(length(min = 1, max = 200))]
    pub label: Option<String>,
    /// Kinds of use.
    #[schemars(length(min = 1), extend("uniqueItems" = true), inner(regex(pattern = "^(realtime|chat|messages|native)$")))]
    pub scopes: Option<Vec<String>>,
    /// Models.
    #[schemars(length(max = 100), inner(length(min = 1, max = 200)))]
    pub models: Option<Vec<String>>,
    /// Addresses or CIDR networks.
    #[schemars(length(max = 100))]
    pub allowed_ips: Option<Vec<String>>,
    /// Days that a license lasts from its issue.
    #[schemars(range(min = 1, max = 36_600))]
    pub valid_days: Option<u32>,
    /// Seconds that a license lasts from its first use.
    #[schemars(range(min = 1, max = 3_162_240_000_u64))]
    pub expires_after_first_use: Option<u64>,
    /// Requests a minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub rpm_limit: Option<u64>,
    /// Tokens a minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub tpm_limit: Option<u64>,
    /// Requests at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_parallel_requests: Option<u64>,
    /// Realtime sessions at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_sessions: Option<u64>,
    /// The longest session, seconds.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub max_session_seconds: Option<u64>,
    /// Seats.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_machines: Option<u64>,
    /// Budgets.
    #[schemars(length(max = 16))]
    pub budgets: Option<Vec<BudgetFields>>,
    /// The operator's own data; licenses don't take it over.
    pub metadata: Option<Map<String, Value>>,
}

/// `POST /admin/plans`.
#[derive(JsonSchema)]
pub struct PlanDraft {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// What it says.
    #[serde(flatten)]
    pub fields: PlanFields,
}

/// A plan as the operator sees it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Plan")]
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "PlanApplied")]
pub struct AppliedView {
    /// The plan.
    pub id: String,
    /// Licenses that took its limits over.
    pub licenses: usize,
}
