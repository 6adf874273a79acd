//! How fast licenses and keys may call: buckets that fill over a minute, and calls at once. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::license::{ApiKey, License, Limits};

const MINUTE: Duration = Duration::from_secs(60);
/// Subjects remembered at most; a full bucket is forgotten without harm.
const SUBJECTS: usize = 50_000;

/// Whose limits a call keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A license's id, or a key's.
    pub id: String,
    /// At least one of its rates, or its calls at once, is limited.
    pub limits: Limits,
}

impl Subject {
    /// Those that limit a call: its license, and the key that was used. Most limit nothing.
    #[must_use]
    pub fn of(license: &License, key: Option<&ApiKey>) -> Vec<Self> {
        let key = key.map(|key| (&key.id, &key.narrowing.limits));
        let limited = [(&license.id, &license.limits)].into_iter().chain(key).filter(|(_, limits)| is_limited(limits));
        limited.map(|(id, limits)| Self { id: id.clone(), limits: limits.clone() }).collect()
    }
}

fn is_limited(limits: &Limits) -> bool {
    limits.rpm_limit.is_some() || limits.tpm_limit.is_some() || limits.max_parallel_requests.is_some()
}

/// What a call takes out of the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// To begin: a request. What it will use in tokens is not known yet; none may be owed.
    Begin,
    /// Tokens.
    Tokens(u64),
}

impl Amount {
    /// Requests and tokens that are taken.
    #[must_use]
    pub fn taken(self) -> [u64; 2] {
        match self {
            Self::Begin => [1, 0],
            Self::Tokens(tokens) => [0, tokens],
        }
    }

    /// Requests and tokens that must be there.
    #[must_use]
    pub fn wanted(self) -> [u64; 2] {
        match self {
            Self::Begin => [1, 1],
            Self::Tokens(tokens) => [0, tokens],
        }
    }
}

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
}

/// Until a bucket with so much in it has so much.
fn wait(level: f64, limit: u64, amount: f64) -> Duration {
    let missing = amount.min(limit as f64) - level;
    if limit == 0 {
        return MINUTE;
    }
    MINUTE.mul_f64((missing / limit as f64).clamp(0.0, 1e6))
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

/// How the limits of a call stand, each by whoever has least left; absent ones don't exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// Requests.
    pub requests: Option<Reading>,
    /// Tokens.
    pub tokens: Option<Reading>,
}

impl Readings {
    /// Of subjects whose buckets have these levels, in requests and in tokens.
    #[must_use]
    pub fn of(subjects: &[Subject], levels: &[[f64; 2]]) -> Self {
        let read = |limit_of: fn(&Limits) -> Option<u64>, kind: usize| {
            let readings = subjects.iter().zip(levels).filter_map(|(subject, levels)| {
                let (limit, level) = (limit_of(&subject.limits)?, *levels.get(kind)?);
                let remaining = level.max(0.0).floor() as u64;
                Some(Reading { limit, remaining, reset: wait(level, limit, limit as f64) })
            });
            readings.min_by_key(|reading| (reading.remaining, reading.limit))
        };
        Self { requests: read(|limits| limits.rpm_limit, 0), tokens: read(|limits| limits.tpm_limit, 1) }
    }
}

#[derive(Debug)]
struct Pace {
    requests: Bucket,
    tokens: Bucket,
    running: u64,
}

impl Pace {
    fn fill(&mut self, (rpm, tpm): (u64, u64), now: Instant) {
        self.requests.fill(rpm, now);
        self.tokens.fill(tpm, now);
    }
}

/// A minute's worth of requests and of tokens.
fn rates(limits: &Limits) -> (u64, u64) {
    (limits.rpm_limit.unwrap_or(u64::MAX), limits.tpm_limit.unwrap_or(u64::MAX))
}

/// The pace of everyone who has limits, as one process knows it.
#[derive(Debug, Default)]
pub struct Paces {
    known: HashMap<String, Pace>,
}

impl Paces {
    /// Takes from every subject, or from none. Whoever begins counts until [`Paces::end`].
    ///
    /// # Errors
    /// `RateLimited` with the wait, `ConcurrencyLimit`.
    pub fn take(&mut self, subjects: &[Subject], amount: Amount, now: Instant) -> Result<(), Error> {
        let mut longest = Duration::ZERO;
        let [requests, tokens] = amount.wanted();
        for Subject { id, limits } in subjects {
            let (rpm, tpm) = rates(limits);
            let pace = self.pace(id, (rpm, tpm), now);
            if let Some(limit) = limits.max_parallel_requests
                && amount == Amount::Begin
                && pace.running >= limit
            {
                return Err(Error::ConcurrencyLimit { limit });
            }
            for (bucket, limit, wanted) in [(pace.requests, rpm, requests), (pace.tokens, tpm, tokens)] {
                if wanted > 0 {
                    longest = longest.max(wait(bucket.level, limit, wanted as f64));
                }
            }
        }
        if !longest.is_zero() {
            return Err(Error::RateLimited { retry_after_seconds: whole_seconds(longest) });
        }
        self.note(subjects, amount, now);
        Ok(())
    }

    /// Takes without asking: others have allowed it.
    pub fn note(&mut self, subjects: &[Subject], amount: Amount, now: Instant) {
        let [requests, tokens] = amount.taken();
        for Subject { id, limits } in subjects {
            let pace = self.pace(id, rates(limits), now);
            pace.requests.level -= requests as f64;
            pace.tokens.level -= tokens as f64;
            pace.running += u64::from(amount == Amount::Begin);
        }
    }

    /// Gives tokens back; below nothing, takes them.
    pub fn give_back(&mut self, subjects: &[Subject], tokens: f64) {
        for Subject { id, .. } in subjects {
            if let Some(pace) = self.known.get_mut(id) {
                pace.tokens.level += tokens;
            }
        }
    }

