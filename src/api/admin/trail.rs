//! Leaves an entry in the audit log, in the transaction of the change itself.

use jiff::Timestamp;
use serde_json::Value;

use super::access::Operator;
use crate::config::Config;
use crate::error::Error;
use crate::ids;
use crate::store::audit::{self, Entry};
use crate::store::backend::AnyConnection;

/// Who changes something, from where, and when.
#[derive(Clone)]
pub struct Trail {
    enabled: bool,
    actor: &'static str,
    address: String,
    request_id: String,
    now: Timestamp,
}

impl Trail {
    /// The trail of one request.
    #[must_use]
    pub fn new(config: &Config, operator: &Operator, now: Timestamp) -> Self {
        Self {
            enabled: config.keys.enable_operation_log,
            actor: operator.actor,
            address: operator.address.to_string(),
            request_id: operator.request_id.clone(),
            now,
        }
    }

    /// When the change is made.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Leaves an entry, where ENABLE_OPERATION_LOG is on. `detail` holds no secret: for a change it is what
    /// [`super::difference`] makes of the thing before and after.
    ///
    /// # Errors
    /// The store's.
    pub fn leave(
        &self,
        connection: &mut AnyConnection,
        action: &str,
        subject: &str,
        detail: &Value,
    ) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        let entry = Entry {
            id: ids::audit(),
            occurred_at_us: self.now.as_microsecond(),
            actor: self.actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_string(),
            request_id: self.request_id.clone(),
            address: Some(self.address.clone()),
        };
        audit::append(connection, &entry)
    }
}
