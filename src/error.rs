//! Everything that can go wrong, in one table: whose fault it is, HTTP status, code, close code.
//!
//! The caller's faults are told to the caller in full; the provider's and our own are told as a
//! constant sentence, their cause goes to the log once, at the edge, with the request id.

use std::time::Duration;

use jiff::Timestamp;

/// What any room returns when it can't go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    // the caller's fault
    /// No credential, or none that we know.
    #[error("no valid license or API key was given; send it as `Authorization: Bearer …` or `x-api-key`")]
    InvalidApiKey,
    /// The license or key is past its end.
    #[error("this license or key has expired; ask the operator to renew it")]
    LicenseExpired,
    /// The operator suspended the license, or blocked the key.
    #[error("this license or key is suspended; ask the operator")]
    LicenseSuspended,
    /// The operator revoked the license for good.
    #[error("this license was revoked; ask the operator for a new one")]
    LicenseRevoked,
    /// The license doesn't include this kind of use.
    #[error("this license does not include the scope `{0}`")]
    ScopeNotAllowed(&'static str),
    /// The license is limited to other models.
    #[error("this license does not include the model `{0}`")]
    ModelNotAllowed(String),
    /// The license is limited to other client addresses.
    #[error("this license may not be used from this address")]
    IpNotAllowed,
    /// A budget is used up; it starts anew at `resets_at`, or never.
    #[error("the quota of this license is used up")]
    InsufficientQuota {
        /// When the budget's next period starts; `None` for a lifetime budget.
        resets_at: Option<Timestamp>,
    },
    /// More requests a minute than the limit.
    #[error("too many requests; wait and try again")]
    RateLimited {
        /// Seconds until the next request may succeed.
        retry_after_seconds: u64,
    },
    /// More realtime sessions at once than the license's `max_sessions`.
    #[error("this license may hold {limit} realtime sessions at once; end one and try again")]
    SessionLimit {
        /// The license's `max_sessions`.
        limit: u64,
    },
    /// More calls at once than the license's `max_parallel_requests`.
    #[error("this license may have {limit} requests running at once; wait for one to end and try again")]
    ConcurrencyLimit {
        /// The license's `max_parallel_requests`.
        limit: u64,
    },
    /// The machine has no seat on the license, or gave it up.
    #[error("this machine is not activated; activate it first")]
    MachineNotActivated,
    /// As many machines as the license, or the key, has seats.
    #[error("this license is activated on {limit} machines already; deactivate one and try again")]
    MachineLimit {
        /// The `max_machines` of license or key.
        limit: u64,
    },
    /// A field or the body is not what it should be; `param` names the field.
    #[error("{message}")]
    InvalidRequest {
        /// What to change, for people.
        message: String,
        /// The field's path, e.g. `budgets[0].unit`.
        param: Option<String>,
    },
    /// A body or frame beyond the limit.
    #[error("the body or frame is larger than {limit} bytes; send less at a time")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A body that doesn't come in.
    #[error("the body did not come in within {seconds} s; send it again")]
    RequestTimeout {
        /// How long was waited.
        seconds: u64,
    },
    /// The session to resume is not (or no longer) here.
    #[error("this session can't be resumed; start a new one")]
    SessionGone,
    /// No such route or thing.
    #[error("{0} was not found")]
    NotFound(String),
    /// A model that this gateway doesn't serve.
    #[error("the model `{0}` does not exist or is not served here")]
    ModelNotFound(String),
    /// The route exists, for other methods.
    #[error("this route does not take that method")]
    MethodNotAllowed,
    /// The thing exists already, or is in a state that forbids this.
    #[error("{0}")]
    Conflict(String),
    /// The thing changed since the caller read it.
    #[error("it was changed meanwhile; read it again")]
    PreconditionFailed,
    /// A binary frame where the protocol has text only.
    #[error("this endpoint takes text frames only; send audio as base64 in `input_audio_buffer.append`")]
    BinaryFrame,
    /// A text frame that is not UTF-8.
    #[error("text frames must be valid UTF-8")]
    InvalidUtf8,
    /// A WebSocket frame that breaks the protocol.
    #[error("the WebSocket protocol was violated")]
    ProtocolViolation,

    // a live session's end
    /// The session reached the license's `max_session_seconds`.
    #[error("the session reached its longest duration; start a new one")]
    SessionExpired,
    /// Nothing was sent for SESSION_IDLE_SECONDS.
    #[error("the session was idle for too long")]
    SessionIdle,
    /// The operator ended the session.
    #[error("the operator ended this session")]
    SessionEnded,
    /// The customer reads too slowly for what is said.
    #[error("the connection did not take data for too long")]
    TooSlow,

    // the provider's fault
    /// The provider limits us.
    #[error("the translation provider is limiting requests; try again shortly")]
    UpstreamRateLimited {
        /// What the provider says of it.
        retry_after_seconds: Option<u64>,
    },
    /// The provider is unreachable, refuses our account, or broke off.
    #[error("the translation provider is unavailable; try again shortly")]
    UpstreamUnavailable {
        /// For the log only.
        cause: String,
    },
    /// The provider didn't answer in time.
    #[error("the translation provider did not answer in time")]
    UpstreamTimeout,
    /// No upstream account is set up or free; which of it, the log tells the operator.
    #[error("no upstream account can take this call now; try again shortly")]
    NoUpstreamAvailable {
        /// Until the first of them may be free.
        retry_after_seconds: Option<u64>,
    },

    // ours
    /// The store can't be reached; the credential may well be right.
    #[error("the store is unavailable; try again shortly")]
    StorageUnavailable {
        /// For the log only.
        cause: String,
    },
    /// MAX_SESSIONS or another limit of this machine is reached.
    #[error("this gateway is at capacity; try again shortly")]
    Overloaded,
    /// This instance is shutting down.
    #[error("this gateway is shutting down; connect again")]
    Draining,
    /// A defect.
    #[error("an internal error occurred")]
    Internal {
        /// For the log only.
        cause: String,
    },
}

