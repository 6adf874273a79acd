//! What was accepted, connection by connection, for tests to compare.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::numbered::Heard;
use super::request::Seen;

/// Connections remembered; older ones are forgotten first.
const LONGEST: usize = 10_000;
/// Event types and raw frames remembered for one connection.
const MOST_EVENTS: usize = 4096;
const MOST_FRAMES: usize = 20_000;
const MOST_FRAME_BYTES: usize = 64 << 20;

/// One connection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SessionRecord {
    /// The path that was upgraded.
    pub path: String,
    /// The model asked for; in the task protocol, the last task's.
    pub model: String,
    /// The bearer that was given. As JSON, its last four characters only.
    #[serde(serialize_with = "masked")]
    pub api_key: String,
    /// Audio samples accepted.
    pub samples: u64,
    /// Decoded audio bytes accepted.
    pub audio_bytes: u64,
    /// Frames of audio accepted.
    pub audio_frames: u64,
    /// Types of all other client events, in order, the first 4096 of them.
    pub events: Vec<String>,
    /// Text frames as they came, when the options say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
    /// Events sent.
    pub events_sent: u64,
    /// Responses completed.
    pub responses: u64,
    /// Pings received.
    pub pings: u64,
    /// Pongs received.
    pub pongs: u64,
    /// Whether `session.finished` or a `task-finished` was sent.
    pub finished: bool,
    /// The close code, whoever sent it first; 1006 for none. `None` while open.
    pub closed: Option<u16>,
    /// Whether the client closed first (or went away).
    pub closed_by_client: bool,
    /// Which samples came, when the audio is numbered.
    #[serde(skip)]
    pub numbers: Heard,
    /// Which events were sent, when the audio is numbered.
    #[serde(skip)]
    pub sent: Vec<Sent>,
    /// The client's end of the connection.
    #[serde(skip)]
    pub peer: Option<SocketAddr>,
    /// When the upgrade was answered.
    #[serde(skip)]
    pub opened: Option<Instant>,
    /// When it was over.
    #[serde(skip)]
    pub ended: Option<Instant>,
    #[serde(skip)]
    frame_bytes: usize,
}

/// An event that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its `type`.
    pub name: &'static str,
    /// Its `event_id`.
    pub id: String,
    /// When it was handed to the socket.
    pub at: Instant,
}

/// A connection's page, shared with whoever reads the ledger.
#[derive(Debug, Clone, Default)]
pub struct Page(Arc<Mutex<SessionRecord>>);

impl Page {
    /// A page for a connection.
    #[must_use]
    pub fn new(record: SessionRecord) -> Self {
        Self(Arc::new(Mutex::new(record)))
    }

    /// The record, to read or write; hold it briefly.
    pub fn record(&self) -> MutexGuard<'_, SessionRecord> {
        locked(&self.0)
    }
}

impl SessionRecord {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(path: &str, model: &str, api_key: String) -> Self {
        Self {
            path: path.to_owned(),
            model: model.to_owned(),
            api_key,
            opened: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// Notes a client frame.
    pub fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Audio { bytes } => {
                self.audio_frames += 1;
                self.audio_bytes += u64::try_from(bytes).unwrap_or(0);
                self.samples = self.audio_bytes / 2;
            }
            Seen::Run { model } => {
                self.model = model;
                self.saw(Seen::Event("run-task".to_owned()));
            }
            Seen::Event(kind) if self.events.len() < MOST_EVENTS => self.events.push(kind),
            Seen::Event(_) => {}
        }
    }

    /// Keeps a frame's text.
    pub fn keep(&mut self, text: &str) {
        if self.frames.len() < MOST_FRAMES && self.frame_bytes + text.len() <= MOST_FRAME_BYTES {
            self.frame_bytes += text.len();
            self.frames.push(text.to_owned());
        }
    }

    /// Notes an event on its way out.
    pub fn told(&mut self, name: &'static str, text: &str) {
        const BEFORE: &str = r#""event_id":""#;
        let id = text.find(BEFORE).and_then(|at| text.get(at + BEFORE.len()..)?.split('"').next());
        self.sent.push(Sent { name, id: id.unwrap_or_default().to_owned(), at: Instant::now() });
    }

    /// Notes the end; the first one counts.
    pub fn end(&mut self, code: u16, by_client: bool) {
        if self.closed.is_none() {
            self.closed = Some(code);
            self.ended = Some(Instant::now());
            self.closed_by_client = by_client;
        }
    }
}

/// All connections, oldest first.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<VecDeque<Page>>);

impl Ledger {
    /// Opens a page.
    pub fn add(&self, record: SessionRecord) -> Page {
        let page = Page::new(record);
        let mut pages = locked(&self.0);
        if pages.len() == LONGEST {
            pages.pop_front();
        }
        pages.push_back(page.clone());
        page
    }

    /// Every page.
    #[must_use]
    pub fn pages(&self) -> Vec<Page> {
        locked(&self.0).iter().cloned().collect()
    }

    /// A copy of every page.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.pages().iter().map(|page| page.record().clone()).collect()
    }
}

/// Writes a key by its last four characters alone.
pub(super) fn masked<S: serde::Serializer>(key: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let hidden = key.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    serializer.serialize_str(&format!("***{}", key.get(hidden..).filter(|_| hidden >= 3).unwrap_or_default()))
}

/// A panic elsewhere doesn't spoil numbers: they are read all the same.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
