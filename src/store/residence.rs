//! `DATA_DIR/instance`: a process holds its lock for as long as it lives, so that the next one there knows at once
//! whose sessions were left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::Error;

/// A folder that this process alone calls its own, until it is dropped.
pub struct Residence {
    file: File,
    /// The instance that lived here before, and has ended.
    pub predecessor: Option<String>,
}

impl Residence {
    /// Claims a folder, made if need be; `None` while another process lives there.
    ///
    /// # Errors
    /// `StorageUnavailable` when the folder or the file in it can't be made, read or locked.
    pub fn claim(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join("instance");
        let fault = |error: std::io::Error| Error::storage(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(folder).map_err(fault)?;
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        let mut predecessor = String::new();
        file.read_to_string(&mut predecessor).map_err(fault)?;
        let predecessor = Some(predecessor.trim().to_owned()).filter(|id| !id.is_empty());
        Ok(Some(Self { file, predecessor }))
    }

    /// Leaves this instance's id for the next. Not before the predecessor's sessions are settled.
    ///
    /// # Errors
    /// `StorageUnavailable` when the file can't be written.
    pub fn enter(&mut self, instance_id: &str) -> Result<(), Error> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(instance_id.as_bytes())?;
            file.sync_all()
        };
        write(&mut self.file).map_err(Error::storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lives_here_and_the_next_knows_him() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("data");
        let mut first = Residence::claim(&home).unwrap().unwrap();
        assert_eq!(first.predecessor, None);
        first.enter("ins_a_long_one").unwrap();
        assert!(Residence::claim(&home).unwrap().is_none());
        drop(first);
        let mut second = Residence::claim(&home).unwrap().unwrap();
        assert_eq!(second.predecessor.as_deref(), Some("ins_a_long_one"));
        second.enter("ins_b").unwrap();
        drop(second);
        assert_eq!(Residence::claim(&home).unwrap().unwrap().predecessor.as_deref(), Some("ins_b"));
    }
}
