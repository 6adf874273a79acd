//! What the kernel says of a process's memory, from `/proc`.

use std::fs;
use std::io;

/// Memory that a process has in RAM, in KiB: now (`VmRSS`), or at most so far (`VmHWM`).
pub(crate) fn resident_kib(process: u32, field: &str) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or(io::ErrorKind::NotFound)?;
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().map_err(io::Error::other)
}
