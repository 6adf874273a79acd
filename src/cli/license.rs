//! `livetranslate license …`: issue, list, show, change licenses.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::reach::{Desk, Paging, Reach, at};

const BASE: &str = "/admin/licenses";
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
    Issue(Fields),
    /// List licenses, newest first
    List(Paging),
    /// Show one license
    Show { id: String },
    /// Change the fields that are named
    Change {
        id: String,
        #[command(flatten)]
        fields: Fields,
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
}

/// The fields of a license; what isn't here can be said with --fields.
#[derive(Debug, Args)]
pub struct Fields {
    /// A named set of limits, e.g. trial
    #[arg(long)]
    plan: Option<String>,
    /// Whose it is
    #[arg(long)]
    label: Option<String>,
    /// A budget of so many seconds of audio
    #[arg(long, value_name = "SECONDS")]
    audio_seconds: Option<f64>,
    /// After which time that budget starts anew: 5h, 1d, 1w, 1mo or lifetime
    #[arg(long, value_name = "SPAN", requires = "audio_seconds")]
    window: Option<String>,
    /// Realtime sessions at once
    #[arg(long, value_name = "NUMBER")]
    max_sessions: Option<u64>,
    /// A model that it may use; may be said several times
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// Its end (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// More fields of the admin API, as a JSON object
    #[arg(long, value_name = "JSON")]
    fields: Option<String>,
}

impl Fields {
    /// The body that says the same.
    ///
    /// # Errors
    /// Wrong usage: --fields is no JSON object.
    pub fn body(&self) -> Result<Value, Fault> {
        let mut body = match &self.fields {
            None => Map::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Fault::Usage(format!("--fields must be a JSON object: {error}")))?,
        };
        let texts = [("plan", &self.plan), ("label", &self.label), ("expires_at", &self.expires_at)];
        body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?)))));
        body.extend(self.max_sessions.map(|number| ("max_sessions".to_owned(), json!(number))));
        body.extend((!self.model.is_empty()).then(|| ("models".to_owned(), json!(self.model))));
        body.extend(self.audio_seconds.map(|limit| {
            let window = self.window.as_deref().unwrap_or("lifetime");
            ("budgets".to_owned(), json!([{ "unit": "audio_seconds", "limit": limit, "window": window }]))
        }));
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
    }
    Ok(())
}

async fn act(desk: &Desk, id: &str, action: &str, body: &Value) -> Result<(), Fault> {
    desk.show(&desk.http.post(&at(BASE, id, action), body).await?);
    Ok(())
}
