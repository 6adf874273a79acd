//! Reads the speech ahead: a frame is ready when it is due, whatever the connection does.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use super::input::Input;

const FRAME_TIME: Duration = Duration::from_millis(100);

/// A source of frames. Dropping it ends the reading.
pub(super) struct Speech {
    frames: mpsc::Receiver<Result<Vec<i16>, Failure>>,
    reader: JoinHandle<()>,
}

impl Speech {
    /// Begins to read, as fast as it is taken or as fast as it is spoken. Needs a `LocalSet`.
    pub(super) fn read(input: Input, fast: bool) -> Self {
        let (ready, frames) = mpsc::channel(1);
        Self { frames, reader: tokio::task::spawn_local(read(input, fast, ready)) }
    }

    /// The next frame; `None` at the end. May be dropped while it waits without losing any.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<i16>, Failure>> {
        self.frames.recv().await
    }
}

impl Drop for Speech {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut input: Input, fast: bool, ready: mpsc::Sender<Result<Vec<i16>, Failure>>) {
    let mut due = Instant::now();
    while let Some(frame) = input.frame().await.transpose() {
        if !fast {
            sleep_until(due).await;
            // After a pause, of a live source or of the network, speech is not hurried.
            due = (due + FRAME_TIME).max(Instant::now());
        }
        let broken = frame.is_err();
        if ready.send(frame).await.is_err() || broken {
            return;
        }
    }
}
