//! A clock finer than tokio's, which counts in milliseconds.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::net::unix::pipe;

/// Ticks in even steps until it is dropped.
pub(crate) struct Ticks(pipe::Receiver);

impl Ticks {
    /// Steps of less than a second.
    pub(crate) fn every(step: Duration) -> io::Result<Self> {
        let step = Timespec { tv_sec: 0, tv_nsec: i64::from(step.subsec_nanos()) };
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer: OwnedFd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let every = Itimerspec { it_interval: step, it_value: step };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        // tokio waits for any such file as it does for a pipe.
        Ok(Self(pipe::Receiver::from_file_unchecked(File::from(timer))?))
    }

    /// Waits for a tick. How many have passed must be told by the clock.
    pub(crate) async fn tick(&self) -> io::Result<()> {
        self.0.readable().await?;
        let _passed = self.0.try_read(&mut [0; 8]);
        Ok(())
    }
}
