//! What one session may do, settled at admission.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Config;
use crate::config::settings::{self, Model, Protocol, UsageReport};
use crate::error::Error;

/// Limits and clocks of one session.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the session speaks.
    pub protocol: Protocol,
    /// How its model reports tokens.
    pub usage: UsageReport,
    /// Lists of models, `*` standing for any characters: a model is included that is in each list.
    pub allowed_models: Vec<Vec<String>>,
    /// Settings, for models named after the upgrade and the clocks.
    pub config: Arc<Config>,
    /// A lost connection to the provider is replaced: the protocol allows it and the client did not refuse it.
    pub replaceable: bool,
    /// Age at which a connection to the provider is replaced.
    pub rollover_after: Duration,
    /// Input tokens on one connection at which it is replaced.
    pub rollover_tokens: u64,
    /// `max_session_seconds`.
    pub longest: Option<Duration>,
    /// How soon the first ping comes before its time: sessions that begin together must not ping together.
    pub ping_phase: Duration,
    /// When the license ends.
    pub expires_at: Option<Timestamp>,
    /// When the API key ends, if the session came with one.
    pub key_expires_at: Option<Timestamp>,
}

/// Finds a model that is served and that is in each list of `allowed`.
///
/// # Errors
/// `ModelNotFound`, `ModelNotAllowed`.
pub fn find_model<'a>(config: &'a Config, allowed: &[Vec<String>], id: &str) -> Result<&'a Model, Error> {
    let sane = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    let model = config.model(id).filter(|_| id.len() <= 128 && sane(id));
    let model = model.ok_or_else(|| Error::ModelNotFound(id.chars().take(128).collect()))?;
    if allowed.iter().all(|list| list.iter().any(|pattern| settings::fits(pattern, id))) {
        return Ok(model);
    }
    Err(Error::ModelNotAllowed(id.to_owned()))
}
