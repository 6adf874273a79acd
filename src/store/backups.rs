//! The backups that an instance keeps in its DATA_DIR: one file each, named by its id and the store it is of.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::backend::AnyConnection;
use super::backup;
use super::lock::{cannot, lock};
use crate::error::Error;
use crate::ids;

/// Backups that are kept; when there are more, the oldest goes.
pub const MOST: usize = 30;
const ENDING: &str = ".db";

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// `bak_…`.
    pub id: String,
    /// When it was begun, microseconds since 1970.
    pub created_at_us: i64,
    /// How large it is.
    pub bytes: u64,
    /// `sqlite` or `postgres`: what it is of. It can be restored into either.
    pub store: String,
    path: PathBuf,
}

/// The folder that they are in.
#[derive(Debug, Clone)]
pub struct Backups {
    folder: PathBuf,
    margin_bytes: u64,
}

impl Backups {
    /// Those in a DATA_DIR, whose disk must keep `margin_bytes` free.
    #[must_use]
    pub fn new(data_dir: &Path, margin_bytes: u64) -> Self {
        Self { folder: data_dir.join("backups"), margin_bytes }
    }

    /// All of them, the newest first. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn all(&self) -> Result<Vec<Kept>, Error> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("read", &self.folder, &error)),
        };
        let mut all: Vec<Kept> = entries.flatten().filter_map(|entry| kept(entry.path())).collect();
        all.sort_by(|left, right| right.id.cmp(&left.id));
        Ok(all)
    }

    /// The one with this id. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn find(&self, id: &str) -> Result<Option<Kept>, Error> {
        Ok(self.all()?.into_iter().find(|kept| kept.id == id))
    }

    /// Makes one. Blocks.
    ///
    /// # Errors
    /// `Conflict` while another one is made, and as [`backup::write`].
    pub fn make(&self, connection: &mut AnyConnection, id: &str, now_us: i64) -> Result<Kept, Error> {
        std::fs::create_dir_all(&self.folder).map_err(|error| cannot("make", &self.folder, &error))?;
        let _alone = self.alone()?;
        self.sweep()?;
        let path = self.folder.join(format!("{id}.{}{ENDING}", backup::kind(connection)));
        backup::write(connection, &path, now_us, self.margin_bytes)?;
        kept(path).ok_or_else(|| Error::internal("the backup that was made is not there"))
    }

    /// Lets the oldest go that are too many. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn prune(&self) -> Result<(), Error> {
        self.all()?.iter().skip(MOST).try_for_each(remove)
    }

    /// Removes one, if it is there. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn remove(&self, id: &str) -> Result<Option<Kept>, Error> {
        let Some(found) = self.find(id)? else { return Ok(None) };
        remove(&found)?;
        Ok(Some(found))
    }

    fn alone(&self) -> Result<File, Error> {
        let taken = || Error::Conflict("another backup is being made; wait for it to end".to_owned());
        lock(&self.folder.join("lock"))?.ok_or_else(taken)
    }

    /// What processes have left behind that ended while they wrote.
    fn sweep(&self) -> Result<(), Error> {
        let entries = std::fs::read_dir(&self.folder).map_err(|error| cannot("read", &self.folder, &error))?;
        let paths = entries.flatten().map(|entry| entry.path());
        for part in paths.filter(|path| path.extension().is_some_and(|extension| extension == "part")) {
            std::fs::remove_file(&part).map_err(|error| cannot("remove", &part, &error))?;
        }
        Ok(())
    }
}

/// What the name and size of a file say, if it is a backup.
fn kept(path: PathBuf) -> Option<Kept> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
    let (id, store) = name.split_once('.')?;
    let created_at_us = ids::backup_begun_ms(id)?.checked_mul(1_000)?;
    let bytes = std::fs::metadata(&path).ok()?.len();
    Some(Kept { id: id.to_owned(), created_at_us, bytes, store: store.to_owned(), path })
}

fn remove(kept: &Kept) -> Result<(), Error> {
    match std::fs::remove_file(&kept.path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", &kept.path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Location, Store};
    use crate::store::migrate;

    #[test]
    fn thirty_are_kept_and_one_is_made_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Location::Sqlite(folder.path().join("x.db"))).unwrap();
        store.run_blocking(migrate::run).unwrap();
        let backups = Backups::new(folder.path(), 0);
        assert_eq!(backups.all().unwrap(), []);
        let make = || store.run_blocking(|connection| backups.make(connection, &ids::backup(), 7));
        let first = make().unwrap();
        // As if many had been made.
        for _ in 1..MOST {
            std::fs::copy(&first.path, backups.folder.join(format!("{}.sqlite.db", ids::backup()))).unwrap();
        }
        std::fs::write(backups.folder.join("notes.db"), "mine").unwrap();
        std::fs::write(backups.folder.join("bak_x.sqlite.db.part"), "half").unwrap();
        assert_eq!(backups.all().unwrap().len(), MOST);
        let last = make().unwrap();
        assert!(backups.find(&first.id).unwrap().is_some(), "until it is known that the new one stays");
        backups.prune().unwrap();
        let all = backups.all().unwrap();
        assert_eq!((all.len(), all.first()), (MOST, Some(&last)));
        assert!(backups.find(&first.id).unwrap().is_none(), "the oldest is gone");
        assert!(backups.folder.join("notes.db").exists() && !backups.folder.join("bak_x.sqlite.db.part").exists());
        let other = lock(&backups.folder.join("lock")).unwrap().unwrap();
        assert!(matches!(make(), Err(Error::Conflict(_))));
        drop(other);
        assert_eq!(backups.remove(&last.id).unwrap(), Some(last.clone()));
        assert_eq!(backups.remove(&last.id).unwrap(), None);
    }
}
