//! Back-pressure by bytes: what one half of a session has taken and the other not yet delivered.
//!
//! A [`Flow`] is charged for each message on its way. While more than its limit is held, the [`Gate`]
//! in front of the source lets nothing more in, so the sender's own socket fills up and it waits.
//! Both halves may be on different threads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::task::AtomicWaker;

/// Held towards a customer at most, before one frame more: a quarter of what the contract allows, since actix-http
/// buffers too, and a resumable session keeps a replay.
pub const DOWNLINK_LIMIT: usize = 256 * 1024;
/// Held towards the provider at most, before one frame more.
pub const UPLINK_LIMIT: usize = 256 * 1024;
/// What a message costs at least, so that tiny ones can't overflow a mailbox.
const LEAST_CHARGE: usize = 1_024;
/// Mailbox places beyond those that charged messages can fill.
const CONTROL_MARGIN: usize = 64;

/// Mailbox places that messages under this limit can't overflow.
#[must_use]
pub const fn mailbox_capacity(limit: usize) -> usize {
    limit / LEAST_CHARGE + CONTROL_MARGIN
}

/// What a message of this length is charged.
#[must_use]
pub fn charge(length: usize) -> usize {
    length.max(LEAST_CHARGE)
}

/// One direction of one session. Clones share it.
#[derive(Clone)]
pub struct Flow(Arc<Inner>);

struct Inner {
    limit: usize,
    held: AtomicUsize,
    /// Handed to the socket's body, not yet asked for again.
    staged: AtomicUsize,
    begun: Instant,
    /// Milliseconds after `begun` when something was last delivered, or first held.
    moved_ms: AtomicU64,
    waker: AtomicWaker,
}

impl Flow {
    /// A flow that closes its gate beyond `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit,
            held: AtomicUsize::new(0),
            staged: AtomicUsize::new(0),
            begun: Instant::now(),
            moved_ms: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }))
    }

    /// A message is on its way.
    pub fn take(&self, charge: usize) {
        if self.0.held.fetch_add(charge, Ordering::AcqRel) == 0 {
            self.touch();
        }
    }

    /// So much was delivered or dropped.
    pub fn give(&self, charge: usize) {
        if charge == 0 {
            return;
        }
        let before =
            self.0.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| Some(held.saturating_sub(charge)));
        self.touch();
        let held = before.unwrap_or_default().saturating_sub(charge);
        if held <= self.0.limit {
            self.0.waker.wake();
        }
    }

    /// Whoever it was on its way to is not waited for any more.
    pub fn give_all(&self) {
        self.give(usize::MAX);
    }

    /// So much was handed to the socket; it counts as delivered when the socket asks for more.
    pub fn stage(&self, charge: usize) {
        self.0.staged.fetch_add(charge, Ordering::AcqRel);
    }

    fn staged(&self) -> usize {
        self.0.staged.swap(0, Ordering::AcqRel)
    }

    /// For how long nothing moved although something is held; zero when it flows.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        if self.0.held.load(Ordering::Acquire) == 0 {
            return Duration::ZERO;
        }
        let moved = Duration::from_millis(self.0.moved_ms.load(Ordering::Acquire));
        self.0.begun.elapsed().saturating_sub(moved)
    }

    /// It moves: only from now on may it be stalled.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.moved_ms.store(elapsed, Ordering::Release);
    }

    /// Lets whoever waits look again: another one may have taken his place.
    pub fn wake(&self) {
        self.0.waker.wake();
    }

    /// Whether it takes more.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.held.load(Ordering::Acquire) <= self.0.limit
    }

    /// Resolves when it takes more. One at a time may wait, for this or at a gate.
    pub fn opened(&self) -> impl Future<Output = ()> + use<> {
        let flow = self.clone();
        std::future::poll_fn(move |cx| flow.poll_open(cx))
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        let open = || self.0.held.load(Ordering::Acquire) <= self.0.limit;
        if open() {
            return Poll::Ready(());
        }
        self.0.waker.register(cx.waker());
        if open() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A source that waits while its flow holds too much.
pub struct Gate<S> {
    flow: Flow,
    inner: S,
}

impl<S> Gate<S> {
    /// Puts the flow's gate in front of a source.
    pub fn new(flow: Flow, inner: S) -> Self {
        Self { flow, inner }
    }
}

impl<S: Stream + Unpin> Stream for Gate<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        ready!(self.flow.poll_open(cx));
        Pin::new(&mut self.inner).poll_next(cx)
    }
}

/// A WebSocket's response body that gives credit back when the socket asks for more: not when a chunk
/// is handed over, since all that is queued makes one chunk.
pub struct Delivered {
    flow: Flow,
    inner: BoxBody,
    last: usize,
}

impl Delivered {
    /// Wraps the body of an upgraded answer.
    #[must_use]
    pub fn new(flow: Flow, inner: BoxBody) -> Self {
        Self { flow, inner, last: 0 }
    }
}

impl MessageBody for Delivered {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let delivered = std::mem::take(&mut self.last);
        self.flow.give(delivered);
        let item = ready!(Pin::new(&mut self.inner).poll_next(cx));
        if let Some(Ok(_)) = &item {
            self.last = self.flow.staged();
        }
        Poll::Ready(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt, stream};

    #[test]
    fn the_gate_closes_and_opens() {
        let flow = Flow::new(2_048);
        let mut gate = Gate::new(flow.clone(), stream::iter(1..=9));
        for _ in 0..3 {
            assert!(gate.next().now_or_never().is_some());
            flow.take(charge(10));
        }
        assert!(gate.next().now_or_never().is_none(), "3 KiB are held, 2 KiB allowed");
        flow.give(charge(10));
        assert_eq!(gate.next().now_or_never(), Some(Some(4)));
        flow.take(5_000);
        assert!(gate.next().now_or_never().is_none());
        flow.give_all();
        assert_eq!(gate.next().now_or_never(), Some(Some(5)));
    }

    #[test]
    fn giving_too_much_is_harmless() {
        let flow = Flow::new(10);
        flow.give(5_000);
        flow.take(1_024);
        assert!(Gate::new(flow, stream::iter([1])).next().now_or_never().is_none());
    }
}
