//! `livetranslate account …`: add, list, show, change, test, switch, delete and seal anew upstream accounts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::reach::{Desk, Paging, Reach, at};
use crate::config::sources::Sources;

const BASE: &str = "/admin/accounts";
const COLUMNS: [&str; 8] = ["id", "name", "kind", "source", "state", "healthy", "priority", "weight"];

/// What the command takes.
#[derive(Debug, Args)]
pub struct AccountCommand {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an account; its credential comes from a file, standard input or the environment
    Add {
        /// The operator's name for it, unique
        name: String,
        /// Whose API it speaks: dashscope, anthropic or openai
        #[arg(long)]
        kind: String,
        #[command(flatten)]
        credential: Credential,
        #[command(flatten)]
        fields: Fields,
    },
    /// List accounts, newest first, with how they are doing
    List(Paging),
    /// Show one account
    Show { id: String },
    /// Change the fields that are named
    Change {
        id: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        credential: Credential,
        #[command(flatten)]
        fields: Fields,
    },
    /// Ask the provider whether it takes the credential: exit code 0 when it does
    Test { id: String },
    /// Give it no new calls; those under way end by themselves
    Drain { id: String },
    /// Let it be called again
    Enable { id: String },
    /// Don't call it
    Disable { id: String },
    /// Remove it
    Delete { id: String },
    /// Seal every credential with ENCRYPTION_KEY that ENCRYPTION_KEY_PREVIOUS sealed; may be broken off and run again
    Reseal,
}

/// Where a credential is read from: never an argument, which others on the machine can see.
#[derive(Debug, Args)]
struct Credential {
    /// The file that holds it; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "credential_env")]
    credential_file: Option<PathBuf>,
    /// The name of the variable of the environment that holds it
    #[arg(long, value_name = "NAME")]
    credential_env: Option<String>,
}

impl Credential {
    /// The credential, if a place for it was named.
    fn read(&self) -> Result<Option<String>, Fault> {
        let (text, place) = match (&self.credential_file, &self.credential_env) {
            (None, None) => return Ok(None),
            (Some(file), _) if file == Path::new("-") => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(Fault::of("can't read standard input"))?;
                (text, "standard input".to_owned())
            }
            (Some(file), _) => {
                let place = file.display().to_string();
                (std::fs::read_to_string(file).map_err(Fault::of(&format!("can't read {place}")))?, place)
            }
            (None, Some(name)) => {
                let text = Sources::of_process(None).environment.remove(name);
                (text.unwrap_or_default(), format!("the variable {name}"))
            }
        };
        match text.trim() {
            "" => Err(Fault::Failed(format!("{place} holds no credential"))),
            credential => Ok(Some(credential.to_owned())),
        }
    }
}

/// The fields of an account; what isn't here can be said with --fields.
#[derive(Debug, Args)]
struct Fields {
    /// Where it is called
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// How a DashScope account's chat is called: compatible or native
    #[arg(long)]
    mode: Option<String>,
    /// A model that it serves, `*` for any characters; may be said several times
    #[arg(long, value_name = "PATTERN")]
    model: Vec<String>,
    /// Its share among those of its priority
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u32>,
    /// Lower ones are asked first
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u32>,
    /// Calls at once
    #[arg(long, value_name = "NUMBER")]
    max_concurrency: Option<u32>,
    /// More fields of the admin API, as a JSON object; null clears one
    #[arg(long, value_name = "JSON")]
    fields: Option<String>,
}

impl Fields {
    fn body(&self) -> Result<Map<String, Value>, Fault> {
        let mut body: Map<String, Value> = match &self.fields {
            None => Map::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Fault::Usage(format!("--fields must be a JSON object: {error}")))?,
        };
        if body.contains_key("credential") {
            return Err(Fault::Usage("a credential is read with --credential-file or --credential-env".to_owned()));
        }
        let texts = [("base_url", &self.base_url), ("mode", &self.mode)];
        body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?)))));
        let numbers = [("weight", self.weight), ("priority", self.priority), ("max_concurrency", self.max_concurrency)];
        body.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), json!(number?)))));
        body.extend((!self.model.is_empty()).then(|| ("models".to_owned(), json!(self.model))));
        Ok(body)
    }
}

