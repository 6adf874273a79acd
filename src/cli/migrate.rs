//! `livetranslate migrate [--dry-run]`: brings the store's tables up to date, or says what that would do.

use std::io::Write;

use clap::Args;

use crate::config::Config;
use crate::error::Error;
use crate::store::connection::{Location, Store};
use crate::store::migrate;

/// What the command takes.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    /// Only name what would be run.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs what is pending (or, on a dry run, names it only) and writes one line for each migration to `out`.
///
/// # Errors
/// `InvalidRequest` for a DATABASE_URL that names no store, `StorageUnavailable` when the store can't be opened
/// or a migration fails, `Internal` when `out` can't be written.
pub fn run(args: &Migrate, config: &Config, out: &mut impl Write) -> Result<(), Error> {
    let location = Location::parse(config.store.url.expose())?;
    let missing = matches!(&location, Location::Sqlite(path) if args.dry_run && !path.exists());
    if missing {
        return writeln!(out, "the store doesn't exist yet; every migration would be run").map_err(Error::internal);
    }
    let store = Store::open(location)?;
    let (names, done) = match args.dry_run {
        true => (store.run_blocking(migrate::pending)?, "would run"),
        false => (store.run_blocking(migrate::run)?, "ran"),
    };
    for name in &names {
        writeln!(out, "{done} {name}").map_err(Error::internal)?;
    }
    if names.is_empty() {
        writeln!(out, "the store is up to date").map_err(Error::internal)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;

    #[test]
    fn a_dry_run_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let mut config = Config::defaults().unwrap();
        config.store.url = Secret::new(path.to_string_lossy());
        let said = |dry_run| {
            let mut out = Vec::new();
            run(&Migrate { dry_run }, &config, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(said(true).contains("doesn't exist yet"));
        assert!(!path.exists());
        assert!(said(false).starts_with("ran "));
        assert_eq!(said(true), "the store is up to date\n");
        assert_eq!(said(false), "the store is up to date\n");
    }
}
