//! What calls cost: `cargo bench --bench chat` makes chat calls, plain and streaming, through this gateway, through
//! nginx and straight at a stand-in provider, all on loopback, and prints the figures beside their targets.
//!
//! The process under test has core 0 to itself; this program, with the load and the provider in one thread, has
//! core 1. What counts are ratios and differences within one run of interleaved rounds. A window in which this program
//! used more than 80 % of its core measures this program, and is left out. Afterwards the gateway's books must say
//! what was answered, to the token: a difference, or a call that was lost, makes the exit code 1; a missed target
//! does not. Run it on a machine that has nothing else to do.
//!
//! `--short` runs for about a minute; that is the form for CI.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod body;
mod calls;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/launch.rs"]
mod launch;
mod memory;
#[path = "../common/nginx.rs"]
mod nginx;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/resident.rs"]
mod resident;
#[path = "../common/spread.rs"]
mod spread;
mod streaming;
mod streams;
#[path = "../common/table.rs"]
mod table;
mod target;
mod throughput;
#[path = "../common/ticks.rs"]
mod ticks;
mod upstream;
mod words;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use launch::Launch;
use table::Table;
use upstream::Upstream;

/// The core of the program under test.
const TESTED_CORE: usize = 0;
/// The core of the load and of the stand-in provider.
const OWN_CORE: usize = 1;

/// Measures chat calls beside nginx and a direct connection.
#[derive(Debug, Parser)]
#[command(name = "chat")]
struct Options {
    /// About a minute, with verdicts on gross loss and wrong books only.
    #[arg(long)]
    short: bool,
    /// Only these rows: S5, S6, M.
    #[arg(long, value_delimiter = ',', default_values_t = ["S5", "S6", "M"].map(str::to_owned))]
    only: Vec<String>,
    /// Interleaved rounds of S5 and S6.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each figure is taken over.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections of S5.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The gateway's store, empty or not; a SQLite file of its own if left out.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Another build of `livetranslate`, driven in the same rounds of S5 and S6: before and after a change.
    #[arg(long, value_name = "PROGRAM")]
    baseline: Option<String>,
    /// Given by `cargo bench`; `cargo test` runs this program without it.
    #[arg(long, hide = true)]
    bench: bool,
    /// A core, or `any`, and a program to become.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true, value_name = "PROGRAM")]
    launch: Vec<String>,
}

/// How much is measured.
struct Plan {
    rounds: usize,
    window: Duration,
    connections: usize,
    /// Streams of M.
    slow_streams: usize,
    /// Chunks after which M looks again.
    length: u32,
    only: Vec<String>,
    store: Option<String>,
    baseline: Option<String>,
}

impl Plan {
    fn from(options: Options) -> Self {
        let (rounds, seconds, slow_streams, length) =
            if options.short { (2, 2, 200, 100) } else { (options.rounds.max(1), options.seconds.max(1), 1_000, 500) };
        Self {
            rounds,
            window: Duration::from_secs(seconds),
            connections: options.connections.max(1),
            slow_streams,
            length,
            only: options.only,
            store: options.store,
            baseline: options.baseline,
        }
    }

    fn wants(&self, row: &str) -> bool {
        self.only.iter().any(|only| only.eq_ignore_ascii_case(row))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.launch.is_empty() {
        let error = launch::become_program(&options.launch);
        eprintln!("{} could not be started: {error}", options.launch.join(" "));
        return ExitCode::FAILURE;
    }
    if !options.bench {
        println!("the chat benchmark is run by: cargo bench --bench chat [-- --short]");
        return ExitCode::SUCCESS;
    }
    match prepare().and_then(|runtime| runtime.block_on(run(Plan::from(options)))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the benchmark could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> io::Result<tokio::runtime::Runtime> {
    launch::raise_file_limit()?;
    launch::pin(OWN_CORE)?;
    launch::prefer();
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs the plan to its end, or until interrupted. False on gross loss.
async fn run(plan: Plan) -> io::Result<bool> {
    let everything = tokio::task::LocalSet::new();
    tokio::select! {
        done = everything.run_until(measure(&plan)) => done,
        interrupted = tokio::signal::ctrl_c() => interrupted.and(Err(io::Error::other("interrupted"))),
    }
}

async fn measure(plan: &Plan) -> io::Result<bool> {
    let launch = Launch::new(Some(TESTED_CORE))?;
    let upstream = Upstream::start().await?;
    let mut table = Table::default();
    println!("chat benchmark: {}; the tested program is on core {TESTED_CORE}", launch::describe_build());
    if plan.wants("S5") {
        throughput::measure(plan, &launch, &upstream, &mut table).await?;
    }
    if plan.wants("S6") {
        streaming::measure(plan, &launch, &upstream, &mut table).await?;
    }
    if plan.wants("M") {
        memory::measure(plan, &launch, &upstream, &mut table).await?;
    }
    print!("{table}");
    Ok(table.sound())
}