/// Does what was asked and prints the answer.
///
/// # Errors
/// Settings, an unreachable gateway, what the gateway refuses, and an account that its provider refuses.
pub async fn run(command: &AccountCommand, config: Option<PathBuf>) -> Result<(), Fault> {
    let desk = command.reach.desk(config)?;
    match &command.action {
        Action::Add { name, kind, credential, fields } => {
            let missing = "give the credential with --credential-file FILE (`-`: standard input) or --credential-env";
            let credential = credential.read()?.ok_or_else(|| Fault::Usage(missing.to_owned()))?;
            let mut body = fields.body()?;
            body.insert("name".to_owned(), json!(name));
            body.insert("kind".to_owned(), json!(kind));
            body.insert("credential".to_owned(), json!(credential));
            show(&desk, desk.http.post(BASE, &Value::Object(body)).await?);
        }
        Action::List(paging) => list(&desk, desk.http.get(&paging.path(BASE)).await?),
        Action::Show { id } => show(&desk, desk.http.get(&at(BASE, id, "")).await?),
        Action::Change { id, name, credential, fields } => {
            let mut body = fields.body()?;
            body.extend(name.as_ref().map(|name| ("name".to_owned(), json!(name))));
            body.extend(credential.read()?.map(|credential| ("credential".to_owned(), json!(credential))));
            show(&desk, desk.http.patch(&at(BASE, id, ""), &Value::Object(body)).await?);
        }
        Action::Test { id } => {
            let found = desk.http.post(&at(BASE, id, "test"), &json!({})).await?;
            desk.show(&found);
            if found.get("ok") != Some(&Value::Bool(true)) {
                return Err(Fault::Failed("this account can't be used".to_owned()));
            }
        }
        Action::Drain { id } => act(&desk, id, "drain").await?,
        Action::Enable { id } => act(&desk, id, "enable").await?,
        Action::Disable { id } => act(&desk, id, "disable").await?,
        Action::Delete { id } => desk.show(&desk.http.delete(&at(BASE, id, "")).await?),
        Action::Reseal => {
            let done = desk.http.post(&format!("{BASE}/reseal"), &json!({})).await?;
            desk.show(&done);
            let failed = done.get("failed").and_then(Value::as_array).map_or(0, Vec::len);
            if failed > 0 {
                return Err(Fault::Failed(format!("{failed} accounts are sealed as before")));
            }
        }
    }
    Ok(())
}

async fn act(desk: &Desk, id: &str, action: &str) -> Result<(), Fault> {
    show(desk, desk.http.post(&at(BASE, id, action), &json!({})).await?);
    Ok(())
}

fn show(desk: &Desk, account: Value) {
    desk.show(&if desk.json { account } else { flat(account) });
}

fn list(desk: &Desk, mut answer: Value) {
    if let (false, Some(rows)) = (desk.json, answer.get_mut("data").and_then(Value::as_array_mut)) {
        rows.iter_mut().for_each(|row| *row = flat(row.take()));
    }
    desk.list(&answer, &COLUMNS);
}

/// How an account is doing as fields of its own, for people.
fn flat(mut account: Value) -> Value {
    if let Some(fields) = account.as_object_mut()
        && let Some(Value::Object(live)) = fields.remove("live")
    {
        fields.extend(live);
    }
    account
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: Option<&Path>, name: Option<&str>) -> Credential {
        Credential { credential_file: file.map(Path::to_owned), credential_env: name.map(str::to_owned) }
    }

    #[test]
    fn a_credential_comes_from_a_file_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-upstream\n").unwrap();
        assert_eq!(place(Some(&file), None).read().unwrap().as_deref(), Some("sk-upstream"));
        std::fs::write(&file, " \n").unwrap();
        assert!(place(Some(&file), None).read().is_err());
        assert!(place(None, Some("NO_SUCH_VARIABLE_ANYWHERE")).read().is_err());
        assert_eq!(place(None, None).read().unwrap(), None);
    }

    #[test]
    fn how_it_is_doing_is_told_in_columns() {
        let account = json!({"id": "acc_1", "live": {"healthy": true, "in_flight": 2}});
        assert_eq!(flat(account), json!({"id": "acc_1", "healthy": true, "in_flight": 2}));
        assert_eq!(flat(json!({"id": "acc_1", "live": null})), json!({"id": "acc_1"}));
    }
}
