//! What the kernel says of the processor time of processes and cores, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// The kernel counts processor time for `/proc` in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process and all its threads since it began.
pub(crate) fn cpu_time(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name, in brackets, may contain anything; utime and stime are the 12th and 13th after it.
    let (_, after) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    let ticks: u32 = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// Time that a core was not idle since the machine began.
pub(crate) fn core_time(core: usize) -> io::Result<Duration> {
    const USER_NICE_SYSTEM: usize = 3;
    const IRQ_SOFTIRQ_STEAL: (usize, usize) = (5, 3);
    let stat = fs::read_to_string("/proc/stat")?;
    let prefix = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&prefix)).ok_or(io::ErrorKind::NotFound)?;
    let fields: Vec<u32> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
    let busy = fields.iter().take(USER_NICE_SYSTEM);
    let ticks: u32 = busy.chain(fields.iter().skip(IRQ_SOFTIRQ_STEAL.0).take(IRQ_SOFTIRQ_STEAL.1)).sum();
    Ok(TICK * ticks)
}
