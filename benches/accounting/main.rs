//! What exact books cost: `cargo bench --bench accounting` books calls into a PostgreSQL of its own, and reads lists
//! and sums over ten million rows of usage through the gateway; it prints the figures beside their targets.
//!
//! S7 runs the gateway's own accounting in this process: [`durable`] says what is measured. S9 asks the real program
//! over HTTP. PostgreSQL runs as it comes, with its log flushed at each commit. Books that don't add up make the exit
//! code 1; a missed target does not. Run it on a machine that has nothing else to do.
//!
//! `--short` reads a small ledger and takes about a minute; that is the form for CI.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod durable;
#[expect(dead_code, reason = "shared with other benchmarks")]
#[path = "../common/http.rs"]
mod http;
#[expect(dead_code, reason = "shared with other benchmarks")]
#[path = "../common/launch.rs"]
mod launch;
mod load;
#[path = "../common/postgres.rs"]
mod postgres;
#[expect(dead_code, reason = "shared with other benchmarks")]
#[path = "../common/program.rs"]
mod program;
mod questions;
#[path = "../common/spread.rs"]
mod spread;
#[path = "../common/table.rs"]
mod table;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use launch::Launch;
use postgres::{Postgres, UNSAFE};
use table::Table;

/// Measures what booking and reading usage costs.
#[derive(Debug, Parser)]
#[command(name = "accounting")]
struct Options {
    /// About a minute, with verdicts on wrong books only.
    #[arg(long)]
    short: bool,
    /// Only these rows: S7, S9.
    #[arg(long, value_delimiter = ',', default_values_t = ["S7", "S9"].map(str::to_owned))]
    only: Vec<String>,
    /// Interleaved rounds of S7.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each figure of S7 is taken over.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rows of usage that S9 reads.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Without PostgreSQL's flushes: tells what they cost.
    #[arg(long)]
    without_flushes: bool,
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
    events: u64,
    /// How often each list and sum is asked for.
    asked: usize,
    only: Vec<String>,
    flushes: bool,
}

impl Plan {
    fn from(options: Options) -> Self {
        let short = options.short;
        Self {
            rounds: if short { 1 } else { options.rounds.max(1) },
            window: Duration::from_secs(if short { 3 } else { options.seconds.max(1) }),
            events: if short { 200_000 } else { options.events.max(1_000) },
            asked: if short { 20 } else { 200 },
            only: options.only,
            flushes: !options.without_flushes,
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
        println!("the accounting benchmark is run by: cargo bench --bench accounting [-- --short]");
        return ExitCode::SUCCESS;
    }
    let ran = launch::raise_file_limit().and_then(|()| {
        launch::prefer();
        actix_web::rt::System::new().block_on(run(Plan::from(options)))
    });
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the benchmark could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the plan to its end, or until interrupted. False when books are wrong.
async fn run(plan: Plan) -> io::Result<bool> {
    tokio::select! {
        done = measure(&plan) => done,
        interrupted = tokio::signal::ctrl_c() => interrupted.and(Err(io::Error::other("interrupted"))),
    }
}

async fn measure(plan: &Plan) -> io::Result<bool> {
    let launch = Launch::new(None)?;
    let mut table = Table::default();
    println!("accounting benchmark: {}", launch::describe_build());
    if plan.wants("S7") {
        let set: &[&str] = if plan.flushes { &[] } else { &UNSAFE };
        let Some(postgres) = Postgres::start(&launch, set).await? else { return Ok(missing()) };
        durable::measure(plan, &postgres, &mut table).await?;
    }
    if plan.wants("S9") {
        // Room for the log of filling the ledger; nothing else differs.
        let Some(postgres) = Postgres::start(&launch, &["max_wal_size=8GB"]).await? else { return Ok(missing()) };
        questions::measure(plan, &launch, &postgres, &mut table).await?;
    }
    print!("{table}");
    Ok(table.sound())
}

fn missing() -> bool {
    println!("PostgreSQL is missing, so there is nothing to measure: apt-get install postgresql");
    true
}
