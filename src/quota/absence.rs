//! How sessions go on while the store is away: out of what was reserved for that beforehand. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::account::{Account, LEASE_SAMPLES, Spooled};
use super::balances::{signed, token_sum};
use super::batch::Opening;
use super::book::{Answer, Book};
use super::tally::Tally;
use crate::error::Error;
use crate::payer;
use crate::store::spool::Entry;

/// What one payer may still be granted here.
struct Pool {
    /// Samples; `None`: no limit. Below zero where leases reach further than the cushion.
    samples: Option<i64>,
    /// Tokens.
    tokens: i64,
    sharers: u64,
}

impl Pool {
    /// As much as there is for a session that has `room`, at least `need`; `None` if that is too much.
    fn draw(&mut self, need: u64, room: u64) -> Option<u64> {
        let wanted = LEASE_SAMPLES.saturating_sub(room).max(need);
        let Some(samples) = &mut self.samples else { return Some(wanted) };
        let share = u64::try_from(*samples).ok()? / (2 * self.sharers.max(1));
        let amount = share.min(wanted).max(need);
        let left = *samples - signed(amount);
        if left < 0 {
            return None;
        }
        *samples = left;
        Some(amount)
    }
}

impl Book {
    /// Grants what sessions need for their next seconds, of all payers or of one; the answers for who waits.
    pub fn go_on(&mut self, payer: Option<&str>) -> Vec<Answer> {
        let mut pools = self.pools(payer);
        let mut answers = Vec::new();
        for (session_id, account) in &mut self.accounts {
            let Some(pool) = pools.get_mut(&account.opening.payer()) else { continue };
            if account.closing.is_some() {
                continue;
            }
            if pool.tokens <= 0 {
                account.tally.use_up(None);
            }
            if let Some(answer) = go_on(account, pool) {
                account.demand = None;
                self.pressing.remove(session_id);
                answers.push((session_id.clone(), answer));
            }
        }
        answers
    }

    /// Admits a session of a license that has no budget, or for which something is kept.
    ///
    /// # Errors
    /// `StorageUnavailable` for any other, `SessionLimit`.
    pub fn admit(&mut self, opening: &Arc<Opening>, tally: Arc<Tally>, now: Instant) -> Result<(), Error> {
        let payer = opening.payer();
        let standing = self.standings.get(&payer);
        let standing =
            standing.ok_or_else(|| Error::storage("the store is away, and this license was not seen here"))?;
        let (audio, _, requests) = standing.limits;
        let pool = self.pools(Some(&payer)).remove(&payer);
        let pool = pool.unwrap_or(Pool { samples: Some(0), tokens: 0, sharers: 0 });
        let something = pool.tokens > 0 && pool.samples.is_none_or(|samples| samples > 0);
        if !standing.is_unlimited() && (!audio || requests || !something) {
            return Err(Error::storage("the store is away, and nothing is kept for this license"));
        }
        if let Some(limit) = opening.max_sessions.into_iter().chain(opening.max_sessions_of_key).min()
            && pool.sharers >= limit
        {
            return Err(Error::SessionLimit { limit });
        }
        let mut account = Account::new(opening.clone(), tally, now);
        account.entered = false;
        self.insert(account);
        Ok(())
    }

    /// Admits those whose opening the store doesn't answer, as [`Book::admit`]; the rest waits on.
    pub fn admit_waiting(&mut self, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (opening, tally) in std::mem::take(&mut self.openings) {
            match self.admit(&opening, tally.clone(), now) {
                Ok(()) => answers.push((opening.session_id.clone(), Ok(()))),
                Err(_) => self.openings.push((opening, tally)),
            }
        }
        let stuck = self.opening_now.values().filter(|stuck| !self.accounts.contains_key(&stuck.opening.session_id));
        let stuck: Vec<_> = stuck.map(|stuck| (stuck.opening.clone(), stuck.tally.clone())).collect();
        for (opening, tally) in stuck {
            if self.admit(&opening, tally, now).is_ok() {
                answers.push((opening.session_id.clone(), Ok(())));
            }
        }
        answers
    }

    /// Refuses those whose opening waits.
    #[must_use]
    pub fn refuse_waiting(&mut self, error: &Error) -> Vec<Answer> {
        let openings = std::mem::take(&mut self.openings).into_iter();
        openings.map(|(opening, _)| (opening.session_id.clone(), Err(error.clone()))).collect()
    }

