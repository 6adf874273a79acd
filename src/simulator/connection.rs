//! The socket's shell: frames in, the pure parts between, frames out, and the faults of this connection.

use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use actix_web::web::Payload;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use super::events::Output;
use super::faults::{Act, Faults, Schedule};
use super::frames::{Incoming, Reader, Writer};
use super::ledger::Page;
use super::protocol::Protocol;

/// How long the client may take to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(5);
/// No frame is padded beyond this.
const LARGEST_PAD: usize = 64 << 20;
/// With no timer set, look again after this long.
const FAR: Duration = Duration::from_secs(3600);

/// A handle on the TCP connection that can cut it; held by the connection and its task alone.
#[derive(Clone)]
pub struct Cord(pub(super) Rc<socket2::Socket>);

/// What a connection is made of.
pub struct Parts {
    /// Who speaks.
    pub protocol: Protocol,
    /// What goes wrong.
    pub faults: Faults,
    /// The provider's own cap on the connection's length.
    pub longest_ms: u64,
    /// Where it is written down.
    pub page: Page,
    /// Whether text frames are written down whole.
    pub record_frames: bool,
    /// Whether the numbers of samples and the events sent are written down.
    pub numbered: bool,
    /// The way out.
    pub writer: Writer,
    /// How to cut the line.
    pub cord: Option<Cord>,
}

/// What is still done on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything.
    Open,
    /// All but events.
    Silent,
    /// Nothing; the socket stays.
    HalfOpen,
    /// A close frame was sent: the answer is awaited.
    Closing,
    /// Over.
    Gone,
}

/// One connection, run by one task.
pub struct Connection {
    parts: Parts,
    reader: Reader,
    schedule: Schedule,
    phase: Phase,
    started: Instant,
    read_on: Instant,
    stopped_reading: bool,
    goodbye: Option<Instant>,
    sent: u64,
    out: Vec<Output>,
}

impl Connection {
    /// A connection that has just been upgraded; `out` is what its protocol says first.
    #[must_use]
    pub fn new(parts: Parts, out: Vec<Output>) -> Self {
        let now = Instant::now();
        Self {
            schedule: Schedule::new(&parts.faults, parts.longest_ms),
            parts,
            reader: Reader::default(),
            phase: Phase::Open,
            started: now,
            read_on: now,
            stopped_reading: false,
            goodbye: None,
            sent: 0,
            out,
        }
    }

