//! Starts the programs under test, each on the core it is given if any, and ends each of them by its id.
//!
//! A program is started through this benchmark's own binary, which pins itself, asks to be ended with its
//! parent, and then becomes the program.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;
use tempfile::TempDir;

/// The scheduling group of this process's terminal session.
const GROUP: &str = "/proc/self/autogroup";

/// Becomes the program that a launch's words name. Returns only the error if it can't.
pub(crate) fn become_program(words: &[String]) -> io::Error {
    let [core, program, arguments @ ..] = words else { return io::ErrorKind::InvalidInput.into() };
    let ready = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    prefer();
    match ready.and_then(|()| core.parse().map_or(Ok(()), pin)) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// Keeps this process on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| io::Error::other(format!("core {core} is not to be had ({error}); two cores are needed")))
}

/// Takes precedence over what else the machine does, where that is allowed; on both cores alike.
pub(crate) fn prefer() {
    const BEFORE_OTHERS: i32 = -15;
    // Where sessions are scheduled as groups, a process's own priority counts within its group alone.
    let grouped = fs::write(GROUP, BEFORE_OTHERS.to_string());
    let alone = rustix::process::setpriority_process(None, BEFORE_OTHERS);
    if let (Err(error), _) | (_, Err(error)) = (alone.map_err(io::Error::from), grouped) {
        eprintln!("runs without full precedence over other programs: {error}");
    }
}

/// Lets this process and those it starts open as many files as the system allows.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    Ok(rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// A port on loopback that was free a moment ago.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// What the build's figures are worth.
pub(crate) fn describe_build() -> String {
    let open = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let build = if cfg!(debug_assertions) { "a build without optimisation: no figures to quote" } else { "release" };
    format!("{build}; {open} files may be open")
}

/// Starts programs in folders of their own.
pub(crate) struct Launch {
    this_binary: PathBuf,
    folders: TempDir,
    core: Option<usize>,
}

impl Launch {
    /// A launcher with a fresh temporary folder, removed at the end; its programs get this core, or any.
    pub(crate) fn new(core: Option<usize>) -> io::Result<Self> {
        Ok(Self { this_binary: std::env::current_exe()?, folders: tempfile::tempdir()?, core })
    }

    /// A fresh folder for one start of a program.
    pub(crate) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(&self.folders)?;
        Ok(folder.keep())
    }

    /// Starts a program; its output is added to `output.log` in its folder.
    pub(crate) fn start(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
        folder: &Path,
    ) -> io::Result<Program> {
        let output = folder.join("output.log");
        let log = File::options().create(true).append(true).open(&output)?;
        let core = self.core.map_or_else(|| "any".to_owned(), |core| core.to_string());
        let child = Command::new(&self.this_binary)
            .args(["--launch", &core, program])
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Program { child, output })
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        // The terminal session outlives this program; where there are no groups, there is nothing to restore.
        let _restored = fs::write(GROUP, "0");
    }
}

/// A running program; ended when dropped.
pub(crate) struct Program {
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// An error if it has ended, with the last lines that it wrote.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        let Some(status) = self.ended()? else { return Ok(()) };
        let said = fs::read_to_string(&self.output).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(io::Error::other(format!("the program under test ended with {status}: {}", last.join(" | "))))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("process {} could not be ended: {error}", self.child.id());
        }
    }
}
