//! Words of `/admin/accounts`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admin::{Field, named};

/// What can be said about an upstream account, by POST and, as a merge patch, by PATCH.
// Not to be printed: it holds a credential.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountFields {
    /// The operator's name for it, unique.
    #[schemars(length(min = 1, max = 100))]
    #[serde(deserialize_with = "named")]
    pub name: Field<String>,
    /// Whose API it speaks.
    #[schemars(extend("enum" = ["dashscope", "anthropic", "openai", null]))]
    #[serde(deserialize_with = "named")]
    pub kind: Field<String>,
    /// Where it is called; null: where its kind is at home.
    #[schemars(length(max = 500), extend("format" = "uri"))]
    #[serde(deserialize_with = "named")]
    pub base_url: Field<String>,
    /// The provider's key; it is never shown.
    #[schemars(length(min = 1, max = 4096), extend("writeOnly" = true))]
    #[serde(deserialize_with = "named")]
    pub credential: Field<String>,
    /// How a DashScope account's chat is called; null: `compatible`.
    #[schemars(extend("enum" = ["compatible", "native", null]))]
    #[serde(deserialize_with = "named")]
    pub mode: Field<String>,
    /// Patterns of models; null or empty: by kind.
    #[schemars(length(max = 100), inner(length(min = 1, max = 200)))]
    #[serde(deserialize_with = "named")]
    pub models: Field<Vec<String>>,
    /// Its share among those of its priority; null: 1.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(deserialize_with = "named")]
    pub weight: Field<u32>,
    /// Lower ones are asked first; null: 0.
    #[schemars(range(max = 1000))]
    #[serde(deserialize_with = "named")]
    pub priority: Field<u32>,
    /// Calls at once; null: any number.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(deserialize_with = "named")]
    pub max_concurrency: Field<u32>,
    /// What the operator wants of it; null: `enabled`.
    #[schemars(extend("enum" = ["enabled", "draining", "disabled", null]))]
    #[serde(deserialize_with = "named")]
    pub state: Field<String>,
}

/// An upstream account as the operator sees it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Account")]
pub struct AccountView {
    /// Id.
    pub id: String,
    /// The operator's name for it.
    pub name: String,
    /// Whose API it speaks.
    #[schemars(extend("enum" = ["dashscope", "anthropic", "openai"]))]
    pub kind: String,
    /// `environment` or `stored`.
    #[schemars(extend("enum" = ["environment", "stored"]))]
    pub source: &'static str,
    /// Where it is called.
    pub base_url: String,
    /// It has a credential, which is never shown.
    pub credential_set: bool,
    /// How its chat is called.
    #[schemars(extend("enum" = ["compatible", "native"]))]
    pub mode: String,
    /// Patterns of models; empty: by kind.
    pub models: Vec<String>,
    /// Its share among those of its priority.
    pub weight: u32,
    /// Lower ones are asked first.
    pub priority: u32,
    /// Calls at once.
    pub max_concurrency: Option<u32>,
    /// What the operator wants of it.
    #[schemars(extend("enum" = ["enabled", "draining", "disabled"]))]
    pub state: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How it is doing on the instance that answers; null where that can't use it.
    pub live: Option<AccountLive>,
}

/// How an upstream account is doing on one instance.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AccountLive {
    /// Calls under way.
    pub in_flight: u32,
    /// Whether it is asked like any other.
    pub healthy: bool,
    /// Seconds until it is asked again.
    pub cooling_seconds: Option<u64>,
    /// Models that it is not asked for like any other.
    pub cooling_models: usize,
    /// `closed`, `open` or `half_open`.
    #[schemars(extend("enum" = ["closed", "open", "half_open"]))]
    pub breaker: &'static str,
    /// What its latest failure was.
    pub last_failure: Option<&'static str>,
    /// Calls that were served.
    pub served: u64,
    /// Calls that failed by the account's or the provider's fault.
    pub failed: u64,
}

/// What sealing all credentials anew came to.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Resealed {
    /// Accounts whose credential is sealed with ENCRYPTION_KEY now.
    pub resealed: usize,
    /// Accounts whose credential was so before.
    pub already: usize,
    /// Accounts whose credential stays as it was.
    pub failed: Vec<NotResealed>,
}

/// An account whose credential could not be sealed anew.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NotResealed {
    /// Its id.
    pub id: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What a test of an upstream account found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AccountTest {
    /// Whether the provider takes the credential.
    pub ok: bool,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// Until the answer, or until it was given up.
    pub latency_ms: u64,
    /// What that means, and what to do.
    pub message: &'static str,
}
