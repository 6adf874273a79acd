//! Words of the admin API: what an operator sends and what is answered.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A field that can be left out (`None`), emptied by null (`Some(None)`) or given.
pub type Field<T> = Option<Option<T>>;

pub(super) fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Field<T>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// What can be said about a license, by POST and, as a merge patch, by PATCH.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LicenseFields {
    /// A named set of limits, which fills in what is left out here.
    #[serde(deserialize_with = "named")]
    pub plan: Field<String>,
    /// The operator's note whose it is.
    #[schemars(length(min = 1, max = 200))]
    #[serde(deserialize_with = "named")]
    pub label: Field<String>,
    /// Kinds of use; null: all.
    #[schemars(length(min = 1), extend("uniqueItems" = true), inner(regex(pattern = "^(realtime|chat|messages|native)$")))]
    #[serde(deserialize_with = "named")]
    pub scopes: Field<Vec<String>>,
    /// Models, `*` (four at most in each) standing for any characters; null or empty: every model.
    #[schemars(length(max = 100), inner(length(min = 1, max = 200)))]
    #[serde(deserialize_with = "named")]
    pub models: Field<Vec<String>>,
    /// Addresses or CIDR networks; null or empty: every address.
    #[schemars(length(max = 100))]
    #[serde(deserialize_with = "named")]
    pub allowed_ips: Field<Vec<String>>,
    /// Its end, in the future.
    #[serde(deserialize_with = "named")]
    pub expires_at: Field<Timestamp>,
    /// Seconds that it lasts from its first use.
    #[schemars(range(min = 1, max = 3_162_240_000_u64))]
    #[serde(deserialize_with = "named")]
    pub expires_after_first_use: Field<u64>,
    /// Requests a minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(deserialize_with = "named")]
    pub rpm_limit: Field<u64>,
    /// Tokens a minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(deserialize_with = "named")]
    pub tpm_limit: Field<u64>,
    /// Requests at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(deserialize_with = "named")]
    pub max_parallel_requests: Field<u64>,
    /// Realtime sessions at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(deserialize_with = "named")]
    pub max_sessions: Field<u64>,
    /// The longest session, seconds.
    #[schemars(range(min = 1, max = 2_592_000))]
    #[serde(deserialize_with = "named")]
    pub max_session_seconds: Field<u64>,
    /// Seats.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(deserialize_with = "named")]
    pub max_machines: Field<u64>,
    /// Budgets, each unit, window and time zone once; null or empty: unlimited.
    #[schemars(length(max = 16))]
    #[serde(deserialize_with = "named")]
    pub budgets: Field<Vec<BudgetFields>>,
    /// The operator's own data, 16 KiB of JSON at most.
    #[serde(deserialize_with = "named")]
    pub metadata: Field<Map<String, Value>>,
}

/// What can be said about a budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetFields {
    /// What is counted.
    pub unit: Unit,
    /// How much; audio in seconds, with fractions.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub limit: f64,
    /// From where on callers are warned, in the same unit; left out: 80 % of the limit.
    #[serde(default)]
    pub soft_limit: Option<f64>,
    /// After which time it starts anew.
    #[serde(default)]
    pub window: Window,
    /// How the window moves.
    #[serde(default)]
    pub mode: Mode,
    /// IANA name of the time zone whose midnight begins a day.
    #[serde(default)]
    pub tz: Option<String>,
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Source audio of realtime sessions.
    AudioSeconds,
    /// Tokens in and out.
    Tokens,
    /// Requests and sessions.
    Requests,
}

impl Unit {
    /// The word on the wire and in the store.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AudioSeconds => "audio_seconds",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
        }
    }
}

/// After which time a budget starts anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Window {
    /// Five hours, counted from 1970.
    #[serde(rename = "5h")]
    FiveHours,
    /// From midnight to midnight.
    #[serde(rename = "1d")]
    Day,
    /// From Monday to Monday.
    #[serde(rename = "1w")]
    Week,
    /// From the first to the first.
    #[serde(rename = "1mo")]
    Month,
    /// Never.
    #[default]
    #[serde(rename = "lifetime")]
    Lifetime,
}

impl Window {
    /// The word on the wire and in the store.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::FiveHours => "5h",
            Self::Day => "1d",
            Self::Week => "1w",
            Self::Month => "1mo",
            Self::Lifetime => "lifetime",
        }
    }
}

/// How a budget's window moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// From one fixed time to the next.
    #[default]
    Fixed,
    /// With the present as its end.
    Rolling,
}

