//! The spool: a local file that keeps sessions' marks while the shared store is away.
//!
//! It holds absolute marks, never sums: written twice, or entered into the store twice, they mean the same. Each
//! process has a file of its own, held by a lock; who finds a file without its owner may enter it and remove it.

use std::fs::File;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::upsert::excluded;

use super::lock::{cannot, lock};
use crate::error::Error;

mod table {
    diesel::table! {
        marks (session_id) {
            session_id -> Text,
            license_id -> Text,
            key_id -> Nullable<Text>,
            model -> Text,
            instance_id -> Text,
            started_at_us -> BigInt,
            resume_hash -> Nullable<Text>,
            epoch -> BigInt,
            entered -> Bool,
            samples -> BigInt,
            input_tokens -> BigInt,
            output_tokens -> BigInt,
            ack_samples -> BigInt,
            ack_metered -> BigInt,
            end_reason -> Nullable<Text>,
            settings -> Nullable<Text>,
            written_at_us -> BigInt,
        }
    }
}
use table::marks;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS marks (
    session_id TEXT PRIMARY KEY NOT NULL, license_id TEXT NOT NULL, key_id TEXT, model TEXT NOT NULL,
    instance_id TEXT NOT NULL, started_at_us BIGINT NOT NULL, resume_hash TEXT, epoch BIGINT NOT NULL,
    entered BOOLEAN NOT NULL, samples BIGINT NOT NULL, input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL,
    ack_samples BIGINT NOT NULL, ack_metered BIGINT NOT NULL, end_reason TEXT, settings TEXT,
    written_at_us BIGINT NOT NULL)";

/// How far one session had come.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = marks)]
pub struct Entry {
    /// The session.
    pub session_id: String,
    /// Who pays.
    pub license_id: String,
    /// The API key it came with.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// The process that held it.
    pub instance_id: String,
    /// When it was admitted.
    pub started_at_us: i64,
    /// Hash of its resume token.
    pub resume_hash: Option<String>,
    /// Which of the session's instances this was.
    pub epoch: i64,
    /// Whether the store has a row for it.
    pub entered: bool,
    /// High-water mark, samples.
    pub samples: i64,
    /// Input tokens so far.
    pub input_tokens: i64,
    /// Output tokens so far.
    pub output_tokens: i64,
    /// Done up to here, samples at the client's rate.
    pub ack_samples: i64,
    /// Likewise, metered samples.
    pub ack_metered: i64,
    /// Why it ended, if it did.
    pub end_reason: Option<String>,
    /// Its client's settings, where the store may lack them.
    pub settings: Option<String>,
    /// When this was written.
    pub written_at_us: i64,
}

/// One process's spool.
pub struct Spool {
    connection: SqliteConnection,
    path: PathBuf,
    /// Held as long as the spool is.
    _lock: File,
}

impl Spool {
    /// Makes the spool of a process. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable` when the folder or file can't be made, or is another process's.
    pub fn open(folder: &Path, instance_id: &str) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
        let path = folder.join(format!("{instance_id}.db"));
        let lock = lock(&path.with_extension("lock"))?
            .ok_or_else(|| Error::storage(format!("{} is another process's", path.display())))?;
        Self::connect(path, lock)
    }

    /// The spools in a folder whose process is gone; they are this process's now. Blocks.
    ///
    /// # Errors
    /// `StorageUnavailable` when the folder can't be read. A file that can't be read is left where it is, with a
    /// word in the log.
    pub fn orphans(folder: &Path) -> Result<Vec<Self>, Error> {
        let listed = match std::fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("read", folder, &error)),
        };
        let paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
        let spools = paths.filter(|path| path.extension().is_some_and(|extension| extension == "db"));
        let adopt = |path: PathBuf| -> Result<Option<Self>, Error> {
            let Some(lock) = lock(&path.with_extension("lock"))? else { return Ok(None) };
            // Whoever held it may have entered and removed it meanwhile.
            if path.exists() { Self::connect(path, lock).map(Some) } else { Ok(None) }
        };
        let adopted = spools.filter_map(|path| {
            let shown = path.display().to_string();
            adopt(path).unwrap_or_else(|error| {
                log::error!("usage kept in {shown} can't be read: {}", error.cause().unwrap_or_default());
                None
            })
        });
        Ok(adopted.collect())
    }

    fn connect(path: PathBuf, lock: File) -> Result<Self, Error> {
        let mut connection = SqliteConnection::establish(&path.to_string_lossy()).map_err(Error::storage)?;
        connection.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 1000")?;
        connection.batch_execute(TABLE)?;
        // A file that an earlier version left behind.
        if connection.batch_execute("SELECT settings FROM marks LIMIT 0").is_err() {
            connection.batch_execute("ALTER TABLE marks ADD COLUMN settings TEXT")?;
        }
        Ok(Self { connection, path, _lock: lock })
    }

    /// Keeps these entries, in one transaction; the marks of a session that is kept already only rise.
    ///
    /// # Errors
    /// `StorageUnavailable`; nothing is changed then.
    pub fn write(&mut self, entries: &[Entry]) -> Result<(), Error> {
        self.connection.batch_execute("BEGIN IMMEDIATE")?;
        let written = entries.iter().try_for_each(|entry| put(&mut self.connection, entry));
        let written = written.and_then(|()| self.connection.batch_execute("COMMIT"));
        if written.is_err() {
            // A full disk has ended the transaction already: then this fails, and that is no news.
            let _ended = self.connection.batch_execute("ROLLBACK");
        }
        Ok(written?)
    }

    /// All that is kept, oldest session first.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub fn entries(&mut self) -> Result<Vec<Entry>, Error> {
        Ok(marks::table.order(marks::session_id).select(Entry::as_select()).load(&mut self.connection)?)
    }

    /// Forgets everything: the store has it.
    ///
    /// # Errors
    /// `StorageUnavailable`; nothing is forgotten then.
    pub fn clear(&mut self) -> Result<(), Error> {
        diesel::delete(marks::table).execute(&mut self.connection)?;
        Ok(())
    }

    /// Removes the file: all of it was entered.
    pub fn remove(self) {
        self.end(false);
    }

    /// Removes the file once it was entered. `keeps`: not all of it could be, so it is kept as `*.unread`.
    pub fn end(self, keeps: bool) {
        let Self { mut connection, path, _lock } = self;
        // What is kept is one file.
        let whole = !keeps || connection.batch_execute("PRAGMA journal_mode = DELETE").is_ok();
        drop(connection);
        if keeps && (!whole || std::fs::rename(&path, path.with_extension("unread")).is_err()) {
            log::error!("{} could not be set aside and stays where it is", path.display());
            return;
        }
        // The lock's file last: who finds it without the other has nothing to do.
        for ending in ["db", "db-wal", "db-shm", "lock"] {
            let file = path.with_extension(ending);
            if let Err(error) = std::fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                log::warn!("{} could not be removed: {error}", file.display());
            }
        }
    }
}

