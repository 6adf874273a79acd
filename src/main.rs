//! The `livetranslate` program.

use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::Parser as _;
use livetranslate::cli::command::{self, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    // Never dropped: actors that a failed start leaves behind would begin while they are dropped, and panic.
    let system = ManuallyDrop::new(actix::System::new());
    system.block_on(command::run(line))
}
