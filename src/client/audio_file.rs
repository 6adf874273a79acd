//! Writes translated speech as a WAV file.

use std::io::Cursor;

use super::dialect::OUTPUT_RATE;
use super::failure::Failure;

/// 24 kHz mono samples as the bytes of a WAV file.
///
/// # Errors
/// [`Failure::Protocol`]: more than a WAV file can hold (4 GiB).
pub fn wav(samples: &[i16]) -> Result<Vec<u8>, Failure> {
    let too_long = |error| Failure::Protocol(format!("the translated speech does not fit a WAV file: {error}"));
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: OUTPUT_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::with_capacity(2 * samples.len() + 44));
    let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(too_long)?;
    for sample in samples {
        writer.write_sample(*sample).map_err(too_long)?;
    }
    writer.finalize().map_err(too_long)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for samples in [vec![], vec![0, 1, -1, i16::MAX, i16::MIN]] {
            let mut reader = hound::WavReader::new(Cursor::new(wav(&samples).unwrap())).unwrap();
            assert_eq!((reader.spec().sample_rate, reader.spec().channels), (24_000, 1));
            assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), samples);
        }
    }
}
