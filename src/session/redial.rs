//! When a lost leg is dialled again, and when that is given up. Pure.

use std::time::{Duration, Instant};

use crate::error::Error;

/// The first try comes within this.
const FIRST: Duration = Duration::from_millis(150);
/// Tries are this far apart at most.
const LONGEST: Duration = Duration::from_secs(5);
/// A leg that dies before this age died young.
const YOUNG: Duration = Duration::from_secs(5);
/// So many legs in a row that died young end the session.
const DEATHS: u32 = 3;
/// A provider that takes no connection for so long is given up.
const UNREACHABLE: Duration = Duration::from_secs(25);

/// Counts what fails.
#[derive(Debug, Default)]
pub struct Redial {
    deaths: u32,
    attempts: u32,
    failing_since: Option<Instant>,
}

impl Redial {
    /// The span from which the next wait is drawn, evenly: full jitter.
    #[must_use]
    pub fn within(&self) -> Duration {
        (FIRST * 2_u32.saturating_pow(self.attempts.min(8))).min(LONGEST)
    }

    /// A leg died that was opened then.
    ///
    /// # Errors
    /// When it was the last of too many.
    pub fn died(&mut self, opened_at: Instant, now: Instant) -> Result<(), Error> {
        self.deaths = if now.duration_since(opened_at) < YOUNG { self.deaths + 1 } else { 0 };
        if self.deaths < DEATHS {
            return Ok(());
        }
        Err(Error::upstream(format!("{DEATHS} connections in a row broke off young")))
    }

    /// A dial failed; the error is the session's end when there is no use in another.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn failed(&mut self, error: Error, fatal: bool, now: Instant) -> Result<(), Error> {
        self.attempts += 1;
        let since = *self.failing_since.get_or_insert(now);
        if fatal || now.duration_since(since) >= UNREACHABLE { Err(error) } else { Ok(()) }
    }

    /// A leg that was to take over from one that lives did not come: the next try waits.
    pub fn stumbled(&mut self) {
        self.attempts += 1;
    }

    /// A leg took over.
    pub fn succeeded(&mut self) {
        self.attempts = 0;
        self.failing_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_young_deaths_are_enough() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let mut redial = Redial::default();
        assert!(redial.within() <= Duration::from_millis(300));
        assert!(redial.died(now, now).is_ok() && redial.died(now, now).is_ok());
        assert!(redial.died(now, later).is_ok(), "this one lived");
        assert!(redial.died(now, now).is_ok() && redial.died(now, now).is_ok() && redial.died(now, now).is_err());
    }

    #[test]
    fn a_provider_may_be_away_for_a_while() {
        let now = Instant::now();
        let mut redial = Redial::default();
        for second in 0..25 {
            assert!(redial.failed(Error::UpstreamTimeout, false, now + Duration::from_secs(second)).is_ok());
        }
        assert_eq!(redial.within(), LONGEST);
        assert!(redial.failed(Error::UpstreamTimeout, false, now + Duration::from_secs(25)).is_err());
        redial.succeeded();
        assert!(redial.within() < LONGEST);
        assert!(redial.failed(Error::UpstreamTimeout, true, now).is_err());
    }
}
