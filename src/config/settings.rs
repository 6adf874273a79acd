//! The settings, section by section, as the commented defaults explain them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Deserialize;

/// Addresses, names and limits of the front door.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Listen address.
    pub host: String,
    /// Listen port; 0 lets the system choose.
    pub port: u16,
    /// Public name, without scheme.
    pub domain: Option<String>,
    /// Threads that serve connections; 0 means one a core.
    pub workers: usize,
    /// Peers whose `X-Forwarded-For` and `CF-Connecting-IP` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Open client connections at most.
    pub max_connections: usize,
    /// Live realtime sessions at most; 0 means 1,500 a core.
    pub max_sessions: usize,
    /// Request bodies at most, bytes.
    pub max_body_bytes: usize,
    /// The longest a request may take, milliseconds.
    pub request_timeout_ms: u64,
    /// The longest wait for live sessions after SIGTERM, seconds.
    pub drain_timeout_seconds: u64,
    /// Second listener for `/admin` and `/metrics`.
    pub admin_listen: Option<String>,
    /// Websites whose pages may call the customers' routes, as `https://name[:port]`; `*` for all.
    pub cors_origins: Vec<String>,
}

/// Where state is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `postgres://…`, `sqlite://…` or a path.
    pub url: Secret,
    /// Folder for generated secrets and the embedded store.
    pub data_dir: std::path::PathBuf,
    /// Limits shared by several instances.
    pub redis_url: Option<Secret>,
    /// A Redis that takes longer to answer is away, milliseconds.
    pub redis_timeout_ms: u64,
    /// How long sessions go on without the store, seconds.
    pub grace_seconds: u64,
    /// New sessions are refused while DATA_DIR's file system has less room, bytes.
    pub disk_margin_bytes: u64,
    /// How long raw usage is kept, days.
    pub usage_retention_days: u32,
    /// How long the audit log is kept, days.
    pub audit_retention_days: u32,
}

/// Keys that sign, seal and administrate. `None` only before [`Config::load`](crate::config::Config::load) has settled them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Signs licenses.
    pub secret_key: Option<Secret>,
    /// Still verified while a new key takes over.
    pub secret_key_previous: Option<Secret>,
    /// Bearer of `/admin`.
    pub admin_key: Option<Secret>,
    /// Still accepted while a new key takes over.
    pub admin_key_previous: Option<Secret>,
    /// Seals upstream credentials.
    pub encryption_key: Option<Secret>,
    /// Still opens while a new key takes over.
    pub encryption_key_previous: Option<Secret>,
}

impl Secrets {
    /// Fills in what is missing, by plain name.
    pub(super) fn complete(&mut self, mut generated: BTreeMap<&'static str, String>) {
        let mut take = |name| generated.remove(name).map(Secret);
        self.secret_key = self.secret_key.take().or_else(|| take("SECRET_KEY"));
        self.admin_key = self.admin_key.take().or_else(|| take("ADMIN_KEY"));
        self.encryption_key = self.encryption_key.take().or_else(|| take("ENCRYPTION_KEY"));
    }
}

/// The provider's side.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The first DashScope account.
    pub dashscope_api_key: Option<Secret>,
    /// Origin of DashScope's HTTP API.
    pub dashscope_http_base_url: String,
    /// Base of DashScope's WebSocket API, up to `/api-ws/v1`.
    pub dashscope_websocket_base_url: String,
    /// The first Anthropic account.
    pub anthropic_api_key: Option<Secret>,
    /// Base of the Anthropic API.
    pub anthropic_base_url: Option<String>,
    /// Until a WebSocket to the provider is open, milliseconds.
    pub dial_timeout_ms: u64,
    /// WebSockets to the provider that are opened in a second at most, once the burst is used up.
    pub dials_per_second: u32,
    /// WebSockets to the provider that may be opened at once.
    pub dial_burst: u32,
    /// HTTP calls are made by HTTP/2 where the provider offers it.
    pub http2: bool,
    /// Callers may bring their own provider key.
    pub allow_byok: bool,
}

/// Rules of live sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realtime {
    /// A session in which nothing is sent either way ends after this, seconds.
    pub session_idle_seconds: u64,
    /// Between WebSocket pings, seconds.
    pub ping_seconds: u64,
    /// A leg without any frame for so long is dead, seconds.
    pub dead_seconds: u64,
    /// A client that takes no data for so long is closed, seconds.
    pub slow_client_seconds: u64,
    /// How long a dropped session can be resumed, seconds.
    pub resume_window_seconds: u64,
    /// Age at which an upstream leg is replaced at the latest, seconds; a pause is looked for before.
    pub rollover_seconds: u64,
    /// Memory for replay and source audio over all sessions, bytes.
    pub continuity_memory_bytes: u64,
    /// The models served; the first match wins.
    pub models: Vec<Model>,
}

/// A family of models and what the relay must know of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Model ids; `*` stands for any characters.
    pub pattern: String,
    /// What the model speaks.
    pub protocol: Protocol,
    /// How it reports tokens.
    pub usage: UsageReport,
    /// Age at which an upstream leg of this model is replaced, seconds; ROLLOVER_SECONDS where it isn't set.
    #[serde(default)]
    pub rollover_seconds: Option<u64>,
    /// Input tokens on one upstream leg of this model at which it is replaced.
    #[serde(default = "rollover_input_tokens")]
    pub rollover_input_tokens: u64,
}

/// Below the 49,152 input tokens that a LiveTranslate session's context takes.
fn rollover_input_tokens() -> u64 {
    40_000
}

impl Model {
    /// Whether `id` is one of this family.
    #[must_use]
    pub fn serves(&self, id: &str) -> bool {
        fits(&self.pattern, id)
    }
}

/// What a realtime model speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// LiveTranslate: JSON events; `session.finish` flushes the last segment.
    Livetranslate,
    /// Omni and its siblings: JSON events; no `session.finish`.
    Omni,
    /// The task protocol: JSON control, binary audio.
    Task,
}

/// How a model reports tokens in `response.done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageReport {
    /// Over the session so far; a decrease starts a new base.
    Cumulative,
    /// For this response alone.
    PerResponse,
}

/// Defaults of API keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Whether keys without limits get `max_requests_per_minute`.
    pub enable_rate_limit: bool,
    /// Requests a minute.
    pub max_requests_per_minute: u64,
    /// Days until a key or trial ends.
    pub expiry_days: u32,
    /// Whether the audit log is written.
    pub enable_operation_log: bool,
}

/// Rules of licenses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licenses {
    /// A machine that sends no heartbeat for so long, after it has sent one, gives up its seat, seconds.
    pub machine_timeout_seconds: u64,
}

/// Logging.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level, or env_logger's filter syntax.
    pub level: String,
    /// `json` or `text`; none: text on a terminal.
    pub format: Option<LogFormat>,
    /// Folder for dated files.
    pub dir: Option<std::path::PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A text that never prints.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).filter_map(|start| tail.get(start..)).any(|tail| fits(rest, tail))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("sk-very-secret")), "***");
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(fits("qwen*-omni-*realtime*", "qwen3-omni-flash-realtime"));
        assert!(!fits("qwen*-omni-*realtime*", "qwen3-omni-flash"));
    }
}
