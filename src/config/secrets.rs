//! Judges the secrets that are given, and makes those that are missing outside production.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use config::{FileFormat, Source};
use rand::RngExt;
use rand::distr::Alphanumeric;

/// How many characters a secret has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// So many or more.
    AtLeast(usize),
    /// So many.
    Exactly(usize),
    /// Somebody else's affair: a provider's key.
    Any,
}

/// What is asked of one secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// The plain name.
    pub(super) name: &'static str,
    /// How long it must be.
    pub(super) length: Length,
    /// Whether production can't do without it.
    pub(super) required: bool,
}

const fn rule(name: &'static str, length: Length, required: bool) -> Rule {
    Rule { name, length, required }
}

/// The rule of every secret.
pub(super) const RULES: [Rule; 8] = [
    rule("SECRET_KEY", Length::AtLeast(32), true),
    rule("SECRET_KEY_PREVIOUS", Length::AtLeast(32), false),
    rule("ADMIN_KEY", Length::AtLeast(16), true),
    rule("ADMIN_KEY_PREVIOUS", Length::AtLeast(16), false),
    rule("ENCRYPTION_KEY", Length::Exactly(32), false),
    rule("ENCRYPTION_KEY_PREVIOUS", Length::Exactly(32), false),
    rule("DASHSCOPE_API_KEY", Length::Any, false),
    rule("ANTHROPIC_API_KEY", Length::Any, false),
];

/// What is wrong with the secrets `given` (plain name, value): too short, used twice, and in production
/// missing or easily guessed. Each sentence says how to make a good one.
pub(super) fn faults(given: &BTreeMap<&'static str, String>, production: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for rule in RULES {
        let Some(secret) = given.get(rule.name) else {
            if production && rule.required {
                faults.push(format!("{} is missing, and production needs it: {}", rule.name, mend(rule)));
            }
            continue;
        };
        let length = secret.chars().count();
        match rule.length {
            Length::AtLeast(least) if length < least => {
                faults.push(format!("{} has {length} characters and needs at least {least}: {}", rule.name, mend(rule)))
            }
            Length::Exactly(exact) if length != exact => {
                faults.push(format!("{} has {length} characters and needs exactly {exact}: {}", rule.name, mend(rule)))
            }
            Length::AtLeast(_) | Length::Exactly(_) if production && is_guessable(secret) => faults.push(format!(
                "{} is too easily guessed (a placeholder, or few different characters): {}",
                rule.name,
                mend(rule)
            )),
            Length::AtLeast(_) | Length::Exactly(_) | Length::Any => {}
        }
    }
    for (place, (name, secret)) in given.iter().enumerate() {
        for (other, _) in given.iter().skip(place + 1).filter(|(_, twin)| *twin == secret) {
            faults.push(format!("{name} and {other} have the same value; each secret needs one of its own"));
        }
    }
    faults
}

fn mend(rule: Rule) -> String {
    let bytes = if rule.name.starts_with("ENCRYPTION") { 16 } else { 32 };
    format!("make one with `openssl rand -hex {bytes}` and set {} in the environment", rule.name)
}

/// Whether somebody could guess it: a text from an example, or hardly any different characters.
fn is_guessable(secret: &str) -> bool {
    const FEW: usize = 6;
    const PLACEHOLDERS: &[&str] = &[
        "change-me",
        "change_me",
        "changeme",
        "change-this",
        "change_this",
        "changethis",
        "replace-me",
        "replace_me",
        "replaceme",
        "your-",
        "your_",
        "placeholder",
        "example",
        "secret-key-here",
        "password",
    ];
    let lower = secret.to_lowercase();
    let different: std::collections::BTreeSet<char> = lower.chars().collect();
    different.len() < FEW || PLACEHOLDERS.iter().any(|placeholder| lower.contains(placeholder))
}

/// The secrets of one data folder, made once for use on this machine alone.
pub(super) struct Generated {
    folder: PathBuf,
}

