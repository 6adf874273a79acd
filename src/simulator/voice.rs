//! The translated voice: the speaker's own samples, stretched to 24 kHz by linear interpolation.

/// Samples in one audio delta: 0.323 s, 15,518 bytes, 20,692 characters of base64, as recorded.
pub const CHUNK: usize = 7759;
/// The sampling rate of what is said.
pub const RATE: u32 = 24_000;

/// Renders one segment as it comes in. Holds only what wasn't taken yet.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Thirds of an input sample between two output samples.
    step: usize,
    /// Input samples from `base` on.
    input: Vec<i16>,
    base: usize,
    produced: usize,
}

impl Voice {
    /// A voice for input of `rate` samples a second (8000 or 16000).
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let step = usize::try_from(rate / (RATE / 3)).unwrap_or(2).max(1);
        Self { step, input: Vec::new(), base: 0, produced: 0 }
    }

    /// Takes input samples in.
    pub fn push(&mut self, samples: &[i16]) {
        self.input.extend_from_slice(samples);
    }

    /// Appends the next full chunk to `out` as PCM16LE, if its input is there.
    pub fn chunk(&mut self, out: &mut Vec<u8>) -> bool {
        let ready = self.ready(false) >= CHUNK;
        if ready {
            self.produce(CHUNK, out);
        }
        ready
    }

    /// Appends what is left to `out`, one chunk at most; the last input sample is held.
    pub fn rest(&mut self, out: &mut Vec<u8>) -> bool {
        let count = self.ready(true).min(CHUNK);
        self.produce(count, out);
        count > 0
    }

    /// Output samples that can be made; while more may come, the last input sample waits for its neighbour.
    fn ready(&self, last: bool) -> usize {
        let known = self.base + self.input.len() - usize::from(!last && !self.input.is_empty());
        (known * 3).div_ceil(self.step).saturating_sub(self.produced)
    }

    fn produce(&mut self, count: usize, out: &mut Vec<u8>) {
        out.reserve(count * 2);
        for index in self.produced..self.produced + count {
            let position = index * self.step;
            let at = (position / 3).saturating_sub(self.base);
            let here = i32::from(self.input.get(at).copied().unwrap_or_default());
            let next = self.input.get(at + 1).map_or(here, |sample| i32::from(*sample));
            let part = i32::try_from(position % 3).unwrap_or_default();
            let mixed = (here * (3 - part) + next * part) / 3;
            out.extend_from_slice(&i16::try_from(mixed).unwrap_or_default().to_le_bytes());
        }
        self.produced += count;
        let used = (self.produced * self.step / 3).saturating_sub(self.base).min(self.input.len());
        self.input.drain(..used);
        self.base += used;
    }
}

/// A whole segment at once, as PCM16LE of 24 kHz: what all of its deltas together hold.
#[must_use]
pub fn render(samples: &[i16], rate: u32) -> Vec<u8> {
    let mut voice = Voice::new(rate);
    voice.push(samples);
    let mut out = Vec::new();
    while voice.rest(&mut out) {}
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Vec<i16> {
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn rates_are_stretched_by_interpolation() {
        assert_eq!(decoded(&render(&[0, 300, 600], 16_000)), [0, 200, 400, 600, 600]);
        assert_eq!(decoded(&render(&[0, 300], 8_000)), [0, 100, 200, 300, 300, 300]);
        assert_eq!(render(&[], 16_000), Vec::<u8>::new());
    }

    #[test]
    fn a_stream_equals_the_whole() {
        let samples: Vec<i16> = (0..20_000_i32).map(|index| i16::try_from(index * 7 % 9001 - 4500).unwrap()).collect();
        for rate in [8_000, 16_000] {
            let (mut voice, mut out, mut chunks) = (Voice::new(rate), Vec::new(), 0);
            for part in samples.chunks(333) {
                voice.push(part);
                while voice.chunk(&mut out) {
                    chunks += 1;
                }
            }
            assert_eq!(out.len(), chunks * CHUNK * 2);
            while voice.rest(&mut out) {}
            assert_eq!(out, render(&samples, rate));
            assert!(voice.input.len() < 2, "what was taken isn't held");
        }
    }
}
