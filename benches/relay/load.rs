//! The load: a fleet of sessions that each say one frame ten times a second, evenly spread, and what came of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use crate::TESTED_CORE;
use crate::frames::{self, CLIENT_PONG, Reader, Seen, TEXT};
use crate::head;
use crate::http;
use crate::process::{Meter, OWN_LIMIT};
use crate::sessions::Talker;
use crate::spread::share;
use crate::target::Target;
use crate::ticks::Ticks;

/// Frames a second of each session.
pub(crate) const RATE: u32 = 10;
/// Sessions that are being opened at a time.
const OPENING: usize = 32;
/// Before figures are taken, and after, for answers still on their way.
const MARGIN: Duration = Duration::from_millis(1_500);
/// How long a session may take to open.
const OPENS_WITHIN: Duration = Duration::from_secs(20);

/// What one window of load showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Frames sent and answered in the window.
    pub(crate) pairs: f64,
    /// Processor time of the process under test, in µs per pair.
    pub(crate) cpu_us: f64,
    /// Median round trip, µs.
    pub(crate) p50_us: f64,
    /// The round trip that one in a hundred exceeds, µs.
    pub(crate) p99_us: f64,
    /// Frames without an answer, closed sessions included.
    pub(crate) lost: usize,
    /// This program's share of its core.
    pub(crate) own_share: f64,
    /// What others took of the tested core, as a share.
    pub(crate) others_share: f64,
}

impl Figures {
    /// Whether the load was not measuring itself.
    pub(crate) fn valid(&self) -> bool {
        self.own_share <= OWN_LIMIT && self.pairs > 0.0
    }
}

/// How the opening of one session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Status of the answer; 0 where there was none.
    pub(crate) status: u16,
    /// Whether it said when to come back.
    pub(crate) retry_after: bool,
}

/// What all sessions write their round trips to.
#[derive(Default)]
struct Record {
    taking: Cell<bool>,
    trips_us: RefCell<Vec<f64>>,
}

/// A session of the load.
struct Session {
    talker: Rc<Talker>,
    /// When each frame was said that is not answered yet.
    unanswered: Rc<RefCell<VecDeque<Instant>>>,
    hearing: JoinHandle<()>,
}

/// Open sessions; all are dropped with it.
pub(crate) struct Fleet {
    sessions: Vec<Session>,
    record: Rc<Record>,
    process: Option<u32>,
    /// Sessions that could not be opened.
    pub(crate) refused: Vec<Refusal>,
}

impl Fleet {
    /// Opens so many sessions; each has heard the upstream's first word.
    pub(crate) async fn open(target: &Target, count: usize) -> Self {
        let record = Rc::new(Record::default());
        let append = frames::append();
        let opened = stream::iter(0..count).map(|_| open(target, append.clone(), record.clone()));
        let opened: Vec<_> = opened.buffer_unordered(OPENING).collect().await;
        let mut fleet = Self { sessions: Vec::new(), record, process: target.process(), refused: Vec::new() };
        for session in opened {
            match session {
                Ok(session) => fleet.sessions.push(session),
                Err(refusal) => fleet.refused.push(refusal),
            }
        }
        fleet
    }

    /// Loads the target: a while to settle, then a window that figures are taken over.
    pub(crate) async fn drive(&self, window: Duration) -> io::Result<Figures> {
        let measuring = async {
            tokio::time::sleep(MARGIN).await;
            let before = Meter::read(self.process, TESTED_CORE)?;
            self.record.taking.set(true);
            tokio::time::sleep(window).await;
            self.record.taking.set(false);
            Ok::<_, io::Error>(Meter::read(self.process, TESTED_CORE)?.since(&before))
        };
        let spent = tokio::select! {
            measured = measuring => measured?,
            stopped = self.pace() => return stopped.and(Err(io::Error::other("the pace ended"))),
        };
        tokio::time::sleep(MARGIN).await;
        let lost = self.sessions.iter().map(|session| session.unanswered.borrow().len()).sum();
        let mut trips = std::mem::take(&mut *self.record.trips_us.borrow_mut());
        trips.sort_by(f64::total_cmp);
        let pairs = trips.len() as f64;
        Ok(Figures {
            pairs,
            cpu_us: spent.tested * 1e6 / pairs,
            p50_us: share(&trips, 0.5),
            p99_us: share(&trips, 0.99),
            lost,
            own_share: spent.own_share,
            others_share: spent.others_share,
        })
    }

