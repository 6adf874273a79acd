//! The speech samples that are compiled in, and the demo's private files.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use clap::ValueEnum;

use crate::client::failure::Failure;
use crate::client::input::Input;

/// A sample, by the language that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sample {
    /// Mandarin, translated into English.
    Zh,
    /// English, translated into Chinese.
    En,
}

impl Sample {
    /// The WAV file.
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Zh => include_bytes!("../../../static/samples/zh.wav"),
            Self::En => include_bytes!("../../../static/samples/en.wav"),
        }
    }

    /// The language's code.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }

    /// The language's name.
    pub(super) fn language(self) -> &'static str {
        match self {
            Self::Zh => "Mandarin",
            Self::En => "English",
        }
    }

    /// The code of the language to translate into.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::Zh => "en",
            Self::En => "zh",
        }
    }

    /// The speech, ready to be sent.
    pub(super) fn input(self) -> Result<Input, Failure> {
        Input::wav(&format!("the {} sample", self.language()), self.bytes())
    }
}

/// Writes a file that only its owner may read, also where one with other rights was before.
pub(super) fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    opened.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn the_samples_are_short_speech_with_pauses_for_voice_detection() {
        for sample in [Sample::Zh, Sample::En] {
            let mut input = sample.input().unwrap();
            let samples = input.samples().unwrap();
            assert!((6 * 16_000..9 * 16_000).contains(&samples), "{samples}");
            assert!(sample.bytes().len() < 300_000);
            let (mut pause, mut pauses, mut sent) = (0, 0, 0);
            while let Some(frame) = input.frame().await.unwrap() {
                sent += frame.len() as u64;
                let loudest = frame.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
                pause = if loudest < 200 { pause + 1 } else { 0 };
                pauses += u32::from(pause == 12);
            }
            assert!(sent == samples && pauses >= 1, "{pauses} pauses");
        }
    }

    #[test]
    fn private_files_are_private_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("license");
        std::fs::write(&file, "a longer text of others").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&file, "token").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "token");
    }
}
