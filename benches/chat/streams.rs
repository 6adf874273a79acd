//! The load of streams: each is read as it comes, and how late each chunk is.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use crate::TESTED_CORE;
use crate::body::Chunked;
use crate::http;
use crate::process::{Meter, OWN_LIMIT};
use crate::spread::share;
use crate::target::Target;
use crate::ticks::Ticks;
use crate::upstream::{Pace, Upstream};
use crate::words::{self, DIGITS, DONE, MARK};

/// Before figures are taken.
const MARGIN: Duration = Duration::from_millis(1_500);
/// From one stream's beginning to the next one's, at least.
const LEAST_STEP: Duration = Duration::from_micros(100);

/// What one window of streams showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Streams that would have been made of the chunks that came.
    pub(crate) streams: f64,
    /// Processor time of the process under test, in µs per stream.
    pub(crate) cpu_us: f64,
    /// How late the median chunk is, µs.
    pub(crate) p50_us: f64,
    /// How late one chunk in a hundred is, µs.
    pub(crate) p99_us: f64,
    /// This program's share of its core.
    pub(crate) own_share: f64,
    /// What others took of the tested core, as a share.
    pub(crate) others_share: f64,
}

impl Figures {
    /// Whether the load was not measuring itself.
    pub(crate) fn valid(&self) -> bool {
        self.own_share <= OWN_LIMIT && self.streams > 0.0
    }
}

/// What all listeners write to.
struct Record {
    epoch: Instant,
    taking: Cell<bool>,
    over: Cell<bool>,
    delays_us: RefCell<Vec<f64>>,
    /// Chunks that came, by all streams.
    chunks: Cell<u64>,
    whole: Cell<u64>,
}

/// Listeners, each to one stream after another.
pub(crate) struct Audience {
    record: Rc<Record>,
    listeners: Vec<JoinHandle<io::Result<()>>>,
    pace: Pace,
}

impl Audience {
    /// Opens so many connections and asks for a stream on each, evenly spread over the time between two chunks.
    pub(crate) async fn gather(target: &Target, upstream: &Upstream, pace: Pace, count: usize) -> io::Result<Self> {
        upstream.pace(pace);
        let record = Rc::new(Record {
            epoch: upstream.epoch(),
            taking: Cell::new(false),
            over: Cell::new(false),
            delays_us: RefCell::default(),
            chunks: Cell::new(0),
            whole: Cell::new(0),
        });
        let request: Rc<[u8]> = words::request(target, true).into();
        let mut listeners = Vec::with_capacity(count);
        let ticks = Ticks::every((pace.every / u32::try_from(count).unwrap_or(u32::MAX).max(1)).max(LEAST_STEP))?;
        for _ in 0..count {
            ticks.tick().await?;
            let stream = TcpStream::connect(target.address).await?;
            stream.set_nodelay(true)?;
            listeners.push(spawn_local(listen(stream, request.clone(), pace, record.clone())));
        }
        Ok(Self { record, listeners, pace })
    }

    /// Takes figures over a window, after a while to settle.
    pub(crate) async fn measure(&self, target: &Target, window: Duration) -> io::Result<Figures> {
        tokio::time::sleep(MARGIN).await;
        let before = Meter::read(target.process(), TESTED_CORE)?;
        self.record.taking.set(true);
        tokio::time::sleep(window).await;
        self.record.taking.set(false);
        let spent = Meter::read(target.process(), TESTED_CORE)?.since(&before);
        let mut delays = self.record.delays_us.take();
        delays.sort_by(f64::total_cmp);
        let streams = delays.len() as f64 / f64::from(self.pace.chunks);
        Ok(Figures {
            streams,
            cpu_us: spent.tested * 1e6 / streams,
            p50_us: share(&delays, 0.5),
            p99_us: share(&delays, 0.99),
            own_share: spent.own_share,
            others_share: spent.others_share,
        })
    }

    /// Waits until each stream has come so far, on the average.
    pub(crate) async fn heard(&self, chunks: u64) {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        let all = chunks * self.listeners.len() as u64;
        while self.record.chunks.get() < all && self.listeners.iter().any(|listener| !listener.is_finished()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Hears every stream to its end and asks for no more. How many did not come whole.
    pub(crate) async fn leave(self, target: &Target) -> io::Result<usize> {
        self.record.over.set(true);
        let mut lost = 0;
        for listener in self.listeners {
            if let Err(error) = listener.await? {
                lost += 1;
                eprintln!("{}: a stream was lost: {error}", target.name);
            }
        }
        target.answered.set(target.answered.get() + self.record.whole.get());
        Ok(lost)
    }
}

/// Asks for streams until the record is over.
async fn listen(mut stream: TcpStream, request: Rc<[u8]>, pace: Pace, record: Rc<Record>) -> io::Result<()> {
    let mut piece = Vec::with_capacity(16 * 1024);
    loop {
        stream.write_all(&request).await?;
        let (head, early) = http::head(&mut stream).await?;
        if http::status(&head)? != 200 {
            return Err(io::Error::other(head));
        }
        let mut reader = Reader::default();
        let mut over = reader.hear(&early, &record)?;
        while !over {
            piece.clear();
            if stream.read_buf(&mut piece).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            over = reader.hear(&piece, &record)?;
        }
        if !reader.done || reader.chunks != pace.chunks {
            return Err(io::Error::other(format!("{} chunks of {} came", reader.chunks, pace.chunks)));
        }
        record.whole.set(record.whole.get() + 1);
        if record.over.get() {
            return Ok(());
        }
    }
}

/// Reads one stream.
#[derive(Default)]
struct Reader {
    chunked: Chunked,
    /// Of an event that has not ended.
    content: Vec<u8>,
    chunks: u32,
    /// The stream said that it is over.
    done: bool,
}

impl Reader {
    /// Takes what came; true when the answer is over.
    fn hear(&mut self, bytes: &[u8], record: &Record) -> io::Result<bool> {
        let over = self.chunked.feed(bytes, &mut self.content)?;
        let Some(end) = memmem::rfind(&self.content, b"\n\n") else { return Ok(over) };
        let events = self.content.get(..end + 2).unwrap_or_default();
        let mut rest = events;
        while let Some(at) = memchr(MARK, rest) {
            let (digits, behind) = rest.split_at_checked(at + 1 + DIGITS).ok_or(io::ErrorKind::InvalidData)?;
            let digits = digits.get(at + 1..).and_then(|digits| std::str::from_utf8(digits).ok());
            let sent: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
            if record.taking.get() {
                let late = record.epoch.elapsed().saturating_sub(Duration::from_nanos(sent));
                record.delays_us.borrow_mut().push(late.as_secs_f64() * 1e6);
            }
            self.chunks += 1;
            record.chunks.set(record.chunks.get() + 1);
            rest = behind;
        }
        self.done |= events.ends_with(DONE.as_bytes());
        self.content.drain(..end + 2);
        Ok(over)
    }
}
