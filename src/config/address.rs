//! Addresses as people write them, turned into the one form that the rest of the house expects.
//! Each function's error is the end of a sentence that begins with the setting's name.

use std::net::IpAddr;

/// Paths of the provider's HTTP API that users of its SDKs write as part of the base.
const HTTP_TAILS: &[&str] =
    &["/api/v1", "/compatible-mode/v1", "/compatible-mode", "/apps/anthropic/v1", "/apps/anthropic"];
/// The same for its WebSocket API, below `/api-ws/v1`.
const WEBSOCKET_TAILS: &[&str] = &["/inference", "/realtime"];

/// The base of the provider's HTTP API: `https://host[/prefix]`.
///
/// # Errors
/// What is wrong with it.
pub fn http_base(url: &str) -> Result<String, String> {
    let rest = after_scheme(url, &["https", "http"], "it is for HTTP: write https://…")?;
    Ok(cut(cut_websocket(rest), HTTP_TAILS))
}

/// The base of the provider's WebSocket API: `wss://host[/prefix]/api-ws/v1`.
pub(super) fn websocket_base(url: &str) -> Result<String, String> {
    let whole = after_scheme(url, &["wss", "ws"], "it is for WebSockets: write wss://… (or ws://…)")?;
    let base = cut(whole.split('?').next().unwrap_or(whole), WEBSOCKET_TAILS);
    let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    Ok(match base.strip_suffix("/api-ws") {
        Some(head) => format!("{head}/api-ws/v1"),
        None if has_path => base,
        None => format!("{base}/api-ws/v1"),
    })
}

/// The base of the Anthropic API: `https://host[/prefix]`, without `/v1`.
///
/// # Errors
/// What is wrong with it.
pub fn anthropic_base(url: &str) -> Result<String, String> {
    let rest = after_scheme(url, &["https", "http"], "it is for HTTP: write https://…")?;
    Ok(cut(rest, &["/v1/messages", "/v1"]))
}

/// The base of a server that speaks OpenAI's API: `https://host[/prefix]`, without `/v1`.
///
/// # Errors
/// What is wrong with it.
pub fn openai_base(url: &str) -> Result<String, String> {
    let rest = after_scheme(url, &["https", "http"], "it is for HTTP: write https://…")?;
    Ok(cut(rest, &["/v1/chat/completions", "/v1/models", "/v1"]))
}

/// `postgres://…`, `postgresql://…`, `sqlite://…` or a path. The driver part that Python's SQLAlchemy puts
/// behind the scheme (`postgresql+asyncpg://`) is dropped.
pub(super) fn store_url(url: &str) -> Result<String, String> {
    const WRITE: &str = "write postgres://user:password@host/name, sqlite://data/central.db or a file's path";
    if url.contains(":memory:") {
        return Err(format!("can't be a store in memory, which every connection would see for itself: {WRITE}"));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let names_a_scheme = ["postgres:", "postgresql:", "sqlite:", "mysql:"].iter().any(|head| url.starts_with(head));
        return if names_a_scheme { Err(format!("has a scheme without `//`: {WRITE}")) } else { Ok(url.to_owned()) };
    };
    let scheme = scheme.split('+').next().unwrap_or(scheme);
    match scheme {
        "postgres" | "postgresql" | "sqlite" if !rest.trim_matches('/').is_empty() => Ok(format!("{scheme}://{rest}")),
        "postgres" | "postgresql" | "sqlite" => Err(format!("names no database: {WRITE}")),
        other => Err(format!("has the unknown scheme `{other}`: {WRITE}")),
    }
}

/// `redis://…` or `rediss://…`.
pub(super) fn redis_url(url: &str) -> Result<String, String> {
    let known = url.split_once("://").is_some_and(|(scheme, _)| scheme == "redis" || scheme == "rediss");
    if known { Ok(url.to_owned()) } else { Err("must be written redis://[:password@]host:port".to_owned()) }
}

/// The Redis URL that separate host, port and password make.
pub(super) fn redis_of_parts(host: &str, port: Option<&str>, password: Option<&str>) -> Result<String, String> {
    let port = port.unwrap_or("6379");
    port.parse::<u16>().map_err(|_| format!("must be a port from 0 to 65535, not `{port}`"))?;
    let login = password.map(|password| format!(":{}@", percent_encoded(password))).unwrap_or_default();
    Ok(format!("redis://{login}{host}:{port}"))
}

/// An address to listen on: an IP address (brackets are dropped) or a host's name.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let is_name = || bare.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter));
    if bare.parse::<IpAddr>().is_ok() || is_name() {
        return Ok(bare.to_owned());
    }
    Err(format!("must be an address such as 127.0.0.1, ::1 or 0.0.0.0, without scheme or port, not `{text}`"))
}

/// Whether only this machine can reach a listener there.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A public name, with a port if it has one; scheme and trailing slash are dropped.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let sane = bare.chars().all(|letter| letter.is_alphanumeric() || "-.:[]".contains(letter));
    if sane && !bare.is_empty() {
        return Ok(bare.to_owned());
    }
    Err(format!("must be a name such as translate.example.com, not `{text}`"))
}

/// A website's origin as browsers send it, `https://name[:port]`, or `*`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let fault = || format!("must hold origins such as https://app.example.com, or *; `{text}` is neither");
    if text == "*" {
        return Ok(text.to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").ok_or_else(fault)?;
    let rest = rest.trim_end_matches('/');
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return Err(fault()),
    };
    let sane = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    if rest.is_empty() || !sane {
        return Err(fault());
    }
    Ok(format!("{scheme}://{}", rest.strip_suffix(port).unwrap_or(rest)))
}

