//! Tells speech from silence by the energy of 20 ms windows.

/// The length of one window.
pub const WINDOW_MS: u64 = 20;
/// Loud windows in a row that make a start: a click is no speech.
const RUN: u64 = 2;

/// What a window changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Silence goes on, or a pause shorter than the hangover.
    Nothing,
    /// Speech began at `from_ms` and lasts until now.
    Started {
        /// Start of the first loud window less the padding, on the session's audio clock.
        from_ms: u64,
    },
    /// Speech goes on; it was last loud at `until_ms`.
    Voiced {
        /// End of this window.
        until_ms: u64,
    },
    /// Speech ended: the hangover passed without a loud window.
    Stopped {
        /// End of the last loud window.
        until_ms: u64,
    },
}

/// The detector's state; its clock is the audio it was given.
#[derive(Debug, Clone)]
pub struct Vad {
    threshold: f64,
    hangover_ms: u64,
    padding_ms: u64,
    now_ms: u64,
    floor_ms: u64,
    run: u64,
    spoken: Option<u64>,
}

impl Vad {
    /// A detector that hears what is louder than `threshold_dbfs` (dB relative to full scale).
    #[must_use]
    pub fn new(threshold_dbfs: f64, hangover_ms: u64, padding_ms: u64) -> Self {
        let amplitude = f64::from(i16::MAX) * 10_f64.powf(threshold_dbfs / 20.0);
        let threshold = amplitude * amplitude;
        Self { threshold, hangover_ms, padding_ms, now_ms: 0, floor_ms: 0, run: 0, spoken: None }
    }

    /// Changes hangover and padding; a sentence that goes on is judged by the new ones.
    pub fn tune(&mut self, hangover_ms: u64, padding_ms: u64) {
        self.hangover_ms = hangover_ms;
        self.padding_ms = padding_ms;
    }

    /// The audio heard so far.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Hears one window of [`WINDOW_MS`].
    pub fn window(&mut self, samples: &[i16]) -> Heard {
        self.now_ms += WINDOW_MS;
        let loud = energy(samples) > self.threshold;
        match (self.spoken, loud) {
            (None, false) => {
                self.run = 0;
                Heard::Nothing
            }
            (None, true) => {
                self.run += 1;
                if self.run < RUN {
                    return Heard::Nothing;
                }
                self.spoken = Some(self.now_ms);
                let from = self.now_ms.saturating_sub(RUN * WINDOW_MS + self.padding_ms);
                Heard::Started { from_ms: from.max(self.floor_ms) }
            }
            (Some(_), true) => {
                self.spoken = Some(self.now_ms);
                Heard::Voiced { until_ms: self.now_ms }
            }
            (Some(last), false) if self.now_ms - last < self.hangover_ms => Heard::Nothing,
            (Some(last), false) => {
                self.rest();
                Heard::Stopped { until_ms: last }
            }
        }
    }

    /// Ends a sentence now, if one goes on: returns where it was last loud.
    pub fn stop(&mut self) -> Option<u64> {
        let last = self.spoken;
        self.rest();
        last
    }

    fn rest(&mut self) {
        self.spoken = None;
        self.run = 0;
        self.floor_ms = self.now_ms;
    }
}

/// The mean square of the samples.
fn energy(samples: &[i16]) -> f64 {
    let sum: u64 = samples.iter().map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a sum of squares; its last bits don't matter")]
    let mean = sum as f64 / samples.len().max(1) as f64;
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loudness: &[(i16, usize)]) -> Vec<(u64, Heard)> {
        let mut vad = Vad::new(-45.0, 200, 40);
        let windows = loudness.iter().flat_map(|(level, count)| std::iter::repeat_n(*level, *count));
        let mut heard = Vec::new();
        for level in windows {
            let change = vad.window(&[level; 320]);
            if !matches!(change, Heard::Nothing | Heard::Voiced { .. }) {
                heard.push((vad.now_ms(), change));
            }
        }
        heard
    }

    #[test]
    fn a_tone_between_silences_is_one_sentence() {
        let heard = run(&[(0, 10), (3000, 20), (0, 20)]);
        assert_eq!(heard, [(240, Heard::Started { from_ms: 160 }), (800, Heard::Stopped { until_ms: 600 })]);
    }

    #[test]
    fn a_pause_shorter_than_the_hangover_parts_nothing() {
        let heard = run(&[(3000, 10), (0, 9), (3000, 10), (0, 10)]);
        assert_eq!(heard, [(40, Heard::Started { from_ms: 0 }), (780, Heard::Stopped { until_ms: 580 })]);
    }

    #[test]
    fn clicks_and_whispers_are_not_speech() {
        assert_eq!(run(&[(0, 5), (9000, 1), (0, 5), (150, 50)]), []);
    }

    #[test]
    fn padding_never_reaches_into_the_sentence_before() {
        let heard = run(&[(3000, 5), (0, 10), (3000, 5)]);
        assert_eq!(heard.last(), Some(&(340, Heard::Started { from_ms: 300 })));
    }
}
