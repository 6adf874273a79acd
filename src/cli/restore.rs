//! `livetranslate restore FILE [--force]`: a backup, of whichever store, into the one that the settings name.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::fault::Fault;
use crate::clock;
use crate::config::Config;
use crate::store::connection::{Location, Store};
use crate::store::migrate;
use crate::store::residence::Residence;
use crate::store::restore::Backup;

/// What the command takes.
#[derive(Debug, Clone, Args)]
pub struct Restore {
    /// A file that `livetranslate backup` or the admin API wrote
    file: PathBuf,
    /// Replace what the store holds
    #[arg(long)]
    force: bool,
}

/// Restores all of it, or changes nothing.
///
/// # Errors
/// A file that is no backup or damaged, a store that is in use or not empty.
pub fn run(command: &Restore, config: &Config, out: &mut impl Write) -> Result<(), Fault> {
    let location = Location::parse(config.store.url.expose())?;
    let data_dir = config.store.data_dir.as_path();
    // Nobody starts in this DATA_DIR meanwhile.
    let residence = Residence::claim(data_dir)?;
    if residence.is_none() {
        let taken = format!("a gateway runs in {}: stop it first", data_dir.display());
        return Err(Fault::Failed(taken));
    }
    let mut backup = Backup::open(&command.file, data_dir.join("restore.part"))?;
    let store = Store::open(location)?;
    store.run_blocking(migrate::run)?;
    let now_us = clock::now().as_microsecond();
    let rows = store.run_blocking(|connection| backup.restore(connection, now_us, command.force))?;
    let (made, kind) = (clock::at(backup.facts.made_at_us), &backup.facts.store);
    writeln!(out, "restored {rows} rows of the {kind} store as it was at {made}")
        .map_err(Fault::of("standard output can't be written"))
}
