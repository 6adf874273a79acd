//! `livetranslate usage …`: what was used, summed up or row by row.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::fault::Fault;
use super::reach::{Reach, with_query};

/// What the command takes.
#[derive(Debug, Args)]
pub struct UsageCommand {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    report: Report,
    #[command(subcommand)]
    action: Option<Action>,
}

/// The sums that are asked for.
#[derive(Debug, Args)]
struct Report {
    /// From then on: a date, or a time (RFC 3339); without it the 30 days before the end
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Up to then; a date is included
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// What each line sums up: day, model, license, key, or several with commas
    #[arg(long, value_name = "LIST", default_value = "day")]
    group_by: String,
    /// The time zone whose days count
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the ledger's rows, newest first
    Events {
        /// One license's
        #[arg(long, value_name = "ID")]
        license: Option<String>,
        /// Rows at most
        #[arg(long, value_name = "NUMBER", default_value = "50")]
        limit: String,
        /// Where the page begins, as the page before said
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Begin the budgets of a license at nothing; the ledger stays
    Reset {
        /// The license
        #[arg(required_unless_present = "all")]
        license: Option<String>,
        /// Every license
        #[arg(long, conflicts_with = "license")]
        all: bool,
    },
}

/// Does what was asked and prints the answer.
///
/// # Errors
/// Settings, an unreachable gateway, and what the gateway refuses.
pub async fn run(command: &UsageCommand, config: Option<PathBuf>) -> Result<(), Fault> {
    let desk = command.reach.desk(config)?;
    match &command.action {
        None => {
            let Report { start, end, group_by, tz } = &command.report;
            let pairs = [
                ("start", start.as_deref()),
                ("end", end.as_deref()),
                ("group_by", Some(group_by.as_str())),
                ("tz", Some(tz.as_str())),
            ];
            let answer = desk.http.get(&with_query("/admin/usage", &pairs)).await?;
            let answer = if desk.json { answer } else { with_total(answer) };
            desk.list(&answer, &columns(group_by));
        }
        Some(Action::Events { license, limit, cursor }) => {
            let pairs =
                [("license_id", license.as_deref()), ("limit", Some(limit.as_str())), ("cursor", cursor.as_deref())];
            let answer = desk.http.get(&with_query("/admin/usage/events", &pairs)).await?;
            desk.list(
                &answer,
                &["occurred_at", "session_id", "license_id", "model", "audio_seconds", "input_tokens", "output_tokens"],
            );
        }
        Some(Action::Reset { license, all: _ }) => {
            let body = license.as_ref().map_or(json!({}), |id| json!({ "license_id": id }));
            desk.show(&desk.http.post("/admin/usage/reset", &body).await?);
        }
    }
    Ok(())
}

fn columns(group_by: &str) -> Vec<&'static str> {
    let groups = [("day", "day"), ("model", "model"), ("license", "license_id"), ("key", "key_id")];
    let named = |name: &str| group_by.split(',').any(|group| group.trim() == name);
    let mut columns: Vec<&str> = groups.iter().filter(|(name, _)| named(name)).map(|(_, column)| *column).collect();
    columns.extend(["audio_seconds", "input_tokens", "output_tokens", "requests", "sessions"]);
    columns
}

/// The totals as a last row, where there are several.
fn with_total(mut answer: Value) -> Value {
    let totals = answer.get("totals").cloned();
    let rows = answer.get_mut("data").and_then(Value::as_array_mut);
    if let (Some(rows), Some(totals)) = (rows.filter(|rows| rows.len() > 1), totals) {
        rows.push(totals);
    }
    answer
}