/// What an error looks like from outside: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// HTTP status before an upgrade, or of a REST answer.
    pub status: u16,
    /// The stable code that programs compare.
    pub code: &'static str,
    /// The `type` of OpenAI-style bodies.
    pub kind: &'static str,
    /// WebSocket close code when a live session ends so.
    pub close: u16,
}

const fn row(status: u16, code: &'static str, kind: &'static str, close: u16) -> Row {
    Row { status, code, kind, close }
}

impl Error {
    /// The error's row: the only place where status, code, kind and close code are decided.
    #[must_use]
    pub fn row(&self) -> Row {
        const REQUEST: &str = "invalid_request_error";
        const AUTH: &str = "authentication_error";
        const PERMISSION: &str = "permission_error";
        const LIMIT: &str = "rate_limit_error";
        const UPSTREAM: &str = "upstream_error";
        const OURS: &str = "server_error";
        match self {
            Self::InvalidApiKey => row(401, "invalid_api_key", AUTH, 1008),
            Self::LicenseExpired => row(401, "license_expired", AUTH, 1008),
            Self::LicenseSuspended => row(403, "license_suspended", PERMISSION, 1008),
            Self::LicenseRevoked => row(403, "license_revoked", PERMISSION, 1008),
            Self::ScopeNotAllowed(_) => row(403, "scope_not_allowed", PERMISSION, 1008),
            Self::ModelNotAllowed(_) => row(403, "model_not_allowed", PERMISSION, 1008),
            Self::IpNotAllowed => row(403, "ip_not_allowed", PERMISSION, 1008),
            Self::InsufficientQuota { .. } => row(429, "insufficient_quota", "insufficient_quota", 4029),
            Self::RateLimited { .. } => row(429, "rate_limit_exceeded", LIMIT, 1008),
            Self::SessionLimit { .. } => row(429, "session_limit_exceeded", LIMIT, 1008),
            Self::ConcurrencyLimit { .. } => row(429, "concurrency_limit_exceeded", LIMIT, 1008),
            Self::MachineNotActivated => row(404, "machine_not_activated", REQUEST, 1008),
            Self::MachineLimit { .. } => row(403, "machine_limit_exceeded", PERMISSION, 1008),
            Self::InvalidRequest { .. } => row(400, "invalid_request", REQUEST, 1008),
            Self::TooLarge { .. } => row(413, "request_too_large", REQUEST, 1009),
            Self::RequestTimeout { .. } => row(408, "request_timeout", REQUEST, 1008),
            Self::SessionGone => row(410, "session_gone", REQUEST, 1008),
            Self::NotFound(_) => row(404, "not_found", REQUEST, 1008),
            Self::ModelNotFound(_) => row(404, "model_not_found", REQUEST, 1008),
            Self::MethodNotAllowed => row(405, "method_not_allowed", REQUEST, 1008),
            Self::Conflict(_) => row(409, "conflict", REQUEST, 1008),
            Self::PreconditionFailed => row(412, "precondition_failed", REQUEST, 1008),
            Self::BinaryFrame => row(400, "invalid_request", REQUEST, 1003),
            Self::InvalidUtf8 => row(400, "invalid_request", REQUEST, 1007),
            Self::ProtocolViolation => row(400, "invalid_request", REQUEST, 1002),
            Self::SessionExpired => row(403, "session_expired", REQUEST, 1008),
            Self::SessionIdle => row(403, "session_idle", REQUEST, 1008),
            Self::SessionEnded => row(403, "session_ended", REQUEST, 1008),
            Self::TooSlow => row(408, "too_slow", REQUEST, 4008),
            Self::UpstreamRateLimited { .. } => row(503, "upstream_rate_limited", UPSTREAM, 1011),
            Self::UpstreamUnavailable { .. } => row(502, "upstream_unavailable", UPSTREAM, 1011),
            Self::UpstreamTimeout => row(504, "upstream_timeout", UPSTREAM, 1011),
            Self::NoUpstreamAvailable { .. } => row(503, "no_upstream_available", UPSTREAM, 1011),
            Self::StorageUnavailable { .. } => row(503, "storage_unavailable", OURS, 1013),
            Self::Overloaded => row(503, "overloaded", OURS, 1013),
            Self::Draining => row(503, "draining", OURS, 1001),
            Self::Internal { .. } => row(500, "internal_error", OURS, 1011),
        }
    }

