//! What a call to the provider came to.

use std::time::Duration;

/// What a call came to, and whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Served,
    /// The request was at fault; that says nothing about the account.
    CallersFault,
    /// 429, with its `retry-after`.
    RateLimited(Option<Duration>),
    /// This account may not use this model now: a 403, or what was free of the model is used up.
    ModelRefused,
    /// 5xx, or an answer that broke off.
    Failing,
    /// No answer in time.
    TimedOut,
    /// No connection.
    Unreachable,
    /// 401: the account's credential.
    BadKey,
    /// The account's money or quota is used up.
    Arrears,
    /// The caller left before the provider answered; that says nothing about the account.
    Abandoned,
}

impl Outcome {
    /// Every [`Outcome::word`].
    pub const WORDS: [&str; 10] = [
        "served",
        "callers_fault",
        "rate_limited",
        "model_refused",
        "failing",
        "timed_out",
        "unreachable",
        "bad_key",
        "arrears",
        "abandoned",
    ];

    /// The word that people and figures use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::CallersFault => "callers_fault",
            Self::RateLimited(_) => "rate_limited",
            Self::ModelRefused => "model_refused",
            Self::Failing => "failing",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::BadKey => "bad_key",
            Self::Arrears => "arrears",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the account or its provider was at fault.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Served | Self::CallersFault | Self::Abandoned => false,
            Self::RateLimited(_)
            | Self::ModelRefused
            | Self::Failing
            | Self::TimedOut
            | Self::Unreachable
            | Self::BadKey
            | Self::Arrears => true,
        }
    }
}
