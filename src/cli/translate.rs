//! `livetranslate translate`: the customer's client at the command line.

use std::path::{Path, PathBuf};

use clap::Args;

use super::caption_view::CaptionView;
use super::fault::Fault;
use super::screen;
use crate::client::audio_file;
use crate::client::dialect::{Dialect, INPUT_RATE, OUTPUT_RATE, Wish};
use crate::client::input::Input;
use crate::client::outcome::{Ending, Outcome};
use crate::client::server::Server;
use crate::client::subtitles;
use crate::client::translate::{self, Options};
use crate::config::settings::Secret;

/// The model that is used where none is named.
pub const DEFAULT_MODEL: &str = "qwen3.5-livetranslate-flash-realtime";
const STANDARD_INPUT: &str = "-";

/// What the command takes.
#[derive(Debug, Args)]
pub struct Translate {
    /// A WAV file, or - for raw 16-bit PCM, mono, 16 kHz, from standard input
    #[arg(value_name = "IN.wav")]
    input: PathBuf,
    /// The language to translate into, e.g. en
    #[arg(long, value_name = "LANGUAGE", value_parser = language)]
    to: String,
    /// The language that is spoken, e.g. zh; without it the model finds out
    #[arg(long, value_name = "LANGUAGE", value_parser = language)]
    from: Option<String>,
    /// The gateway
    #[arg(long, value_name = "URL", env = "LIVETRANSLATE_SERVER", default_value = "http://127.0.0.1:8000")]
    server: String,
    /// A license or API key; others may see a command line, so better use the environment or --license-file
    #[arg(long, value_name = "TOKEN", env = "LIVETRANSLATE_LICENSE", hide_env_values = true)]
    license: Option<String>,
    /// A file that holds the license; it beats the environment
    #[arg(long, value_name = "FILE")]
    license_file: Option<PathBuf>,
    /// Write the translated speech here (WAV, 24 kHz)
    #[arg(long, value_name = "OUT.wav", conflicts_with = "text_only")]
    out: Option<PathBuf>,
    /// Write subtitles here (SubRip)
    #[arg(long, value_name = "FILE")]
    srt: Option<PathBuf>,
    /// Write subtitles here (WebVTT)
    #[arg(long, value_name = "FILE")]
    vtt: Option<PathBuf>,
    /// Captions alone, no translated speech
    #[arg(long)]
    text_only: bool,
    /// The model
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// Send as fast as the gateway accepts, instead of in real time
    #[arg(long)]
    fast: bool,
    /// Give up when the connection is lost, instead of resuming
    #[arg(long)]
    no_resume: bool,
}

/// Files to write what came of a translation to.
#[derive(Debug, Default)]
pub struct Files {
    /// Translated speech.
    pub wav: Option<PathBuf>,
    /// SubRip.
    pub srt: Option<PathBuf>,
    /// WebVTT.
    pub vtt: Option<PathBuf>,
}

/// Translates, shows captions as they come, writes the files.
///
/// # Errors
/// Speech that can't be read, a gateway that refuses or ends the session early: what came until then is written.
pub async fn run(command: &Translate) -> Result<(), Fault> {
    let files = Files { wav: command.out.clone(), srt: command.srt.clone(), vtt: command.vtt.clone() };
    files.check(&command.input)?;
    let options = Options {
        server: Server::parse(&command.server)?,
        license: license(command)?,
        model: command.model.clone(),
        wish: Wish { target: command.to.clone(), source: command.from.clone(), text_only: command.text_only },
        fast: command.fast,
        resume: !command.no_resume,
    };
    if command.from.is_some() && !Dialect::of(&command.model).takes_source_language() {
        screen::note(&format!("{} finds out itself what is spoken; --from is not sent", command.model));
    }
    let input = if command.input.as_os_str() == STANDARD_INPUT {
        Input::raw(tokio::io::stdin())
    } else {
        Input::wav_file(&command.input)?
    };
    let outcome = watched(&options, input).await?;
    files.write(&outcome)?;
    screen::note(&summary(&outcome));
    match outcome.ending {
        Ending::Finished => Ok(()),
        early => Err(Fault::Failed(early.to_string())),
    }
}

/// Translates while captions are shown.
///
/// # Errors
/// When no session came about.
pub async fn watched(options: &Options, input: Input) -> Result<Outcome, Fault> {
    let mut view = CaptionView::new(&options.wish.target, input.samples());
    let outcome = translate::translate(options, input, |update| view.show(&update)).await;
    view.end();
    Ok(outcome?)
}

