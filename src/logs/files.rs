//! Dated log files of bounded number and size. Whatever happens to the disk, the service goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;

const HEAD: &str = "livetranslate-";
const TAIL: &str = ".jsonl";
/// A file is closed once it has so much, bytes.
const LARGEST: u64 = 10 * 1024 * 1024;
/// Files kept; older ones are removed.
const KEPT: usize = 14;
/// After a failed write the file is left alone for so long, seconds.
const REST_SECONDS: i64 = 5;

/// The files of one folder: `livetranslate-2026-11-22.000.jsonl` and so on, appended to by all threads.
pub(super) struct Files {
    folder: PathBuf,
    largest: u64,
    state: Mutex<State>,
}

/// The file that is written now.
struct State {
    /// None after a failure, until a line comes at `retry_at` or later.
    file: Option<File>,
    date: String,
    size: u64,
    retry_at: Timestamp,
    lost: u64,
}

impl Files {
    /// Makes the folder and goes on with the day's last file.
    pub(super) fn open(folder: &Path, now: Timestamp) -> io::Result<Self> {
        Self::with_limit(folder, now, LARGEST)
    }

    fn with_limit(folder: &Path, now: Timestamp, largest: u64) -> io::Result<Self> {
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("LOG_DIR {} can't be written: {error}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(told)?;
        let mut state = State { file: None, date: date_of(now), size: 0, retry_at: now, lost: 0 };
        state.open(folder, largest).map_err(told)?;
        Ok(Self { folder: folder.to_owned(), largest, state: Mutex::new(state) })
    }

    /// Appends a line. A line that can't be written is lost and counted; the count is the next line written.
    pub(super) fn write(&self, line: &str, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(()) = state.append(&self.folder, self.largest, line, now) {
            state.file = None;
            state.lost += 1;
        }
    }
}

impl State {
    fn append(&mut self, folder: &Path, largest: u64, line: &str, now: Timestamp) -> Result<(), ()> {
        if self.file.is_none() && now < self.retry_at {
            return Err(());
        }
        let today = date_of(now);
        if self.file.is_none() || self.date != today || self.size >= largest {
            self.date = today;
            self.retry_at = now.checked_add(jiff::SignedDuration::from_secs(REST_SECONDS)).unwrap_or(now);
            self.open(folder, largest).map_err(|_| ())?;
        }
        let file = self.file.as_mut().ok_or(())?;
        let mut text = String::with_capacity(line.len() + 1);
        if self.lost > 0 {
            // The line break ends what a full disk may have cut in the middle.
            text = format!(
                "\n{{\"ts\":\"{now}\",\"level\":\"warn\",\"target\":\"livetranslate::logs\",\"message\":\"log lines were lost\",\"lines\":{}}}\n",
                self.lost
            );
        }
        text.push_str(line);
        text.push('\n');
        file.write_all(text.as_bytes()).map_err(|_| ())?;
        self.size += text.len() as u64;
        self.lost = 0;
        Ok(())
    }

    /// Opens the day's last file, or the next if that is full, and removes the oldest.
    fn open(&mut self, folder: &Path, largest: u64) -> io::Result<()> {
        let mut names = names_in(folder)?;
        let number = match names.iter().rev().find_map(|name| number_of(name, &self.date)) {
            Some(last) if fs::metadata(folder.join(name_of(&self.date, last)))?.len() >= largest => last + 1,
            Some(last) => last,
            None => 0,
        };
        let name = name_of(&self.date, number);
        let file = OpenOptions::new().append(true).create(true).open(folder.join(&name))?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        if !names.contains(&name) {
            names.push(name);
        }
        for oldest in names.iter().take(names.len().saturating_sub(KEPT)) {
            fs::remove_file(folder.join(oldest))?;
        }
        Ok(())
    }
}

fn date_of(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}

fn name_of(date: &str, number: u32) -> String {
    format!("{HEAD}{date}.{number:06}{TAIL}")
}

fn number_of(name: &str, date: &str) -> Option<u32> {
    name.strip_prefix(HEAD)?.strip_prefix(date)?.strip_prefix('.')?.strip_suffix(TAIL)?.parse().ok()
}

/// The log files of a folder, oldest first; other files are not ours.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(HEAD) && name.ends_with(TAIL) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u8, second: u8) -> Timestamp {
        format!("2026-11-{day:02}T10:00:{second:02}Z").parse().unwrap()
    }

    #[test]
    fn a_new_file_each_day_and_each_limit_and_fourteen_in_all() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("unrelated.txt"), "kept").unwrap();
        let files = Files::with_limit(folder.path(), at(1, 0), 20).unwrap();
        for second in 0..4 {
            files.write("0123456789", at(1, second));
        }
        let names = names_in(folder.path()).unwrap();
        assert_eq!(names, ["livetranslate-2026-11-01.000000.jsonl", "livetranslate-2026-11-01.000001.jsonl"]);
        for day in 2..=20 {
            files.write("another day", at(day, 0));
        }
        let names = names_in(folder.path()).unwrap();
        assert_eq!(names.len(), KEPT);
        assert_eq!(names.first().unwrap(), "livetranslate-2026-11-07.000000.jsonl");
        assert!(folder.path().join("unrelated.txt").exists());
    }

    #[test]
    fn a_restart_goes_on_with_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            Files::open(folder.path(), at(1, 0)).unwrap().write("line", at(1, 0));
        }
        let text = fs::read_to_string(folder.path().join("livetranslate-2026-11-01.000000.jsonl")).unwrap();
        assert_eq!(text, "line\nline\n");
    }

    #[test]
    fn lines_lost_to_the_disk_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("logs");
        let files = Files::open(&inside, at(1, 0)).unwrap();
        fs::remove_dir_all(&inside).unwrap();
        // The next day's file can't be made.
        files.write("lost", at(2, 0));
        files.write("lost", at(2, 1));
        fs::create_dir(&inside).unwrap();
        files.write("too soon", at(2, 2));
        files.write("back", at(2, 30));
        let text = fs::read_to_string(inside.join("livetranslate-2026-11-02.000000.jsonl")).unwrap();
        assert!(text.contains("\"lines\":3}\nback\n"), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Files::open(&file.join("logs"), at(1, 0)).err().unwrap().to_string();
        assert!(error.starts_with("LOG_DIR"), "{error}");
    }
}
