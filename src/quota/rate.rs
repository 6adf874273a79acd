//! How fast a license may call: buckets that fill over a minute, and calls at once. Held by this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::license::Limits;

const MINUTE: Duration = Duration::from_secs(60);
/// Licenses remembered at most; a full bucket is forgotten without harm.
const LICENSES: usize = 50_000;

/// A bucket that holds a minute's worth, and fills evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    /// What is in it; below nothing when a call used more than it had asked for.
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(limit: u64, now: Instant) -> Self {
        Self { level: limit as f64, at: now }
    }

    fn fill(&mut self, limit: u64, now: Instant) {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64() * limit as f64;
        self.level = (self.level + filled).min(limit as f64);
        self.at = now;
    }

    /// Until there is so much in it.
    fn wait(&self, limit: u64, amount: f64) -> Duration {
        let missing = amount.min(limit as f64) - self.level;
        if limit == 0 {
            return MINUTE;
        }
        MINUTE.mul_f64((missing / limit as f64).clamp(0.0, 1e6))
    }
}

/// How one limit stands, for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// A minute's worth.
    pub limit: u64,
    /// What is left.
    pub remaining: u64,
    /// Until nothing is missing.
    pub reset: Duration,
}

/// How a license's limits stand; absent ones don't exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// Requests.
    pub requests: Option<Reading>,
    /// Tokens.
    pub tokens: Option<Reading>,
}

#[derive(Debug)]
struct Pace {
    requests: Bucket,
    tokens: Bucket,
    running: u64,
}

/// The pace of every license that has limits; cheap to clone, shared by all threads.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    paces: Arc<Mutex<HashMap<String, Pace>>>,
}

impl Rates {
    /// Lets a call begin that will use about so many tokens, and counts it until the pass is dropped.
    ///
    /// # Errors
    /// `RateLimited` with the wait, `ConcurrencyLimit`.
    pub fn enter(&self, license_id: &str, limits: &Limits, tokens: u64, now: Instant) -> Result<Pass, Error> {
        if limits.rpm_limit.is_none() && limits.tpm_limit.is_none() && limits.max_parallel_requests.is_none() {
            return Ok(Pass {
                rates: self.clone(),
                license_id: None,
                limits: limits.clone(),
                tokens: 0,
                settled: true,
            });
        }
        let mut paces = self.paces();
        if paces.len() >= LICENSES {
            forget(&mut paces, now);
        }
        let (rpm, tpm) = (limits.rpm_limit.unwrap_or(u64::MAX), limits.tpm_limit.unwrap_or(u64::MAX));
        let pace = paces.entry(license_id.to_owned()).or_insert_with(|| Pace {
            requests: Bucket::full(rpm, now),
            tokens: Bucket::full(tpm, now),
            running: 0,
        });
        pace.requests.fill(rpm, now);
        pace.tokens.fill(tpm, now);
        if let Some(limit) = limits.max_parallel_requests
            && pace.running >= limit
        {
            return Err(Error::ConcurrencyLimit { limit });
        }
        let waits = [pace.requests.wait(rpm, 1.0), pace.tokens.wait(tpm, tokens.max(1) as f64)];
        refuse_for(waits.into_iter().max().unwrap_or_default())?;
        pace.requests.level -= 1.0;
        pace.tokens.level -= tokens as f64;
        pace.running += 1;
        Ok(Pass {
            rates: self.clone(),
            license_id: Some(license_id.to_owned()),
            limits: limits.clone(),
            tokens,
            settled: false,
        })
    }

    /// How a license's limits stand.
    #[must_use]
    pub fn read(&self, license_id: &str, limits: &Limits, now: Instant) -> Readings {
        let pace = self.paces().get(license_id).map(|pace| (pace.requests, pace.tokens));
        let read = |bucket: Option<Bucket>, limit: Option<u64>| {
            let limit = limit?;
            let mut bucket = bucket.unwrap_or(Bucket::full(limit, now));
            bucket.fill(limit, now);
            let remaining = bucket.level.max(0.0).floor() as u64;
            Some(Reading { limit, remaining, reset: bucket.wait(limit, limit as f64) })
        };
        Readings {
            requests: read(pace.map(|pace| pace.0), limits.rpm_limit),
            tokens: read(pace.map(|pace| pace.1), limits.tpm_limit),
        }
    }