fn license(command: &Translate) -> Result<Secret, Fault> {
    let license = match &command.license_file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(Fault::of(&format!("the license file {} can't be read", file.display())))?,
        None => command.license.clone().unwrap_or_default(),
    };
    let license = license.trim();
    if license.is_empty() {
        return Err(Fault::Usage("give a license: LIVETRANSLATE_LICENSE, --license-file or --license".to_owned()));
    }
    // Anything else can't stand in a header.
    if !license.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::Usage("the license is not one line of letters, digits and signs".to_owned()));
    }
    Ok(Secret::new(license))
}

fn language(text: &str) -> Result<String, String> {
    let sane = (2..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if sane { Ok(text.to_owned()) } else { Err("a language is a code such as en, zh or pt-BR".to_owned()) }
}

/// What was sent and what came of it, in a line.
fn summary(outcome: &Outcome) -> String {
    let seconds = |samples: f64, rate: u32| samples / f64::from(rate);
    let resumes = match (outcome.resumes, outcome.samples_missing) {
        (0, _) => String::new(),
        (1, 0) => "; resumed once, nothing was lost".to_owned(),
        (resumes, 0) => format!("; resumed {resumes} times, nothing was lost"),
        (resumes, missing) => {
            format!("; resumed {resumes} ×, {:.1} s of speech were lost", seconds(missing as f64, INPUT_RATE))
        }
    };
    format!(
        "sent {:.1} s of speech; {} segments, {:.1} s of translated speech; {} tokens in, {} out; session {}{resumes}",
        seconds(outcome.samples_sent as f64, INPUT_RATE),
        outcome.segments.len(),
        seconds(outcome.audio.len() as f64, OUTPUT_RATE),
        outcome.tokens.input_tokens,
        outcome.tokens.output_tokens,
        outcome.provider_session.as_deref().unwrap_or("none"),
    )
}

impl Files {
    /// Refuses what could only fail once the speech is translated and paid for.
    ///
    /// # Errors
    /// A file that is the input or another output, or whose folder does not exist.
    pub fn check(&self, input: &Path) -> Result<(), Fault> {
        let mut taken = vec![place(input)];
        for file in [&self.wav, &self.srt, &self.vtt].into_iter().flatten() {
            let shown = file.display();
            if file.is_dir() || place(file).parent().is_none_or(|folder| !folder.is_dir()) {
                return Err(Fault::Failed(format!(
                    "{shown} can't be written: it is a folder, or its folder is missing"
                )));
            }
            if taken.contains(&place(file)) {
                return Err(Fault::Failed(format!("{shown} is the input or another output; it is not overwritten")));
            }
            taken.push(place(file));
        }
        Ok(())
    }

    /// Writes what there is.
    ///
    /// # Errors
    /// The first file that can't be written.
    pub fn write(&self, outcome: &Outcome) -> Result<(), Fault> {
        let cues = subtitles::cues(&outcome.segments);
        if let Some(file) = &self.wav {
            written(file, &audio_file::wav(&outcome.audio)?)?;
        }
        if let Some(file) = &self.srt {
            written(file, subtitles::srt(&cues).as_bytes())?;
        }
        if let Some(file) = &self.vtt {
            written(file, subtitles::vtt(&cues).as_bytes())?;
        }
        Ok(())
    }
}

fn written(file: &Path, bytes: &[u8]) -> Result<(), Fault> {
    std::fs::write(file, bytes).map_err(Fault::of(&format!("{} can't be written", file.display())))
}

/// Where a file is or would be, links followed.
fn place(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    file.canonicalize()
        .or_else(|_| Ok(folder.canonicalize()?.join(file.file_name().unwrap_or_default())))
        .unwrap_or_else(|_: std::io::Error| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_input_nor_another_output_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("in.wav"), b"speech").unwrap();
        std::os::unix::fs::symlink(at("in.wav"), at("link.wav")).unwrap();
        let check = |wav: &str, srt: &str| {
            Files { wav: Some(at(wav)), srt: Some(at(srt)), vtt: None }
                .check(&at("in.wav"))
                .map_err(|fault| fault.to_string())
        };
        assert_eq!(check("out.wav", "out.srt"), Ok(()));
        for (wav, srt) in [("in.wav", "out.srt"), ("link.wav", "out.srt"), ("./in.wav", "out.srt"), ("out", "out")] {
            let refused = check(wav, srt).unwrap_err();
            assert!(refused.ends_with("is the input or another output; it is not overwritten"), "{refused}");
        }
        for wav in ["nowhere/out.wav", "."] {
            assert!(check(wav, "out.srt").unwrap_err().contains("can't be written"), "{wav}");
        }
        assert_eq!(std::fs::read(at("in.wav")).unwrap(), b"speech");
    }

    #[test]
    fn languages_are_codes() {
        assert!(["en", "zh", "pt-BR", "yue"].iter().all(|code| language(code).is_ok()));
        assert!(["", "e", "en us", "English, please!", "日本"].iter().all(|code| language(code).is_err()));
    }
}
