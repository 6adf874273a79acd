//! The command line: its commands, the options that all take, and what runs each.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::account::{self, AccountCommand};
use super::backup::{self, Backup};
use super::demo::{self, Demo};
use super::fault::Fault;
use super::health::{self, Health};
use super::key::{self, KeyCommand};
use super::license::{self, LicenseCommand};
use super::migrate::{self, Migrate};
use super::plan::{self, PlanCommand};
use super::restore::{self, Restore};
use super::session::{self, SessionCommand};
use super::simulate::{self, Simulate};
use super::translate::{self, Translate};
use super::usage::{self, UsageCommand};
use super::{doctor, screen, serve};
use crate::config::Config;
use crate::config::sources::Sources;

/// A self-hosted gateway for realtime voice translation: relay, licenses, exact quotas.
///
/// Without a command it serves. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.
#[derive(Debug, Parser)]
#[command(name = "livetranslate", version)]
pub struct CommandLine {
    /// A file of settings; it beats config/default.toml, the environment beats it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (also without a command)
    Serve,
    /// Show the main job at work: gateway, license, speech, captions, usage
    Demo(Demo),
    /// Translate a WAV file, or raw PCM from standard input, through a gateway
    Translate(Translate),
    /// Stand in for DashScope on loopback, for tests and offline work
    Simulate(Box<Simulate>),
    /// Tell whether a gateway is ready: exit code 0 when it is
    Health(Health),
    /// Bring the store's tables up to date
    Migrate(Migrate),
    /// Look at settings, store, provider, clock and limits, and say what to mend
    Doctor,
    /// Issue, list and change licenses
    License(LicenseCommand),
    /// Make, list and change API keys
    Key(KeyCommand),
    /// Make, list and change plans
    Plan(PlanCommand),
    /// Sum up what was used
    Usage(UsageCommand),
    /// List and end live sessions
    Session(SessionCommand),
    /// Add, list, test and change upstream accounts
    Account(AccountCommand),
    /// Write everything that lasts in the store into one file, while gateways serve
    Backup(Backup),
    /// Put a backup into a store of either kind that nobody uses
    Restore(Restore),
    // The operator's command plan belongs here.
    // The operator's command account, backup and restore belong here.
}

/// Runs what the command line says; a failure is told on standard error.
pub async fn run(line: CommandLine) -> ExitCode {
    match dispatch(line).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            screen::note(&format!("livetranslate: {fault}"));
            fault.exit_code()
        }
    }
}

async fn dispatch(line: CommandLine) -> Result<(), Fault> {
    let CommandLine { config, command } = line;
    match command {
        None | Some(Command::Serve) => Box::pin(serve::run(config)).await,
        Some(Command::Demo(demo)) => Box::pin(demo::run(&demo, config)).await,
        Some(Command::Translate(translate)) => Box::pin(translate::run(&translate)).await,
        Some(Command::Simulate(simulate)) => {
            Box::pin(simulate::run(*simulate)).await.map_err(Fault::of("the simulator could not run"))
        }
        Some(Command::Health(health)) => health::run(&health, config).await,
        Some(Command::Migrate(migrate)) => {
            let loaded = Config::read(&Sources::of_process(config))?;
            Ok(migrate::run(&migrate, &loaded.config, &mut io::stdout())?)
        }
        Some(Command::License(command)) => license::run(&command, config).await,
        Some(Command::Key(command)) => key::run(&command, config).await,
        Some(Command::Plan(command)) => plan::run(&command, config).await,
        Some(Command::Usage(command)) => usage::run(&command, config).await,
        Some(Command::Session(command)) => session::run(&command, config).await,
        Some(Command::Account(command)) => account::run(&command, config).await,
        Some(Command::Backup(backup)) => {
            let loaded = Config::read(&Sources::of_process(config))?;
            backup::run(&backup, &loaded.config, &mut io::stdout())
        }
        Some(Command::Restore(restore)) => {
            let loaded = Config::read(&Sources::of_process(config))?;
            restore::run(&restore, &loaded.config, &mut io::stdout())
        }
        Some(Command::Doctor) => {
            let well = doctor::run(&Sources::of_process(config), &mut io::stdout());
            match well.map_err(Fault::of("standard output can't be written"))? {
                true => Ok(()),
                false => Err(Fault::Failed("there is something to mend".to_owned())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve_and_config_may_stand_anywhere() {
        let line = CommandLine::try_parse_from(["livetranslate"]).unwrap();
        assert!(line.command.is_none() && line.config.is_none());
        for arguments in [["--config", "a.toml", "serve"], ["serve", "--config", "a.toml"]] {
            let line = CommandLine::try_parse_from(["livetranslate"].iter().chain(&arguments)).unwrap();
            assert_eq!((line.config, line.command.is_some()), (Some(PathBuf::from("a.toml")), true));
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        let cases: [(&[&str], ErrorKind); 4] = [
            (&["sing"], ErrorKind::InvalidSubcommand),
            (&["translate", "a.wav"], ErrorKind::MissingRequiredArgument),
            (&["translate", "a.wav", "--to", "en", "--text-only", "--out", "b.wav"], ErrorKind::ArgumentConflict),
            (&["demo", "--sample", "fr"], ErrorKind::InvalidValue),
        ];
        for (arguments, kind) in cases {
            let error = CommandLine::try_parse_from(["livetranslate"].iter().chain(arguments)).unwrap_err();
            assert_eq!(error.kind(), kind, "{arguments:?}");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
