//! `livetranslate license …`: issue, list, show, change licenses.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::fault::Fault;
use super::limits::Limits;
use super::reach::{Desk, Paging, Reach, at};

const BASE: &str = "/admin/licenses";
const MACHINE_COLUMNS: [&str; 5] = ["fingerprint", "name", "key_id", "activated_at", "last_heartbeat_at"];
const COLUMNS: [&str; 6] = ["id", "label", "plan", "status", "budgets", "expires_at"];

/// What the command takes.
#[derive(Debug, Args)]
pub struct LicenseCommand {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Issue a license and print its token
    Issue(Box<Fields>),
    /// List licenses, newest first
    List(Paging),
    /// Show one license
    Show { id: String },
    /// Change the fields that are named
    Change {
        id: String,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Let it rest; its live sessions end
    Suspend { id: String },
    /// Let a suspended one be used again
    Reinstate { id: String },
    /// End it for good; its live sessions end
    Revoke { id: String },
    /// Move its end
    Renew {
        id: String,
        /// Days from its end, or from now if that is later
        #[arg(long)]
        days: Option<u32>,
        /// Until then (RFC 3339)
        #[arg(long, value_name = "TIME", conflicts_with = "days")]
        until: Option<String>,
    },
    /// Print a token for it
    Token {
        id: String,
        /// Make the tokens issued before invalid
        #[arg(long)]
        rotate: bool,
    },
    /// Begin its budgets at nothing
    ResetUsage { id: String },
    /// List the machines that have its seats
    Machines {
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Free the seat of a machine
    Release { id: String, fingerprint: String },
}

/// The fields of a license.
#[derive(Debug, Args)]
pub struct Fields {
    /// A named set of limits, e.g. trial
    #[arg(long)]
    plan: Option<String>,
    /// Its end (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    #[command(flatten)]
    limits: Limits,
}

impl Fields {
    /// The body that says the same.
    ///
    /// # Errors
    /// As [`Limits::body`].
    pub fn body(&self) -> Result<Value, Fault> {
        let mut body = self.limits.body()?;
        let texts = [("plan", &self.plan), ("expires_at", &self.expires_at)];
        body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?)))));
        Ok(Value::Object(body))
    }
}

/// Does what was asked and prints the answer.
///
/// # Errors
/// Settings, an unreachable gateway, and what the gateway refuses.
pub async fn run(command: &LicenseCommand, config: Option<PathBuf>) -> Result<(), Fault> {
    let desk = command.reach.desk(config)?;
    match &command.action {
        Action::Issue(fields) => desk.show(&desk.http.post(BASE, &fields.body()?).await?),
        Action::List(paging) => desk.list(&desk.http.get(&paging.path(BASE)).await?, &COLUMNS),
        Action::Show { id } => desk.show(&desk.http.get(&at(BASE, id, "")).await?),
        Action::Change { id, fields } => desk.show(&desk.http.patch(&at(BASE, id, ""), &fields.body()?).await?),
        Action::Suspend { id } => act(&desk, id, "suspend", &json!({})).await?,
        Action::Reinstate { id } => act(&desk, id, "reinstate", &json!({})).await?,
        Action::Revoke { id } => act(&desk, id, "revoke", &json!({})).await?,
        Action::Renew { id, days, until } => {
            let body = match (days, until) {
                (Some(days), _) => json!({ "days": days }),
                (None, Some(until)) => json!({ "expires_at": until }),
                (None, None) => json!({}),
            };
            act(&desk, id, "renew", &body).await?;
        }
        Action::Token { id, rotate } => act(&desk, id, "token", &json!({ "rotate": rotate })).await?,
        Action::ResetUsage { id } => act(&desk, id, "reset-usage", &json!({})).await?,
        Action::Machines { id, paging } => {
            let path = paging.path(&at(BASE, id, "machines"));
            desk.list(&desk.http.get(&path).await?, &MACHINE_COLUMNS);
        }
        Action::Release { id, fingerprint } => {
            let machines = at(BASE, id, "machines");
            desk.show(&desk.http.delete(&at(&machines, fingerprint, "")).await?);
        }
    }
    Ok(())
}

async fn act(desk: &Desk, id: &str, action: &str, body: &Value) -> Result<(), Fault> {
    desk.show(&desk.http.post(&at(BASE, id, action), body).await?);
    Ok(())
}