    /// The field at fault, where the caller can mend one.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidRequest { param, .. } => param.as_deref(),
            Self::ModelNotAllowed(_) | Self::ModelNotFound(_) => Some("model"),
            _ => None,
        }
    }

    /// What only the log may see.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::UpstreamUnavailable { cause } | Self::StorageUnavailable { cause } | Self::Internal { cause } => {
                Some(cause)
            }
            _ => None,
        }
    }

    /// Seconds for `retry-after`: present on every 429 and 503. `now` turns a reset time into a span.
    #[must_use]
    pub fn retry_after_seconds(&self, now: Timestamp) -> Option<u64> {
        const WITHOUT_A_RESET: u64 = 86_400;
        match self {
            Self::InsufficientQuota { resets_at: Some(at) } => {
                Some(u64::try_from(at.as_second() - now.as_second()).unwrap_or(0).max(1))
            }
            Self::InsufficientQuota { resets_at: None } => Some(WITHOUT_A_RESET),
            Self::RateLimited { retry_after_seconds }
            | Self::UpstreamRateLimited { retry_after_seconds: Some(retry_after_seconds) }
            | Self::NoUpstreamAvailable { retry_after_seconds: Some(retry_after_seconds) } => {
                Some((*retry_after_seconds).max(1))
            }
            other => matches!(other.row().status, 429 | 503).then_some(2),
        }
    }

    /// A wrong field, by name.
    #[must_use]
    pub fn field(param: &str, message: impl Into<String>) -> Self {
        Self::InvalidRequest { message: message.into(), param: Some(param.to_owned()) }
    }

    /// A wrong body or request as a whole.
    #[must_use]
    pub fn request(message: impl Into<String>) -> Self {
        Self::InvalidRequest { message: message.into(), param: None }
    }

    /// A defect of ours, with its cause for the log.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal { cause: cause.to_string() }
    }

    /// The provider limits us, and may say for how long.
    #[must_use]
    pub fn upstream_limit(wait: Option<Duration>) -> Self {
        Self::UpstreamRateLimited { retry_after_seconds: wait.map(whole_seconds) }
    }

    /// No account is free; the first of them may be after `wait`.
    #[must_use]
    pub fn no_upstream(wait: Option<Duration>) -> Self {
        Self::NoUpstreamAvailable { retry_after_seconds: wait.map(whole_seconds) }
    }

    /// A provider's failure, with its cause for the log.
    #[must_use]
    pub fn upstream(cause: impl std::fmt::Display) -> Self {
        Self::UpstreamUnavailable { cause: cause.to_string() }
    }

    /// A store's failure, with its cause for the log.
    #[must_use]
    pub fn storage(cause: impl std::fmt::Display) -> Self {
        Self::StorageUnavailable { cause: cause.to_string() }
    }
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