impl Generated {
    const NAMES: [(&'static str, usize); 3] = [("SECRET_KEY", 48), ("ADMIN_KEY", 40), ("ENCRYPTION_KEY", 32)];

    /// Those kept in `folder`.
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where they are.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("secrets.toml")
    }

    /// Those made before; none if there is no file.
    pub(super) fn read(&self) -> Result<BTreeMap<&'static str, String>, String> {
        let path = self.path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        };
        // The parser's message would quote the line.
        let table = config::File::from_str(&text, FileFormat::Toml).collect().map_err(|_| {
            format!("{} is not valid TOML; mend it, or remove it and new secrets are made", path.display())
        })?;
        let kept = |name: &str| table.get(&name.to_lowercase()).and_then(|value| value.clone().into_string().ok());
        Ok(Self::NAMES.iter().filter_map(|(name, _)| kept(name).map(|secret| (*name, secret))).collect())
    }

    /// Those made before, the missing ones made now. Two processes that start at once get the same ones.
    pub(super) fn read_or_make(&self) -> Result<BTreeMap<&'static str, String>, String> {
        let fault = |error: io::Error| {
            format!(
                "secrets can't be kept in {}: {error}; set DATA_DIR to a folder that can be written",
                self.folder.display()
            )
        };
        make_folder(&self.folder).map_err(fault)?;
        // Held until the end of this function.
        let lock = private_file(&self.folder.join("secrets.lock")).map_err(fault)?;
        lock.lock().map_err(fault)?;
        let mut secrets = self.read()?;
        if secrets.len() < Self::NAMES.len() {
            for (name, length) in Self::NAMES {
                secrets.entry(name).or_insert_with(|| random(length));
            }
            self.write(&secrets).map_err(fault)?;
        }
        Ok(secrets)
    }

    fn write(&self, secrets: &BTreeMap<&'static str, String>) -> io::Result<()> {
        let unfinished = self.folder.join("secrets.toml.new");
        let mut file = private_file(&unfinished)?;
        file.set_len(0)?;
        writeln!(
            file,
            "# Made at the first start, for this machine alone. Production takes its own from the environment."
        )?;
        for (name, secret) in secrets {
            writeln!(file, "{} = \"{secret}\"", name.to_lowercase())?;
        }
        file.sync_all()?;
        std::fs::rename(unfinished, self.path())
    }
}

fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// Opens for writing a file that only its owner may read.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "k3JxQm9ZtW7cVb2NsR5yHd8LfP0aGuE4";

    fn judged(name: &'static str, secret: &str, production: bool) -> Vec<String> {
        let mut given = BTreeMap::from([("SECRET_KEY", format!("{GOOD}s")), ("ADMIN_KEY", format!("{GOOD}a"))]);
        given.insert(name, secret.to_owned());
        faults(&given, production)
    }

    #[test]
    fn weak_secrets_are_named_with_what_to_do() {
        for (name, secret, production, part) in [
            ("SECRET_KEY", "short", false, Some("at least 32")),
            ("SECRET_KEY", &GOOD[1..], true, Some("has 31 characters")),
            ("SECRET_KEY", GOOD, true, None),
            ("SECRET_KEY", &"s".repeat(40), true, Some("easily guessed")),
            ("SECRET_KEY", &"s".repeat(40), false, None),
            ("SECRET_KEY", "change-me-please-0123456789-abcdefgh", true, Some("openssl rand -hex 32")),
            ("ADMIN_KEY", "fifteen-chars-x", false, Some("at least 16")),
            ("ADMIN_KEY", "sixteen-chars-xy", true, None),
            ("ADMIN_KEY_PREVIOUS", "tiny", true, Some("ADMIN_KEY_PREVIOUS has 4")),
            ("ENCRYPTION_KEY", GOOD, true, None),
            ("ENCRYPTION_KEY", &GOOD[1..], false, Some("exactly 32")),
            ("ENCRYPTION_KEY", &format!("{GOOD}x"), true, Some("openssl rand -hex 16")),
            ("DASHSCOPE_API_KEY", "sk-x", true, None),
        ] {
            let faults = judged(name, secret, production);
            match part {
                None => assert!(faults.is_empty(), "{name}: {faults:?}"),
                Some(part) => {
                    assert!(faults.len() == 1 && faults[0].contains(part), "{name}: {faults:?}");
                    assert!(!faults[0].contains(secret), "{name}");
                }
            }
        }
    }

    #[test]
    fn production_needs_two_and_each_its_own() {
        let missing = faults(&BTreeMap::new(), true);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(faults(&BTreeMap::new(), false).is_empty());
        let twice = judged("ENCRYPTION_KEY_PREVIOUS", GOOD, false);
        assert!(twice.is_empty(), "{twice:?}");
        let same = faults(&BTreeMap::from([("SECRET_KEY", GOOD.to_owned()), ("ADMIN_KEY", GOOD.to_owned())]), false);
        assert!(same[0].contains("ADMIN_KEY and SECRET_KEY"), "{same:?}");
    }

    #[test]
    fn everybody_who_starts_at_once_gets_the_same_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let generated = Generated::in_folder(data.clone());
                std::thread::spawn(move || generated.read_or_make().unwrap())
            })
            .collect();
        let made: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(made.iter().all(|secrets| *secrets == made[0] && secrets.len() == 3));
        assert!(faults(&made[0], true).is_empty());
        assert_eq!(Generated::in_folder(data.clone()).read().unwrap(), made[0]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(data.join("secrets.toml")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_broken_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let generated = Generated::in_folder(folder.path().to_owned());
        std::fs::write(generated.path(), "secret_key = \"abc").unwrap();
        let fault = generated.read_or_make().unwrap_err();
        assert!(fault.contains("secrets.toml") && !fault.contains("abc"), "{fault}");
    }
}
