//! Reads the layers in their order, checks each value where it stands, and lays one over the other.

use std::collections::BTreeMap;
use std::path::Path;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::names::{self, Kind, OTHER_NAMES, PREFIX, SETTINGS, Setting};
use super::sources::Sources;
use super::{address, value};

const EMBEDDED: &str = "the embedded defaults";

type Table = config::Map<String, Value>;

/// All layers, merged, with everything that is wrong with any of them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The winning value of each setting.
    pub(super) values: BTreeMap<&'static str, Value>,
    /// Sentences; any of them forbids a start.
    pub(super) faults: Vec<String>,
    /// Foreign names in `.env`.
    pub(super) ignored: Vec<String>,
    /// What LIVETRANSLATE_ENV says.
    pub(super) environment: Option<String>,
}

impl Layers {
    /// Reads embedded defaults < `.env` < `config/default.toml` < `config/{environment}.toml` < `--config`
    /// < environment.
    pub(super) fn read(defaults: &str, sources: &Sources) -> Self {
        let mut layers = Self::default();
        layers.add_file(EMBEDDED, defaults);
        let embedded = layers.values.clone();

        let dotenv = layers.dotenv(&sources.folder.join(".env"));
        layers.add_names(".env", &dotenv, None);
        layers.note_foreign(&dotenv);

        layers.add_path(&sources.folder.join("config/default.toml"), "config/default.toml", Some(&embedded));
        layers.environment =
            given(&sources.environment, "LIVETRANSLATE_ENV").or(given(&dotenv, "LIVETRANSLATE_ENV")).map(str::to_owned);
        if let Some(environment) = layers.environment.clone() {
            layers.add_environment_file(&sources.folder, &environment);
        }
        if let Some(file) = &sources.file {
            let path = sources.folder.join(file);
            if path.is_file() {
                layers.add_path(&path, &file.to_string_lossy(), None);
            } else {
                layers.faults.push(format!("--config names {}, which is not a file that exists", file.display()));
            }
        }
        layers.add_names("environment", &sources.environment, Some(&dotenv));
        layers
    }

