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
        /// The license that it joins and narrows; without one, a license is made for it: a trial, or by --plan
        #[arg(long, value_name = "ID")]
        license: Option<String>,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// List keys, newest first
    List(Paging),
    /// Show one key
    Show { id: String },
    /// Change the fields that are named
    Change {
        id: String,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Let it rest; its live sessions end
    Block { id: String },
    /// Let a blocked one be used again
    Unblock { id: String },
    /// Give it a new secret and print it
    Rotate {
        id: String,
        /// For how long the old secret is still accepted: 3600, 90m, 12h or 7d
        #[arg(long, value_name = "SPAN", value_parser = seconds, default_value = "0")]
        grace: u64,
    },
    /// Begin its budgets at nothing, and those of a license that was made for it
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
        Action::Rotate { id, grace } => {
            let body = json!({ "grace_seconds": grace });
            desk.show(&desk.http.post(&at(BASE, id, "rotate"), &body).await?);
        }
        Action::ResetUsage { id } => act(&desk, id, "reset-usage").await?,
        Action::Delete { id } => desk.show(&desk.http.delete(&at(BASE, id, "")).await?),
    }
    Ok(())
}

async fn act(desk: &Desk, id: &str, action: &str) -> Result<(), Fault> {
    desk.show(&desk.http.post(&at(BASE, id, action), &json!({})).await?);
    Ok(())
}

/// The seconds of a span such as `90m`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3_600),
        Some((at, 'd')) => (text.get(..at), 86_400),
        Some(_) | None => (Some(text), 1),
    };
    let number = number.and_then(|number| number.parse::<u64>().ok());
    let wrong = || "a span is a number of seconds, or one with s, m, h or d behind it".to_owned();
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        let read = ["0", "90", "90s", "2m", "12h", "7d"].map(|text| seconds(text).unwrap());
        assert_eq!(read, [0, 90, 90, 120, 43_200, 604_800]);
        assert!(["", "h", "-1", "1w", "1.5h"].iter().all(|text| seconds(text).is_err()));
    }
}