fn put(connection: &mut SqliteConnection, entry: &Entry) -> QueryResult<()> {
    let put = diesel::insert_into(marks::table).values(entry).on_conflict(marks::session_id).do_update().set((
        marks::epoch.eq(excluded(marks::epoch)),
        marks::samples.eq(diesel::dsl::sql("MAX(samples, excluded.samples)")),
        marks::input_tokens.eq(diesel::dsl::sql("MAX(input_tokens, excluded.input_tokens)")),
        marks::output_tokens.eq(diesel::dsl::sql("MAX(output_tokens, excluded.output_tokens)")),
        marks::ack_samples.eq(excluded(marks::ack_samples)),
        marks::ack_metered.eq(excluded(marks::ack_metered)),
        marks::end_reason.eq(excluded(marks::end_reason)),
        marks::settings.eq(diesel::dsl::sql("COALESCE(excluded.settings, settings)")),
        marks::written_at_us.eq(excluded(marks::written_at_us)),
    ));
    put.execute(connection).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(session_id: &str, samples: i64) -> Entry {
        Entry {
            session_id: session_id.to_owned(),
            license_id: "lic".to_owned(),
            key_id: None,
            model: "m".to_owned(),
            instance_id: "ins_1".to_owned(),
            started_at_us: 1,
            resume_hash: None,
            epoch: 1,
            entered: true,
            samples,
            input_tokens: 3,
            output_tokens: 4,
            ack_samples: 0,
            ack_metered: 0,
            end_reason: None,
            settings: None,
            written_at_us: 2,
        }
    }

    #[test]
    fn marks_only_rise() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), "ins_1").unwrap();
        spool.write(&[entry("a", 10), entry("b", 5)]).unwrap();
        spool.write(&[entry("a", 7), entry("b", 6)]).unwrap();
        let kept: Vec<i64> = spool.entries().unwrap().iter().map(|entry| entry.samples).collect();
        assert_eq!(kept, [10, 6]);
        spool.clear().unwrap();
        assert!(spool.entries().unwrap().is_empty());
    }

    #[test]
    fn only_an_orphan_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), "ins_1").unwrap();
        spool.write(&[entry("a", 10)]).unwrap();
        assert!(Spool::orphans(folder.path()).unwrap().is_empty());
        assert!(Spool::open(folder.path(), "ins_1").is_err());
        drop(spool);
        let mut orphans = Spool::orphans(folder.path()).unwrap();
        assert!(Spool::orphans(folder.path()).unwrap().is_empty(), "it has an owner again");
        let mut orphan = orphans.pop().unwrap();
        assert_eq!(orphan.entries().unwrap(), [entry("a", 10)]);
        orphan.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Spool::orphans(&folder.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn a_file_without_settings_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), "ins_1").unwrap();
        spool.write(&[entry("a", 10)]).unwrap();
        spool.connection.batch_execute("ALTER TABLE marks DROP COLUMN settings").unwrap();
        drop(spool);
        let mut orphan = Spool::orphans(folder.path()).unwrap().pop().unwrap();
        assert_eq!(orphan.entries().unwrap(), [entry("a", 10)]);
    }

    #[test]
    fn a_full_disk_keeps_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), "ins_1").unwrap();
        spool.write(&[entry("a", 10)]).unwrap();
        spool.connection.batch_execute("PRAGMA max_page_count = 1").unwrap();
        let many: Vec<Entry> = (0..1_000).map(|number| entry(&format!("s{number}"), 1)).collect();
        let refused = spool.write(&many).unwrap_err();
        assert!(refused.cause().unwrap().contains("disk is full"), "{refused:?}");
        assert_eq!(spool.entries().unwrap(), [entry("a", 10)]);
        spool.write(&[entry("a", 11)]).unwrap();
    }
}
