//! How much audio and how many tokens a session has used. Pure.

use std::time::{Duration, Instant};

use crate::config::settings::UsageReport;
use crate::wire::audio::METERED_RATE;
use crate::wire::realtime::Usage;
use crate::wire::task::Task;

/// Counts a session's audio in samples of 1/16,000 s, however it comes.
#[derive(Debug)]
pub enum Meter {
    /// PCM16 mono: by bytes.
    Pcm {
        /// Samples a second of the input.
        rate: u64,
        /// Bytes since the rate was set.
        bytes: u64,
        /// Samples counted before the rate was set.
        before: u64,
    },
    /// A compressed format: by the clock while it runs, by the provider's word when it has one.
    Clock {
        /// When the first audio came.
        since: Option<Instant>,
        /// What the clock said at the last audio: a pause after it costs nothing.
        counted: u64,
        /// Samples counted before this task.
        before: u64,
        /// Samples that the provider reported for this task.
        reported: u64,
    },
}

impl Meter {
    /// PCM16 mono at 16,000 samples a second.
    #[must_use]
    pub fn pcm() -> Self {
        Self::Pcm { rate: METERED_RATE, bytes: 0, before: 0 }
    }

    /// Samples counted if `bytes` more came `now`; with none, what was counted so far.
    #[must_use]
    pub fn after(&self, bytes: u64, now: Instant) -> u64 {
        match self {
            Self::Pcm { rate, bytes: counted, before } => before + samples(counted + bytes, *rate),
            Self::Clock { counted, before, reported, .. } if bytes == 0 => before + (*counted).max(*reported),
            Self::Clock { since, before, reported, .. } => {
                let elapsed = since.map_or(Duration::ZERO, |since| now.duration_since(since));
                before + by_clock(elapsed).max(*reported)
            }
        }
    }

    /// Samples a second of the input; the metered rate for a compressed format.
    #[must_use]
    pub fn rate(&self) -> u64 {
        match self {
            Self::Pcm { rate, .. } => *rate,
            Self::Clock { .. } => METERED_RATE,
        }
    }

    /// What so many bytes are at the rate in force; nothing for a compressed format.
    #[must_use]
    pub fn of(&self, bytes: u64) -> u64 {
        match self {
            Self::Pcm { rate, .. } => samples(bytes, *rate),
            Self::Clock { .. } => 0,
        }
    }

    /// Counts `bytes` of audio.
    pub fn count(&mut self, bytes: u64, now: Instant) {
        match self {
            Self::Pcm { bytes: counted, .. } => *counted += bytes,
            Self::Clock { since, counted, .. } => {
                *counted = by_clock(now.duration_since(*since.get_or_insert(now)));
            }
        }
    }

    /// The input has another rate from here on. Rates that no model takes are metered as 16,000.
    pub fn set_rate(&mut self, new_rate: u64) {
        let Self::Pcm { rate, bytes, before } = self else { return };
        let new_rate = if new_rate == 8_000 { 8_000 } else { METERED_RATE };
        if new_rate != *rate {
            *self = Self::Pcm { rate: new_rate, bytes: 0, before: *before + samples(*bytes, *rate) };
        }
    }

    /// A task begins: its format decides how it is counted.
    pub fn begin(&mut self, task: &Task, now: Instant) {
        let before = self.after(0, now);
        let rate = if (8_000..=48_000).contains(&task.sample_rate) { task.sample_rate } else { METERED_RATE };
        *self = if task.is_pcm() {
            Self::Pcm { rate, bytes: 0, before }
        } else {
            Self::Clock { since: None, counted: 0, before, reported: 0 }
        };
    }

    /// The provider says how long the task's audio is so far, seconds.
    pub fn report(&mut self, seconds: u64) {
        if let Self::Clock { reported, .. } = self {
            *reported = (*reported).max(seconds.saturating_mul(METERED_RATE));
        }
    }
}

/// Samples of 1/16,000 s in PCM16 mono `bytes` at `rate`; a started one counts.
fn samples(bytes: u64, rate: u64) -> u64 {
    (bytes * METERED_RATE).div_ceil(2 * rate.max(1))
}

fn by_clock(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(METERED_RATE) / 1_000_000).unwrap_or(u64::MAX)
}

/// Adds up what `response.done` events report.
#[derive(Debug)]
pub struct TokenMeter {
    report: UsageReport,
    base: Usage,
    last: Usage,
}

impl TokenMeter {
    /// A meter for a model that reports in this way.
    #[must_use]
    pub fn new(report: UsageReport) -> Self {
        Self { report, base: Usage::default(), last: Usage::default() }
    }

    /// Takes one report and returns the session's totals.
    pub fn add(&mut self, usage: Usage) -> Usage {
        let fell = usage.input_tokens < self.last.input_tokens || usage.output_tokens < self.last.output_tokens;
        if self.report == UsageReport::PerResponse || fell {
            self.base = self.total();
        }
        self.last = usage;
        self.total()
    }

    /// What was reported so far.
    #[must_use]
    pub fn total(&self) -> Usage {
        Usage {
            input_tokens: self.base.input_tokens.saturating_add(self.last.input_tokens),
            output_tokens: self.base.output_tokens.saturating_add(self.last.output_tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates() {
        let now = Instant::now();
        let mut meter = Meter::pcm();
        meter.count(3_200, now);
        assert_eq!(meter.after(0, now), 1_600);
        meter.set_rate(8_000);
        meter.count(3_200, now);
        assert_eq!(meter.after(0, now), 1_600 + 3_200);
        meter.set_rate(48_000);
        meter.count(3_200, now);
        assert_eq!(meter.after(0, now), 1_600 + 3_200 + 1_600, "an unknown rate is no discount");
    }

    #[test]
    fn compressed_audio_counts_by_the_clock_until_the_provider_speaks() {
        let now = Instant::now();
        let mut meter = Meter::pcm();
        meter.begin(&Task { format: "opus".into(), ..Task::default() }, now);
        meter.count(100, now);
        let later = now + Duration::from_secs(2);
        assert_eq!(meter.after(100, later), 32_000);
        assert_eq!(meter.after(0, later), 0, "nobody speaks any more");
        meter.count(100, later);
        assert_eq!(meter.after(0, later + Duration::from_secs(60)), 32_000);
        meter.report(5);
        assert_eq!(meter.after(100, later), 80_000);
    }

    #[test]
    fn cumulative_reports_of_the_recorded_session() {
        let usage = |input_tokens, output_tokens| Usage { input_tokens, output_tokens };
        let mut meter = TokenMeter::new(UsageReport::Cumulative);
        meter.add(usage(85, 84));
        assert_eq!(meter.add(usage(197, 239)), usage(197, 239));
        assert_eq!(meter.add(usage(10, 5)), usage(207, 244), "a decrease starts a new base");
        let mut meter = TokenMeter::new(UsageReport::PerResponse);
        meter.add(usage(85, 84));
        assert_eq!(meter.add(usage(100, 100)), usage(185, 184));
    }

    proptest! {
        #[test]
        fn slicing_changes_nothing(cuts in prop::collection::vec(0_u64..5_000, 1..200)) {
            let now = Instant::now();
            let mut sliced = Meter::pcm();
            cuts.iter().for_each(|bytes| sliced.count(*bytes, now));
            let mut whole = Meter::pcm();
            whole.count(cuts.iter().sum(), now);
            prop_assert_eq!(sliced.after(0, now), whole.after(0, now));
        }
    }
}
