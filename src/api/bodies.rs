//! Reads the bodies of calls: each within its limit and its time, and all of them within the room that this process
//! has for them.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// What all bodies may hold that are read or under way to a provider, KiB.
const ROOM: usize = 256 << 10;
/// The longest that a body may take to come in.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that it waits for room.
const QUEUE: Duration = Duration::from_secs(10);

/// The room for bodies; cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Bodies {
    room: Arc<Semaphore>,
    patience: Duration,
    queue: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM)), patience: PATIENCE, queue: QUEUE }
    }
}

/// A body, with the room that it takes until its last copy is gone.
struct Held {
    body: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Bodies {
    /// Reads a body of `limit` bytes at most.
    ///
    /// # Errors
    /// `TooLarge`, `RequestTimeout`, `InvalidRequest` when it breaks off, `Overloaded` when there is no room for it.
    pub async fn read(
        &self,
        payload: impl Stream<Item = Result<Bytes, PayloadError>>,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let payload = std::pin::pin!(payload);
        let reading = tokio::time::timeout(self.patience, self.gather(payload, limit));
        reading.await.map_err(|_| Error::RequestTimeout { seconds: self.patience.as_secs() })?
    }

    async fn gather(
        &self,
        mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let (mut body, mut room) = (BytesMut::new(), None);
        while let Some(part) = payload.next().await {
            let part = part.map_err(|error| Error::request(format!("the body could not be read: {error}")))?;
            let length = body.len() + part.len();
            if length > limit {
                return Err(Error::TooLarge { limit });
            }
            self.widen(&mut room, length).await?;
            // Most bodies come in one piece.
            if body.is_empty() {
                body = BytesMut::from(part);
            } else {
                body.extend_from_slice(&part);
            }
        }
        let body = body.freeze();
        Ok(match room {
            Some(room) => Bytes::from_owner(Held { body, _room: room }),
            None => body,
        })
    }

    /// Takes room as bytes come, so that none is kept by what was only announced.
    async fn widen(&self, room: &mut Option<OwnedSemaphorePermit>, length: usize) -> Result<(), Error> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = length.div_ceil(1 << 10).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| Error::Overloaded)?;
        let more = tokio::time::timeout(self.queue, self.room.clone().acquire_many_owned(missing)).await;
        let more = more.map_err(|_| Error::Overloaded)?.map_err(Error::internal)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}

/// Refuses a body by the length that it is announced with.
///
/// # Errors
/// `TooLarge`.
pub fn check_length(request: &HttpRequest, limit: usize) -> Result<(), Error> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) { Err(Error::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn bodies(kib: usize) -> Bodies {
        let (patience, queue) = (Duration::from_millis(200), Duration::from_millis(20));
        Bodies { room: Arc::new(Semaphore::new(kib)), patience, queue }
    }

    fn pieces(count: usize) -> impl Stream<Item = Result<Bytes, PayloadError>> {
        stream::iter((0..count).map(|_| Ok(Bytes::from_static(&[b'x'; 1_000]))))
    }

    #[actix_web::test]
    async fn a_body_takes_room_until_its_last_copy_is_gone() {
        let bodies = bodies(5);
        let body = bodies.read(pieces(4), 10_000).await.unwrap();
        assert_eq!((body.len(), bodies.room.available_permits()), (4_000, 1));
        let copy = body.slice(10..20);
        drop(body);
        assert!(matches!(bodies.read(pieces(2), 10_000).await, Err(Error::Overloaded)));
        assert_eq!(bodies.room.available_permits(), 1, "who is refused holds nothing");
        drop(copy);
        assert_eq!(bodies.read(pieces(5), 10_000).await.unwrap().len(), 5_000);
        assert_eq!(bodies.room.available_permits(), 5);
        assert!(bodies.read(stream::empty(), 10_000).await.unwrap().is_empty());
    }

    #[actix_web::test]
    async fn a_body_is_bounded_in_length_and_time() {
        let bodies = bodies(100);
        assert!(matches!(bodies.read(pieces(11), 10_000).await, Err(Error::TooLarge { limit: 10_000 })));
        let slow = pieces(1).chain(stream::pending());
        let late = bodies.read(slow, 10_000).await.unwrap_err();
        assert_eq!((late.row().status, late.row().code), (408, "request_timeout"));
        assert_eq!(bodies.room.available_permits(), 100);
    }
}
