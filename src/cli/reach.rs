//! How the operator's commands reach the admin API: which gateway, with which key, shown to whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::fault::Fault;
use super::{health, screen, table};
use crate::client::http::Http;
use crate::client::server::Server;
use crate::config::Config;
use crate::config::settings::{self, Secret};
use crate::config::sources::Sources;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What every operator's command takes.
#[derive(Debug, Args)]
pub struct Reach {
    /// The gateway; without it, where the settings say that it listens
    #[arg(long, global = true, value_name = "URL", env = "LIVETRANSLATE_SERVER")]
    server: Option<String>,
    /// A file that holds the admin key; without it ADMIN_KEY of the settings is used
    #[arg(long, global = true, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

/// A gateway's admin API, and how its answers are printed.
pub struct Desk {
    /// The API.
    pub http: Http,
    /// Whether answers are printed as they are.
    pub json: bool,
}

impl Reach {
    /// Finds the gateway and the key; reads settings only for what wasn't named.
    ///
    /// # Errors
    /// Settings that can't be read, no admin key, an address that is none.
    pub fn desk(&self, config: Option<PathBuf>) -> Result<Desk, Fault> {
        let (server, key) = match (&self.server, &self.admin_key_file) {
            (Some(server), Some(file)) => (server.clone(), Some(key_in(file)?)),
            (server, file) => {
                let settings = Config::read(&Sources::of_process(config))?.config;
                let server = server.clone().unwrap_or_else(|| admin_address(&settings.server));
                let key = file.as_deref().map(key_in).transpose()?;
                (server, key.or(settings.secrets.admin_key))
            }
        };
        let missing = "no admin key: set ADMIN_KEY, or name a file that holds it with --admin-key-file";
        let key = key.ok_or_else(|| Fault::Config(missing.to_owned()))?;
        let http = Http::new(Server::parse(&server)?, Some(key), TIMEOUT);
        Ok(Desk { http, json: self.json })
    }
}

/// Where this machine reaches the admin API of a gateway with these settings.
fn admin_address(server: &settings::Server) -> String {
    match server.admin_listen.as_deref().and_then(|listen| listen.parse::<SocketAddr>().ok()) {
        Some(listen) => {
            let (host, port) = (listen.ip().to_string(), listen.port());
            health::own_address(&settings::Server { host, port, ..server.clone() })
        }
        None => health::own_address(server),
    }
}

fn key_in(file: &Path) -> Result<Secret, Fault> {
    let text = std::fs::read_to_string(file).map_err(Fault::of(&format!("can't read {}", file.display())))?;
    match text.trim() {
        "" => Err(Fault::Config(format!("{} is empty; it must hold the admin key", file.display()))),
        key => Ok(Secret::new(key)),
    }
}

impl Desk {
    /// Prints one thing: a line for each field.
    pub fn show(&self, answer: &Value) {
        if self.json { screen::line(&pretty(answer)) } else { screen::line(&table::record(answer)) }
    }

    /// Prints a list: a table of these fields, and how to see what follows.
    pub fn list(&self, answer: &Value, fields: &[&str]) {
        if self.json {
            return screen::line(&pretty(answer));
        }
        let rows = answer.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        screen::line(&table::table(rows, fields));
        if let Some(cursor) = answer.get("next_cursor").and_then(Value::as_str) {
            screen::note(&format!("there is more: --cursor {cursor}"));
        }
    }
}

fn pretty(answer: &Value) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_else(|_| answer.to_string())
}

/// What every list takes.
#[derive(Debug, Args)]
pub struct Paging {
    /// Only what has this text in its label or id
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
    /// Only what has this status
    #[arg(long)]
    status: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
    /// Where the page begins, as the page before said
    #[arg(long)]
    cursor: Option<String>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
}

impl Paging {
    /// The path with its query.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        self.path_with(path, &[])
    }

    /// The same with more parameters, where they are given.
    #[must_use]
    pub fn path_with(&self, path: &str, more: &[(&str, Option<&str>)]) -> String {
        let limit = self.limit.to_string();
        let pairs = [
            ("limit", Some(limit.as_str())),
            ("q", self.q.as_deref()),
            ("status", self.status.as_deref()),
            ("cursor", self.cursor.as_deref()),
            ("sort", self.oldest_first.then_some("created_at")),
        ];
        with_query(path, &[&pairs, more].concat())
    }
}

/// A path with those parameters that are given.
#[must_use]
pub fn with_query(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let given = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// A path below `base` for one thing.
#[must_use]
pub fn at(base: &str, id: &str, action: &str) -> String {
    let action = if action.is_empty() { String::new() } else { format!("/{action}") };
    format!("{base}/{}{action}", encoded(id))
}

/// Percent-encodes everything but unreserved characters.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_api_may_listen_elsewhere() {
        let mut server = Config::defaults().unwrap().server;
        for (listen, address) in [
            (None, "http://127.0.0.1:8000"),
            (Some("127.0.0.1:8001"), "http://127.0.0.1:8001"),
            (Some("[::]:9"), "http://[::1]:9"),
        ] {
            server.admin_listen = listen.map(str::to_owned);
            assert_eq!(admin_address(&server), address);
        }
    }

    #[test]
    fn paths_carry_what_is_given() {
        assert_eq!(with_query("/a", &[("q", Some("x y&z")), ("status", None)]), "/a?q=x%20y%26z");
        assert_eq!(with_query("/a", &[("q", None)]), "/a");
        assert_eq!(at("/admin/keys", "../x", "block"), "/admin/keys/..%2Fx/block");
    }
}
