//! What an instance may spend on the HTTP calls of one payer, a license or one of its keys: out of a hold that the store knows of, so that most
//! calls begin without asking it. Pure.
//!
//! For each unit that the license has a budget in, `held` is reserved in the store. Calls that run have taken their
//! share, and so have those that were answered and are not booked yet. Nothing is given out beyond `held`: all
//! instances together never pass a budget, but for what calls use beyond what they had asked for: a limit that the
//! caller names, or what the license's answers have cost lately.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::standing::Warning;

/// After so long without a look at the store, it is asked again: the license's budgets may have changed.
const KNOWN_FOR: Duration = Duration::from_secs(2);

/// So much of each unit that calls use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Tokens, in and out.
    pub tokens: i64,
    /// Requests.
    pub requests: i64,
}

impl std::ops::AddAssign for Amounts {
    fn add_assign(&mut self, more: Self) {
        self.tokens += more.tokens;
        self.requests += more.requests;
    }
}

/// After so long without a call a license is forgotten: until then it is served when the store goes away.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// So many times what was given out since the last transaction is held for until the next, where there is plenty: a
/// rush need not wait.
const AHEAD: i64 = 8;

/// One unit's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pot {
    /// What may be given out in all.
    held: i64,
    /// What is given out, and what was used and is not booked yet.
    taken: i64,
    /// What was given out since the last transaction.
    lately: i64,
    /// So little is left in the budgets that nothing is held in advance.
    scarce: bool,
}

impl Pot {
    fn free(&self) -> i64 {
        self.held - self.taken
    }

    fn take(&mut self, amount: i64) {
        self.taken += amount;
        self.lately += amount;
    }
}

/// Of which units something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limited {
    /// Tokens.
    pub tokens: bool,
    /// Requests.
    pub requests: bool,
}

/// What a transaction must know of one payer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLine {
    /// Who pays: a [`crate::payer::name`].
    pub payer: String,
    /// What must stay held: calls that run, and what may be given out meanwhile.
    pub keep: Amounts,
    /// Of that, what may be given out.
    pub spare: Amounts,
    /// What it would be good to be able to give out before the next transaction.
    pub wish: Amounts,
    /// Calls that wait, first come first.
    pub asks: Vec<Amounts>,
}

/// What a transaction found for one payer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallStanding {
    /// What is limited.
    pub limited: Limited,
    /// What is held now.
    pub held: Amounts,
    /// What was given to each ask; `None`: nothing.
    pub grants: Vec<Option<Amounts>>,
    /// A budget in tokens or requests is used up, until then or for ever.
    pub used_up: Option<Option<Timestamp>>,
    /// Of what so little is left that none of it should lie idle.
    pub scarce: Limited,
    /// Budgets that are used beyond their soft limit.
    pub warnings: Arc<[Warning]>,
}

/// One payer's purse.
#[derive(Debug, Default)]
pub struct Purse {
    limited: Option<Limited>,
    known_at: Option<Instant>,
    tokens: Pot,
    requests: Pot,
    /// The budgets changed since the store was asked.
    doubted: bool,
    /// What an answer may cost for which the caller names no limit: what lately one has cost.
    usual_output: i64,
    /// The outcome of the last transaction is unknown: the store may hold more than is known of.
    unsure: bool,
    warnings: Arc<[Warning]>,
}

impl Purse {
    /// Takes what a call needs, if it is at hand. `bridged`: the store is away, and calls go on without it.
    pub fn take(&mut self, need: Amounts, bridged: bool, now: Instant) -> bool {
        let fresh = !self.doubted && self.known_at.is_some_and(|at| now.saturating_duration_since(at) < KNOWN_FOR);
        let Some(limited) = self.limited.filter(|_| fresh || bridged) else { return false };
        let tokens = !limited.tokens || self.tokens.free() >= need.tokens;
        let requests = !limited.requests || self.requests.free() >= need.requests;
        if tokens && requests {
            self.tokens.take(need.tokens);
            self.requests.take(need.requests);
        }
        tokens && requests
    }

