//! Whether the disk under DATA_DIR has room: new work is refused before old work is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;

/// How often the disk is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is known of one disk; cheap to clone, shared by all threads.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
    margin_bytes: u64,
    /// There was less room than the margin when it was last looked at.
    low: Arc<AtomicBool>,
    /// The last write found no room.
    refused: Arc<AtomicBool>,
}

impl Disk {
    /// The disk that holds `folder`, or will; it counts as full with less than `margin_bytes` to spare.
    #[must_use]
    pub fn new(folder: PathBuf, margin_bytes: u64) -> Self {
        Self { folder, margin_bytes, low: Arc::default(), refused: Arc::default() }
    }

    /// Whether new work must be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.low.load(Ordering::Acquire) || self.refused.load(Ordering::Acquire)
    }

    /// For the log: which disk, and how much room it should have.
    #[must_use]
    pub fn complaint(&self) -> String {
        let margin = self.margin_bytes >> 20;
        format!("disk full: less than {margin} MiB are free at {}", self.folder.display())
    }

    /// Looks how much room there is. Blocks. A disk that can't be asked changes nothing.
    pub fn look(&self) {
        match free_bytes(&self.folder) {
            Ok(free) => self.found(free),
            Err(error) => log::warn!("the free space at {} is not known: {error}", self.folder.display()),
        }
    }

    fn found(&self, free_bytes: u64) {
        let low = free_bytes < self.margin_bytes;
        match (self.low.swap(low, Ordering::AcqRel), low) {
            (false, true) => log::error!("{}; new sessions are refused until there is room", self.complaint()),
            (true, false) => log::info!("the disk at {} has room again", self.folder.display()),
            (true, true) | (false, false) => {}
        }
    }

    /// A write to this disk failed, maybe for want of room.
    pub fn failed(&self, error: &Error) {
        let full = error.cause().is_some_and(says_full);
        if full && !self.refused.swap(true, Ordering::AcqRel) {
            log::error!("disk full: {} takes no more; new sessions are refused", self.folder.display());
        }
    }

    /// A write to this disk succeeded.
    pub fn written(&self) {
        if self.refused.swap(false, Ordering::AcqRel) {
            log::info!("the disk at {} takes data again", self.folder.display());
        }
    }
}

/// SQLite's words for SQLITE_FULL, and the system's for ENOSPC.
fn says_full(cause: &str) -> bool {
    ["database or disk is full", "No space left on device", "disk quota exceeded"]
        .iter()
        .any(|words| cause.to_ascii_lowercase().contains(&words.to_ascii_lowercase()))
}

/// Bytes that this process may still write at `folder`, or where its nearest ancestor is.
///
/// # Errors
/// The system's.
pub fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let there = folder.ancestors().find(|ancestor| ancestor.exists()).filter(|path| !path.as_os_str().is_empty());
    let found = rustix::fs::statvfs(there.unwrap_or(Path::new(".")))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_recovers_by_itself() {
        let disk = Disk::new("data".into(), 1_000);
        disk.found(1_000);
        assert!(!disk.is_full());
        disk.found(999);
        assert!(disk.is_full());
        disk.failed(&Error::storage("database or disk is full"));
        disk.found(5_000);
        assert!(disk.is_full(), "writes fail still");
        disk.written();
        assert!(!disk.is_full());
        disk.failed(&Error::storage("connection refused"));
        assert!(!disk.is_full(), "another failure has another cause");
    }

    #[test]
    fn the_room_of_a_folder_to_be_made_is_known() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(&folder.path().join("not/yet")).unwrap() > 0);
        assert!(free_bytes(Path::new("not-there")).unwrap() > 0);
        let disk = Disk::new(folder.path().to_owned(), u64::MAX);
        disk.look();
        assert!(disk.is_full());
    }
}
