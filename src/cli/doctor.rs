//! `livetranslate doctor`: looks at settings, store, Redis, accounts, provider, clock and limits, and says what to mend.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use jiff::Timestamp;

use crate::accounts as upstream;
use crate::config::Config;
use crate::config::sources::Sources;
use crate::quota::redis as shared;
use crate::store::accounts as stored;
use crate::store::connection::{Location, Store};
use crate::store::disk;
use crate::store::migrate;

/// Writes one line for each thing looked at, `ok` or `mend`, and says whether all are well. Changes nothing.
///
/// # Errors
/// `out` can't be written.
pub fn run(sources: &Sources, out: &mut impl Write) -> io::Result<bool> {
    let mut well = true;
    for (name, finding) in findings(sources) {
        well &= finding.is_ok();
        match finding {
            Ok(sentence) => writeln!(out, "ok    {name:9} {sentence}")?,
            Err(sentence) => writeln!(out, "mend  {name:9} {}", sentence.replace('\n', "\n                "))?,
        }
    }
    Ok(well)
}

type Finding = (&'static str, Result<String, String>);

fn findings(sources: &Sources) -> Vec<Finding> {
    let loaded = match Config::read(sources) {
        // In production loading makes nothing and demands the secrets.
        Ok(loaded) if loaded.config.production => Config::load(sources),
        other => other,
    };
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(fault) => return vec![("settings", Err(fault.to_string())), ("clock", clock(Timestamp::now()))],
    };
    let mode = if config.production { "production" } else { "this machine alone: secrets are made where missing" };
    vec![
        ("settings", Ok(mode.to_owned())),
        ("store", store(&config)),
        ("redis", redis(&config)),
        ("accounts", accounts(&config)),
        ("disk", disk(&config)),
        ("provider", provider(&config)),
        ("clock", clock(Timestamp::now())),
        ("limits", descriptors(&config, std::fs::read_to_string("/proc/self/limits").ok().as_deref())),
    ]
}

fn store(config: &Config) -> Result<String, String> {
    let location = Location::parse(config.store.url.expose()).map_err(|error| error.to_string())?;
    if let Location::Sqlite(path) = &location
        && !path.exists()
    {
        return Ok(format!("{} will be made at the first start", path.display()));
    }
    let kind = if matches!(location, Location::Postgres(_)) { "PostgreSQL" } else { "SQLite" };
    let pending = Store::open(location).and_then(|store| store.run_blocking(migrate::pending)).map_err(|error| {
        format!("can't be opened ({}); check DATABASE_URL and that the server runs", error.cause().unwrap_or_default())
    })?;
    match pending.len() {
        0 => Ok(format!("{kind}, up to date")),
        count => Ok(format!("{kind}; {count} migrations will be run at the next start: {}", pending.join(", "))),
    }
}

/// Whether what instances share limits through answers.
fn redis(config: &Config) -> Result<String, String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Some(url) = &config.store.redis_url else {
        return Ok("not set: each instance keeps rate limits by itself".to_owned());
    };
    match shared::try_once(url, PATIENCE) {
        Ok(()) => Ok("answers: rate limits are shared through it".to_owned()),
        Err(error) => Err(format!(
            "does not answer ({error}); until it does each instance keeps rate limits by itself: check REDIS_URL and \
             that the server runs"
        )),
    }
}

/// Whether ENCRYPTION_KEY opens the credentials that the store keeps; a store that can't be read is another matter.
fn accounts(config: &Config) -> Result<String, String> {
    const NONE: &str = "the store has none yet";
    let place = Location::parse(config.store.url.expose()).ok();
    let place = place.filter(|place| !matches!(place, Location::Sqlite(path) if !path.exists()));
    let Some(store) = place.and_then(|place| Store::open(place).ok()) else { return Ok(NONE.to_owned()) };
    let read = store.run_blocking(|connection| match migrate::pending(connection)?.is_empty() {
        true => stored::all(connection),
        false => Ok(Vec::new()),
    });
    let (Ok(rows), Ok(seal)) = (read, upstream::seal_of(&config.secrets)) else { return Ok(NONE.to_owned()) };
    let faults = upstream::faults(seal.as_ref(), &rows);
    let sealed = rows.iter().filter(|row| row.sealed_credential.is_some()).count();
    match (faults.is_empty(), sealed) {
        (false, _) => Err(faults.join("\n")),
        (true, 0) => Ok(NONE.to_owned()),
        (true, count) => Ok(format!("the credentials of {count} in the store can be opened")),
    }
}

