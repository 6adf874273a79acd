//! The `livetranslate` program.

use std::process::ExitCode;

use clap::Parser as _;
use livetranslate::cli::command::{self, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    actix::System::new().block_on(command::run(line))
}
