//! A throw-away PostgreSQL cluster, where one is installed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use tempfile::TempDir;

use crate::launch::{Launch, Program, free_address};

/// Where Debian's packages put the programs, a folder for each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Becomes another user and then the program; PostgreSQL refuses to run as root.
const RUNUSER: &str = "/usr/sbin/runuser";
const USER: &str = "postgres";

/// A setting for clusters that need not survive a power cut.
pub(crate) const UNSAFE: [&str; 1] = ["fsync=off"];

/// A cluster that runs; ended when dropped.
pub(crate) struct Postgres {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _program: Program,
    _folder: TempDir,
}

impl Postgres {
    /// Starts a cluster as it comes, but for these settings; none where PostgreSQL is not installed.
    pub(crate) async fn start(launch: &Launch, set: &[&str]) -> io::Result<Option<Self>> {
        const LOOKS: usize = 200;
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        let Some(programs) = programs()? else { return Ok(None) };
        let program = |name: &str| programs.join(name).display().to_string();
        let folder = tempfile::Builder::new().prefix("bench-postgres").tempdir()?;
        if is_root() {
            Command::new("chown").arg(USER).arg(folder.path()).status()?;
        }
        let data = folder.path().join("data").display().to_string();
        let words = ["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"];
        let (initdb, arguments) = as_owner(&program("initdb"), &words);
        let made = Command::new(initdb).args(arguments).current_dir("/").output()?;
        if !made.status.success() {
            return Err(io::Error::other(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr))));
        }
        let address = free_address()?;
        let settings = [
            format!("listen_addresses={}", address.ip()),
            format!("port={}", address.port()),
            format!("unix_socket_directories={}", folder.path().display()),
            "max_connections=200".to_owned(),
        ];
        let settings = settings.iter().map(String::as_str).chain(set.iter().copied());
        let words = settings.flat_map(|setting| ["-c", setting]);
        let words: Vec<&str> = ["-D", &data].into_iter().chain(words).collect();
        let (server, arguments) = as_owner(&program("postgres"), &words);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut server = launch.start(&server, &arguments, &[], folder.path())?;
        let port = address.port().to_string();
        for _ in 0..LOOKS {
            server.check()?;
            let asked = Command::new(program("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port]).status()?;
            if asked.success() {
                return Ok(Some(Self { address, _program: server, _folder: folder }));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(io::Error::other("PostgreSQL did not become ready"))
    }

    /// The address of the store, by way of `door`.
    pub(crate) fn url(door: SocketAddr) -> String {
        format!("postgres://postgres@{door}/postgres")
    }
}

/// The newest version's programs.
fn programs() -> io::Result<Option<PathBuf>> {
    let Ok(versions) = std::fs::read_dir(INSTALLED) else { return Ok(None) };
    let folders: io::Result<Vec<PathBuf>> = versions.map(|version| Ok(version?.path().join("bin"))).collect();
    Ok(folders?.into_iter().filter(|folder| folder.join("initdb").exists()).max())
}

fn is_root() -> bool {
    rustix::process::getuid() == Uid::ROOT && rustix::process::getgid() == Gid::ROOT
}

/// A program and its arguments as the cluster's owner runs them.
fn as_owner(program: &str, arguments: &[&str]) -> (String, Vec<String>) {
    let arguments = arguments.iter().map(|word| (*word).to_owned());
    if !is_root() {
        return (program.to_owned(), arguments.collect());
    }
    let before = ["-u", USER, "--", program].map(str::to_owned);
    (RUNUSER.to_owned(), before.into_iter().chain(arguments).collect())
}