    /// Runs until either side is gone.
    pub async fn run(mut self, mut payload: Payload) {
        self.on_time();
        self.speak();
        while self.phase != Phase::Gone {
            let wake = self.wake();
            let reading = self.reading();
            tokio::select! {
                () = self.parts.writer.gone() => self.over(1006),
                () = sleep_until(wake) => self.on_time(),
                chunk = payload.next(), if reading => match chunk {
                    Some(Ok(bytes)) => self.on_bytes(&bytes),
                    Some(Err(_)) | None => self.over(1006),
                },
            }
            self.speak();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn reading(&self) -> bool {
        let open = matches!(self.phase, Phase::Open | Phase::Silent | Phase::Closing);
        open && !self.stopped_reading && Instant::now() >= self.read_on
    }

    fn wake(&self) -> Instant {
        let at = |ms: u64| self.started + Duration::from_millis(ms.min(1 << 40));
        let now = Instant::now();
        let waits = [
            self.schedule.next_ms().map(at),
            self.parts.protocol.deadline_ms().map(at),
            self.goodbye,
            (self.read_on > now).then_some(self.read_on),
        ];
        waits.into_iter().flatten().min().unwrap_or(now + FAR)
    }

    fn on_time(&mut self) {
        let now_ms = self.now_ms();
        if self.goodbye.is_some_and(|at| at <= Instant::now()) {
            self.over(1006);
        }
        self.parts.protocol.on_time(now_ms, &mut self.out);
        while let Some(act) = self.schedule.due(now_ms) {
            self.speak();
            self.act(act);
        }
    }

    fn act(&mut self, act: Act) {
        if matches!(self.phase, Phase::Gone | Phase::HalfOpen) && act != Act::Drop {
            return;
        }
        match act {
            Act::Drop => self.cut(),
            Act::Close { code, reason } => self.close(code, &reason),
            Act::Silence => self.phase = Phase::Silent,
            Act::HalfOpen => self.phase = Phase::HalfOpen,
            Act::Error(fault) => self.out.push(self.parts.protocol.error(&fault)),
            Act::StopReading => self.stopped_reading = true,
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        let slow = self.parts.faults.slow_reads.as_ref().and_then(|slow| slow.bytes_per_second);
        if let Some(rate) = slow {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.read_on = Instant::now() + Duration::from_millis(length.saturating_mul(1000) / rate.max(1));
        }
        self.reader.feed(bytes);
        while matches!(self.phase, Phase::Open | Phase::Silent | Phase::Closing) {
            match self.reader.message() {
                Ok(Some(message)) => self.on_message(message),
                Ok(None) => return,
                Err(code) => self.close(code, ""),
            }
            self.speak();
        }
    }

    fn on_message(&mut self, message: Incoming) {
        let now_ms = self.now_ms();
        let parts = &mut self.parts;
        match message {
            Incoming::Close(code) => {
                parts.page.record().end(code.unwrap_or(1005), true);
                if self.phase != Phase::Closing {
                    parts.writer.close(code, "");
                    parts.writer.flush();
                }
                self.over(1006);
            }
            Incoming::Ping(bytes) => {
                parts.page.record().pings += 1;
                if !parts.faults.no_pong {
                    parts.writer.pong(bytes);
                }
            }
            Incoming::Pong => parts.page.record().pongs += 1,
            Incoming::Text(_) | Incoming::Binary(_) if self.phase == Phase::Closing => {}
            Incoming::Text(text) => {
                let seen = parts.protocol.on_text(&text, now_ms, &mut self.out);
                let mut record = parts.page.record();
                record.saw(seen);
                if parts.record_frames {
                    record.keep(&text);
                }
                if let Some(numbers) = parts.protocol.numbers() {
                    record.numbers.clone_from(numbers);
                }
            }
            Incoming::Binary(bytes) => {
                let seen = parts.protocol.on_binary(&bytes, now_ms, &mut self.out);
                parts.page.record().saw(seen);
            }
        }
    }

    /// Sends what the protocol said, as far as the phase allows.
    fn speak(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Event { name, text } if self.phase == Phase::Open => self.send(name, text),
                Output::Event { .. } => {}
                Output::Close { code, reason } => self.close(code, &reason),
            }
        }
        self.out = out;
        let writes = matches!(self.phase, Phase::Open | Phase::Silent | Phase::Closing);
        if writes && !self.parts.writer.flush() {
            self.cut();
        }
    }

    fn send(&mut self, name: &'static str, text: String) {
        let faults = &self.parts.faults;
        let text = match faults.huge_frames {
            Some(size) if matches!(name, "response.created" | "response.audio.delta") => padded(text, size),
            _ => text,
        };
        if faults.drop_mid_delta && is_translation(name) {
            self.parts.writer.half(text);
            self.parts.writer.flush();
            return self.over(1006);
        }
        if self.parts.numbered {
            self.parts.page.record().told(name, &text);
        }
        self.parts.writer.event(text, faults.fragment);
        self.sent += 1;
        let ends = faults.close.as_ref().filter(|close| close.after_events == Some(self.sent)).map(|close| close.act());
        {
            let mut record = self.parts.page.record();
            record.events_sent = self.sent;
            record.responses += u64::from(name == "response.done");
            record.finished |= matches!(name, "session.finished" | "task-finished");
        }
        if let Some(act) = ends {
            self.act(act);
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        if !matches!(self.phase, Phase::Open | Phase::Silent) {
            return;
        }
        self.parts.page.record().end(code, false);
        self.parts.writer.close(Some(code), reason);
        self.phase = Phase::Closing;
        self.goodbye = Some(Instant::now() + GOODBYE);
    }

    /// Cuts the TCP connection without a word.
    fn cut(&mut self) {
        self.parts.page.record().end(1006, false);
        if let Some(cord) = &self.parts.cord {
            // It may be closed already.
            cord.0.shutdown(Shutdown::Both).unwrap_or_default();
        }
        self.phase = Phase::Gone;
    }

    fn over(&mut self, code: u16) {
        self.parts.page.record().end(code, true);
        self.phase = Phase::Gone;
    }
}

/// The text with blanks before its last brace, so that its frame is `size` bytes long.
fn padded(mut text: String, size: usize) -> String {
    // A server's frame has a header of 2, 4 or 10 bytes.
    let size = size.min(LARGEST_PAD);
    let header = if size > 65_535 + 4 { 10 } else { 4 };
    let missing = size.saturating_sub(header + text.len());
    if text.pop() == Some('}') {
        text.extend(std::iter::repeat_n(' ', missing));
        text.push('}');
    }
    text
}

fn is_translation(name: &str) -> bool {
    let piece = name.starts_with("response.") && (name.ends_with(".delta") || name.ends_with(".text"));
    piece || name == "result-generated"
}
