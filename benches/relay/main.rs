//! What the relay costs: `cargo bench --bench relay` drives sessions through this gateway, through nginx and
//! straight to a stand-in upstream, all on loopback, and prints the figures beside their targets.
//!
//! The process under test has core 0 to itself; this program, with the load and the upstream in one thread,
//! has core 1. What counts are ratios and differences within one run of interleaved rounds. A round in which
//! this program used more than 80 % of its core measures this program, and is left out. What other programs took
//! of the tested core is printed with every window: run it on a machine that has nothing else to do.
//!
//! `--short` runs for less than a minute and fails only on gross loss; that is the form for CI.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod capacity;
mod frames;
mod gateway;
mod head;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/launch.rs"]
mod launch;
mod load;
mod memory;
#[path = "../common/nginx.rs"]
mod nginx;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/resident.rs"]
mod resident;
mod sessions;
mod speed;
#[path = "../common/spread.rs"]
mod spread;
mod start;
#[path = "../common/table.rs"]
mod table;
mod target;
#[path = "../common/ticks.rs"]
mod ticks;
mod upstream;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use launch::Launch;
use table::Table;
use upstream::Upstream;

/// The core of the program under test.
const TESTED_CORE: usize = 0;
/// The core of the load and of the stand-in upstream.
const OWN_CORE: usize = 1;

/// Measures the relay beside nginx and a direct connection.
#[derive(Debug, Parser)]
#[command(name = "relay")]
struct Options {
    /// Under a minute, with verdicts on gross loss only.
    #[arg(long)]
    short: bool,
    /// Only these rows: S1 (with S2), S3, S4, S8.
    #[arg(long, value_delimiter = ',', default_values_t = ["S1", "S3", "S4", "S8"].map(str::to_owned))]
    only: Vec<String>,
    /// Sessions of S1, S2 and S4.
    #[arg(long, default_value_t = 1_000)]
    sessions: usize,
    /// Interleaved rounds of S1 and S2.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each figure is taken over.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Session counts that S3 tries, rising.
    #[arg(long, value_delimiter = ',', default_values_t = [1_200, 1_800, 2_400, 3_000])]
    steps: Vec<usize>,
    /// With the continuity extension on for all sessions of the gateway.
    #[arg(long)]
    resumable: bool,
    /// Another build of `livetranslate`, driven in the same rounds of S1 and S2: before and after a change.
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
    sessions: usize,
    rounds: usize,
    window: Duration,
    steps: Vec<usize>,
    short: bool,
    only: Vec<String>,
    baseline: Option<String>,
    resumable: bool,
}

impl Plan {
    fn from(options: Options) -> Self {
        let (only, baseline, resumable) = (options.only, options.baseline, options.resumable);
        if options.short {
            return Self {
                sessions: options.sessions.min(200),
                rounds: 1,
                window: Duration::from_secs(3),
                steps: Vec::new(),
                short: true,
                only,
                baseline,
                resumable,
            };
        }
        let window = Duration::from_secs(options.seconds.max(1));
        Self {
            sessions: options.sessions.max(1),
            rounds: options.rounds.max(1),
            window,
            steps: options.steps,
            short: false,
            only,
            baseline,
            resumable,
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
        println!("the relay benchmark is run by: cargo bench --bench relay [-- --short]");
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
    println!("relay benchmark: {}; the tested program is on core {TESTED_CORE}", launch::describe_build());
    if plan.wants("S8") {
        start::measure(&launch, &upstream, &mut table).await?;
    }
    if plan.wants("S1") || plan.wants("S2") {
        speed::measure(plan, &launch, &upstream, &mut table).await?;
    }
    if plan.wants("S4") {
        memory::measure(plan, &launch, &upstream, &mut table).await?;
    }
    if plan.wants("S3") {
        capacity::measure(plan, &launch, &upstream, &mut table).await?;
    }
    print!("{table}");
    Ok(table.sound())
}
