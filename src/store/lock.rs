//! Locks beside a process's own files: who holds one lives, and what nobody holds was left behind.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::Error;

/// The lock in a file of its own, if nobody holds it; it lasts as long as what is returned. Not on the file that it
/// guards: closing that would undo SQLite's own locks.
///
/// # Errors
/// `StorageUnavailable` when the file can't be made.
pub(super) fn lock(path: &Path) -> Result<Option<File>, Error> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| cannot("make", path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(cannot("lock", path, &error)),
    }
}

/// What can't be done with a file, and why.
pub(super) fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::storage(format!("can't {what} {}: {error}", path.display()))
}
