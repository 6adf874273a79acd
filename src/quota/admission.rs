//! New sessions in a transaction: whose license is good, whose budgets have something left, and who must give way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::balances::{AUDIO, Balances, REQUESTS, Sums, TOKENS, charges, signed};
use super::batch::Opening;
use super::healing::{self, Fate};
use super::instance::Instance;
use crate::error::Error;
use crate::store::accounting::{self, NewSession};
use crate::store::backend::AnyConnection;
use crate::store::{announcements, continuity, licenses};

/// Opens what can be opened. The batch's other sessions are written by now: who left has left.
///
/// # Errors
/// The store's.
pub fn open(
    connection: &mut AnyConnection,
    openings: &[Arc<Opening>],
    balances: &mut Balances,
    instance: &Instance,
    now: Timestamp,
) -> Result<Vec<Result<(), Error>>, Error> {
    let mut answers = Vec::with_capacity(openings.len());
    let mut requests = Sums::new();
    let ids = openings.iter().flat_map(|opening| std::iter::once(&opening.license_id).chain(&opening.key_id));
    let refusals = Refusals::load(connection, &ids.cloned().collect::<Vec<_>>(), now)?;
    let mut seats = Seats::count(connection, openings)?;
    for opening in openings {
        // The session has its place on the roster by now: who is suspended after this look is told there.
        if let Some(refusal) = refusals.of(&opening.license_id, opening.key_id.as_deref()) {
            answers.push(Err(refusal));
            continue;
        }
        if let Some(resets_at) = balances.used_up(&opening.license_id, &[AUDIO, TOKENS, REQUESTS]) {
            answers.push(Err(Error::InsufficientQuota { resets_at }));
            continue;
        }
        // What is left may be reserved by calls that run.
        if balances.is_reserved(&opening.license_id, REQUESTS) {
            answers.push(Err(Error::InsufficientQuota { resets_at: None }));
            continue;
        }
        if let Err(refusal) = seats.make_room(connection, opening, now)? {
            answers.push(Err(refusal));
            continue;
        }
        accounting::open_session(connection, &new_session(opening, instance))?;
        requests.entry(&opening.license_id).or_default().0 += 1;
        balances.count_request(&opening.license_id);
        answers.push(Ok(()));
    }
    accounting::charge(connection, REQUESTS, &charges(requests))?;
    Ok(answers)
}

/// Enters sessions that were admitted while the store was away: they have happened, whatever their license's state.
///
/// # Errors
/// The store's; `Conflict` for a session that is there already.
pub fn enter(connection: &mut AnyConnection, entries: &[Arc<Opening>], instance: &Instance) -> Result<(), Error> {
    let mut requests = Sums::new();
    for opening in entries {
        accounting::open_session(connection, &new_session(opening, instance))?;
        requests.entry(&opening.license_id).or_default().0 += 1;
    }
    accounting::charge(connection, REQUESTS, &charges(requests))
}

fn new_session(opening: &Opening, instance: &Instance) -> NewSession {
    NewSession {
        id: opening.session_id.clone(),
        license_id: opening.license_id.clone(),
        key_id: opening.key_id.clone(),
        model: opening.model.clone(),
        instance_id: instance.id.clone(),
        status: "live".to_owned(),
        started_at_us: opening.started_at.as_microsecond(),
        resume_hash: opening.resume_hash.clone(),
    }
}

/// Licenses and keys that may not be used now.
pub struct Refusals(HashMap<String, String>);

impl Refusals {
    /// Looks at licenses and keys with these ids.
    ///
    /// # Errors
    /// The store's.
    pub fn load(connection: &mut AnyConnection, ids: &[String], now: Timestamp) -> Result<Self, Error> {
        if ids.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        Ok(Self(licenses::unusable(connection, ids, now.as_microsecond())?.into_iter().collect()))
    }

    /// Why a session of this license and key is refused, if it is.
    #[must_use]
    pub fn of(&self, license_id: &str, key_id: Option<&str>) -> Option<Error> {
        let status = std::iter::once(license_id).chain(key_id).find_map(|id| self.0.get(id))?;
        Some(match status.as_str() {
            "revoked" | "deleted" => Error::LicenseRevoked,
            "expired" => Error::LicenseExpired,
            _ => Error::LicenseSuspended,
        })
    }
}

/// How many sessions the licenses with a limit have, on all instances.
struct Seats(BTreeMap<String, u64>);

impl Seats {
    fn count(connection: &mut AnyConnection, openings: &[Arc<Opening>]) -> Result<Self, Error> {
        let limited = openings.iter().filter(|opening| opening.max_sessions.is_some());
        let ids: Vec<String> = limited.map(|opening| opening.license_id.clone()).collect();
        if ids.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let counted = continuity::count_living(connection, &ids)?;
        Ok(Self(counted.into_iter().map(|(id, count)| (id, count.unsigned_abs())).collect()))
    }

    /// Counts an opening in, where need be by ending the license's sessions that are away for longest.
    fn make_room(
        &mut self,
        connection: &mut AnyConnection,
        opening: &Opening,
        now: Timestamp,
    ) -> Result<Result<(), Error>, Error> {
        let taken = self.0.entry(opening.license_id.clone()).or_default();
        if let Some(limit) = opening.max_sessions {
            let too_many = (*taken + 1).saturating_sub(limit);
            if too_many > 0 {
                let away = continuity::longest_away(connection, &opening.license_id, signed(too_many))?;
                if limit == 0 || (away.len() as u64) < too_many {
                    return Ok(Err(Error::SessionLimit { limit }));
                }
                healing::settle(connection, &away, &Fate::Ends("gave_way"), now)?;
                announcements::announce(connection)?;
                *taken -= too_many;
            }
        }
        *taken += 1;
        Ok(Ok(()))
    }
}
