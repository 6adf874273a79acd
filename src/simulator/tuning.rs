//! The knobs of what the simulator says, apart from faults.

use std::time::Duration;

/// How the pure parts behave. All spans are of audio time, unless said otherwise.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// What is louder than this, in dB relative to full scale, is speech.
    pub threshold_dbfs: f64,
    /// How far the translated voice lags behind the speaker.
    pub voice_lag_ms: u64,
    /// A longer sentence is cut here.
    pub longest_segment_ms: u64,
    /// Whether usage adds up over the session; `None`: as the model does.
    pub cumulative_usage: Option<bool>,
    /// How often faster than life the protocol's own wall-clock timers run
    /// (120 min session cap, 23 s and 60 s of the task protocol).
    pub pace: f64,
    /// Expect numbered audio: captions name the samples of their sentence, the ledger which ones were heard and
    /// which events were sent.
    pub numbered: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            threshold_dbfs: -45.0,
            voice_lag_ms: 2400,
            longest_segment_ms: 30_000,
            cumulative_usage: None,
            pace: 1.0,
            numbered: false,
        }
    }
}

impl Tuning {
    /// A wall-clock timer of the protocol, at this pace, in milliseconds.
    #[must_use]
    pub fn timer_ms(&self, seconds: u64) -> u64 {
        let pace = if self.pace.is_finite() && self.pace > 0.0 { self.pace } else { 1.0 };
        let scaled = Duration::from_secs(seconds).div_f64(pace.clamp(0.001, 100_000.0));
        u64::try_from(scaled.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