    /// Whether nobody chose this setting's value.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.values.get(key).and_then(Value::origin) == Some(EMBEDDED)
    }

    fn add_environment_file(&mut self, folder: &Path, environment: &str) {
        let sane = environment.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        if sane {
            let name = format!("config/{environment}.toml");
            self.add_path(&folder.join(&name), &name, None);
        } else {
            self.faults.push(format!(
                "LIVETRANSLATE_ENV must be one word such as production, which names config/production.toml, not `{environment}`"
            ));
        }
    }

    /// Adds a file if it exists. Values that only repeat `embedded` are no choice of anybody's: a copy of the
    /// commented defaults in the working folder must not make `.env` void.
    fn add_path(&mut self, path: &Path, name: &str, embedded: Option<&BTreeMap<&'static str, Value>>) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.faults.push(format!("{name} can't be read: {error}")),
        };
        let below = embedded.map(|embedded| (embedded, self.values.clone()));
        self.add_file(name, &text);
        let Some((embedded, below)) = below else { return };
        for (key, value) in below {
            if self.values.get(key).map(|value| &value.kind) == embedded.get(key).map(|value| &value.kind) {
                self.values.insert(key, value);
            }
        }
    }

    fn add_file(&mut self, name: &str, text: &str) {
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => self.add_table(name, "", &table),
            Err(error) => {
                self.faults.push(format!("{name} is not valid TOML: {}", without_the_line(&error.to_string())))
            }
        }
    }

    fn add_table(&mut self, layer: &str, section: &str, table: &Table) {
        for (key, found) in table {
            let key = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            if let Some(setting) = names::by_key(&key) {
                match value::from_file(setting.kind, found) {
                    Ok(Some(kind)) => {
                        self.check_models(layer, setting, &kind);
                        self.set(layer, setting, kind);
                    }
                    Ok(None) => {}
                    Err(sentence) => self.faults.push(format!("{} ({layer}) {sentence}", setting.key)),
                }
            } else if let (ValueKind::Table(inner), true) = (&found.kind, is_section(&key)) {
                self.add_table(layer, &key, inner);
            } else if is_section(&key) {
                self.faults.push(format!("{key} ({layer}) must be a table, [{key}]"));
            } else {
                let meant = names::nearest_key(&key).map(|near| format!("; did you mean {near}?"));
                self.faults.push(format!("{key} ({layer}) is no setting{}", meant.unwrap_or_default()));
            }
        }
    }

    fn check_models(&mut self, layer: &str, setting: &Setting, kind: &ValueKind) {
        const FIELDS: &[&str] = &["pattern", "protocol", "usage"];
        let (Kind::Models, ValueKind::Array(models)) = (setting.kind, kind) else { return };
        for model in models {
            let ValueKind::Table(fields) = &model.kind else {
                self.faults.push(format!("realtime.models ({layer}) must be a list of tables, [[realtime.models]]"));
                continue;
            };
            for unknown in fields.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
                let known = FIELDS.join(", ");
                self.faults.push(format!("realtime.models.{unknown} ({layer}) is no setting; a model has {known}"));
            }
            for missing in FIELDS.iter().filter(|field| !fields.contains_key(**field)) {
                self.faults.push(format!("realtime.models ({layer}) has a model without {missing}"));
            }
        }
    }

    fn set(&mut self, layer: &str, setting: &Setting, kind: ValueKind) {
        self.values.insert(setting.key, Value::new(Some(&layer.to_owned()), kind));
    }

    /// Adds what `names` gives: plain names and long ones. `below` completes the parts of the Redis address.
    fn add_names(&mut self, layer: &str, names: &BTreeMap<String, String>, below: Option<&BTreeMap<String, String>>) {
        self.refuse_unknown_long_names(layer, names);
        self.add_redis(layer, names, below);
        for setting in SETTINGS {
            let long = names::long_name(setting);
            let candidates = std::iter::once(long.as_str()).chain(setting.names.iter().copied());
            let Some((name, text)) =
                candidates.into_iter().find_map(|name| given(names, name).map(|text| (name, text)))
            else {
                continue;
            };
            match value::from_text(setting.kind, text) {
                Ok(kind) => self.set(layer, setting, kind),
                Err(sentence) => self.faults.push(format!("{name} ({layer}) {sentence}")),
            }
        }
    }

    fn refuse_unknown_long_names(&mut self, layer: &str, names: &BTreeMap<String, String>) {
        for name in names.keys().filter(|name| name.starts_with(PREFIX)) {
            if SETTINGS.iter().any(|setting| names::long_name(setting) == *name) {
                continue;
            }
            let meant = names::nearest_long_name(name).map(|near| format!("; did you mean {near}?"));
            self.faults.push(format!("{name} ({layer}) is no setting{}", meant.unwrap_or_default()));
        }
    }

    fn add_redis(&mut self, layer: &str, names: &BTreeMap<String, String>, below: Option<&BTreeMap<String, String>>) {
        let part = |name| given(names, name).or_else(|| below.and_then(|below| given(below, name)));
        // Without a host the others are not ours: Kubernetes sets REDIS_PORT for its own purposes.
        let (Some(host), Some(setting)) = (part("REDIS_HOST"), names::by_key("store.redis_url")) else { return };
        if !["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"].iter().any(|name| given(names, name).is_some()) {
            return;
        }
        match address::redis_of_parts(host, part("REDIS_PORT"), part("REDIS_PASSWORD")) {
            Ok(url) => self.set(layer, setting, ValueKind::String(url)),
            Err(sentence) => self.faults.push(format!("REDIS_PORT ({layer}) {sentence}")),
        }
    }

    /// Reads `.env` without touching the process's environment.
    fn dotenv(&mut self, path: &Path) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return names,
            Err(error) => {
                self.faults.push(format!(".env can't be read: {error}"));
                return names;
            }
        };
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            match line {
                Ok((name, value)) => {
                    names.insert(name, value);
                }
                // What is reported may be part of a secret: only the line's number is repeated.
                Err(dotenvy::Error::LineParse(rest, _)) => {
                    let number = text.lines().position(|line| line.contains(rest.trim())).map_or(0, |index| index + 1);
                    self.faults.push(format!(
                        ".env can't be read at line {number}: write NAME=value, the value in single quotes if it holds spaces, $ or quotes"
                    ));
                }
                Err(error) => self.faults.push(format!(".env can't be read: {error}")),
            }
        }
        names
    }

    fn note_foreign(&mut self, dotenv: &BTreeMap<String, String>) {
        let ours = |name: &str| {
            name.starts_with(PREFIX)
                || OTHER_NAMES.contains(&name)
                || SETTINGS.iter().any(|setting| setting.names.contains(&name))
        };
        for name in dotenv.keys().filter(|name| !ours(name)) {
            match names::near_miss(name) {
                Some(near) => self.faults.push(format!("{name} (.env) is no setting; did you mean {near}?")),
                None => self.ignored.push(name.clone()),
            }
        }
    }
}

/// What a layer gives for a name; empty counts as not given.
fn given<'names>(names: &'names BTreeMap<String, String>, name: &str) -> Option<&'names str> {
    names.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

/// TOML's own message quotes the faulty line, which may hold a secret; its first line has the place.
fn without_the_line(message: &str) -> String {
    let kept: Vec<&str> = message.lines().filter(|line| !line.contains('|')).map(str::trim).collect();
    kept.join(" ").trim().to_owned()
}