    /// A call that had taken `taken` used `used`; it stays taken until it is booked.
    pub fn settle(&mut self, taken: Amounts, used: Amounts) {
        self.tokens.taken += used.tokens - taken.tokens;
        self.requests.taken += used.requests - taken.requests;
    }

    /// The license's budgets changed: the store is asked before the next call.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// An answer cost so many tokens.
    pub fn answered(&mut self, output_tokens: i64) {
        self.usual_output = output_tokens.max(self.usual_output - self.usual_output / 8);
    }

    /// What an answer may cost, going by the last ones.
    #[must_use]
    pub fn usual_output(&self) -> i64 {
        self.usual_output
    }

    /// Budgets that were used beyond their soft limit when the store was last asked.
    #[must_use]
    pub fn warnings(&self) -> Arc<[Warning]> {
        self.warnings.clone()
    }

    /// The outcome of a transaction is unknown: the store is looked at again, whoever calls.
    pub fn lose_track(&mut self) {
        self.unsure = true;
        self.doubt();
    }

    /// Whether it can be forgotten, sooner where there are many (`crowded`): nothing is held or given out, and nobody
    /// has called for long.
    #[must_use]
    pub fn is_idle(&self, now: Instant, crowded: bool) -> bool {
        let pots = [self.tokens, self.requests];
        let known = self
            .known_at
            .is_some_and(|at| now.saturating_duration_since(at) < if crowded { KNOWN_FOR } else { KEPT_FOR });
        pots.iter().all(|pot| pot.held == 0 && pot.taken == 0 && pot.lately == 0) && !known && !self.unsure
    }

    /// Whether what is held differs from what should be, or its budgets should be looked at again.
    #[must_use]
    pub fn wants_look(&self, now: Instant) -> bool {
        /// Half of what is known for: who calls all the time is never made to wait.
        const LOOK_AFTER: Duration = Duration::from_secs(1);
        let active = self.tokens.lately > 0 || self.requests.lately > 0;
        let old = self.known_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_AFTER);
        let idle = !active && (self.tokens.free() > 0 || self.requests.free() > 0);
        active && old || idle || self.unsure
    }

    /// The line of a transaction that books `spent`. Until its outcome is known no more is given out than it keeps.
    pub fn line(&mut self, payer: &str, spent: Amounts, asks: Vec<Amounts>) -> CallLine {
        let limited = self.limited.unwrap_or_default();
        // What is doubted from now on is not known by this transaction.
        self.doubted = false;
        let plan = |pot: &mut Pot, limited: bool, spent: i64| {
            let running = pot.taken - spent;
            let wish = AHEAD * std::mem::take(&mut pot.lately);
            let spare = if limited && !pot.scarce { wish.min(pot.free().max(0)) } else { 0 };
            pot.held = pot.held.min(pot.taken + spare);
            (running + spare, spare, wish)
        };
        let tokens = plan(&mut self.tokens, limited.tokens, spent.tokens);
        let requests = plan(&mut self.requests, limited.requests, spent.requests);
        CallLine {
            payer: payer.to_owned(),
            keep: Amounts { tokens: tokens.0, requests: requests.0 },
            spare: Amounts { tokens: tokens.1, requests: requests.1 },
            wish: Amounts { tokens: tokens.2, requests: requests.2 },
            asks,
        }
    }

    /// The transaction was written that was prepared then.
    pub fn enter(&mut self, spent: Amounts, standing: &CallStanding, prepared: Instant) {
        self.limited = Some(standing.limited);
        self.known_at = Some(prepared);
        self.tokens.scarce = standing.scarce.tokens;
        self.requests.scarce = standing.scarce.requests;
        self.unsure = false;
        self.warnings = standing.warnings.clone();
        self.tokens.taken -= spent.tokens;
        self.requests.taken -= spent.requests;
        self.tokens.held = standing.held.tokens;
        self.requests.held = standing.held.requests;
        for granted in standing.grants.iter().flatten() {
            self.tokens.take(granted.tokens);
            self.requests.take(granted.requests);
        }
    }
}