fn disk(config: &Config) -> Result<String, String> {
    let folder = &config.store.data_dir;
    let shown = folder.display();
    let (free, margin) = match disk::free_bytes(folder) {
        Ok(free) => (free >> 20, config.store.disk_margin_bytes >> 20),
        Err(error) => return Err(format!("the free space at {shown} is not known ({error}); check DATA_DIR")),
    };
    if free < margin {
        return Err(format!(
            "{free} MiB are free at {shown}, with less than {margin} new sessions are refused: make room, move \
             DATA_DIR, or lower STORE_DISK_MARGIN_BYTES"
        ));
    }
    Ok(format!("{free} MiB are free at {shown}, {margin} are enough"))
}

fn provider(config: &Config) -> Result<String, String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    if config.upstream.dashscope_api_key.is_none() {
        return Err("no account: set DASHSCOPE_API_KEY".to_owned());
    }
    let base = &config.upstream.dashscope_websocket_base_url;
    let (scheme, rest) = base.split_once("://").unwrap_or(("wss", base));
    let authority = rest.split('/').next().unwrap_or(rest);
    let port = if scheme == "ws" { 80 } else { 443 };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let reached = address
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(|| io::Error::other("its name has no address")))
        .and_then(|found| TcpStream::connect_timeout(&found, PATIENCE));
    match reached {
        Ok(_) => Ok(format!("{address} can be reached")),
        Err(error) => {
            Err(format!("{address} can't be reached ({error}); check DASHSCOPE_WEBSOCKET_BASE_URL, DNS and firewall"))
        }
    }
}

fn clock(now: Timestamp) -> Result<String, String> {
    // The year this check was written: a clock before it was never set.
    const WRITTEN_SECONDS: i64 = 1_767_225_600;
    if now.as_second() < WRITTEN_SECONDS {
        return Err(format!("says {now}, which is past; licenses would not be valid: turn on time synchronisation"));
    }
    Ok(format!("{now:.0}"))
}

/// Each live session takes two sockets: one to the client, one to the provider.
fn descriptors(config: &Config, limits: Option<&str>) -> Result<String, String> {
    const BESIDE_SESSIONS: usize = 256;
    let line = limits.into_iter().flat_map(str::lines).find_map(|line| line.strip_prefix("Max open files"));
    let Some(soft) = line.and_then(|line| line.split_whitespace().next()) else {
        return Ok("not known on this system".to_owned());
    };
    let wanted = 2 * config.max_sessions() + BESIDE_SESSIONS;
    match soft.parse::<usize>() {
        Ok(open) if open < wanted => Err(format!(
            "{open} open files are allowed, {} sessions need {wanted}: raise LimitNOFILE (systemd), nofile (compose) \
             or `ulimit -n`, or lower MAX_SESSIONS",
            config.max_sessions()
        )),
        _ => Ok(format!("{soft} open files are allowed, {wanted} are enough")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(environment: &[(&str, &str)]) -> Sources {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { folder: "/nonexistent".into(), file: None, environment }
    }

    #[test]
    fn each_thing_gets_a_line_with_what_to_mend() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("ws://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let places = [("DATA_DIR", data), ("DASHSCOPE_WEBSOCKET_BASE_URL", base.as_str()), ("MAX_SESSIONS", "1")];
        let mut out = Vec::new();
        assert!(!run(&sources(&places), &mut out).unwrap());
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("mend  provider  no account: set DASHSCOPE_API_KEY"), "{said}");
        assert!(said.contains("central.db will be made"), "{said}");
        assert!(said.contains("ok    redis     not set"), "{said}");
        let nobody = [&places[..], &[("REDIS_URL", "redis://:p4ssword@127.0.0.1:1")]].concat();
        let mut out = Vec::new();
        assert!(!run(&sources(&nobody), &mut out).unwrap());
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("mend  redis     does not answer") && !said.contains("p4ss"), "{said}");
        let with_key = [&places[..], &[("DASHSCOPE_API_KEY", "sk-x")]].concat();
        let mut out = Vec::new();
        assert!(run(&sources(&with_key), &mut out).unwrap(), "{}", String::from_utf8_lossy(&out));
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is made");
    }

    #[test]
    fn settings_that_cannot_be_used_are_said() {
        let mut out = Vec::new();
        assert!(!run(&sources(&[("LIVETRANSLATE_ENV", "production")]), &mut out).unwrap());
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("mend  settings") && said.contains("ADMIN_KEY is missing"), "{said}");
    }

    #[test]
    fn limits_and_clock() {
        let mut config = Config::defaults().unwrap();
        config.server.max_sessions = 1_000;
        let limits = |soft: &str| format!("Limit\nMax open files            {soft}   4096   files\n");
        assert!(descriptors(&config, Some(&limits("1024"))).unwrap_err().contains("need 2256"));
        assert!(descriptors(&config, Some(&limits("65536"))).is_ok());
        assert!(descriptors(&config, Some(&limits("unlimited"))).is_ok());
        assert!(descriptors(&config, None).is_ok());
        assert!(clock(Timestamp::UNIX_EPOCH).is_err());
    }
}
