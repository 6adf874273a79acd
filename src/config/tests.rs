//! The layers together, as an operator meets them: a folder, an environment, and what comes of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::Config;
use super::fault::ConfigFault;
use super::settings::{LogFormat, Protocol, UsageReport};
use super::sources::Sources;

const SECRET: &str = "f2c1b0a9e8d7c6b5a4938271605f4e3d2c1b0a9f";
const ADMIN: &str = "9f8e7d6c5b4a39281706";

/// A working folder with files, and an environment.
struct Place {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Place {
    fn new(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources {
            folder: folder.path().to_owned(),
            file: None,
            environment: environment.collect::<BTreeMap<_, _>>(),
        };
        Self { folder, sources }
    }

    fn with_file(mut self, name: &str) -> Self {
        self.sources.file = Some(name.into());
        self
    }

    fn read(&self) -> Config {
        Config::read(&self.sources).unwrap().config
    }

    fn load(&self) -> Result<Config, ConfigFault> {
        Config::load(&self.sources).map(|loaded| loaded.config)
    }

    fn fault(&self) -> String {
        Config::load(&self.sources).unwrap_err().to_string()
    }
}

fn environment(names: &[(&str, &str)]) -> Place {
    Place::new(&[], names)
}

#[test]
fn the_embedded_defaults_are_complete() {
    let config = Config::defaults().unwrap();
    assert_eq!((config.server.port, config.production), (8000, false));
    assert_eq!(config.model("qwen3.5-livetranslate-flash-realtime").unwrap().usage, UsageReport::Cumulative);
    assert_eq!(config.model("qwen3.8-livetranslate-flash-realtime").unwrap().usage, UsageReport::PerResponse);
    assert_eq!(config.model("qwen3-omni-flash-realtime").unwrap().protocol, Protocol::Omni);
    assert!(config.model("gpt-4o-realtime").is_none());
    assert_eq!(config.max_sessions() % 1_500, 0);
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let files = [
        (".env", "SERVER_PORT=1001\nLIVETRANSLATE_ENV=staging\n"),
        ("config/default.toml", "[server]\nport = 1002\n"),
        ("config/staging.toml", "[server]\nport = 1003\n"),
        ("own.toml", "[server]\nport = 1004\n"),
    ];
    let port = |count: usize, names: &[(&str, &str)]| {
        let place = Place::new(&files[..count], names);
        if count == 4 { place.with_file("own.toml").read() } else { place.read() }.server.port
    };
    assert_eq!([port(0, &[]), port(1, &[]), port(2, &[]), port(3, &[]), port(4, &[])], [8000, 1001, 1002, 1003, 1004]);
    assert_eq!(port(4, &[("SERVER_PORT", "1005")]), 1005);
    assert_eq!(port(3, &[("LIVETRANSLATE_ENV", "other")]), 1002);
}

#[test]
fn a_copy_of_the_defaults_does_not_void_dotenv() {
    let copy = super::DEFAULTS.replace("port = 8000", "port = 8123");
    let files = [(".env", "SERVER_PORT=9000\nMAX_CONNECTIONS=77"), ("config/default.toml", copy.as_str())];
    let server = Place::new(&files, &[]).read().server;
    assert_eq!((server.port, server.max_connections), (8123, 77));
}

#[test]
fn within_a_layer_the_longer_name_wins() {
    for (names, port) in [
        (&[("PORT", "1"), ("SERVER_PORT", "2"), ("LIVETRANSLATE__SERVER__PORT", "3")][..], 3),
        (&[("PORT", "1"), ("SERVER_PORT", "2")], 2),
        (&[("PORT", "1"), ("SERVER_PORT", "")], 1),
        (&[("PORT", " ")], 8000),
    ] {
        assert_eq!(environment(names).read().server.port, port, "{names:?}");
    }
    let place = Place::new(&[(".env", "LIVETRANSLATE__SERVER__PORT=1")], &[("PORT", "2")]);
    assert_eq!(place.read().server.port, 2);
}

#[test]
fn aliases_and_texts_reach_their_settings() {
    let config = environment(&[
        ("STORE_PATH", "/tmp/x.db"),
        ("JWT_SECRET", SECRET),
        ("ADMIN_TOKEN", ADMIN),
        ("CRS_SECURITY__ENCRYPTION_KEY", &SECRET[..32]),
        ("REDIS_HOST", "cache"),
        ("REDIS_PASSWORD", "p/w"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.7"),
        ("ALLOW_BYOK", "1"),
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "json"),
        ("DASHSCOPE_WEBSOCKET_BASE_URL", "wss://dashscope.aliyuncs.com/api-ws/v1/inference/"),
        ("LIVETRANSLATE__UPSTREAM__DIAL_TIMEOUT_MS", "50"),
    ])
    .read();
    assert_eq!(config.store.url.expose(), "/tmp/x.db");
    assert_eq!(config.store.redis_url.unwrap().expose(), "redis://:p%2Fw@cache:6379");
    assert_eq!(config.secrets.secret_key.unwrap().expose(), SECRET);
    assert_eq!(config.secrets.admin_key.unwrap().expose(), ADMIN);
    assert_eq!(config.secrets.encryption_key.unwrap().expose().len(), 32);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(config.upstream.allow_byok);
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", Some(LogFormat::Json)));
    assert_eq!(config.upstream.dashscope_websocket_base_url, "wss://dashscope.aliyuncs.com/api-ws/v1");
    assert_eq!(config.upstream.dial_timeout_ms, 50);
}

#[test]
fn the_embedded_store_follows_the_data_folder() {
    let url = |names| environment(names).read().store.url.expose().to_owned();
    assert_eq!(url(&[]), "sqlite://data/central.db");
    assert_eq!(url(&[("DATA_DIR", "/var/lib/lt")]), "sqlite:////var/lib/lt/central.db");
    assert_eq!(url(&[("DATA_DIR", "/x"), ("STORE_PATH", "sqlite://data/central.db")]), "sqlite://data/central.db");
}

#[test]
fn redis_parts_may_come_from_two_layers() {
    let place = Place::new(&[(".env", "REDIS_HOST=cache\nREDIS_PORT=7000")], &[("REDIS_PASSWORD", "p")]);
    assert_eq!(place.read().store.redis_url.unwrap().expose(), "redis://:p@cache:7000");
    assert!(environment(&[("REDIS_PORT", "tcp://10.0.0.1:6379")]).read().store.redis_url.is_none());
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known() {
    let toml = |text: &str| Place::new(&[("config/default.toml", text)], &[]).fault();
    for (fault, parts) in [
        (toml("[server]\nprot = 1"), ["server.prot (config/default.toml)", "did you mean server.port?"]),
        (toml("port = 1"), ["port (config/default.toml)", "did you mean server.port?"]),
        (toml("[sever]\nport = 1"), ["sever (config/default.toml)", "is no setting"]),
        (toml("server = 1"), ["server (config/default.toml)", "[server]"]),
        (
            toml("[[realtime.models]]\npattern = \"x\"\nprotcol = \"omni\"\nusage = \"per_response\""),
            ["protcol", "protocol"],
        ),
        (
            environment(&[("LIVETRANSLATE__SERVER__PROT", "1")]).fault(),
            ["LIVETRANSLATE__SERVER__PROT (environment)", "LIVETRANSLATE__SERVER__PORT?"],
        ),
        (Place::new(&[(".env", "SECRET_KYE=x")], &[]).fault(), ["SECRET_KYE (.env)", "SECRET_KEY?"]),
        (
            Place::new(&[("own.toml", "[log]\nlevels = \"info\"")], &[]).with_file("own.toml").fault(),
            ["log.levels (own.toml)", "log.level?"],
        ),
        (environment(&[]).with_file("absent.toml").fault(), ["--config", "absent.toml"]),
        (environment(&[("LIVETRANSLATE_ENV", "../x")]).fault(), ["LIVETRANSLATE_ENV", "../x"]),
    ] {
        assert!(parts.iter().all(|part| fault.contains(part)), "{fault}");
    }
    for tolerated in ["LIVETRANSLATE_ENV", "LIVETRANSLATE_SERVER", "LIVETRANSLATE_LICENSE", "SERVER_PROT"] {
        assert!(Config::read(&environment(&[(tolerated, "x")]).sources).is_ok(), "{tolerated}");
    }
}

#[test]
fn foreign_names_in_dotenv_are_reported_once() {
    let place = Place::new(&[(".env", "POSTGRES_PASSWORD=x\nIMAGE_TAG='1'\r\nSERVER_PORT=\"9\"\n# comment\n")], &[]);
    let loaded = Config::read(&place.sources).unwrap();
    assert_eq!(loaded.config.server.port, 9);
    assert_eq!(loaded.notes, ["ignored in .env, as no settings of this program: IMAGE_TAG, POSTGRES_PASSWORD"]);
}

#[test]
fn wrong_values_name_the_setting_and_the_layer() {
    for (place, start) in [
        (environment(&[("PORT", "70000")]), "PORT (environment) must be a whole number from 0 to 65535, not `70000`"),
        (environment(&[("ALLOW_BYOK", "maybe")]), "ALLOW_BYOK (environment) must be true or false"),
        (environment(&[("SESSION_IDLE_SECONDS", "0")]), "SESSION_IDLE_SECONDS (environment) must be a whole number"),
        (environment(&[("TRUSTED_PROXIES", "10.0.0.0/99")]), "TRUSTED_PROXIES (environment) must hold networks"),
        (
            environment(&[("DASHSCOPE_WEBSOCKET_BASE_URL", "https://h.example")]),
            "DASHSCOPE_WEBSOCKET_BASE_URL (environment) has the scheme `https`, but it is for WebSockets",
        ),
        (environment(&[("DATABASE_URL", "mysql://x/y")]), "DATABASE_URL (environment) has the unknown scheme `mysql`"),
        (
            Place::new(&[("config/default.toml", "[server]\nport = \"x\"")], &[]),
            "server.port (config/default.toml) must be a whole number",
        ),
        (
            Place::new(&[("config/default.toml", "[secrets]\nadmin_key = 1234")], &[]),
            "secrets.admin_key (config/default.toml) must be text in quotes",
        ),
        (environment(&[("LIVETRANSLATE__REALTIME__DEAD_SECONDS", "8")]), "realtime.dead_seconds must be more than"),
    ] {
        let fault = place.fault();
        assert!(fault.starts_with(start), "{fault}");
    }
    let both = environment(&[("PORT", "x"), ("LOG_FORMAT", "xml")]).fault();
    assert_eq!(both.lines().count(), 2, "{both}");
}

#[test]
fn no_fault_repeats_a_secret() {
    for text in
        ["[secrets]\nsecret_key = \"hunter2hunter2", "[secrets]\nsecret_key = hunter2", "secret_key = ['hunter2']"]
    {
        let fault = Place::new(&[("config/default.toml", text)], &[]).fault();
        assert!(!fault.contains("hunter2") && fault.contains("config/default.toml"), "{fault}");
    }
    let fault = Place::new(&[(".env", "SECRET_KEY=hunter2 and more\nX='hunter2\n")], &[]).fault();
    assert!(!fault.contains("hunter2") && fault.contains(".env can't be read at line 1"), "{fault}");
    let config = environment(&[("SECRET_KEY", SECRET), ("DATABASE_URL", "postgres://u:hunter2@h/d")]).read();
    let printed = format!("{config:?}");
    assert!(!printed.contains(SECRET) && !printed.contains("hunter2"));
}

#[test]
fn production_demands_secrets() {
    for names in [
        &[("LIVETRANSLATE_ENV", "production")][..],
        &[("DATABASE_URL", "postgres://u@h/d")],
        &[("SERVER_HOST", "0.0.0.0")],
        &[("SERVER_HOST", "::")],
    ] {
        let place = environment(names);
        let fault = place.fault();
        assert!(fault.contains("SECRET_KEY is missing") && fault.contains("ADMIN_KEY is missing"), "{fault}");
        assert!(fault.contains("openssl rand -hex 32"), "{fault}");
        assert!(!place.folder.path().join("data").exists());
        assert!(Config::read(&place.sources).unwrap().config.production);
        let with_secrets = [names, &[("SECRET_KEY", SECRET), ("ADMIN_KEY", ADMIN)]].concat();
        let config = environment(&with_secrets).load().unwrap();
        assert!(config.production && config.secrets.encryption_key.is_none());
    }
    let dotenv = Place::new(&[(".env", "LIVETRANSLATE_ENV=production")], &[]);
    assert!(dotenv.fault().contains("SECRET_KEY is missing"));
}

#[test]
fn elsewhere_secrets_are_made_once() {
    let place = environment(&[("ADMIN_KEY", ADMIN)]);
    assert!(place.read().secrets.secret_key.is_none(), "reading makes nothing");
    let (first, again) = (place.load().unwrap().secrets, place.load().unwrap().secrets);
    assert_eq!(first.admin_key.unwrap().expose(), ADMIN);
    assert!(first.secret_key.is_some() && first.secret_key == again.secret_key);
    assert!(first.encryption_key.is_some() && first.encryption_key == again.encryption_key);
    assert!(is_made_in(place.folder.path()));
    assert_eq!(place.read().secrets.secret_key, first.secret_key);
    let weak = environment(&[("SECRET_KEY", "short")]).fault();
    assert!(weak.contains("at least 32"), "{weak}");
}

fn is_made_in(folder: &Path) -> bool {
    folder.join("data/secrets.toml").is_file()
}
