//! WAV files of every usual kind become the same speech; broken ones are refused in a sentence.

use std::io::Cursor;

use super::*;

const LEVEL: f32 = 0.25;

fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16, sample_format: SampleFormat) -> hound::WavSpec {
    hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format }
}

/// A second of a constant level; the second channel, if any, is silent.
fn wav(spec: hound::WavSpec) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    let full_scale = 2_f32.powi(i32::from(spec.bits_per_sample) - 1);
    for _ in 0..spec.sample_rate {
        for channel in 0..spec.channels {
            let sample = if channel == 0 { LEVEL } else { 0.0 };
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(sample).unwrap(),
                SampleFormat::Int => writer.write_sample((sample * full_scale) as i32).unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

async fn frames(mut input: Input) -> Result<Vec<Vec<i16>>, Failure> {
    let mut frames = Vec::new();
    while let Some(frame) = input.frame().await? {
        frames.push(frame);
    }
    Ok(frames)
}

#[actix::test]
async fn every_usual_kind_is_the_same_speech() {
    let int = SampleFormat::Int;
    let kinds = [
        (spec(1, 16_000, 8, int), 8_192),
        (spec(1, 16_000, 16, int), 8_192),
        (spec(2, 16_000, 16, int), 4_096),
        (spec(1, 44_100, 24, int), 8_192),
        (spec(2, 48_000, 32, int), 4_096),
        (spec(1, 8_000, 32, SampleFormat::Float), 8_192),
        (spec(6, 22_050, 16, int), 1_365),
    ];
    for (spec, level) in kinds {
        let input = Input::wav("it", Cursor::new(wav(spec))).unwrap();
        assert_eq!(input.samples(), Some(16_000), "{spec:?}");
        let frames = frames(input).await.unwrap();
        assert!(frames.len() == 10 && frames.iter().all(|frame| frame.len() == FRAME_SAMPLES), "{spec:?}");
        assert!(frames[5].iter().all(|sample| (sample - level).abs() <= 2), "{spec:?}: {:?}", frames[5].first());
    }
}

#[actix::test]
async fn a_file_that_ends_early_is_refused_at_once_and_a_stream_at_its_end() {
    let whole = wav(spec(1, 16_000, 16, SampleFormat::Int));
    let half = whole[..whole.len() / 2].to_vec();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &half).unwrap();
    let refused = Input::wav_file(file.path()).err().unwrap().to_string();
    assert!(refused.ends_with("is cut off: it is shorter than its header says"), "{refused}");
    let broken_off = frames(Input::wav("it", Cursor::new(half)).unwrap()).await;
    assert_eq!(broken_off.unwrap_err().to_string(), "it is cut off: it is shorter than its header says");
    std::fs::write(file.path(), &whole).unwrap();
    assert!(Input::wav_file(file.path()).is_ok());
}

#[test]
fn what_is_no_speech_is_refused_in_a_sentence() {
    let refusal = |bytes: Vec<u8>| Input::wav("it", Cursor::new(bytes)).err().unwrap().to_string();
    assert!(refusal(b"ID3 is no WAV".to_vec()).starts_with("it is no WAV file that can be read"));
    assert!(refusal(Vec::new()).starts_with("it is no WAV file that can be read"));
    let mut empty = Cursor::new(Vec::new());
    hound::WavWriter::new(&mut empty, spec(1, 16_000, 16, SampleFormat::Int)).unwrap().finalize().unwrap();
    assert_eq!(refusal(empty.into_inner()), "it holds no audio");
    assert_eq!(refusal(wav(spec(1, 2_000, 16, SampleFormat::Int))), "it has 1 channels at 2000 Hz, which is no speech");
    let missing = Input::wav_file(Path::new("/nonexistent/a.wav")).err().unwrap().to_string();
    assert!(missing.starts_with("/nonexistent/a.wav can't be read"), "{missing}");
}

#[actix::test]
async fn raw_speech_is_cut_into_frames_and_half_a_sample_dropped() {
    let bytes: Vec<u8> = (0..2_000_i16).flat_map(i16::to_le_bytes).chain([7]).collect();
    let frames = frames(Input::raw(Cursor::new(bytes))).await.unwrap();
    assert_eq!(frames.concat(), (0..2_000).collect::<Vec<i16>>());
    assert_eq!(frames.len(), 2);
}