    fn paces(&self) -> MutexGuard<'_, HashMap<String, Pace>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses who would have to wait.
fn refuse_for(wait: Duration) -> Result<(), Error> {
    if wait.is_zero() {
        return Ok(());
    }
    Err(Error::RateLimited { retry_after_seconds: wait.as_secs_f64().ceil().max(1.0) as u64 })
}

/// Forgets who has not called for a minute: their buckets are full.
fn forget(paces: &mut HashMap<String, Pace>, now: Instant) {
    paces.retain(|_, pace| pace.running > 0 || now.saturating_duration_since(pace.requests.at) < MINUTE);
}

/// A call that runs within its license's limits; it counts until it is dropped. What it set aside comes back unless
/// it says what it used.
#[derive(Debug)]
pub struct Pass {
    rates: Rates,
    /// `None`: there is no limit.
    license_id: Option<String>,
    limits: Limits,
    tokens: u64,
    settled: bool,
}

impl Pass {
    /// Sets so many tokens aside, besides what the call began with: it is known now what it will use.
    ///
    /// # Errors
    /// `RateLimited` with the wait.
    pub fn set_aside(&mut self, tokens: u64, now: Instant) -> Result<(), Error> {
        let Some(license_id) = &self.license_id else { return Ok(()) };
        let limit = self.limits.tpm_limit.unwrap_or(u64::MAX);
        if let Some(pace) = self.rates.paces().get_mut(license_id) {
            pace.tokens.fill(limit, now);
            refuse_for(pace.tokens.wait(limit, tokens as f64))?;
            pace.tokens.level -= tokens as f64;
        }
        self.tokens += tokens;
        Ok(())
    }

    /// The call used so many tokens, instead of what it had asked for.
    pub fn used(&mut self, tokens: u64) {
        let Some(license_id) = &self.license_id else { return };
        if let Some(pace) = self.rates.paces().get_mut(license_id) {
            pace.tokens.level += self.tokens as f64 - tokens as f64;
        }
        (self.tokens, self.settled) = (tokens, true);
    }

    /// How the limits stand now.
    #[must_use]
    pub fn readings(&self, now: Instant) -> Readings {
        self.license_id.as_ref().map_or_else(Readings::default, |id| self.rates.read(id, &self.limits, now))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.settled {
            // Nothing was used.
            self.used(0);
        }
        let Some(license_id) = &self.license_id else { return };
        if let Some(pace) = self.rates.paces().get_mut(license_id) {
            pace.running = pace.running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rpm: Option<u64>, tpm: Option<u64>, parallel: Option<u64>) -> Limits {
        Limits { rpm_limit: rpm, tpm_limit: tpm, max_parallel_requests: parallel, ..Limits::default() }
    }

    #[test]
    fn a_minute_holds_so_many_requests() {
        let (rates, now) = (Rates::default(), Instant::now());
        let limits = limits(Some(6), None, None);
        let enter = |now| rates.enter("lic", &limits, 10, now).map(drop);
        for _ in 0..6 {
            enter(now).unwrap();
        }
        assert!(matches!(enter(now), Err(Error::RateLimited { retry_after_seconds: 10 })));
        assert!(enter(now + Duration::from_secs(9)).is_err());
        enter(now + Duration::from_secs(10)).unwrap();
        assert!(enter(now + Duration::from_secs(10)).is_err());
        assert!(rates.enter("other", &limits, 10, now).is_ok());
    }

    #[test]
    fn tokens_count_as_they_were_used() {
        let (rates, now) = (Rates::default(), Instant::now());
        let limits = limits(None, Some(1_000), None);
        let mut pass = rates.enter("lic", &limits, 600, now).unwrap();
        assert_eq!(pass.readings(now).tokens.map(|reading| reading.remaining), Some(400));
        assert!(rates.enter("lic", &limits, 600, now).is_err());
        pass.used(100);
        assert_eq!(pass.readings(now).tokens.map(|reading| reading.remaining), Some(900));
        // What asks for more than a minute's worth needs a full bucket.
        assert!(rates.enter("lic", &limits, 5_000, now).is_err());
        let later = now + Duration::from_secs(6);
        let _big = rates.enter("lic", &limits, 5_000, later).unwrap();
        assert!(rates.enter("lic", &limits, 1, later).is_err());
    }

    #[test]
    fn what_a_call_will_use_is_known_after_it_began() {
        let (rates, now) = (Rates::default(), Instant::now());
        let limits = limits(Some(60), Some(1_000), None);
        let enter = || rates.enter("lic", &limits, 0, now).unwrap();
        let (mut one, mut other) = (enter(), enter());
        one.set_aside(600, now).unwrap();
        assert!(matches!(other.set_aside(600, now), Err(Error::RateLimited { retry_after_seconds: 12 })));
        drop(other);
        assert_eq!(one.readings(now).tokens.map(|reading| reading.remaining), Some(400));
        one.used(700);
        assert_eq!(one.readings(now).tokens.map(|reading| reading.remaining), Some(300));
        let mut unlimited = rates.enter("other", &Limits::default(), 0, now).unwrap();
        unlimited.set_aside(u64::MAX, now).unwrap();
    }

    #[test]
    fn calls_at_once() {
        let (rates, now) = (Rates::default(), Instant::now());
        let limits = limits(None, None, Some(2));
        let first = rates.enter("lic", &limits, 1, now).unwrap();
        let _second = rates.enter("lic", &limits, 1, now).unwrap();
        assert!(matches!(rates.enter("lic", &limits, 1, now), Err(Error::ConcurrencyLimit { limit: 2 })));
        drop(first);
        assert!(rates.enter("lic", &limits, 1, now).is_ok());
    }
}
