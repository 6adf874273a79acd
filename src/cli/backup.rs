//! `livetranslate backup FILE`: everything that lasts in the store, in one file.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::fault::Fault;
use crate::clock;
use crate::config::Config;
use crate::store::backup;
use crate::store::connection::{Location, Store};

/// What the command takes.
#[derive(Debug, Clone, Args)]
pub struct Backup {
    /// The file to write; it must not exist. It holds hashes and sealed credentials, no key that opens anything
    file: PathBuf,
}

/// Writes the file and says what is in it.
///
/// # Errors
/// A store that can't be read or isn't there, a file that exists already or can't be written.
pub fn run(command: &Backup, config: &Config, out: &mut impl Write) -> Result<(), Fault> {
    let location = Location::parse(config.store.url.expose())?;
    if let Location::Sqlite(path) = &location
        && !path.exists()
    {
        return Err(Fault::Failed(format!("there is no store at {}", path.display())));
    }
    let store = Store::open(location)?;
    let facts =
        store.run_blocking(|connection| backup::write(connection, &command.file, clock::now().as_microsecond(), 0))?;
    let (file, rows, kind) = (command.file.display(), facts.rows_in_all(), &facts.store);
    writeln!(out, "{file} holds {rows} rows of the {kind} store; keep SECRET_KEY and ENCRYPTION_KEY with it")
        .map_err(Fault::of("standard output can't be written"))
}
