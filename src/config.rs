//! Every setting, where it comes from, and what is wrong with it.

pub mod address;
pub mod fault;
mod layers;
mod names;
mod secrets;
pub mod settings;
pub mod sources;
mod value;

use std::collections::BTreeMap;

use serde::Deserialize;

use self::fault::ConfigFault;
use self::layers::Layers;
use self::secrets::Generated;
use self::settings::{Keys, Licenses, Log, Model, Realtime, Secret, Secrets, Server, Store, Upstream};
use self::sources::Sources;

/// The commented defaults, compiled in: the documentation of the settings.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Every setting of one gateway. Secrets print as `***`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses, names and limits of the front door.
    pub server: Server,
    /// Where state is kept.
    pub store: Store,
    /// Keys that sign, seal and administrate.
    #[serde(default)]
    pub secrets: Secrets,
    /// The provider's side.
    pub upstream: Upstream,
    /// Rules of live sessions.
    pub realtime: Realtime,
    /// Defaults of API keys.
    pub keys: Keys,
    /// Rules of licenses.
    pub licenses: Licenses,
    /// Logging.
    pub log: Log,
    /// Whether secrets must be given: LIVETRANSLATE_ENV is `production`, the store is PostgreSQL, or others than
    /// this machine can reach the listener. Worked out, never set.
    #[serde(skip)]
    pub production: bool,
}

/// Settings, and what the operator should be told about where they came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Sentences for the log, at level `warn`.
    pub notes: Vec<String>,
}

impl Config {
    /// The embedded defaults alone.
    ///
    /// # Errors
    /// A defect in the embedded file.
    pub fn defaults() -> Result<Self, ConfigFault> {
        Ok(Self::read(&Sources { folder: "/nonexistent".into(), ..Sources::default() })?.config)
    }

    /// All layers, and what must be there before a gateway may start: in production secrets are demanded,
    /// elsewhere missing ones are made and kept in DATA_DIR.
    ///
    /// # Errors
    /// Everything that is wrong, in sentences that say what to do.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigFault> {
        let mut loaded = Self::read(sources)?;
        let config = &mut loaded.config;
        if config.production {
            let faults = secrets::faults(&config.named_secrets(), true);
            return if faults.is_empty() { Ok(loaded) } else { Err(ConfigFault::new(faults)) };
        }
        let kept = config.secrets.secret_key.is_some()
            && config.secrets.admin_key.is_some()
            && config.secrets.encryption_key.is_some();
        if !kept {
            let generated = Generated::in_folder(sources.folder.join(&config.store.data_dir));
            config.secrets.complete(generated.read_or_make()?);
            loaded.notes.push(format!("made secrets for this machine in {}", generated.path().display()));
        }
        Ok(loaded)
    }

    /// All layers, for commands that serve nobody: nothing is made, and no secret is demanded. Outside
    /// production the secrets that an earlier start made are filled in.
    ///
    /// # Errors
    /// Everything that is wrong, in sentences that say what to do.
    pub fn read(sources: &Sources) -> Result<Loaded, ConfigFault> {
        let layers = Layers::read(DEFAULTS, sources);
        if !layers.faults.is_empty() {
            return Err(ConfigFault::new(layers.faults));
        }
        let mut config = Self::of_layers(&layers).map_err(|error| error.to_string())?;
        config.settle(&layers);
        let mut faults = secrets::faults(&config.named_secrets(), false);
        faults.extend(config.contradictions());
        if !faults.is_empty() {
            return Err(ConfigFault::new(faults));
        }
        if !config.production {
            let generated = Generated::in_folder(sources.folder.join(&config.store.data_dir));
            config.secrets.complete(generated.read()?);
        }
        let ignored = layers.ignored.join(", ");
        let notes =
            (!ignored.is_empty()).then(|| format!("ignored in .env, as no settings of this program: {ignored}"));
        Ok(Loaded { config, notes: notes.into_iter().collect() })
    }

    fn of_layers(layers: &Layers) -> Result<Self, config::ConfigError> {
        let mut builder = config::Config::builder();
        for (key, value) in &layers.values {
            builder = builder.set_override(*key, value.clone())?;
        }
        builder.build()?.try_deserialize()
    }

    /// Works out what follows from other settings.
    fn settle(&mut self, layers: &Layers) {
        if layers.is_default("store.url") && !layers.is_default("store.data_dir") {
            let path = self.store.data_dir.join("central.db");
            self.store.url = Secret::new(format!("sqlite:///{}", path.display()));
        }
        let on_postgres = self.store.url.expose().starts_with("postgres");
        let named = layers.environment.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("production"));
        self.production = named || on_postgres || !address::is_loopback(&self.server.host);
    }

    fn contradictions(&self) -> Option<String> {
        let realtime = &self.realtime;
        (realtime.dead_seconds <= realtime.ping_seconds)
            .then(|| "realtime.dead_seconds must be more than realtime.ping_seconds".to_owned())
    }

    fn named_secrets(&self) -> BTreeMap<&'static str, String> {
        let (keys, upstream) = (&self.secrets, &self.upstream);
        [
            ("SECRET_KEY", &keys.secret_key),
            ("SECRET_KEY_PREVIOUS", &keys.secret_key_previous),
            ("ADMIN_KEY", &keys.admin_key),
            ("ADMIN_KEY_PREVIOUS", &keys.admin_key_previous),
            ("ENCRYPTION_KEY", &keys.encryption_key),
            ("ENCRYPTION_KEY_PREVIOUS", &keys.encryption_key_previous),
            ("DASHSCOPE_API_KEY", &upstream.dashscope_api_key),
            ("ANTHROPIC_API_KEY", &upstream.anthropic_api_key),
        ]
        .into_iter()
        .filter_map(|(name, secret)| Some((name, secret.as_ref()?.expose().to_owned())))
        .collect()
    }

    /// Live realtime sessions at most, the default worked out.
    #[must_use]
    pub fn max_sessions(&self) -> usize {
        const PER_CORE: usize = 1_500;
        match self.server.max_sessions {
            0 => PER_CORE * std::thread::available_parallelism().map_or(1, usize::from),
            set => set,
        }
    }

    /// CONTINUITY_MEMORY_BYTES
    #[must_use]
    pub fn continuity_memory(&self) -> usize {
        usize::try_from(self.realtime.continuity_memory_bytes).unwrap_or(usize::MAX)
    }

    /// What the relay must know of a model, or `None` if it isn't served.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.realtime.models.iter().find(|model| model.serves(id))
    }
}

#[cfg(test)]
mod tests;
