//! Base64 PCM inside JSON: its length without decoding it, and whether somebody speaks in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Samples a second in which audio is metered, whatever rate a session uses.
pub const METERED_RATE: u64 = 16_000;

/// −45 dBFS as a mean square of 16-bit samples: (32768 · 10^(−45/20))².
const SPEECH_MEAN_SQUARE: u64 = 33_953;

/// Bytes that a base64 text of this length stands for, whatever it holds.
#[must_use]
pub fn decoded_length(base64: &str) -> u64 {
    let padding = base64.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
    (base64.len() - padding) as u64 * 3 / 4
}

/// Whether base64 PCM16LE holds speech: louder than −45 dBFS on average. Broken text holds none.
#[must_use]
pub fn is_speech(base64: &str) -> bool {
    STANDARD.decode(base64).is_ok_and(|bytes| pcm_is_speech(&bytes))
}

/// The same for raw PCM16LE.
#[must_use]
pub fn pcm_is_speech(bytes: &[u8]) -> bool {
    let (pairs, _) = bytes.as_chunks::<2>();
    let energy: u64 = pairs.iter().map(|pair| u64::from(i16::from_le_bytes(*pair).unsigned_abs()).pow(2)).sum();
    !pairs.is_empty() && energy / pairs.len() as u64 > SPEECH_MEAN_SQUARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_agree_with_a_decoder() {
        for length in 0..100_usize {
            let text = STANDARD.encode(vec![7_u8; length]);
            assert_eq!(decoded_length(&text), length as u64);
            assert_eq!(decoded_length(text.trim_end_matches('=')), length as u64);
        }
        assert_eq!(decoded_length("!!!!"), 3);
    }

    #[test]
    fn speech_is_loud() {
        let tone = |amplitude: f64| -> Vec<u8> {
            let sample = |n: u32| (amplitude * f64::from(n).sin()) as i16;
            (0..1_600).flat_map(|n| sample(n).to_le_bytes()).collect()
        };
        assert!(pcm_is_speech(&tone(3_000.0)));
        assert!(!pcm_is_speech(&tone(100.0)));
        assert!(!pcm_is_speech(&[]));
        assert!(is_speech(&STANDARD.encode(tone(3_000.0))));
    }
}
