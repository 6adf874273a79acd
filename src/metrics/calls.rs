//! The figures of HTTP calls.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

/// From half a millisecond to ten minutes.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0];

/// The figures of HTTP calls; cheap to clone.
#[derive(Clone)]
pub struct CallMetrics {
    /// Calls answered, by route, status class and upstream account (`none`: it reached none; `own`: the caller's key).
    pub answered: IntCounterVec,
    /// Calls that run now.
    pub running: IntGauge,
    /// Seconds from a call's arrival to the end of its answer, by route.
    pub duration: HistogramVec,
    /// Likewise, less what was spent waiting for the upstream's answer to begin, until the answer began.
    pub overhead: HistogramVec,
    /// Seconds from a call's arrival to the first byte of its answer's body, by route.
    pub first_byte: HistogramVec,
    /// Tokens booked, by kind: `input`, `cached` (of the input), `output`, `reasoning` (of the output).
    pub tokens: IntCounterVec,
    /// Calls tried again with another account, by why.
    pub retries: IntCounterVec,
    /// Calls whose answer warned of a budget beyond its soft limit, by the budget's unit.
    pub quota_warnings: IntCounterVec,
    /// Seconds that a transaction with calls took.
    pub flush_seconds: Histogram,
}

impl CallMetrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// Two figures with one name: a defect, found at start.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let seconds = |name: &str, help: &str| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), &["route"])
        };
        let flush = HistogramOpts::new("call_flush_seconds", "Duration of a transaction that books calls");
        let metrics = Self {
            answered: counters("calls_total", "Calls answered", &["route", "class", "account"])?,
            running: IntGauge::new("calls_running", "Calls that run now")?,
            duration: seconds("call_seconds", "From a call's arrival to the end of its answer")?,
            overhead: seconds("call_overhead_seconds", "Until the answer begins, less waiting for the upstream")?,
            first_byte: seconds("call_first_byte_seconds", "From a call's arrival to the first byte of its answer")?,
            tokens: counters("call_tokens_total", "Tokens booked, by kind", &["kind"])?,
            retries: counters("call_retries_total", "Calls tried again with another account", &["reason"])?,
            quota_warnings: counters("quota_warnings_total", "Answers that warned of a budget, by unit", &["unit"])?,
            flush_seconds: Histogram::with_opts(
                flush.buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            )?,
        };
        registry.register(Box::new(metrics.answered.clone()))?;
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.overhead.clone()))?;
        registry.register(Box::new(metrics.first_byte.clone()))?;
        registry.register(Box::new(metrics.tokens.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.quota_warnings.clone()))?;
        registry.register(Box::new(metrics.flush_seconds.clone()))?;
        Ok(metrics)
    }
}
