//! Changes the sample rate of a stream of mono samples: a windowed sinc, one kernel for each phase.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side: about 80 dB of attenuation with the window below.
const CROSSINGS: f64 = 24.0;
/// The pass band ends a little below half of the lower rate, so that the filter's slope fits in.
const PASS_BAND: f64 = 0.94;

/// A resampler that takes samples as they come. N samples in give ⌈N · to / from⌉ out.
#[derive(Debug)]
pub struct Resampler {
    from: u64,
    to: u64,
    /// One kernel of `taps` weights for each of the `phases` places between two input samples.
    kernels: Vec<f32>,
    taps: usize,
    /// Output places a whole input sample is apart, after reduction of the ratio.
    phases: usize,
    /// Input samples a whole output sample is apart, in `1 / phases`.
    step: usize,
    held: Vec<f32>,
    at: usize,
    phase: usize,
}

impl Resampler {
    /// A resampler between two rates, samples a second. Equal rates pass samples through unchanged.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Self {
        let divisor = greatest_divisor(from.max(1), to.max(1));
        let (step, phases) = ((from.max(1) / divisor) as usize, (to.max(1) / divisor) as usize);
        let cutoff = PASS_BAND * f64::min(1.0, phases as f64 / step as f64);
        let half = if step == phases { 0 } else { (CROSSINGS / cutoff).ceil() as usize };
        let taps = 2 * half;
        let mut kernels = Vec::with_capacity(phases * taps);
        if half > 0 {
            for phase in 0..phases {
                kernels.extend(kernel(half, cutoff, phase as f64 / phases as f64));
            }
        }
        let held = vec![0.0; half.saturating_sub(1)];
        Self { from: from.max(1).into(), to: to.max(1).into(), kernels, taps, phases, step, held, at: 0, phase: 0 }
    }

    /// Samples out for so many in.
    #[must_use]
    pub fn length(&self, samples: u64) -> u64 {
        let product = u128::from(samples) * u128::from(self.to);
        u64::try_from(product.div_ceil(u128::from(self.from))).unwrap_or(u64::MAX)
    }

    /// Takes samples between −1 and 1 and adds what they give to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<i16>) {
        if self.taps == 0 {
            out.extend(samples.iter().map(|sample| rounded(*sample)));
            return;
        }
        self.held.extend_from_slice(samples);
        let kernel_of = |phase: usize| self.kernels.get(phase * self.taps..).unwrap_or_default();
        while let Some(window) = self.held.get(self.at..self.at + self.taps) {
            out.push(rounded(window.iter().zip(kernel_of(self.phase)).map(|(sample, weight)| sample * weight).sum()));
            self.phase += self.step;
            self.at += self.phase / self.phases;
            self.phase %= self.phases;
        }
        let done = self.at.min(self.held.len());
        self.held.drain(..done);
        self.at -= done;
    }

    /// Ends the stream: adds what is still held back to `out`.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        self.push(&vec![0.0; self.taps / 2], out);
    }
}

/// The weights of the `2 · half` samples around a place `offset` behind the middle-left one; their sum is 1.
fn kernel(half: usize, cutoff: f64, offset: f64) -> Vec<f32> {
    let weight = |tap: usize| {
        let distance = tap as f64 - (half as f64 - 1.0) - offset;
        let turn = PI * distance * cutoff;
        let sinc = if turn.abs() < 1e-9 { 1.0 } else { turn.sin() / turn };
        let place = PI * distance / half as f64;
        // Blackman: its side lobes are below what 16 bits can hold of speech.
        sinc * (0.42 + 0.5 * place.cos() + 0.08 * (2.0 * place).cos())
    };
    let weights: Vec<f64> = (0..2 * half).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

fn rounded(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [u32; 9] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];

    fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        let samples = (f64::from(rate) * seconds) as u32;
        (0..samples).map(|n| (0.5 * (2.0 * PI * hertz * f64::from(n) / f64::from(rate)).sin()) as f32).collect()
    }

    /// Resamples to 16 kHz in uneven pieces.
    fn resampled(rate: u32, samples: &[f32]) -> Vec<i16> {
        let (mut resampler, mut out) = (Resampler::new(rate, 16_000), Vec::new());
        samples.chunks(977).for_each(|piece| resampler.push(piece, &mut out));
        resampler.finish(&mut out);
        out
    }

    /// How strongly a frequency sounds, full scale being 1.
    fn level(samples: &[i16], hertz: f64) -> f64 {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = 2.0 * PI * hertz * n as f64 / 16_000.0;
            sine += f64::from(*sample) / 32_768.0 * angle.sin();
            cosine += f64::from(*sample) / 32_768.0 * angle.cos();
        }
        2.0 * sine.hypot(cosine) / samples.len() as f64
    }

    #[test]
    fn length_is_kept() {
        for rate in RATES {
            for samples in [0, 1, 2, 4_999, 44_100] {
                let out = resampled(rate, &vec![0.1; samples]);
                assert_eq!(out.len(), (samples * 16_000).div_ceil(rate as usize), "{samples} at {rate}");
                assert_eq!(out.len() as u64, Resampler::new(rate, 16_000).length(samples as u64));
            }
        }
    }

    #[test]
    fn a_tone_keeps_its_frequency_phase_and_level() {
        for rate in RATES {
            let out = resampled(rate, &tone(rate, 1_000.0, 0.5));
            assert!((level(&out, 1_000.0) - 0.5).abs() < 0.005, "{rate}: {}", level(&out, 1_000.0));
            assert!(level(&out, 1_100.0) < 0.005, "{rate}");
            let wished = resampled(16_000, &tone(16_000, 1_000.0, 0.5));
            let middle = 1_000..7_000;
            let apart = middle.map(|n| (i32::from(out[n]) - i32::from(wished[n])).abs()).max().unwrap();
            assert!(apart < 20, "{rate}: {apart}");
        }
    }

    #[test]
    fn what_16_khz_can_not_hold_does_not_fold_back() {
        for (rate, hertz) in [(48_000, 12_000.0), (44_100, 10_000.0), (24_000, 11_000.0)] {
            let out = resampled(rate, &tone(rate, hertz, 0.5));
            let loudest = out[200..7_800].iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            assert!(loudest < 20, "{hertz} Hz at {rate}: {loudest}");
        }
    }

    #[test]
    fn equal_rates_change_nothing_and_loud_samples_do_not_wrap() {
        let samples: Vec<f32> = (i16::MIN..=i16::MAX).map(|sample| f32::from(sample) / 32_768.0).collect();
        assert!(resampled(16_000, &samples).into_iter().eq(i16::MIN..=i16::MAX));
        assert_eq!(resampled(16_000, &[1.5, -1.5]), [i16::MAX, i16::MIN]);
    }
}
