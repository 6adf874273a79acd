//! What a call owes: taken before it begins, settled once, whatever becomes of it.

use std::time::Instant;

use super::api::Api;
use super::usage::{Source, Usage};
use crate::clock;
use crate::metrics::calls::CallMetrics;
use crate::quota::calls::Share;
use crate::quota::rate::Readings;
use crate::quota::rates::Pass;
use crate::store::calls::CallRow;

/// Whose call it is.
#[derive(Debug, Clone)]
pub struct Payer {
    /// `call_…`
    pub call_id: String,
    /// License.
    pub license_id: String,
    /// The API key that it came with.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// Whether the caller pays the provider: then requests alone are counted.
    pub own_key: bool,
}

/// One call's bill. Dropped before it is settled, nothing is owed.
pub struct Bill {
    api: Api,
    payer: Payer,
    /// None: it is not booked.
    share: Option<Share>,
    pass: Pass,
    metrics: CallMetrics,
    arrived: Instant,
}

impl Bill {
    /// The bill of a call that arrived then.
    #[must_use]
    pub fn new(
        api: Api,
        payer: Payer,
        (pass, share): (Pass, Option<Share>),
        metrics: CallMetrics,
        arrived: Instant,
    ) -> Self {
        metrics.running.inc();
        Self { api, payer, share, pass, metrics, arrived }
    }

    /// When the call arrived.
    #[must_use]
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// How the license's limits stand.
    #[must_use]
    pub fn readings(&self) -> Readings {
        self.pass.readings(Instant::now())
    }

    /// Books what the answer of `account` cost. The first word counts.
    pub fn settle(&mut self, account: &str, (usage, source): (Usage, Source)) {
        let Some(share) = self.share.take() else { return };
        let (usage, source) =
            if self.payer.own_key { (Usage::default(), Source::Unavailable) } else { (usage, source) };
        self.pass.used(usage.total());
        for (kind, tokens) in
            [("input", usage.input), ("cached", usage.cached), ("output", usage.output), ("reasoning", usage.reasoning)]
        {
            self.metrics.tokens.with_label_values(&[kind]).inc_by(tokens);
        }
        share.settle(CallRow {
            id: self.payer.call_id.clone(),
            license_id: self.payer.license_id.clone(),
            key_id: self.payer.key_id.clone(),
            model: self.payer.model.clone(),
            route: self.api.word().to_owned(),
            account: Some(account.to_owned()),
            input_tokens: count(usage.input),
            cached_tokens: count(usage.cached),
            output_tokens: count(usage.output),
            reasoning_tokens: count(usage.reasoning),
            usage_source: source.word().to_owned(),
            occurred_at_us: clock::now().as_microsecond(),
        });
    }

    /// The answer's first byte is on its way; `upstream`: how much of the time until now was spent waiting for it.
    pub fn begins(&self, upstream: std::time::Duration) {
        let so_far = self.arrived.elapsed();
        let route = [self.api.word()];
        self.metrics.first_byte.with_label_values(&route).observe(so_far.as_secs_f64());
        self.metrics.overhead.with_label_values(&route).observe(so_far.saturating_sub(upstream).as_secs_f64());
    }

    /// The call was answered with this status; `account`: the account's name.
    pub fn answered(&self, status: u16, account: &str) {
        let class = match status {
            200..300 => "2xx",
            400..500 => "4xx",
            500.. => "5xx",
            _ => "other",
        };
        self.metrics.answered.with_label_values(&[self.api.word(), class, account]).inc();
    }

    /// A call is tried again with another account.
    pub fn retried(&self, why: &str) {
        self.metrics.retries.with_label_values(&[why]).inc();
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.metrics.running.dec();
        let route = [self.api.word()];
        self.metrics.duration.with_label_values(&route).observe(self.arrived.elapsed().as_secs_f64());
    }
}

/// More than any call can use is some provider's mistake: it must not break the sums.
fn count(tokens: u64) -> i64 {
    const MOST: u64 = 1 << 40;
    i64::try_from(tokens.min(MOST)).unwrap_or(i64::MAX)
}
