//! A body on its way out: paced, padded and cut on demand, and written down as it is taken.

use std::convert::Infallible;
use std::iter::Peekable;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::rt::time::{Sleep, sleep};
use bytes::Bytes;

use super::calls::{CallPage, Usage};
use super::faults::HttpFaults;
use super::refusal::{Api, Refusal};
use super::sse::{Frame, Frames, padded};
use crate::simulator::connection::Cord;

/// How a body goes out.
pub struct Way {
    /// What goes wrong.
    pub faults: HttpFaults,
    /// Who words the error, should there be one.
    pub api: Api,
    /// The call's id.
    pub id: String,
    /// Where it is written down.
    pub page: CallPage,
    /// The socket, to be cut.
    pub cord: Option<Cord>,
}

/// Where a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// On its way.
    Open,
    /// What was handed over goes out; then the socket is cut.
    Cutting,
    /// Nothing more comes.
    Over,
}

/// A body.
pub struct Body {
    frames: Peekable<Frames>,
    size: BodySize,
    way: Way,
    sent: u64,
    cut_at: Option<u64>,
    error_at: Option<u64>,
    /// Whether its end is an error.
    fails: bool,
    phase: Phase,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body {
    /// A stream of events.
    #[must_use]
    pub fn stream(frames: Frames, way: Way) -> Self {
        let (cut_at, error_at) = (way.faults.drop_after_chunks, way.faults.error_after_chunks);
        Self { cut_at, error_at, ..Self::new(frames, BodySize::Stream, way) }
    }

    /// An answer in one piece.
    #[must_use]
    pub fn whole(mut frame: Frame, way: Way) -> Self {
        if let Some(size) = way.faults.huge_chunk {
            frame.bytes = padded(frame.bytes, size);
        }
        let size = BodySize::Sized(u64::try_from(frame.bytes.len()).unwrap_or(u64::MAX));
        let Some(cut) = way.faults.drop_after_chunks else {
            return Self::new(Box::new(std::iter::once(frame)), size, way);
        };
        let half = frame.bytes.split_to(frame.bytes.len() / 2);
        let half = Frame { bytes: half, usage: Usage::default(), told: false };
        Self { cut_at: Some(cut.min(1)), ..Self::new(Box::new([half, frame].into_iter()), size, way) }
    }

    /// An error event alone.
    #[must_use]
    pub fn error(refusal: &Refusal, way: Way) -> Self {
        let event = refusal.event(way.api, &way.id, 1);
        let frame = Frame { bytes: event.into(), usage: Usage::default(), told: false };
        Self { fails: true, ..Self::new(Box::new(std::iter::once(frame)), BodySize::Stream, way) }
    }

    fn new(frames: Frames, size: BodySize, way: Way) -> Self {
        let timer = way.faults.first_byte_delay_ms.map(|ms| Box::pin(sleep(Duration::from_millis(ms))));
        let frames = frames.peekable();
        Self { frames, size, way, sent: 0, cut_at: None, error_at: None, fails: false, phase: Phase::Open, timer }
    }

    /// Hands over the next event and writes it down.
    fn next(&mut self) -> Option<Bytes> {
        let mut frame = self.frames.next()?;
        if let Some(size) = self.way.faults.huge_chunk.filter(|_| self.sent == 0 && self.size == BodySize::Stream) {
            frame.bytes = padded(frame.bytes, size);
        }
        self.sent += 1;
        self.way.page.sent(&frame.usage, frame.told);
        if self.frames.peek().is_none() {
            self.phase = Phase::Over;
            if !self.fails {
                self.way.page.finish();
            }
        }
        self.timer = self.way.faults.chunk_delay_ms.map(|ms| Box::pin(sleep(Duration::from_millis(ms))));
        Some(frame.bytes)
    }

    /// The event that ends a stream before its time.
    fn breaking(&mut self) -> Bytes {
        self.phase = Phase::Over;
        self.way.page.sent(&Usage::default(), false);
        Refusal::midway(&self.way.faults).event(self.way.api, &self.way.id, self.sent + 1).into()
    }
}

impl MessageBody for Body {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        match this.phase {
            Phase::Over => return Poll::Ready(None),
            Phase::Cutting => {
                // Nothing may follow: the socket's end is what ends the connection.
                cut(this.way.cord.as_ref());
                return Poll::Pending;
            }
            Phase::Open => {}
        }
        if let Some(timer) = &mut this.timer {
            ready!(timer.as_mut().poll(context));
            this.timer = None;
        }
        if this.cut_at == Some(this.sent) {
            this.phase = Phase::Cutting;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.error_at == Some(this.sent) {
            return Poll::Ready(Some(Ok(this.breaking())));
        }
        Poll::Ready(this.next().map(Ok))
    }
}

/// Cuts a connection.
pub fn cut(cord: Option<&Cord>) {
    if let Some(cord) = cord {
        // It fails when the connection is gone already.
        cord.0.shutdown(Shutdown::Both).unwrap_or_default();
    }
}
