//! How fast the provider is dialled: a token bucket shared by all workers, so that a storm of reconnecting
//! customers, or of legs that died together, becomes a queue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;

/// The longest a dial waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// The bucket; cheap to clone, shared by all threads.
#[derive(Debug, Clone)]
pub struct DialLimiter {
    /// Between two dials, once the burst is used up.
    interval: Duration,
    /// How far dials may run ahead of that.
    burst: Duration,
    /// When a dial would be on time that knew no burst.
    next: Arc<Mutex<Instant>>,
}

impl DialLimiter {
    /// A full bucket: `burst` dials at once, then `per_second`. Neither may be 0.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.max(1), next: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits for this dial's turn.
    ///
    /// # Errors
    /// `Overloaded` at once when the turn would not come within 2 s.
    pub async fn turn(&self) -> Result<(), Error> {
        let wait = self.take(Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Takes a turn and says how long to wait for it.
    fn take(&self, now: Instant) -> Result<Duration, Error> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let after = (*next).max(now) + self.interval;
        let wait = after.saturating_duration_since(now).saturating_sub(self.burst);
        if wait > PATIENCE {
            return Err(Error::Overloaded);
        }
        *next = after;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_queues() {
        let limiter = DialLimiter::new(100, 50);
        let now = *limiter.next.lock().unwrap();
        for _ in 0..50 {
            assert_eq!(limiter.take(now).unwrap(), Duration::ZERO);
        }
        assert_eq!(limiter.take(now).unwrap(), Duration::from_millis(10));
        for turn in 2..=200 {
            assert_eq!(limiter.take(now).unwrap(), Duration::from_millis(10 * turn));
        }
        assert!(matches!(limiter.take(now), Err(Error::Overloaded)));
        assert!(matches!(limiter.take(now), Err(Error::Overloaded)), "who is refused takes nothing");
        let later = now + Duration::from_secs(1);
        assert_eq!(limiter.take(later).unwrap(), Duration::from_millis(1_010));
    }

    #[test]
    fn the_bucket_fills_up_again_but_does_not_overflow() {
        let limiter = DialLimiter::new(10, 3);
        let now = *limiter.next.lock().unwrap() + Duration::from_secs(3_600);
        let at_once = (0..10).filter(|_| limiter.take(now).unwrap().is_zero()).count();
        assert_eq!(at_once, 3);
    }
}