    /// A call has ended.
    pub fn end(&mut self, subjects: &[Subject]) {
        for Subject { id, .. } in subjects {
            if let Some(pace) = self.known.get_mut(id) {
                pace.running = pace.running.saturating_sub(1);
            }
        }
    }

    /// How the limits stand.
    #[must_use]
    pub fn read(&mut self, subjects: &[Subject], now: Instant) -> Readings {
        let level = |subject: &Subject| {
            let pace = self.pace(&subject.id, rates(&subject.limits), now);
            [pace.requests.level, pace.tokens.level]
        };
        let levels: Vec<[f64; 2]> = subjects.iter().map(level).collect();
        Readings::of(subjects, &levels)
    }

    /// Filled as it is now.
    fn pace(&mut self, id: &str, (rpm, tpm): (u64, u64), now: Instant) -> &mut Pace {
        if !self.known.contains_key(id) && self.known.len() >= SUBJECTS {
            // Whoever has not called for a minute: their buckets are full.
            let called = |pace: &Pace| now.saturating_duration_since(pace.requests.at) < MINUTE;
            self.known.retain(|_, pace| pace.running > 0 || called(pace));
        }
        let (requests, tokens) = (Bucket::full(rpm, now), Bucket::full(tpm, now));
        let pace = self.known.entry(id.to_owned()).or_insert(Pace { requests, tokens, running: 0 });
        pace.fill((rpm, tpm), now);
        pace
    }
}

/// For `retry-after`: at least one.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(id: &str, rpm: Option<u64>, tpm: Option<u64>, parallel: Option<u64>) -> Subject {
        let limits = Limits { rpm_limit: rpm, tpm_limit: tpm, max_parallel_requests: parallel, ..Limits::default() };
        Subject { id: id.to_owned(), limits }
    }

    fn tokens_left(paces: &mut Paces, subjects: &[Subject], now: Instant) -> Option<u64> {
        paces.read(subjects, now).tokens.map(|reading| reading.remaining)
    }

    #[test]
    fn a_minute_holds_so_many_requests() {
        let (mut paces, now) = (Paces::default(), Instant::now());
        let lic = [subject("lic", Some(6), None, None)];
        let mut begin = |subjects: &[Subject], now| paces.take(subjects, Amount::Begin, now);
        for _ in 0..6 {
            begin(&lic, now).unwrap();
        }
        assert!(matches!(begin(&lic, now), Err(Error::RateLimited { retry_after_seconds: 10 })));
        assert!(begin(&lic, now + Duration::from_secs(9)).is_err());
        begin(&lic, now + Duration::from_secs(10)).unwrap();
        assert!(begin(&lic, now + Duration::from_secs(10)).is_err());
        assert!(begin(&[subject("other", Some(6), None, None)], now).is_ok());
    }

    #[test]
    fn tokens_count_as_they_were_used() {
        let (mut paces, now) = (Paces::default(), Instant::now());
        let lic = [subject("lic", None, Some(1_000), None)];
        paces.take(&lic, Amount::Begin, now).unwrap();
        paces.take(&lic, Amount::Tokens(600), now).unwrap();
        assert_eq!(tokens_left(&mut paces, &lic, now), Some(400));
        let refused = paces.take(&lic, Amount::Tokens(600), now);
        assert!(matches!(refused, Err(Error::RateLimited { retry_after_seconds: 12 })));
        paces.give_back(&lic, 500.0);
        assert_eq!(tokens_left(&mut paces, &lic, now), Some(900));
        // What asks for more than a minute's worth needs a full bucket, and leaves a debt.
        assert!(paces.take(&lic, Amount::Tokens(5_000), now).is_err());
        let later = now + Duration::from_secs(6);
        paces.take(&lic, Amount::Tokens(5_000), later).unwrap();
        assert!(paces.take(&lic, Amount::Begin, later).is_err());
        assert_eq!(tokens_left(&mut paces, &lic, later), Some(0));
    }

    #[test]
    fn calls_at_once() {
        let (mut paces, now) = (Paces::default(), Instant::now());
        let lic = [subject("lic", None, None, Some(2))];
        paces.take(&lic, Amount::Begin, now).unwrap();
        paces.take(&lic, Amount::Begin, now).unwrap();
        assert!(matches!(paces.take(&lic, Amount::Begin, now), Err(Error::ConcurrencyLimit { limit: 2 })));
        paces.take(&lic, Amount::Tokens(9), now).unwrap();
        paces.end(&lic);
        assert!(paces.take(&lic, Amount::Begin, now).is_ok());
    }

    #[test]
    fn who_is_refused_by_one_takes_of_none() {
        let (mut paces, now) = (Paces::default(), Instant::now());
        let (license, key) = (subject("lic", Some(10), None, Some(9)), subject("key", Some(2), Some(5), None));
        let both = [license.clone(), key];
        for _ in 0..2 {
            paces.take(&both, Amount::Begin, now).unwrap();
        }
        assert!(matches!(paces.take(&both, Amount::Begin, now), Err(Error::RateLimited { retry_after_seconds: 30 })));
        let requests = |readings: Readings| readings.requests.map(|reading| (reading.limit, reading.remaining));
        assert_eq!(requests(paces.read(&both, now)), Some((2, 0)), "the key has least left");
        let alone = [license];
        assert_eq!(requests(paces.read(&alone, now)), Some((10, 8)));
        for _ in 0..7 {
            paces.take(&alone, Amount::Begin, now).unwrap();
        }
        assert!(matches!(paces.take(&alone, Amount::Begin, now), Err(Error::ConcurrencyLimit { limit: 9 })));
    }
}