    /// Says frames, each session in its turn, until dropped. A late one is made up for at once.
    async fn pace(&self) -> io::Result<()> {
        const LEAST_STEP: u32 = 100_000;
        let count = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX).max(1);
        let rate = f64::from(count) * f64::from(RATE);
        let ticks = Ticks::every(Duration::from_nanos((1_000_000_000 / RATE / count).max(LEAST_STEP).into()))?;
        let (begun, mut said) = (Instant::now(), 0.0);
        let mut turns = self.sessions.iter().cycle();
        loop {
            ticks.tick().await?;
            let due = begun.elapsed().as_secs_f64() * rate;
            while said < due {
                let Some(session) = turns.next() else { return Ok(()) };
                session.unanswered.borrow_mut().push_back(Instant::now());
                session.talker.say();
                said += 1.0;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

async fn open(target: &Target, append: Bytes, record: Rc<Record>) -> Result<Session, Refusal> {
    let none = Refusal { status: 0, retry_after: false };
    let shaken = tokio::time::timeout(OPENS_WITHIN, shake_hands(target)).await;
    let (stream, reader) = shaken.map_err(|_| none.clone())?.map_err(|_| none)??;
    let talker = Talker::new(stream, append);
    let unanswered = Rc::new(RefCell::new(VecDeque::new()));
    let hearing = spawn_local(hear(talker.clone(), reader, unanswered.clone(), (record, target.resumable)));
    Ok(Session { talker, unanswered, hearing })
}

/// Upgrades a connection and waits for the upstream's first word.
async fn shake_hands(target: &Target) -> io::Result<Result<(TcpStream, Reader), Refusal>> {
    let mut stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /api-ws/v1/realtime?model=qwen3.5-livetranslate-flash-realtime{} HTTP/1.1\r\nhost: {}\r\n\
         upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {}\r\n\r\n",
        if target.resumable { "&resumable=1" } else { "" },
        target.address,
        target.token
    );
    stream.write_all(request.as_bytes()).await?;
    let (head, early) = http::head(&mut stream).await?;
    let status = http::status(&head)?;
    if status != 101 {
        return Ok(Err(Refusal { status, retry_after: head::header(&head, "retry-after").is_some() }));
    }
    let (mut reader, mut greeted) = (Reader::default(), false);
    reader.feed(&early, |_| greeted = true);
    let mut chunk = [0; 1_024];
    while !greeted {
        stream.readable().await?;
        match stream.try_read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => reader.feed(chunk.get(..read).unwrap_or_default(), |_| greeted = true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Ok((stream, reader)))
}

async fn hear(
    talker: Rc<Talker>,
    mut reader: Reader,
    unanswered: Rc<RefCell<VecDeque<Instant>>>,
    (record, resumable): (Rc<Record>, bool),
) {
    // The provider's greeting is the first event that counts; the gateway's own are short and don't.
    let events = Cell::new(1_u64);
    let heard = |seen: Seen<'_>| match seen.opcode {
        TEXT if seen.content.is_empty() => {
            events.set(events.get() + 1);
            if resumable && events.get().is_multiple_of(u64::from(RATE)) {
                talker.interject(&frames::received(events.get()));
            }
            let said = unanswered.borrow_mut().pop_front();
            if let Some(said) = said.filter(|_| record.taking.get()) {
                record.trips_us.borrow_mut().push(said.elapsed().as_secs_f64() * 1e6);
            }
        }
        frames::PING => talker.interject(CLIENT_PONG),
        TEXT if resumable && memchr::memmem::find(seen.content, b"\"error\"").is_none() => {}
        TEXT | frames::CLOSE => eprintln!("a session was told: {}", String::from_utf8_lossy(seen.content)),
        _ => {}
    };
    while talker.hear(&mut reader, heard).await.unwrap_or(false) {}
    talker.end();
}
