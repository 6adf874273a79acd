//! New sessions in a transaction: whose license is good, whose budgets have something left, and who must give way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::balances::{AUDIO, Balances, REQUESTS, Sums, TOKENS, signed};
use super::batch::Opening;
use super::healing::{self, Fate};
use super::instance::Instance;
use crate::error::Error;
use crate::payer;
use crate::store::accounting::{self, NewSession};
use crate::store::backend::AnyConnection;
use crate::store::continuity::{self, SessionRow};
use crate::store::{announcements, licenses};

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
    let (mut answers, mut begun) = (Vec::with_capacity(openings.len()), Vec::new());
    let mut requests = Sums::default();
    let ids = openings.iter().flat_map(|opening| std::iter::once(&opening.license_id).chain(&opening.key_id));
    let refusals = Refusals::load(connection, &ids.cloned().collect::<Vec<_>>(), now)?;
    let mut seats = Seats::count(connection, openings)?;
    for opening in openings {
        // The session has its place on the roster by now: who is suspended after this look is told there.
        if let Some(refusal) = refusals.of(&opening.license_id, opening.key_id.as_deref()) {
            answers.push(Err(refusal));
            continue;
        }
        if let Some(resets_at) = balances.used_up(&opening.payer(), &[AUDIO, TOKENS, REQUESTS]) {
            answers.push(Err(Error::InsufficientQuota { resets_at }));
            continue;
        }
        // What is left may be reserved by calls that run.
        if balances.is_reserved(&opening.payer(), REQUESTS) {
            let resets_at = balances.comes_back(&opening.payer(), REQUESTS, 1);
            answers.push(Err(Error::InsufficientQuota { resets_at }));
            continue;
        }
        if let Err(refusal) = seats.make_room(connection, opening, now)? {
            answers.push(Err(refusal));
            continue;
        }
        begun.push(new_session(opening, instance));
        requests.add(REQUESTS, (&opening.license_id, opening.key_id.as_deref()), (1, 0));
        balances.count_request(&opening.payer());
        answers.push(Ok(()));
    }
    accounting::open_sessions(connection, &begun)?;
    requests.book(connection, now)?;
    Ok(answers)
}

/// Enters sessions that were admitted while the store was away: they have happened, whatever their license's state.
///
/// # Errors
/// The store's; `Conflict` for a session that is there already.
pub fn enter(
    connection: &mut AnyConnection,
    entries: &[Arc<Opening>],
    instance: &Instance,
    now: Timestamp,
) -> Result<(), Error> {
    let mut requests = Sums::default();
    let begun: Vec<NewSession> = entries.iter().map(|opening| new_session(opening, instance)).collect();
    accounting::open_sessions(connection, &begun)?;
    for opening in entries {
        requests.add(REQUESTS, (&opening.license_id, opening.key_id.as_deref()), (1, 0));
    }
    requests.book(connection, now)
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

/// How many sessions the licenses and keys with a limit have, on all instances: by license, and by license and key.
struct Seats(BTreeMap<(String, String), u64>);

impl Seats {
    fn count(connection: &mut AnyConnection, openings: &[Arc<Opening>]) -> Result<Self, Error> {
        let limited = openings.iter().filter(|opening| opening.max_sessions.or(opening.max_sessions_of_key).is_some());
        let ids: Vec<String> = limited.map(|opening| opening.license_id.clone()).collect();
        let mut seats = Self(BTreeMap::new());
        if ids.is_empty() {
            return Ok(seats);
        }
        for (license_id, key_id, count) in continuity::count_living(connection, &ids)? {
            seats.take(&license_id, key_id.as_deref(), count.unsigned_abs());
        }
        Ok(seats)
    }

    fn take(&mut self, license_id: &str, key_id: Option<&str>, count: u64) {
        let owners = std::iter::once(payer::NO_KEY).chain(key_id);
        owners.for_each(|owner| *self.0.entry((license_id.to_owned(), owner.to_owned())).or_default() += count);
    }

    fn give_back(&mut self, row: &SessionRow) {
        let owners = std::iter::once(payer::NO_KEY).chain(row.key_id.as_deref());
        for owner in owners {
            let taken = self.0.entry((row.license_id.clone(), owner.to_owned())).or_default();
            *taken = taken.saturating_sub(1);
        }
    }

    /// Counts an opening in, where need be by ending sessions of the license, or key, that are away for longest.
    fn make_room(
        &mut self,
        connection: &mut AnyConnection,
        opening: &Opening,
        now: Timestamp,
    ) -> Result<Result<(), Error>, Error> {
        let key_id = opening.key_id.as_deref().unwrap_or(payer::NO_KEY);
        let mut going: Vec<SessionRow> = Vec::new();
        // Whoever gives way to the key's limit gives way to the license's.
        for (owner, limit) in [(key_id, opening.max_sessions_of_key), (payer::NO_KEY, opening.max_sessions)] {
            let Some(limit) = limit else { continue };
            let counts = |row: &&SessionRow| owner == payer::NO_KEY || row.key_id.as_deref() == Some(owner);
            let gone = going.iter().filter(counts).count() as u64;
            let taken = self.0.get(&(opening.license_id.clone(), owner.to_owned())).copied().unwrap_or_default();
            let too_many = (taken.saturating_sub(gone) + 1).saturating_sub(limit);
            if too_many == 0 {
                continue;
            }
            let most = signed(too_many.saturating_add(going.len() as u64));
            let mut away = continuity::longest_away(connection, (&opening.license_id, owner), most)?;
            away.retain(|row| going.iter().all(|other| other.id != row.id));
            away.truncate(usize::try_from(too_many).unwrap_or(usize::MAX));
            if limit == 0 || (away.len() as u64) < too_many {
                return Ok(Err(Error::SessionLimit { limit }));
            }
            going.extend(away);
        }
        if !going.is_empty() {
            healing::settle(connection, &going, &Fate::Ends("gave_way"), now)?;
            announcements::announce(connection)?;
            going.iter().for_each(|row| self.give_back(row));
        }
        self.take(&opening.license_id, opening.key_id.as_deref(), 1);
        Ok(Ok(()))
    }
}
