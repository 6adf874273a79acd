//! The table of settings: each one's place in the files, its plain names, and what values it takes.

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A listen address without its port.
    Host,
    /// A public name; a scheme before it is dropped.
    Domain,
    /// `address:port`.
    Listen,
    /// A URL of HTTP, the provider's paths cut off.
    HttpBase,
    /// A URL of WebSockets up to `/api-ws/v1`.
    WebSocketBase,
    /// The Anthropic API's URL, `/v1…` cut off.
    AnthropicBase,
    /// `postgres://…`, `sqlite://…` or a path.
    StoreUrl,
    /// `redis://…` or `rediss://…`.
    RedisUrl,
    /// A whole number within both bounds.
    Whole(i64, i64),
    /// `true` or `false`; in text also `1` and `0`.
    Flag,
    /// Networks: a list in a file, separated by commas in text.
    Networks,
    /// Websites' origins: a list in a file, separated by commas in text; `*` for all.
    Origins,
    /// A log level, or env_logger's filter syntax.
    Level,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The table of models, which only a file can hold.
    Models,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Its place in a file, `section.key`.
    pub(super) key: &'static str,
    /// Its plain names in the environment and in `.env`, the full name first, then the aliases.
    pub(super) names: &'static [&'static str],
    /// What values it takes.
    pub(super) kind: Kind,
}

