//! Writes lines for the person at the terminal. A screen that is gone (a closed pipe) is no failure.

use std::io::{self, Write as _};

/// A line of a command's result, to standard output.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// A line about how it goes, to standard error.
pub fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
