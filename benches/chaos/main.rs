//! Whether anything gets lost: `cargo bench --bench chaos` drives sessions through the real gateway while connections
//! are cut, reset, stalled and left half open, while processes are killed and stores go away, all on loopback, and
//! prints what was found beside the targets, row by row.
//!
//! Customers send numbered audio ([`livetranslate::simulator::numbered`]); the simulator notes which samples it heard
//! and which events it sent; [`judge`] compares, as sets. What goes wrong when is made from a seed, which is printed;
//! `--seed` repeats it. Lost or doubled samples, events, captions or bills make the exit code 1; times alone are
//! reported. `--short` is the form for CI.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod client;
mod crowd;
mod dice;
#[path = "../common/http.rs"]
mod http;
mod judge;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/postgres.rs"]
mod postgres;
#[path = "../common/program.rs"]
mod program;
mod proxy;
#[path = "../common/resident.rs"]
mod resident;
mod rows;
mod schedule;
mod socket;
mod stage;
mod story;
mod table;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use launch::Launch;
use rows::{ALL, SHORT};
use table::Table;

/// Breaks connections, processes and stores under load, and looks for losses.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Options {
    /// Smaller and shorter, at most 90 s in all.
    #[arg(long)]
    short: bool,
    /// Only these rows, as P4,P10.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Repeats a run's faults.
    #[arg(long)]
    seed: Option<u64>,
    /// Sessions of most rows.
    #[arg(long)]
    sessions: Option<u32>,
    /// Random schedules of P10 without a kill.
    #[arg(long)]
    schedules: Option<u32>,
    /// Random schedules of P10 with `kill -9`.
    #[arg(long)]
    kills: Option<u32>,
    /// Rollovers of each session of P7.
    #[arg(long)]
    rollovers: Option<u64>,
    /// Given by `cargo bench`; `cargo test` runs this program without it.
    #[arg(long, hide = true)]
    bench: bool,
    /// A core, or `any`, and a program to become.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true, value_name = "PROGRAM")]
    launch: Vec<String>,
}

/// How much is tried.
struct Plan {
    short: bool,
    seed: u64,
    sessions: u32,
    schedules: u32,
    kills: u32,
    rollovers: u64,
    only: Vec<String>,
}

impl Plan {
    fn from(options: Options) -> Self {
        let short = options.short;
        let or = |given: Option<u32>, small: u32, large: u32| given.unwrap_or(if short { small } else { large });
        let usual = if short { SHORT } else { ALL };
        let only =
            if options.only.is_empty() { usual.iter().map(|row| (*row).to_owned()).collect() } else { options.only };
        Self {
            short,
            seed: options.seed.unwrap_or_else(rand::random),
            sessions: or(options.sessions, 60, 500).max(1),
            schedules: or(options.schedules, 40, 1_000),
            kills: or(options.kills, 20, 200),
            rollovers: options.rollovers.unwrap_or(if short { 1 } else { 100 }),
            only,
        }
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
        println!("the chaos bench is run by: cargo bench --bench chaos [-- --short]");
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
            eprintln!("the bench could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tries the plan's rows, or until interrupted. False on a loss.
async fn run(plan: Plan) -> io::Result<bool> {
    let launch = Launch::new(None)?;
    println!("chaos bench: {}; seed {}", launch::describe_build(), plan.seed);
    let mut table = Table::default();
    let trying = async {
        for row in ALL.iter().filter(|row| plan.only.iter().any(|only| only.eq_ignore_ascii_case(row))) {
            println!("{row}");
            let begun = Instant::now();
            if let Err(error) = rows::try_row(row, &plan, &launch, &mut table).await {
                table.must(row, "could be tried", false, error.to_string());
            }
            println!("  took {} s", begun.elapsed().as_secs());
        }
    };
    tokio::select! {
        () = trying => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(io::Error::other("interrupted"));
        }
    }
    print!("{table}");
    println!("seed {}", plan.seed);
    Ok(table.sound())
}
