//! The stand-in for the provider: answers calls at once, and streams chunk by chunk at an even pace, each with the
//! time at which it was sent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::body;
use crate::ticks::Ticks;
use crate::words::{self, DIGITS, MARK, STREAM};

/// How often is looked which chunks are due.
const STEP: Duration = Duration::from_micros(250);

/// How streams are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Chunks of each.
    pub(crate) chunks: u32,
    /// From one to the next.
    pub(crate) every: Duration,
}

/// A provider of chat that listens.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Rc<Shared>,
}

struct Shared {
    /// Chunks' times count from here.
    epoch: Instant,
    pace: Cell<Pace>,
    answer: Vec<u8>,
    stream_head: Vec<u8>,
    chunk: Vec<u8>,
    /// Where a chunk's time is written.
    time_at: usize,
    stream_end: Vec<u8>,
    stream_end_with_usage: Vec<u8>,
    /// Streams that run, in the order in which their next chunks are due: all have the same pace.
    streams: RefCell<VecDeque<Stream>>,
    /// The first of them has begun.
    begun: Notify,
}

/// One stream that runs.
struct Stream {
    line: Rc<Line>,
    due: Instant,
    left: u32,
    wants_usage: bool,
}

/// The way back of a connection.
struct Line {
    half: OwnedWriteHalf,
    ended: Notify,
    broken: Cell<bool>,
}

impl Upstream {
    /// Listens on a free port of loopback.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let chunk = words::chunk();
        let time_at = memchr::memchr(MARK, &chunk).ok_or(io::ErrorKind::InvalidData)? + 1;
        let shared = Rc::new(Shared {
            epoch: Instant::now(),
            pace: Cell::new(Pace { chunks: 1, every: Duration::from_millis(1) }),
            answer: words::answer(),
            stream_head: words::stream_head(),
            chunk,
            time_at,
            stream_end: words::stream_end(false),
            stream_end_with_usage: words::stream_end(true),
            streams: RefCell::default(),
            begun: Notify::new(),
        });
        let address = listener.local_addr()?;
        spawn_local(accept(listener, shared.clone()));
        spawn_local(keep_pace(shared.clone()));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What chunks' times count from.
    pub(crate) fn epoch(&self) -> Instant {
        self.shared.epoch
    }

    /// Streams are like this from now on; none may be running.
    pub(crate) fn pace(&self, pace: Pace) {
        self.shared.pace.set(pace);
    }
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        spawn_local(async move {
            // Whoever closes or resets a connection is noticed at the other end.
            let _closed = serve(stream, &shared).await;
        });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut hearing, half) = stream.into_split();
    let line = Rc::new(Line { half, ended: Notify::new(), broken: Cell::new(false) });
    let mut buffer = Vec::new();
    while let Some(extent) = body::message(&mut hearing, &mut buffer).await? {
        let asked = buffer.get(extent.body..extent.end).unwrap_or_default();
        if memmem::find(asked, STREAM.as_bytes()).is_some() {
            let wants_usage = memmem::find(asked, b"include_usage").is_some();
            line.say(&shared.stream_head)?;
            shared.begin(line.clone(), wants_usage);
            line.ended.notified().await;
            if line.broken.get() {
                return Ok(());
            }
        } else {
            line.say(&shared.answer)?;
        }
        buffer.clear();
    }
    Ok(())
}

impl Line {
    /// Says all of it at once: what is said is far shorter than what a socket takes.
    fn say(&self, bytes: &[u8]) -> io::Result<()> {
        let written = self.half.try_write(bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Shared {
    fn begin(&self, line: Rc<Line>, wants_usage: bool) {
        let pace = self.pace.get();
        let due = Instant::now() + pace.every;
        self.streams.borrow_mut().push_back(Stream { line, due, left: pace.chunks, wants_usage });
        self.begun.notify_one();
    }

    /// Says the chunks that are due.
    fn catch_up(&self, chunk: &mut [u8]) {
        let pace = self.pace.get();
        loop {
            let now = Instant::now();
            let due = self.streams.borrow_mut().pop_front_if(|stream| stream.due <= now);
            let Some(mut stream) = due else { return };
            let said = if stream.left == 0 {
                let end = if stream.wants_usage { &self.stream_end_with_usage } else { &self.stream_end };
                stream.line.say(end)
            } else {
                let time = now.duration_since(self.epoch).as_nanos();
                if let Some(place) = chunk.get_mut(self.time_at..self.time_at + DIGITS) {
                    place.copy_from_slice(format!("{time:0DIGITS$}").as_bytes());
                }
                stream.line.say(chunk)
            };
            if stream.left == 0 || said.is_err() {
                stream.line.broken.set(said.is_err());
                stream.line.ended.notify_one();
                continue;
            }
            stream.left -= 1;
            stream.due += pace.every;
            self.streams.borrow_mut().push_back(stream);
        }
    }
}

/// Keeps streams going.
async fn keep_pace(shared: Rc<Shared>) -> io::Result<()> {
    let mut chunk = shared.chunk.clone();
    loop {
        shared.begun.notified().await;
        let ticks = Ticks::every(STEP)?;
        while !shared.streams.borrow().is_empty() {
            ticks.tick().await?;
            shared.catch_up(&mut chunk);
        }
    }
}