    /// What may still be granted, by payer. The store may have taken its leases back meanwhile: all that is
    /// not booked counts, tokens of all who use the license.
    fn pools(&self, only: Option<&str>) -> HashMap<String, Pool> {
        let mut spent: HashMap<String, u64> = only.into_iter().map(|payer| (payer.to_owned(), 0)).collect();
        let mut tokens: HashMap<&str, i64> = HashMap::new();
        for account in self.accounts.values() {
            let more = signed(token_sum(account.so_far().marks)) - signed(token_sum(account.booked));
            *tokens.entry(&account.opening.license_id).or_default() += more;
            let payer = account.opening.payer();
            if only.is_none_or(|only| only == payer) {
                let through = account.tally.granted().max(account.tally.forwarded());
                *spent.entry(payer).or_default() += through.saturating_sub(account.booked.samples);
            }
        }
        let pool = |(payer, samples): (String, u64)| {
            let standing = self.standings.get(&payer);
            let limits = standing.map_or((true, false, true), |standing| standing.limits);
            let kept = self.standings.cushion(&payer);
            let tokens = tokens.get(payer::license(&payer)).copied().unwrap_or(0);
            let pool = Pool {
                samples: limits.0.then(|| kept - signed(samples)),
                tokens: standing.filter(|_| limits.1).map_or(i64::MAX, |standing| standing.tokens - tokens),
                sharers: self.sharers.get(&payer).copied().unwrap_or(0),
            };
            (payer, pool)
        };
        spent.into_iter().map(pool).collect()
    }

    /// What the spool lacks of the accounts that the store lacks something of.
    #[must_use]
    pub fn to_spool(&self, instance_id: &str, now_us: i64) -> Vec<(Entry, Spooled)> {
        let behind = self.accounts.values().filter(|account| account.is_behind());
        let news = behind.filter_map(|account| {
            let so_far = account.so_far();
            (account.spooled != Some(so_far)).then(|| (entry(account, so_far, instance_id, now_us), so_far))
        });
        news.collect()
    }

    /// The spool has these: who ended needs no longer wait. An ack is not told yet: another instance, on which the
    /// session may be resumed, knows of the store alone.
    pub fn spooled(&mut self, written: &[(Entry, Spooled)]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (entry, so_far) in written {
            let Some(account) = self.accounts.get_mut(&entry.session_id) else { continue };
            account.spooled = Some(*so_far);
            if so_far.ended {
                answers.push((entry.session_id.clone(), Ok(())));
            }
        }
        answers
    }

    /// Who pays for a session that has an account.
    #[must_use]
    pub fn payer_of(&self, session_id: &str) -> Option<String> {
        self.accounts.get(session_id).map(|account| account.opening.payer())
    }

    /// The spool is emptied: the store has everything.
    pub fn forget_spooled(&mut self) {
        self.accounts.values_mut().for_each(|account| account.spooled = None);
    }
}

/// Grants one session its next seconds; the answer, if it waits for one and can go on.
fn go_on(account: &Account, pool: &mut Pool) -> Option<Result<(), Error>> {
    let tally = &account.tally;
    let (forwarded, granted) = (tally.forwarded(), tally.granted());
    let Some(demand) = &account.demand else {
        let room = granted.saturating_sub(forwarded);
        if forwarded > account.booked.samples && room < LEASE_SAMPLES / 2 {
            let drawn = pool.draw(0, room)?;
            tally.grant(granted.max(forwarded) + drawn);
        }
        return None;
    };
    // It stands still: what it was granted before goes back.
    if let Some(samples) = &mut pool.samples {
        *samples += signed(granted.saturating_sub(forwarded));
    }
    let drawn = if demand.need == 0 { Some(0) } else { pool.draw(demand.need, 0) };
    tally.grant(forwarded + drawn.unwrap_or(0));
    drawn.map(|_| Ok(()))
}

fn entry(account: &Account, so_far: Spooled, instance_id: &str, now_us: i64) -> Entry {
    let opening = &account.opening;
    let ends = account.closing.filter(|closing| !closing.parks || opening.resume_hash.is_none());
    Entry {
        session_id: opening.session_id.clone(),
        license_id: opening.license_id.clone(),
        key_id: opening.key_id.clone(),
        model: opening.model.clone(),
        instance_id: instance_id.to_owned(),
        started_at_us: opening.started_at.as_microsecond(),
        resume_hash: opening.resume_hash.clone(),
        epoch: signed(account.epoch),
        entered: account.entered,
        samples: signed(so_far.marks.samples),
        input_tokens: signed(so_far.marks.input_tokens),
        output_tokens: signed(so_far.marks.output_tokens),
        ack_samples: signed(so_far.ack.samples),
        ack_metered: signed(so_far.ack.metered),
        // What can be resumed has not ended: whoever finds it parks it.
        end_reason: ends.map(|closing| closing.reason.to_owned()),
        settings: account.tally.settings().map(|settings| settings.to_string()),
        written_at_us: now_us,
    }
}
