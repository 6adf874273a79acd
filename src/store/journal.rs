//! The journal: local files that keep what calls have used from the moment they are answered until the store has it.
//!
//! A line is with the operating system before the call's last byte leaves: it survives the process, `kill -9` too. A
//! power cut may take the lines of the last second along. A line holds one call under its id: entered into the store
//! twice, it counts once. Each process has segments of its own, under a lock.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::lock::{cannot, lock};
use crate::error::Error;

const SEGMENT: &str = "calls";

/// One process's journal.
pub struct Journal {
    folder: PathBuf,
    instance_id: String,
    segment: File,
    path: PathBuf,
    number: u64,
    /// Whether the segment has any line.
    used: bool,
    /// The last line was not written whole.
    torn: bool,
    /// Held as long as the journal is.
    _lock: File,
}

impl Journal {
    /// Begins the journal of a process. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable` when the folder or file can't be made, or is another process's.
    pub fn open(folder: &Path, instance_id: &str) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
        let lock = lock(&folder.join(format!("{instance_id}.lock")))?;
        let lock = lock.ok_or_else(|| Error::storage(format!("the journal of {instance_id} is another process's")))?;
        let (path, segment) = begin(folder, instance_id, 0)?;
        let (folder, instance_id) = (folder.to_owned(), instance_id.to_owned());
        Ok(Self { folder, instance_id, segment, path, number: 0, used: false, torn: false, _lock: lock })
    }

    /// Adds a line, given without its end.
    ///
    /// # Errors
    /// `StorageUnavailable`: the disk is full.
    pub fn append(&mut self, line: &str) -> Result<(), Error> {
        // One write: a line is there, or a torn one that nobody reads.
        self.used = true;
        let before = if std::mem::take(&mut self.torn) { "\n" } else { "" };
        let written = self.segment.write_all(format!("{before}{line}\n").as_bytes());
        self.torn = written.is_err();
        written.map_err(|error| cannot("write", &self.path, &error))
    }

    /// Ends the segment, if there is any line in it, and begins another: what is in the old one is about to be
    /// entered into the store.
    ///
    /// # Errors
    /// `StorageUnavailable`; it goes on with the old one then.
    pub fn rotate(&mut self) -> Result<Option<PathBuf>, Error> {
        if !self.used {
            return Ok(None);
        }
        let (path, segment) = begin(&self.folder, &self.instance_id, self.number + 1)?;
        self.number += 1;
        self.segment = segment;
        (self.used, self.torn) = (false, false);
        Ok(Some(std::mem::replace(&mut self.path, path)))
    }

    /// Ends the journal: the store has everything.
    pub fn remove(self) {
        remove(&self.path);
        remove(&self.folder.join(format!("{}.lock", self.instance_id)));
    }
}

/// Segments that a process which is gone has left behind; they are this process's now.
pub struct Orphan {
    segments: Vec<PathBuf>,
    lock_path: PathBuf,
    _lock: File,
}

impl Orphan {
    /// The orphans in a folder. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable` when the folder can't be read.
    pub fn find(folder: &Path) -> Result<Vec<Self>, Error> {
        let listed = match std::fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("read", folder, &error)),
        };
        let paths: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let with = |ending: &'static str| move |path: &&PathBuf| path.extension().is_some_and(|found| found == ending);
        let mut orphans = Vec::new();
        for lock_path in paths.iter().filter(with("lock")) {
            let Some(instance_id) = lock_path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let Some(lock) = lock(&folder.join(format!("{instance_id}.lock")))? else { continue };
            let prefix = format!("{instance_id}-");
            let own = |path: &&PathBuf| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
            };
            let mut segments: Vec<PathBuf> = paths.iter().filter(with(SEGMENT)).filter(own).cloned().collect();
            segments.sort_unstable();
            orphans.push(Self { segments, lock_path: lock_path.clone(), _lock: lock });
        }
        Ok(orphans)
    }

    /// Every whole line.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn lines(&self) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        for path in &self.segments {
            let bytes = match std::fs::read(path) {
                Ok(bytes) => bytes,
                // Another process that began at the same time has entered it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(cannot("read", path, &error)),
            };
            let text = String::from_utf8_lossy(&bytes);
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            lines.extend(whole.filter(|line| !line.is_empty()).map(str::to_owned));
        }
        Ok(lines)
    }

    /// Removes the files: all of them were entered. `keeps`: not all that is in them could be read, so they are kept
    /// under another name.
    pub fn end(self, keeps: bool) {
        for path in &self.segments {
            if keeps && std::fs::rename(path, path.with_extension("unread")).is_ok() {
                continue;
            }
            remove(path);
        }
        // The lock's file last: who finds it without segments has nothing to do.
        remove(&self.lock_path);
    }
}

/// Removes a segment that was entered.
pub fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        log::warn!("{} could not be removed: {error}", path.display());
    }
}

fn begin(folder: &Path, instance_id: &str, number: u64) -> Result<(PathBuf, File), Error> {
    let path = folder.join(format!("{instance_id}-{number:012}.{SEGMENT}"));
    let segment = File::options().create_new(true).append(true).open(&path);
    let segment = segment.map_err(|error| cannot("make", &path, &error))?;
    Ok((path, segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_left_behind_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "ins_1").unwrap();
        assert!(journal.rotate().unwrap().is_none(), "an empty segment goes on");
        journal.append("a").unwrap();
        let first = journal.rotate().unwrap().unwrap();
        journal.append("b").unwrap();
        journal.segment.write_all(b"torn").unwrap();
        assert!(Orphan::find(folder.path()).unwrap().is_empty(), "it has its owner");
        drop(journal);
        let mut orphans = Orphan::find(folder.path()).unwrap();
        assert!(Orphan::find(folder.path()).unwrap().is_empty(), "it has an owner again");
        let orphan = orphans.pop().unwrap();
        assert_eq!(orphan.lines().unwrap(), ["a", "b"]);
        remove(&first);
        drop(orphan);
        let orphan = Orphan::find(folder.path()).unwrap().pop().unwrap();
        assert_eq!(orphan.lines().unwrap(), ["b"]);
        orphan.end(false);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
