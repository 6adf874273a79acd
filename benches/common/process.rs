//! What the kernel says of the processor time of processes and cores, from `/proc`.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// Above this share of its core the load measures itself.
pub(crate) const OWN_LIMIT: f64 = 0.8;
/// The kernel counts processor time for `/proc` in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// What processors did up to a moment.
pub(crate) struct Meter {
    at: Instant,
    own: Duration,
    tested: Duration,
    tested_core: Duration,
}

/// What processors did between two moments.
pub(crate) struct Spent {
    /// Processor time of the process under test, in seconds.
    pub(crate) tested: f64,
    /// This program's share of its core.
    pub(crate) own_share: f64,
    /// What others took of the tested core, as a share.
    pub(crate) others_share: f64,
}

impl Meter {
    /// Reads the times of this process, of the process under test if there is one, and of its core.
    pub(crate) fn read(process: Option<u32>, core: usize) -> io::Result<Self> {
        let tested = process.map_or(Ok(Duration::ZERO), cpu_time)?;
        Ok(Self { at: Instant::now(), own: cpu_time(std::process::id())?, tested, tested_core: core_time(core)? })
    }

    /// What was done since an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Spent {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let tested = (self.tested - before.tested).as_secs_f64();
        let core = (self.tested_core - before.tested_core).as_secs_f64();
        Spent {
            tested,
            own_share: (self.own - before.own).as_secs_f64() / seconds,
            others_share: (core - tested).max(0.0) / seconds,
        }
    }
}

/// Processor time of a process and all its threads since it began.
fn cpu_time(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name, in brackets, may contain anything; utime and stime are the 12th and 13th after it.
    let (_, after) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    let ticks: u32 = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// Time that a core was not idle since the machine began.
fn core_time(core: usize) -> io::Result<Duration> {
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