const fn setting(key: &'static str, names: &'static [&'static str], kind: Kind) -> Setting {
    Setting { key, names, kind }
}

const COUNT: Kind = Kind::Whole(1, i64::MAX);
const DAYS: Kind = Kind::Whole(1, 36_500);
const SECONDS: Kind = Kind::Whole(1, 31_536_000);
const MILLISECONDS: Kind = Kind::Whole(1, 86_400_000);

/// Every setting there is.
pub(super) const SETTINGS: &[Setting] = &[
    setting("server.host", &["SERVER_HOST"], Kind::Host),
    setting("server.port", &["SERVER_PORT", "PORT"], Kind::Whole(0, 65_535)),
    setting("server.domain", &["DOMAIN"], Kind::Domain),
    setting("server.workers", &[], Kind::Whole(0, 1_024)),
    setting("server.trusted_proxies", &["TRUSTED_PROXIES"], Kind::Networks),
    setting("server.max_connections", &["MAX_CONNECTIONS"], COUNT),
    setting("server.max_sessions", &["MAX_SESSIONS"], Kind::Whole(0, i64::MAX)),
    setting("server.max_body_bytes", &["MAX_BODY_BYTES"], COUNT),
    setting("server.request_timeout_ms", &["REQUEST_TIMEOUT"], MILLISECONDS),
    setting("server.drain_timeout_seconds", &["DRAIN_TIMEOUT_SECONDS"], SECONDS),
    setting("server.admin_listen", &["ADMIN_LISTEN"], Kind::Listen),
    setting("server.cors_origins", &["CORS_ORIGINS"], Kind::Origins),
    setting("store.url", &["DATABASE_URL", "STORE_PATH"], Kind::StoreUrl),
    setting("store.data_dir", &["DATA_DIR"], Kind::Text),
    setting("store.redis_url", &["REDIS_URL"], Kind::RedisUrl),
    setting("store.redis_timeout_ms", &["REDIS_TIMEOUT_MS"], MILLISECONDS),
    setting("store.grace_seconds", &["STORE_GRACE_SECONDS"], SECONDS),
    setting("store.disk_margin_bytes", &["STORE_DISK_MARGIN_BYTES"], Kind::Whole(0, i64::MAX)),
    setting("store.usage_retention_days", &["USAGE_RETENTION_DAYS"], DAYS),
    setting("store.audit_retention_days", &["AUDIT_RETENTION_DAYS"], DAYS),
    setting("secrets.secret_key", &["SECRET_KEY", "JWT_SECRET", "CRS_SECURITY__JWT_SECRET"], Kind::Secret),
    setting("secrets.secret_key_previous", &["SECRET_KEY_PREVIOUS"], Kind::Secret),
    setting("secrets.admin_key", &["ADMIN_KEY", "ADMIN_TOKEN"], Kind::Secret),
    setting("secrets.admin_key_previous", &["ADMIN_KEY_PREVIOUS"], Kind::Secret),
    setting("secrets.encryption_key", &["ENCRYPTION_KEY", "CRS_SECURITY__ENCRYPTION_KEY"], Kind::Secret),
    setting("secrets.encryption_key_previous", &["ENCRYPTION_KEY_PREVIOUS"], Kind::Secret),
    setting("upstream.dashscope_api_key", &["DASHSCOPE_API_KEY"], Kind::Secret),
    setting("upstream.dashscope_http_base_url", &["DASHSCOPE_HTTP_BASE_URL"], Kind::HttpBase),
    setting("upstream.dashscope_websocket_base_url", &["DASHSCOPE_WEBSOCKET_BASE_URL"], Kind::WebSocketBase),
    setting("upstream.anthropic_api_key", &["ANTHROPIC_API_KEY"], Kind::Secret),
    setting("upstream.anthropic_base_url", &["ANTHROPIC_BASE_URL"], Kind::AnthropicBase),
    setting("upstream.dial_timeout_ms", &[], MILLISECONDS),
    setting("upstream.dials_per_second", &["UPSTREAM_DIALS_PER_SECOND"], Kind::Whole(1, 1_000_000)),
    setting("upstream.dial_burst", &["UPSTREAM_DIAL_BURST"], Kind::Whole(1, 1_000_000)),
    setting("upstream.http2", &["UPSTREAM_HTTP2"], Kind::Flag),
    setting("upstream.allow_byok", &["ALLOW_BYOK"], Kind::Flag),
    setting("realtime.session_idle_seconds", &["SESSION_IDLE_SECONDS"], SECONDS),
    setting("realtime.ping_seconds", &[], SECONDS),
    setting("realtime.dead_seconds", &[], SECONDS),
    setting("realtime.slow_client_seconds", &[], SECONDS),
    setting("realtime.resume_window_seconds", &["RESUME_WINDOW_SECONDS"], SECONDS),
    setting("realtime.rollover_seconds", &["ROLLOVER_SECONDS"], SECONDS),
    setting("realtime.continuity_memory_bytes", &["CONTINUITY_MEMORY_BYTES"], COUNT),
    setting("realtime.models", &[], Kind::Models),
    setting("keys.enable_rate_limit", &["ENABLE_RATE_LIMIT"], Kind::Flag),
    setting("keys.max_requests_per_minute", &["MAX_REQUESTS_PER_MINUTE"], COUNT),
    setting("keys.expiry_days", &["KEY_EXPIRY_DAYS"], DAYS),
    setting("keys.enable_operation_log", &["ENABLE_OPERATION_LOG"], Kind::Flag),
    setting("licenses.machine_timeout_seconds", &["MACHINE_TIMEOUT_SECONDS"], SECONDS),
    setting("log.level", &["RUST_LOG", "LOG_LEVEL"], Kind::Level),
    setting("log.format", &["LOG_FORMAT"], Kind::Word(&["json", "text"])),
    setting("log.dir", &["LOG_DIR"], Kind::Text),
];

/// Names that mean something to this program without being a setting.
pub(super) const OTHER_NAMES: &[&str] = &[
    "LIVETRANSLATE_ENV",
    "LIVETRANSLATE_SERVER",
    "LIVETRANSLATE_LICENSE",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
];

/// What begins the long form of a name, `LIVETRANSLATE__SECTION__KEY`.
pub(super) const PREFIX: &str = "LIVETRANSLATE__";

/// The setting at a place in a file.
pub(super) fn by_key(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The long form of a setting's name.
pub(super) fn long_name(setting: &Setting) -> String {
    format!("{PREFIX}{}", setting.key.replace('.', "__").to_uppercase())
}

/// What an unknown key of a file probably stands for, as `section.key`.
pub(super) fn nearest_key(unknown: &str) -> Option<&'static str> {
    let by_plain_name = SETTINGS.iter().find(|setting| setting.names.contains(&unknown));
    let last = unknown.rsplit('.').next().unwrap_or(unknown);
    let in_another_section = || SETTINGS.iter().find(|setting| setting.key.rsplit('.').next() == Some(last));
    if let Some(setting) = by_plain_name.or_else(in_another_section) {
        return Some(setting.key);
    }
    nearest(unknown, SETTINGS.iter().map(|setting| setting.key), unknown.len() / 3)
}

/// The long name nearest to one that begins like ours.
pub(super) fn nearest_long_name(unknown: &str) -> Option<String> {
    let names: Vec<String> = SETTINGS.iter().map(long_name).collect();
    let found = nearest(unknown, names.iter().map(String::as_str), unknown.len() / 3);
    found.map(str::to_owned)
}

/// A name of ours that a foreign name in `.env` misses by two letters at most (by one if it is short).
pub(super) fn near_miss(foreign: &str) -> Option<String> {
    let long_names: Vec<String> = SETTINGS.iter().map(long_name).collect();
    let plain = SETTINGS.iter().flat_map(|setting| setting.names).chain(OTHER_NAMES).copied();
    let allowance = if foreign.len() < 6 { 1 } else { 2 };
    let upper = foreign.to_uppercase();
    nearest(&upper, plain.chain(long_names.iter().map(String::as_str)), allowance).map(str::to_owned)
}

fn nearest<'name>(to: &str, among: impl Iterator<Item = &'name str>, allowance: usize) -> Option<&'name str> {
    among
        .map(|name| (strsim::damerau_levenshtein(to, name), name))
        .filter(|(distance, _)| *distance <= allowance)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commented file is the documentation: it must name every setting, with its plain names.
    #[test]
    fn the_commented_defaults_document_this_table() {
        let mut section = String::new();
        let mut documented = Vec::new();
        for line in include_str!("../../config/default.toml").lines() {
            if let Some(name) = line.strip_prefix('[').filter(|rest| !rest.starts_with('[')) {
                section = name.split(']').next().unwrap().to_owned();
            }
            let line = line.strip_prefix("# ").unwrap_or(line);
            let Some((key, rest)) = line.split_once(" = ") else { continue };
            let comment = rest.split_once("# [").and_then(|(_, comment)| comment.split_once(']'));
            documented.push((format!("{section}.{key}"), comment.map_or("", |(names, _)| names).to_owned()));
        }
        for setting in SETTINGS.iter().filter(|setting| setting.kind != Kind::Models) {
            let names: Vec<_> = setting.names.iter().filter(|name| !name.starts_with("CRS_")).copied().collect();
            assert!(
                documented.contains(&(setting.key.to_owned(), names.join(", "))),
                "config/default.toml lacks `{}` with [{}]",
                setting.key,
                names.join(", ")
            );
        }
    }

    /// The example for operators names every plain name once (aliases aside), and nothing unknown.
    #[test]
    fn the_example_environment_is_complete() {
        const OF_COMPOSE: &[&str] = &["ACME_EMAIL", "POSTGRES_PASSWORD", "IMAGE_TAG"];
        let assigned = |line: &'static str| line.trim_start_matches('#').split_once('=').map(|(name, _)| name);
        let lines = include_str!("../../deploy/.env.example").lines().filter_map(assigned);
        let mut given: Vec<_> = lines.filter(|name| !name.contains(' ') && !OF_COMPOSE.contains(name)).collect();
        let full_names = SETTINGS.iter().filter_map(|setting| setting.names.first());
        let parts = OTHER_NAMES.iter().filter(|name| name.starts_with("REDIS"));
        let mut wanted: Vec<_> = full_names.chain(parts).copied().collect();
        given.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(given, wanted);
    }

    #[test]
    fn names_that_are_nearly_ours() {
        for (foreign, ours) in [
            ("SERVER_PROT", Some("SERVER_PORT")),
            ("server_port", Some("SERVER_PORT")),
            ("DASHSCOPE_APIKEY", Some("DASHSCOPE_API_KEY")),
            ("LIVETRANSLATE_SERVER_PORT", Some("LIVETRANSLATE__SERVER__PORT")),
            ("HOST", None),
            ("POSTGRES_PASSWORD", None),
            ("IMAGE_TAG", None),
        ] {
            assert_eq!(near_miss(foreign).as_deref(), ours, "{foreign}");
        }
        for (unknown, ours) in [
            ("server.prot", Some("server.port")),
            ("port", Some("server.port")),
            ("SERVER_PORT", Some("server.port")),
            ("keys.port", Some("server.port")),
            ("quite.something.else", None),
        ] {
            assert_eq!(nearest_key(unknown), ours, "{unknown}");
        }
        assert_eq!(nearest_long_name("LIVETRANSLATE__SERVER__PROT").as_deref(), Some("LIVETRANSLATE__SERVER__PORT"));
    }
}