/// `POST /admin/licenses/{id}/renew`: until when, or for how many days more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Renewal {
    /// The new end.
    pub expires_at: Option<Timestamp>,
    /// Days from the present end, or from now if that is later.
    #[schemars(range(min = 1, max = 36_600))]
    pub days: Option<u32>,
}

/// `POST /admin/licenses/{id}/token`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reissue {
    /// Whether the tokens issued before become invalid.
    pub rotate: bool,
}

/// `POST /admin/keys/{id}/rotate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// For how long the old secret is still accepted, seconds.
    pub grace_seconds: u64,
}

/// `POST /admin/usage/reset`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "UsageResetFields")]
pub struct UsageReset {
    /// One license; without it all.
    pub license_id: Option<String>,
}

/// A license as the operator sees it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "License")]
pub struct LicenseView {
    /// Id.
    pub id: String,
    /// The signed token, where it was just issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Plan.
    pub plan: Option<String>,
    /// Label.
    pub label: Option<String>,
    /// `active`, `suspended`, `revoked`, or `expired` for an active one past its end.
    #[schemars(extend("enum" = ["active", "suspended", "revoked", "expired"]))]
    pub status: &'static str,
    /// What it may use.
    #[serde(flatten)]
    pub limits: LimitsView,
    /// The operator's own data.
    pub metadata: Map<String, Value>,
    /// End.
    pub expires_at: Option<Timestamp>,
    /// Seconds that it lasts from its first use.
    pub expires_after_first_use: Option<i64>,
    /// When that clock started.
    pub first_used_at: Option<Timestamp>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it last changed, usage apart.
    pub updated_at: Timestamp,
}

/// An API key as the operator sees it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyView {
    /// The public part of the key.
    pub id: String,
    /// The key itself, where it was just made.
    #[schemars(regex(pattern = "^sk-lt-"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Label.
    pub label: Option<String>,
    /// The license that it uses.
    pub license_id: String,
    /// Whether that license was made for it: the limits are the license's then, and both end together.
    pub own_license: bool,
    /// `active`, `blocked`, `deleted`, or `expired` for an active one past its end.
    #[schemars(extend("enum" = ["active", "blocked", "deleted", "expired"]))]
    pub status: &'static str,
    /// The plan of its license.
    pub plan: Option<String>,
    /// What it allows of what its license allows; what is empty or null is the license's.
    #[serde(flatten)]
    pub limits: LimitsView,
    /// The operator's own data.
    pub metadata: Map<String, Value>,
    /// Its end or its license's, whichever is sooner.
    pub expires_at: Option<Timestamp>,
    /// Seconds that it lasts from its first use.
    pub expires_after_first_use: Option<i64>,
    /// When that clock started.
    pub first_used_at: Option<Timestamp>,
    /// Until when the secret before the last rotation is accepted; null: it is not.
    pub previous_valid_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The limits of a license or a key; what is null is not limited.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Limits")]
pub struct LimitsView {
    /// Kinds of use.
    pub scopes: Vec<String>,
    /// Models; empty: every model.
    pub models: Vec<String>,
    /// Networks; empty: every address.
    pub allowed_ips: Vec<String>,
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
    pub budgets: Vec<BudgetView>,
}

/// A budget and how far it is used.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Budget")]
pub struct BudgetView {
    /// Whose it is: `license`, or `key`.
    pub owner: &'static str,
    /// What is counted.
    #[schemars(with = "Unit")]
    pub unit: String,
    /// After which time it starts anew.
    #[schemars(with = "Window")]
    pub window: String,
    /// How the window moves.
    #[schemars(with = "Mode")]
    pub mode: String,
    /// Time zone.
    pub tz: String,
    /// How much in all.
    pub limit: Amount,
    /// From where on callers are warned.
    pub soft_limit: Amount,
    /// How much is used.
    pub used: Amount,
    /// How much live sessions hold.
    pub reserved: Amount,
    /// How much is free.
    pub remaining: Amount,
    /// When it starts anew, or where the window rolls, when something of it comes back; null: never, or nothing is used.
    pub resets_at: Option<Timestamp>,
}

/// An amount of a budget's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// Audio, seconds.
    Seconds(f64),
    /// Tokens or requests.
    Count(i64),
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct PageView<T> {
    /// The page.
    pub data: Vec<T>,
    /// What `cursor` must be for the next page.
    pub next_cursor: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
}
