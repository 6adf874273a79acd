//! `livetranslate demo`: the main job at work, in one command: gateway, license, speech, captions, files, usage.

mod booked;
mod sample;
mod stage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use self::sample::Sample;
use self::stage::{Place, Stage};
use super::fault::Fault;
use super::screen;
use super::signals;
use super::translate::{self, DEFAULT_MODEL, Files};
use crate::client::dialect::Wish;
use crate::client::http::Http;
use crate::client::outcome::Ending;
use crate::client::server::Server;
use crate::client::translate::Options;
use crate::config::settings::Secret;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What the command takes.
#[derive(Debug, Args)]
pub struct Demo {
    /// Exit when the translation is done, instead of staying up
    #[arg(long)]
    once: bool,
    /// The gateway's port; another free one is taken when it is busy
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Where state and results are kept
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// What is spoken
    #[arg(long, value_enum, default_value_t = Sample::Zh)]
    sample: Sample,
}

/// A license that was just issued.
struct Issued {
    id: String,
    token: Secret,
}

/// Runs the demo.
///
/// # Errors
/// Whatever kept the translation from being done and booked exactly.
pub async fn run(demo: &Demo, config: Option<PathBuf>) -> Result<(), Fault> {
    let place = Place { config, data_dir: demo.data_dir.clone(), port: demo.port };
    let stage = Stage::set(place).await?;
    screen::line(&stage.introduction());
    let shown = Box::pin(show(&stage, demo.sample)).await;
    if let Ok(directions) = &shown
        && !demo.once
    {
        screen::line(&format!("\n{directions}\nThe gateway stays up. Ctrl-C ends it."));
        signals::ended().await.map_err(Fault::of("signals could not be listened to"))?;
    }
    let settled = stage.clear().await;
    shown?;
    if settled { Ok(()) } else { Err(Fault::Failed("some usage could not be written".to_owned())) }
}

/// The main job: issues a license, translates with it, writes the files, and reads back what was booked.
/// Answers how to go on.
async fn show(stage: &Stage, sample: Sample) -> Result<String, Fault> {
    let server = Server::parse(&format!("http://{}", stage.address()))?;
    let admin = Http::new(server.clone(), Some(stage.admin_key().clone()), TIMEOUT);
    let license = issue(&admin).await?;
    screen::line(&format!("License   {} for 600 s of audio, issued over the admin API.", license.id));
    let folder = stage.data_dir().join("demo");
    let (license_file, speech) = keep(&folder, &license, sample)?;

    let target = sample.target();
    screen::line(&format!(
        "Speech    {} ({}), sent in real time to {server}/v1/realtime\n",
        speech.display(),
        sample.language()
    ));
    let options = Options {
        server: server.clone(),
        license: license.token.clone(),
        model: DEFAULT_MODEL.to_owned(),
        wish: Wish { target: target.to_owned(), source: Some(sample.code().to_owned()), text_only: false },
        fast: false,
        resume: true,
    };
    let input = sample.input()?;
    let spoken = input.samples();
    let outcome = translate::watched(&options, input).await?;
    let name = |ending: &str| Some(folder.join(format!("{}-to-{target}.{ending}", sample.code())));
    let files = Files { wav: name("wav"), srt: name("srt"), vtt: name("vtt") };
    files.write(&outcome)?;
    if outcome.ending != Ending::Finished {
        return Err(Fault::Failed(outcome.ending.to_string()));
    }
    screen::line("");
    for file in [&files.wav, &files.srt, &files.vtt].into_iter().flatten() {
        screen::line(&format!("Wrote     {}", file.display()));
    }
    let customer = Http::new(server.clone(), Some(license.token.clone()), TIMEOUT);
    let samples = spoken.unwrap_or(outcome.samples_sent);
    screen::line(&booked::compare(&customer, &admin, &license.id, samples).await?);
    screen::line(stage.reminder());
    Ok(directions(&server, &license_file, &speech, target))
}

async fn issue(admin: &Http) -> Result<Issued, Fault> {
    let wish = json!({"label": "demo", "budgets": [{"unit": "audio_seconds", "limit": 600, "window": "lifetime"}]});
    let answer = admin.post("/admin/licenses", &wish).await?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(id), Some(token)) = (text("id"), text("token")) else {
        return Err(Fault::Failed("the admin API issued a license without id or token".to_owned()));
    };
    Ok(Issued { id, token: Secret::new(token) })
}

/// Puts the license and the speech where the directions say; answers where that is.
fn keep(folder: &Path, license: &Issued, sample: Sample) -> Result<(PathBuf, PathBuf), Fault> {
    let failed = || Fault::of("the demo's folder can't be written");
    std::fs::create_dir_all(folder).map_err(failed())?;
    let license_file = folder.join("license");
    sample::write_private(&license_file, license.token.expose()).map_err(failed())?;
    let speech = folder.join(format!("{}.wav", sample.code()));
    std::fs::write(&speech, sample.bytes()).map_err(failed())?;
    Ok((license_file, speech))
}

fn directions(server: &Server, license_file: &Path, speech: &Path, target: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "livetranslate".to_owned());
    format!(
        "Console   {server}/\n\
         Again     {program} translate {} --to {target} --server {server} --license-file {}",
        speech.display(),
        license_file.display(),
    )
}
