//! Starts the log: lines to stderr, and with LOG_DIR to dated files as well.

mod files;
mod line;

use std::io::{self, IsTerminal as _, Write as _};

use env_logger::Target;
use jiff::Timestamp;
use log::{Metadata, Record};

use self::files::Files;
use crate::config::settings::{Log, LogFormat};

/// Sends every `log` record of this process where `settings` say: to stderr as JSON lines (as text on a
/// terminal), and as JSON lines to files in `settings.dir`. Call it once.
///
/// # Errors
/// A folder that can't be made or written; a log that is started already.
pub fn start(settings: &Log) -> io::Result<()> {
    let files = settings.dir.as_deref().map(|folder| Files::open(folder, Timestamp::now())).transpose()?;
    let lines = Lines { stderr: to_stderr(settings), files };
    let level = lines.stderr.filter();
    log::set_boxed_logger(Box::new(lines)).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// The frame: env_logger decides what is logged and writes it to stderr; the files get the same records.
struct Lines {
    stderr: env_logger::Logger,
    files: Option<Files>,
}

impl log::Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.stderr.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.stderr.log(record);
        if let Some(files) = self.files.as_ref().filter(|_| self.stderr.matches(record)) {
            let now = Timestamp::now();
            files.write(&line::json(now, record), now);
        }
    }

    fn flush(&self) {
        self.stderr.flush();
    }
}

fn to_stderr(settings: &Log) -> env_logger::Logger {
    let on_a_terminal = if io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    let format = settings.format.unwrap_or(on_a_terminal);
    let mut builder = env_logger::Builder::new();
    if format == LogFormat::Json {
        // The other way looks for colours in every byte.
        builder.target(Target::Pipe(Box::new(io::stderr())));
    }
    builder
        .parse_filters(&settings.level)
        .format(move |out, record| match format {
            LogFormat::Json => writeln!(out, "{}", line::json(Timestamp::now(), record)),
            LogFormat::Text => {
                let style = out.default_level_style(record.level());
                writeln!(out, "{style}{:5}{style:#} {}", record.level(), line::text(Timestamp::now(), record))
            }
        })
        .build()
}
