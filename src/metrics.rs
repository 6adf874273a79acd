//! The figures that `GET /metrics` shows, with labels from closed sets, and the names of upstream accounts.

use prometheus::{
    Counter, Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub mod calls;

use calls::CallMetrics;

/// Every figure of one gateway; cheap to clone, safe to share between threads.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// The process's own figures keep their usual names, without our prefix.
    process: Registry,
    /// Realtime sessions that hold a place now.
    pub sessions_live: IntGauge,
    /// Realtime sessions admitted, since start.
    pub sessions_started: IntCounter,
    /// Realtime sessions ended, by the code of why (`done` for an ordinary end).
    pub sessions_ended: IntCounterVec,
    /// Source audio forwarded upstream and booked, in seconds.
    pub audio_seconds: Counter,
    /// Requests refused, by error code.
    pub refusals: IntCounterVec,
    /// Addresses that were shut out of the admin API for guessing at its key.
    pub admin_lockouts: IntCounter,
    /// HTTP answers, by status class (`2xx` …).
    pub responses: IntCounterVec,
    /// Seconds that a transaction of the QuotaKeeper took.
    pub quota_flush_seconds: Histogram,
    /// Usage transactions that failed and were tried again.
    pub quota_flush_failures: IntCounter,
    /// Entries waiting, by queue: `quota_waiting`, sessions that wait for the keeper.
    pub queue_depth: IntGaugeVec,
    /// Upstream dials, by outcome: `ok` or an error code.
    pub upstream_dials: IntCounterVec,
    /// Whether Redis is there: 1 or 0; no figure where limits are not shared through one.
    pub redis_up: IntGaugeVec,
    /// Calls whose rates this instance kept by itself, Redis being away.
    pub rate_fallbacks: IntCounter,
    /// HTTP calls.
    pub calls: CallMetrics,
    /// Calls under way, by upstream account.
    pub account_in_flight: IntGaugeVec,
    /// Calls ended, by upstream account and what they came to.
    pub account_outcomes: IntCounterVec,
    /// Whether an upstream account takes calls, by account: 1 or 0.
    pub account_available: IntGaugeVec,
}

impl Metrics {
    /// Registers every figure in a registry of its own.
    ///
    /// # Errors
    /// Two figures with one name: a defect, found at start.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("livetranslate".to_owned()), None)?;
        let process = Registry::new();
        process.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let labelled = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let by_account = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["account"]);
        let metrics = Self {
            sessions_live: IntGauge::new("sessions_live", "Realtime sessions that hold a place now")?,
            sessions_started: IntCounter::new("sessions_started_total", "Realtime sessions admitted")?,
            sessions_ended: labelled("sessions_ended_total", "Realtime sessions ended, by code", "code")?,
            audio_seconds: Counter::new("audio_seconds_total", "Source audio booked")?,
            refusals: labelled("refusals_total", "Requests refused, by error code", "code")?,
            admin_lockouts: IntCounter::new("admin_lockouts_total", "Addresses shut out of the admin API")?,
            responses: labelled("http_responses_total", "HTTP answers, by status class", "class")?,
            quota_flush_seconds: Histogram::with_opts(
                HistogramOpts::new("quota_flush_seconds", "Duration of a usage transaction")
                    .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            )?,
            quota_flush_failures: IntCounter::new("quota_flush_failures_total", "Usage transactions tried again")?,
            queue_depth: IntGaugeVec::new(Opts::new("queue_depth", "Entries waiting, by queue"), &["queue"])?,
            upstream_dials: labelled("upstream_dials_total", "Upstream dials, by outcome", "outcome")?,
            redis_up: IntGaugeVec::new(
                Opts::new("redis_up", "Whether the Redis that limits are shared through is there"),
                &[],
            )?,
            rate_fallbacks: IntCounter::new("rate_fallbacks_total", "Calls whose rates were kept without Redis")?,
            calls: CallMetrics::new(&registry)?,
            account_in_flight: by_account("account_in_flight", "Calls under way, by upstream account")?,
            account_outcomes: IntCounterVec::new(
                Opts::new("account_outcomes_total", "Calls ended, by upstream account and outcome"),
                &["account", "outcome"],
            )?,
            account_available: by_account("account_available", "Whether an upstream account takes calls")?,
            registry,
            process,
        };
        let build = IntGaugeVec::new(Opts::new("build_info", "Constant 1, labelled with the version"), &["version"])?;
        build.with_label_values(&[version]).set(1);
        metrics.register(build)?;
        Ok(metrics)
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// A figure that can't be encoded: a defect.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(8 * 1024);
        let encoder = TextEncoder::new();
        encoder.encode(&self.registry.gather(), &mut text)?;
        encoder.encode(&self.process.gather(), &mut text)?;
        Ok(text)
    }

    fn register(&self, build: IntGaugeVec) -> Result<(), prometheus::Error> {
        let registry = &self.registry;
        registry.register(Box::new(build))?;
        registry.register(Box::new(self.sessions_live.clone()))?;
        registry.register(Box::new(self.sessions_started.clone()))?;
        registry.register(Box::new(self.sessions_ended.clone()))?;
        registry.register(Box::new(self.audio_seconds.clone()))?;
        registry.register(Box::new(self.refusals.clone()))?;
        registry.register(Box::new(self.admin_lockouts.clone()))?;
        registry.register(Box::new(self.responses.clone()))?;
        registry.register(Box::new(self.quota_flush_seconds.clone()))?;
        registry.register(Box::new(self.quota_flush_failures.clone()))?;
        registry.register(Box::new(self.queue_depth.clone()))?;
        registry.register(Box::new(self.upstream_dials.clone()))?;
        registry.register(Box::new(self.redis_up.clone()))?;
        registry.register(Box::new(self.rate_fallbacks.clone()))?;
        registry.register(Box::new(self.account_in_flight.clone()))?;
        registry.register(Box::new(self.account_outcomes.clone()))?;
        registry.register(Box::new(self.account_available.clone()))
    }
}
