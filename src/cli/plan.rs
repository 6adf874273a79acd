//! `livetranslate plan …`: named sets of limits that licenses are issued with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::limits::Limits;
use super::reach::{Paging, Reach, at};

const BASE: &str = "/admin/plans";
const COLUMNS: [&str; 6] = ["id", "label", "builtin", "budgets", "valid_days", "max_sessions"];

/// What the command takes.
#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a plan; one called trial goes before the built-in one
    Create {
        /// Its name: lower-case letters, digits, _ and -
        id: String,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// List plans, newest first
    List(Paging),
    /// Show one plan
    Show { id: String },
    /// Change the fields that are named; licenses keep what they have
    Change {
        id: String,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Give every active license of the plan its limits
    Apply { id: String },
    /// Remove it; licenses keep what they have
    Delete { id: String },
}

/// The fields of a plan.
#[derive(Debug, Args)]
struct Fields {
    /// Days that a license lasts from its issue
    #[arg(long, value_name = "DAYS")]
    valid_days: Option<u32>,
    #[command(flatten)]
    limits: Limits,
}

impl Fields {
    fn body(&self) -> Result<Map<String, Value>, Fault> {
        let mut body = self.limits.body()?;
        body.extend(self.valid_days.map(|days| ("valid_days".to_owned(), json!(days))));
        Ok(body)
    }
}

/// Does what was asked and prints the answer.
///
/// # Errors
/// Settings, an unreachable gateway, and what the gateway refuses.
pub async fn run(command: &PlanCommand, config: Option<PathBuf>) -> Result<(), Fault> {
    let desk = command.reach.desk(config)?;
    match &command.action {
        Action::Create { id, fields } => {
            let mut body = fields.body()?;
            body.insert("id".to_owned(), json!(id));
            desk.show(&desk.http.post(BASE, &Value::Object(body)).await?);
        }
        Action::List(paging) => desk.list(&desk.http.get(&paging.path(BASE)).await?, &COLUMNS),
        Action::Show { id } => desk.show(&desk.http.get(&at(BASE, id, "")).await?),
        Action::Change { id, fields } => {
            desk.show(&desk.http.patch(&at(BASE, id, ""), &Value::Object(fields.body()?)).await?);
        }
        Action::Apply { id } => desk.show(&desk.http.post(&at(BASE, id, "apply"), &json!({})).await?),
        Action::Delete { id } => desk.show(&desk.http.delete(&at(BASE, id, "")).await?),
    }
    Ok(())
}
