//! Keeps a storm of resumes from taking the processor away from those who speak.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// So many resumes are looked into at a time by one worker; the others wait their turn.
const AT_A_TIME: usize = 4;

/// One worker's entrance for clients that come back.
#[derive(Clone)]
pub struct Entrance(Arc<Semaphore>);

impl Default for Entrance {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Entrance {
    /// Waits for its turn, which lasts as long as what is returned.
    ///
    /// # Errors
    /// `Internal`: never, as the entrance is not closed.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.0.clone().acquire_owned().await.map_err(Error::internal)
    }
}
