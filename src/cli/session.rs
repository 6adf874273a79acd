//! `livetranslate session …`: who is live, and an end to it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::fault::Fault;
use super::reach::{Paging, Reach, at};

const BASE: &str = "/admin/sessions";
const COLUMNS: [&str; 6] = ["id", "license_id", "key_id", "model", "started_at", "audio_seconds"];

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
    List(Paging),
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
        Action::List(paging) => desk.list(&desk.http.get(&paging.path(BASE)).await?, &COLUMNS),
        Action::End { id } => desk.show(&desk.http.delete(&at(BASE, id, "")).await?),
    }
    Ok(())
}
