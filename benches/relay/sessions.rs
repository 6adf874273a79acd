//! One end of a session, client's or upstream's: says the same frame again and again, hears by counting.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::frames::{Reader, Seen};

/// Holds whole frames, so that one read is enough for each.
const CHUNK: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// A socket that repeats one frame.
pub(crate) struct Talker {
    stream: TcpStream,
    frame: Bytes,
    /// Bytes of frames that the socket has not taken yet.
    owed: Cell<usize>,
    ended: Cell<bool>,
}

impl Talker {
    /// Repeats `frame` on a socket.
    pub(crate) fn new(stream: TcpStream, frame: Bytes) -> Rc<Self> {
        Rc::new(Self { stream, frame, owed: Cell::new(0), ended: Cell::new(false) })
    }

    /// Says the frame once more: at once, or when the socket has taken those before.
    pub(crate) fn say(self: &Rc<Self>) {
        let waiting = self.owed.replace(self.owed.get() + self.frame.len()) > 0;
        if waiting || self.flush() {
            return;
        }
        let talker = self.clone();
        spawn_local(async move { while talker.stream.writable().await.is_ok() && !talker.flush() {} });
    }

    /// Writes what it can; true when nothing is owed, or never will be.
    fn flush(&self) -> bool {
        while self.owed.get() > 0 && !self.ended.get() {
            let length = self.frame.len();
            let begin = (length - self.owed.get() % length) % length;
            match self.stream.try_write(self.frame.get(begin..).unwrap_or_default()) {
                Ok(written) => self.owed.set(self.owed.get() - written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => self.end(),
            }
        }
        true
    }

    /// Writes a short frame between two others; in the midst of one it is left out.
    pub(crate) fn interject(&self, frame: &[u8]) {
        if self.owed.get() == 0 && self.stream.try_write(frame).is_ok_and(|written| written < frame.len()) {
            self.end();
        }
    }

    /// Says and hears nothing more.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    /// Waits for a chunk and reports the frames that it completes; false when the session is over.
    pub(crate) async fn hear(&self, reader: &mut Reader, seen: impl FnMut(Seen<'_>)) -> io::Result<bool> {
        self.stream.readable().await?;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let read = self.stream.try_read(scratch)?;
            reader.feed(scratch.get(..read).unwrap_or_default(), seen);
            Ok::<_, io::Error>(read)
        });
        match read {
            Ok(read) => Ok(read > 0 && !self.ended.get()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(!self.ended.get()),
            Err(error) => Err(error),
        }
    }
}
