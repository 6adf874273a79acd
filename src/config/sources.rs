//! Where settings are looked for; handed in, so that a test needs no process of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The places that [`Config::load`](crate::config::Config::load) reads.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The working folder: `.env` and `config/` are looked for in it.
    pub folder: PathBuf,
    /// `--config FILE`, relative to the working folder.
    pub file: Option<PathBuf>,
    /// The environment. A value that is not UTF-8 carries U+FFFD and is refused where it is ours.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// This process's working folder and environment.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self { folder: PathBuf::new(), file, environment }
    }
}
