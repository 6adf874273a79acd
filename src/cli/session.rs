//! `livetranslate session …`: who is live, and an end to it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::fault::Fault;
use super::reach::{Paging, Reach, at};

const BASE: &str = "/admin/sessions";
const COLUMNS: [&str; 7] = ["id", "license_id", "key_id", "model", "started_at", "away_since", "audio_seconds"];

/// What the command takes.
#[derive(Debug, Args)]
pub struct SessionCommand {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List live sessions, newest first
    List {
        /// One license's
        #[arg(long, value_name = "ID")]
        license: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// End a session
    End { id: String },
}

/// Does what was asked and prints the answer.
///
/// # Errors
/// Settings, an unreachable gateway, and what the gateway refuses.
pub async fn run(command: &SessionCommand, config: Option<PathBuf>) -> Result<(), Fault> {
    let desk = command.reach.desk(config)?;
    match &command.action {
        Action::List { license, paging } => {
            let path = paging.path_with(BASE, &[("license_id", license.as_deref())]);
            desk.list(&desk.http.get(&path).await?, &COLUMNS);
        }
        Action::End { id } => desk.show(&desk.http.delete(&at(BASE, id, "")).await?),
    }
    Ok(())
}
