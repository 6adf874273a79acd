//! `livetranslate key …`: make, list, show, block and delete API keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::fault::Fault;
use super::license::Fields;
use super::reach::{Desk, Paging, Reach, at};

const BASE: &str = "/admin/keys";
const COLUMNS: [&str; 6] = ["id", "label", "license_id", "status", "budgets", "expires_at"];

/// What the command takes.
#[derive(Debug, Args)]
pub struct KeyCommand {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it; it can't be printed again
    Create {
        /// The license that it joins; without one, a trial is made for it
        #[arg(long, value_name = "ID")]
        license: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// List keys, newest first
    List(Paging),
    /// Show one key
    Show { id: String },
    /// Change the fields that are named
    Change {
        id: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Let it rest; its live sessions end
    Block { id: String },
    /// Let a blocked one be used again
    Unblock { id: String },
    /// Give it a new secret and print it
    Rotate { id: String },
    /// Begin the budgets of its license at nothing
    ResetUsage { id: String },
    /// Remove it; its live sessions end
    Delete { id: String },
}

/// Does what was asked and prints the answer.
///
/// # Errors
/// Settings, an unreachable gateway, and what the gateway refuses.
pub async fn run(command: &KeyCommand, config: Option<PathBuf>) -> Result<(), Fault> {
    let desk = command.reach.desk(config)?;
    match &command.action {
        Action::Create { license, fields } => {
            let mut body = fields.body()?;
            if let (Some(id), Value::Object(body)) = (license, &mut body) {
                body.insert("license_id".to_owned(), json!(id));
            }
            desk.show(&desk.http.post(BASE, &body).await?);
        }
        Action::List(paging) => desk.list(&desk.http.get(&paging.path(BASE)).await?, &COLUMNS),
        Action::Show { id } => desk.show(&desk.http.get(&at(BASE, id, "")).await?),
        Action::Change { id, fields } => desk.show(&desk.http.patch(&at(BASE, id, ""), &fields.body()?).await?),
        Action::Block { id } => act(&desk, id, "block").await?,
        Action::Unblock { id } => act(&desk, id, "unblock").await?,
        Action::Rotate { id } => act(&desk, id, "rotate").await?,
        Action::ResetUsage { id } => act(&desk, id, "reset-usage").await?,
        Action::Delete { id } => desk.show(&desk.http.delete(&at(BASE, id, "")).await?),
    }
    Ok(())
}

async fn act(desk: &Desk, id: &str, action: &str) -> Result<(), Fault> {
    desk.show(&desk.http.post(&at(BASE, id, action), &json!({})).await?);
    Ok(())
}
