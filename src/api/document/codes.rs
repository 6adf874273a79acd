//! Every error that there is, for the document's list of codes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::completion::reply::anthropic_kind;
use crate::error::Error;

/// One of each; `tests/it/openapi.rs` compares it with the table in `error.rs`.
fn every() -> Vec<Error> {
    let text = String::new;
    vec![
        Error::InvalidApiKey,
        Error::LicenseExpired,
        Error::LicenseSuspended,
        Error::LicenseRevoked,
        Error::ScopeNotAllowed(""),
        Error::ModelNotAllowed(text()),
        Error::IpNotAllowed,
        Error::InsufficientQuota { resets_at: None },
        Error::RateLimited { retry_after_seconds: 0 },
        Error::SessionLimit { limit: 0 },
        Error::ConcurrencyLimit { limit: 0 },
        Error::InvalidRequest { message: text(), param: None },
        Error::TooLarge { limit: 0 },
        Error::RequestTimeout { seconds: 0 },
        Error::MachineNotActivated,
        Error::MachineLimit { limit: 0 },
        Error::SessionGone,
        Error::NotFound(text()),
        Error::ModelNotFound(text()),
        Error::MethodNotAllowed,
        Error::Conflict(text()),
        Error::PreconditionFailed,
        Error::SessionExpired,
        Error::SessionIdle,
        Error::SessionEnded,
        Error::TooSlow,
        Error::UpstreamRateLimited { retry_after_seconds: None },
        Error::UpstreamUnavailable { cause: text() },
        Error::UpstreamTimeout,
        Error::NoUpstreamAvailable { retry_after_seconds: None },
        Error::StorageUnavailable { cause: text() },
        Error::Overloaded,
        Error::Draining,
        Error::Internal { cause: text() },
    ]
}

/// The schema of an error's code: the words, and the HTTP status of each.
#[must_use]
pub fn code() -> Value {
    let every = every();
    let codes: Vec<&str> = every.iter().map(|error| error.row().code).collect();
    let statuses: BTreeMap<&str, u16> = every.iter().map(|error| (error.row().code, error.row().status)).collect();
    json!({
        "type": "string",
        "enum": codes,
        "description": "Stable; programs compare it. `x-status` has the HTTP status of each. `session_expired`, \
                        `session_idle`, `session_ended` and `too_slow` end live sessions, so they come as `error` \
                        events alone.",
        "x-status": statuses,
    })
}

/// The schema of an error's type, in OpenAI's form.
#[must_use]
pub fn kind() -> Value {
    let kinds: BTreeSet<&str> = every().iter().map(|error| error.row().kind).collect();
    json!({ "type": "string", "enum": kinds })
}

/// The schema of an error's type, in Anthropic's form.
#[must_use]
pub fn kind_for_anthropic() -> Value {
    let kinds: BTreeSet<&str> = every().iter().map(anthropic_kind).collect();
    json!({ "type": "string", "enum": kinds })
}
