//! How fast licenses and keys call: over all instances where there is a Redis that answers, else in this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::rate::{Amount, Paces, Readings, Subject};
use super::redis::Standing;
use super::shared_rate::{Lease, SharedRates, Told};
use crate::error::Error;
use crate::metrics::Metrics;

/// The pace of everyone who has limits; cheap to clone, shared by all threads.
#[derive(Clone, Default)]
pub struct Rates {
    /// What this process let in, whoever allowed it: should Redis go away, it goes on from there.
    paces: Arc<Mutex<Paces>>,
    shared: Option<Arc<(SharedRates, Metrics)>>,
}

impl Rates {
    /// Kept over all instances.
    #[must_use]
    pub fn over_all(shared: SharedRates, metrics: Metrics) -> Self {
        Self { paces: Arc::default(), shared: Some(Arc::new((shared, metrics))) }
    }

    /// Whether what instances share is there; none where they share nothing.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.shared().map(|(shared, _)| shared.standing())
    }

    /// Lets a call begin within the limits of these, of all or of none, and counts it until the pass is dropped. And
    /// how the limits stand then.
    ///
    /// # Errors
    /// `RateLimited` with the wait, `ConcurrencyLimit`.
    pub async fn enter(&self, subjects: Vec<Subject>, now: Instant) -> (Result<Pass, Error>, Readings) {
        if subjects.is_empty() {
            return (Ok(self.pass(subjects, None)), Readings::default());
        }
        if let Some((shared, metrics)) = self.shared() {
            if let Some(Told { outcome, levels }) = shared.begin(&subjects).await {
                let readings = Readings::of(&subjects, &levels);
                let entered = outcome.map(|lease| {
                    self.paces().note(&subjects, Amount::Begin, now);
                    self.pass(subjects, Some(OverAll { levels, tokens: 0, _lease: lease }))
                });
                return (entered, readings);
            }
            metrics.rate_fallbacks.inc();
        }
        let mut paces = self.paces();
        let taken = paces.take(&subjects, Amount::Begin, now);
        let readings = paces.read(&subjects, now);
        drop(paces);
        (taken.map(|()| self.pass(subjects, None)), readings)
    }

    fn pass(&self, subjects: Vec<Subject>, over_all: Option<OverAll>) -> Pass {
        Pass { rates: self.clone(), subjects, tokens: 0, settled: false, over_all }
    }

    fn shared(&self) -> Option<&(SharedRates, Metrics)> {
        self.shared.as_deref()
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs within its limits; it counts until it is dropped. What it set aside comes back unless it says what
/// it used.
pub struct Pass {
    rates: Rates,
    /// None: there is no limit.
    subjects: Vec<Subject>,
    tokens: u64,
    settled: bool,
    /// None: it was let in by this process alone.
    over_all: Option<OverAll>,
}

/// What a call has of the limits that instances share.
struct OverAll {
    /// Each subject's requests and tokens, as they were told last.
    levels: Vec<[f64; 2]>,
    tokens: u64,
    _lease: Option<Lease>,
}

impl Pass {
    /// Sets so many tokens aside: it is known now what the call will use.
    ///
    /// # Errors
    /// `RateLimited` with the wait.
    pub async fn set_aside(&mut self, tokens: u64, now: Instant) -> Result<(), Error> {
        let limited = self.subjects.iter().any(|subject| subject.limits.tpm_limit.is_some());
        if tokens > 0 && limited {
            let told = match (&self.over_all, self.rates.shared()) {
                (Some(_), Some((shared, _))) => shared.set_aside(&self.subjects, tokens).await,
                _ => None,
            };
            match (told, &mut self.over_all) {
                (Some(Told { outcome, levels }), Some(over_all)) => {
                    over_all.levels = levels;
                    outcome?;
                    over_all.tokens += tokens;
                    self.rates.paces().note(&self.subjects, Amount::Tokens(tokens), now);
                }
                _ => self.rates.paces().take(&self.subjects, Amount::Tokens(tokens), now)?,
            }
        }
        self.tokens += tokens;
        Ok(())
    }

    /// The call used so many tokens, instead of what it had asked for.
    pub fn used(&mut self, tokens: u64) {
        if !self.subjects.is_empty() {
            self.rates.paces().give_back(&self.subjects, self.tokens as f64 - tokens as f64);
        }
        if let (Some(over_all), Some((shared, _))) = (&mut self.over_all, self.rates.shared()) {
            shared.give_back(&self.subjects, over_all.tokens.cast_signed().saturating_sub_unsigned(tokens));
            for [_, left] in &mut over_all.levels {
                *left += over_all.tokens as f64 - tokens as f64;
            }
            over_all.tokens = tokens;
        }
        (self.tokens, self.settled) = (tokens, true);
    }

    /// How the limits stand now; what others have used since this call was let in is not asked for.
    #[must_use]
    pub fn readings(&self, now: Instant) -> Readings {
        match &self.over_all {
            Some(over_all) => Readings::of(&self.subjects, &over_all.levels),
            None if self.subjects.is_empty() => Readings::default(),
            None => self.rates.paces().read(&self.subjects, now),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.subjects.is_empty() {
            return;
        }
        if !self.settled {
            // Nothing was used.
            self.used(0);
        }
        self.rates.paces().end(&self.subjects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::Limits;

    fn subjects(limits: &Limits) -> Vec<Subject> {
        vec![Subject { id: "lic".to_owned(), limits: limits.clone() }]
    }

    #[tokio::test]
    async fn what_a_call_will_use_is_known_after_it_began() {
        let (rates, now) = (Rates::default(), Instant::now());
        let limits = Limits { rpm_limit: Some(60), tpm_limit: Some(1_000), ..Limits::default() };
        let enter = async || rates.enter(subjects(&limits), now).await.0.unwrap();
        let (mut one, mut other) = (enter().await, enter().await);
        one.set_aside(600, now).await.unwrap();
        let refused = other.set_aside(600, now).await;
        assert!(matches!(refused, Err(Error::RateLimited { retry_after_seconds: 12 })));
        drop(other);
        let left = |pass: &Pass| pass.readings(now).tokens.map(|reading| reading.remaining);
        assert_eq!(left(&one), Some(400));
        one.used(700);
        assert_eq!(left(&one), Some(300));
        drop(one);
        assert_eq!(left(&enter().await), Some(300), "it was used");
        let (mut unlimited, readings) = (rates.enter(Vec::new(), now).await.0.unwrap(), Readings::default());
        unlimited.set_aside(u64::MAX, now).await.unwrap();
        unlimited.used(1);
        assert_eq!(unlimited.readings(now), readings);
    }

    #[tokio::test]
    async fn calls_count_until_they_are_dropped() {
        let (rates, now) = (Rates::default(), Instant::now());
        let limits = Limits { max_parallel_requests: Some(1), ..Limits::default() };
        let enter = async || rates.enter(subjects(&limits), now).await.0;
        let first = enter().await.unwrap();
        assert!(matches!(enter().await, Err(Error::ConcurrencyLimit { limit: 1 })));
        drop(first);
        assert!(enter().await.is_ok());
    }
}
