//! The speech to translate: WAV of any usual kind or raw PCM, as 16 kHz mono frames of 100 ms.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use hound::{SampleFormat, WavIntoSamples, WavReader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::dialect::INPUT_RATE;
use super::failure::Failure;
use super::resample::Resampler;

/// Samples of a frame: 100 ms, 3,200 bytes.
pub const FRAME_SAMPLES: usize = INPUT_RATE as usize / 10;
/// Sample rates that speech is recorded at.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;
/// RIFF, format and data headers: no WAV file has a shorter head.
const SHORTEST_HEAD: u64 = 44;

/// Speech that is read while it is sent.
pub struct Input {
    source: Source,
    samples: Option<u64>,
}

enum Source {
    Wav(Box<Wav>),
    Raw(Box<dyn AsyncRead + Unpin>),
}

impl Input {
    /// A WAV file.
    ///
    /// # Errors
    /// [`Failure::Input`]: it can't be opened, is no WAV file, is shorter than its header says, or holds nothing.
    pub fn wav_file(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error| Failure::Input(format!("{} can't be read: {error}", path.display()));
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let input = Self::wav(&path.display().to_string(), BufReader::new(file))?;
        match &input.source {
            Source::Wav(wav) if wav.data_bytes() + SHORTEST_HEAD > length => Err(wav.truncated()),
            Source::Wav(_) | Source::Raw(_) => Ok(input),
        }
    }

    /// A WAV stream; `name` is for messages.
    ///
    /// # Errors
    /// [`Failure::Input`]: it is no WAV stream, or holds nothing.
    pub fn wav(name: &str, reader: impl Read + 'static) -> Result<Self, Failure> {
        let reader: Box<dyn Read> = Box::new(reader);
        let reader = WavReader::new(reader)
            .map_err(|error| Failure::Input(format!("{name} is no WAV file that can be read: {error}")))?;
        let wav = Wav::new(name.to_owned(), reader)?;
        let samples = Some(wav.resampler.length(wav.frames));
        Ok(Self { source: Source::Wav(Box::new(wav)), samples })
    }

    /// Raw 16-bit little-endian mono PCM at 16 kHz, until its end.
    #[must_use]
    pub fn raw(reader: impl AsyncRead + Unpin + 'static) -> Self {
        Self { source: Source::Raw(Box::new(reader)), samples: None }
    }

    /// Samples at 16 kHz in all, where that is known beforehand.
    #[must_use]
    pub fn samples(&self) -> Option<u64> {
        self.samples
    }

    /// The next frame: [`FRAME_SAMPLES`], the last one fewer; `None` at the end. May be dropped while it waits:
    /// what was read of a raw frame is then lost.
    ///
    /// # Errors
    /// [`Failure::Input`]: the speech breaks off.
    pub async fn frame(&mut self) -> Result<Option<Vec<i16>>, Failure> {
        let frame = match &mut self.source {
            Source::Wav(wav) => wav.frame()?,
            Source::Raw(reader) => raw_frame(reader).await?,
        };
        Ok(Some(frame).filter(|frame| !frame.is_empty()))
    }
}

async fn raw_frame(reader: &mut (dyn AsyncRead + Unpin)) -> Result<Vec<i16>, Failure> {
    let mut bytes = Vec::with_capacity(2 * FRAME_SAMPLES);
    let read = reader.take(2 * FRAME_SAMPLES as u64).read_to_end(&mut bytes).await;
    read.map_err(|error| Failure::Input(format!("the speech can't be read: {error}")))?;
    // Half a sample at the very end says nothing.
    let (pairs, _) = bytes.as_chunks::<2>();
    Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

/// A WAV stream on its way to 16 kHz mono.
struct Wav {
    name: String,
    samples: Samples,
    channels: usize,
    bytes_per_sample: u64,
    /// Samples of one channel that the header promises.
    frames: u64,
    taken: u64,
    resampler: Resampler,
    ready: Vec<i16>,
}

enum Samples {
    Integer(WavIntoSamples<Box<dyn Read>, i32>, f32),
    Float(WavIntoSamples<Box<dyn Read>, f32>),
}

impl Wav {
    fn new(name: String, reader: WavReader<Box<dyn Read>>) -> Result<Self, Failure> {
        let (spec, frames) = (reader.spec(), u64::from(reader.duration()));
        if !RATES.contains(&spec.sample_rate) || spec.channels == 0 {
            let (rate, channels) = (spec.sample_rate, spec.channels);
            return Err(Failure::Input(format!("{name} has {channels} channels at {rate} Hz, which is no speech")));
        }
        if frames == 0 {
            return Err(Failure::Input(format!("{name} holds no audio")));
        }
        let samples = match spec.sample_format {
            SampleFormat::Float => Samples::Float(reader.into_samples()),
            SampleFormat::Int => {
                Samples::Integer(reader.into_samples(), 2_f32.powi(i32::from(spec.bits_per_sample) - 1))
            }
        };
        Ok(Self {
            name,
            samples,
            channels: spec.channels.into(),
            bytes_per_sample: u64::from(spec.bits_per_sample).div_ceil(8),
            frames,
            taken: 0,
            resampler: Resampler::new(spec.sample_rate, INPUT_RATE),
            ready: Vec::new(),
        })
    }

    fn data_bytes(&self) -> u64 {
        self.frames * self.channels as u64 * self.bytes_per_sample
    }

    fn truncated(&self) -> Failure {
        Failure::Input(format!("{} is cut off: it is shorter than its header says", self.name))
    }

    fn frame(&mut self) -> Result<Vec<i16>, Failure> {
        let mut mono = Vec::with_capacity(FRAME_SAMPLES);
        while self.ready.len() < FRAME_SAMPLES && self.taken < self.frames {
            mono.clear();
            while mono.len() < FRAME_SAMPLES && self.taken < self.frames {
                mono.push(self.mono_sample()?);
                self.taken += 1;
            }
            self.resampler.push(&mono, &mut self.ready);
            if self.taken == self.frames {
                self.resampler.finish(&mut self.ready);
            }
        }
        let length = self.ready.len().min(FRAME_SAMPLES);
        Ok(self.ready.drain(..length).collect())
    }

    /// The channels' mean, between −1 and 1.
    fn mono_sample(&mut self) -> Result<f32, Failure> {
        let mut sum = 0.0;
        for _ in 0..self.channels {
            let sample = match &mut self.samples {
                Samples::Integer(samples, full_scale) => {
                    samples.next().map(|sample| sample.map(|sample| sample as f32 / *full_scale))
                }
                Samples::Float(samples) => samples.next(),
            };
            let Some(Ok(sample)) = sample else { return Err(self.truncated()) };
            sum += if sample.is_finite() { sample } else { 0.0 };
        }
        Ok(sum / self.channels as f32)
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
