//! How a license's budgets stood after a transaction.

use std::sync::Arc;

/// What is left of the tightest budget of a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remaining {
    /// `audio_seconds` or `tokens`.
    pub unit: &'static str,
    /// What is not used, in that unit.
    pub remaining: f64,
    /// The budget's limit, in that unit.
    pub limit: f64,
}

/// A budget that is used beyond its soft limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// `audio_seconds`, `tokens` or `requests`.
    pub unit: String,
    /// The budget's window, e.g. `1d`.
    pub window: String,
    /// What is used, in that unit.
    pub used: f64,
    /// The budget's limit, in that unit.
    pub limit: f64,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { unit, window, used, limit } = self;
        write!(formatter, "{unit};window={window};used={used};limit={limit}")
    }
}

/// How a license's budgets stood after a transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Whether audio, tokens and requests are limited.
    pub limits: (bool, bool, bool),
    /// Audio that is neither used nor held, in samples; negative when the last frame passed the end.
    pub left: i64,
    /// What this instance keeps of the audio, in samples.
    pub cushion: i64,
    /// Tokens that are not used.
    pub tokens: i64,
    /// For the customers.
    pub remaining: Arc<[Remaining]>,
}

impl Standing {
    /// Whether no budget limits this license.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.limits == (false, false, false)
    }
}
