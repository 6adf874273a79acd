//! Words of `/v1/licenses/…`: a customer's program asks whether its license is good, and for a seat on it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a program says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MachineFields {
    /// What tells its machine from others.
    #[schemars(length(min = 1, max = 255))]
    pub fingerprint: Option<String>,
    /// What people call the machine.
    #[schemars(length(min = 1, max = 200))]
    pub name: Option<String>,
    /// The program's own data.
    pub metadata: Option<Map<String, Value>>,
}

/// A machine that has a seat.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Machine")]
pub struct MachineView {
    /// What tells it from others.
    pub fingerprint: String,
    /// What people call it.
    pub name: Option<String>,
    /// The key that activated it last; null for the license's own token.
    pub key_id: Option<String>,
    /// The program's own data.
    pub metadata: Map<String, Value>,
    /// When it took its seat.
    pub activated_at: Timestamp,
    /// Its last heartbeat; null: it never sent one, and keeps its seat until it is deactivated.
    pub last_heartbeat_at: Option<Timestamp>,
    /// When its seat is given up unless it sends a heartbeat; null: never.
    pub heartbeat_due_at: Option<Timestamp>,
}

/// How a license's seats stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Seats")]
pub struct SeatsView {
    /// Machines that have one.
    pub machines: i64,
    /// Machines at most; null: no such limit.
    pub max_machines: Option<u64>,
}

/// The answer to an activation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Activation")]
pub struct ActivationView {
    /// The machine.
    #[serde(flatten)]
    pub machine: MachineView,
    /// The seats.
    #[serde(flatten)]
    pub seats: SeatsView,
}

/// The answer to a validation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Validation")]
pub struct ValidationView {
    /// Whether the license may be used now, and by this machine where one was named.
    pub valid: bool,
    /// `valid`, or why not.
    pub code: &'static str,
    /// The same for people.
    pub message: String,
    /// The license, where the credential is one of ours.
    pub license: Option<ValidatedLicense>,
    /// The machine, where it has a seat.
    pub machine: Option<MachineView>,
    /// The seats, where the credential is one of ours.
    #[serde(flatten)]
    pub seats: Option<SeatsView>,
}

/// What a validation tells of the license.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ValidatedLicense {
    /// Its id.
    pub id: String,
    /// The key that was shown.
    pub key_id: Option<String>,
    /// Its plan.
    pub plan: Option<String>,
    /// `active`, `suspended`, `revoked` or `expired`.
    pub status: &'static str,
    /// When its time, or its key's, is over.
    pub expires_at: Option<Timestamp>,
}

/// A machine has no seat any more.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Released {
    /// Which.
    pub fingerprint: String,
    /// Always.
    #[schemars(extend("const" = true))]
    pub deactivated: bool,
}

/// The answer to a deactivation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Deactivated {
    /// The machine.
    #[serde(flatten)]
    pub machine: Released,
    /// The seats.
    #[serde(flatten)]
    pub seats: SeatsView,
}