/// `address:port`, both given.
pub(super) fn listen(text: &str) -> Result<String, String> {
    let fault = || format!("must be an address and a port such as 127.0.0.1:8001, not `{text}`");
    let (address, port) = text.rsplit_once(':').ok_or_else(fault)?;
    let is_ipv6 = address.contains(':');
    if port.parse::<u16>().is_err() || host(address).is_err() || (is_ipv6 && !address.starts_with('[')) {
        return Err(fault());
    }
    Ok(text.to_owned())
}

/// `url` if its scheme is one of `schemes` and it holds a host and nothing secret.
fn after_scheme<'url>(url: &'url str, schemes: &[&str], mend: &str) -> Result<&'url str, String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("must be a whole URL, but `{url}` has no scheme; {mend}"));
    };
    if !schemes.contains(&scheme) {
        return Err(format!("has the scheme `{scheme}`, but {mend}"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return Err(format!("names no host; {mend}"));
    }
    if authority.contains('@') || rest.contains('#') || rest.chars().any(char::is_whitespace) {
        return Err("must hold neither a login, a fragment nor spaces".to_owned());
    }
    Ok(url)
}

fn cut(url: &str, tails: &[&str]) -> String {
    let url = url.trim_end_matches('/');
    let head = tails.iter().find_map(|tail| url.strip_suffix(tail)).unwrap_or(url);
    head.trim_end_matches('/').to_owned()
}

/// Drops `/api-ws/v1…` from a base that was copied from the WebSocket setting.
fn cut_websocket(url: &str) -> &str {
    url.split_once("/api-ws").map_or(url, |(head, _)| head)
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_as_sdk_users_write_them() {
        for (given, base) in [
            ("https://dashscope.aliyuncs.com", "https://dashscope.aliyuncs.com"),
            ("https://dashscope.aliyuncs.com/", "https://dashscope.aliyuncs.com"),
            ("https://dashscope-intl.aliyuncs.com/api/v1", "https://dashscope-intl.aliyuncs.com"),
            ("https://dashscope-intl.aliyuncs.com/api/v1/", "https://dashscope-intl.aliyuncs.com"),
            ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "https://dashscope-intl.aliyuncs.com"),
            ("https://relay.example/dash/api/v1//", "https://relay.example/dash"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ] {
            assert_eq!(http_base(given).as_deref(), Ok(base), "{given}");
        }
        for (given, base) in [
            ("wss://h.example/api-ws/v1", "wss://h.example/api-ws/v1"),
            ("wss://h.example/api-ws/v1/", "wss://h.example/api-ws/v1"),
            ("wss://h.example/api-ws/v1/inference", "wss://h.example/api-ws/v1"),
            ("wss://h.example/api-ws/v1/inference/", "wss://h.example/api-ws/v1"),
            ("wss://h.example/api-ws/v1/realtime", "wss://h.example/api-ws/v1"),
            ("wss://h.example/api-ws/v1/realtime?model=x", "wss://h.example/api-ws/v1"),
            ("wss://h.example", "wss://h.example/api-ws/v1"),
            ("ws://127.0.0.1:9/api-ws", "ws://127.0.0.1:9/api-ws/v1"),
            ("ws://127.0.0.1:9/own", "ws://127.0.0.1:9/own"),
        ] {
            assert_eq!(websocket_base(given).as_deref(), Ok(base), "{given}");
        }
        assert_eq!(anthropic_base("https://api.anthropic.com/v1/").as_deref(), Ok("https://api.anthropic.com"));
        for mistaken in ["https://h.example/api-ws/v1", "h.example", "wss://", "wss://me:secret@h.example", ""] {
            assert!(websocket_base(mistaken).is_err(), "{mistaken}");
        }
        assert!(http_base("wss://h.example").unwrap_err().contains("https://"));
        assert!(!websocket_base("wss://me:secret@h.example").unwrap_err().contains("secret"));
    }

    #[test]
    fn stores_hosts_and_listeners() {
        for (given, url) in [
            ("postgresql+asyncpg://u@h/d", "postgresql://u@h/d"),
            ("sqlite+aiosqlite:///./x.db", "sqlite:///./x.db"),
            ("/var/lib/x.db", "/var/lib/x.db"),
        ] {
            assert_eq!(store_url(given).as_deref(), Ok(url), "{given}");
        }
        for mistaken in ["mysql://h/d", "sqlite::memory:", "sqlite://", "postgres:db", "sqlite:///"] {
            assert!(store_url(mistaken).is_err(), "{mistaken}");
        }
        assert_eq!(redis_of_parts("r", None, Some("p@ss")).as_deref(), Ok("redis://:p%40ss@r:6379"));
        assert!(redis_of_parts("r", Some("tcp://x"), None).is_err());
        assert_eq!(host("[::1]").as_deref(), Ok("::1"));
        assert!(host("http://x").is_err() && host("127.0.0.1:80").is_err());
        assert_eq!(domain("https://t.example.com/").as_deref(), Ok("t.example.com"));
        assert!(domain("a b").is_err());
        assert!(listen("127.0.0.1:8001").is_ok() && listen("[::1]:80").is_ok());
        assert!(listen("8001").is_err() && listen("127.0.0.1").is_err() && listen("::1:80").is_err());
        for (address, loopback) in
            [("127.0.0.5", true), ("::1", true), ("localhost", true), ("0.0.0.0", false), ("::", false)]
        {
            assert_eq!(is_loopback(address), loopback, "{address}");
        }
    }
}
