//! The account that serves a call, ours or the caller's own.

use std::sync::Arc;
use std::time::Instant;

use crate::upstream::account::Account;
use crate::upstream::outcome::Outcome;
use crate::upstream::pool::Pick;

/// What cuts a caller's connection.
pub type Cut = Box<dyn FnOnce()>;

/// Who takes the call.
pub enum Chosen {
    /// One of ours.
    Ours(Pick),
    /// The caller's own.
    Own(Arc<Account>),
}

impl Chosen {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        match self {
            Self::Ours(pick) => &pick.account,
            Self::Own(account) => account,
        }
    }

    /// What came of it.
    pub fn report(&self, outcome: Outcome) {
        if let Self::Ours(pick) = self {
            pick.report(outcome, Instant::now());
        }
    }
}

/// An account's hold on a call, for as long as its answer lasts.
pub struct Served(pub Chosen);

impl Served {
    /// The account's id.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.0.account().id
    }

    /// The stream broke off.
    pub fn broke_off(&self, outcome: Outcome) {
        self.0.report(outcome);
    }
}
