//! The load of plain calls: as many as go through, or a few a second.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::TESTED_CORE;
use crate::body;
use crate::process::{Meter, OWN_LIMIT};
use crate::spread::share;
use crate::target::Target;
use crate::words;

/// Before figures are taken.
const MARGIN: Duration = Duration::from_millis(700);

/// What one window of calls showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Calls answered in a second.
    pub(crate) rate: f64,
    /// Processor time of the process under test, in µs per call.
    pub(crate) cpu_us: f64,
    /// Median time from question to answer, µs.
    pub(crate) p50_us: f64,
    /// The time that one in a hundred exceeds, µs.
    pub(crate) p99_us: f64,
    /// Calls without their answer.
    pub(crate) lost: usize,
    /// This program's share of its core.
    pub(crate) own_share: f64,
    /// What others took of the tested core, as a share.
    pub(crate) others_share: f64,
}

impl Figures {
    /// Whether the load was not measuring itself.
    pub(crate) fn valid(&self) -> bool {
        self.own_share <= OWN_LIMIT && self.rate > 0.0
    }
}

/// What all connections write to.
#[derive(Default)]
struct Record {
    taking: Cell<bool>,
    over: Cell<bool>,
    times_us: RefCell<Vec<f64>>,
    answered: Cell<u64>,
}

/// Calls a target on so many connections, on each as soon as the call before was answered.
pub(crate) async fn flood(target: &Target, connections: usize, window: Duration) -> io::Result<Figures> {
    drive(target, connections, Duration::ZERO, window).await
}

/// Calls a target now and then, on one connection.
pub(crate) async fn trickle(target: &Target, every: Duration, window: Duration) -> io::Result<Figures> {
    drive(target, 1, every, window).await
}

async fn drive(target: &Target, connections: usize, every: Duration, window: Duration) -> io::Result<Figures> {
    let record = Rc::new(Record::default());
    let request: Rc<[u8]> = words::request(target, false).into();
    let mut callers = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        callers.push(spawn_local(call(stream, request.clone(), every, record.clone())));
    }
    tokio::time::sleep(MARGIN).await;
    let before = Meter::read(target.process(), TESTED_CORE)?;
    let begun = Instant::now();
    record.taking.set(true);
    tokio::time::sleep(window).await;
    record.taking.set(false);
    let (seconds, spent) = (begun.elapsed().as_secs_f64(), Meter::read(target.process(), TESTED_CORE)?.since(&before));
    record.over.set(true);
    let mut lost = 0;
    for caller in callers {
        if let Err(error) = caller.await? {
            lost += 1;
            eprintln!("{}: a call was lost: {error}", target.name);
        }
    }
    target.answered.set(target.answered.get() + record.answered.get());
    let mut times = record.times_us.take();
    times.sort_by(f64::total_cmp);
    let calls = times.len() as f64;
    Ok(Figures {
        rate: calls / seconds,
        cpu_us: spent.tested * 1e6 / calls,
        p50_us: share(&times, 0.5),
        p99_us: share(&times, 0.99),
        lost,
        own_share: spent.own_share,
        others_share: spent.others_share,
    })
}

/// Calls until the record is over.
async fn call(mut stream: TcpStream, request: Rc<[u8]>, every: Duration, record: Rc<Record>) -> io::Result<()> {
    const WELL: &[u8] = b"HTTP/1.1 200 ";
    let mut answer = Vec::new();
    while !record.over.get() {
        let begun = Instant::now();
        stream.write_all(&request).await?;
        body::message(&mut stream, &mut answer).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !answer.starts_with(WELL) {
            return Err(io::Error::other(String::from_utf8_lossy(&answer)));
        }
        record.answered.set(record.answered.get() + 1);
        if record.taking.get() {
            record.times_us.borrow_mut().push(begun.elapsed().as_secs_f64() * 1e6);
        }
        answer.clear();
        if !every.is_zero() {
            tokio::time::sleep(every.saturating_sub(begun.elapsed())).await;
        }
    }
    Ok(())
}
