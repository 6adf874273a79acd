//! The stand-in upstream: answers every audio frame at once with one of its own.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::frames::{self, Reader, SERVER_PONG, Seen, TEXT};
use crate::head;
use crate::http;
use crate::sessions::Talker;

/// The upstream's end; serves until the program ends.
pub(crate) struct Upstream {
    address: SocketAddr,
    live: Rc<Cell<usize>>,
}

impl Upstream {
    /// Listens on a free port of loopback.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, live) = (listener.local_addr()?, Rc::new(Cell::new(0)));
        spawn_local(accept(listener, live.clone()));
        Ok(Self { address, live })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until no session is open any more; false if some still are after ten seconds.
    pub(crate) async fn emptied(&self) -> bool {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        const LOOKS: usize = 500;
        for _ in 0..LOOKS {
            if self.live.get() == 0 {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }
}

async fn accept(listener: TcpListener, live: Rc<Cell<usize>>) {
    let delta = frames::delta();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (delta, live) = (delta.clone(), live.clone());
        spawn_local(async move {
            live.set(live.get() + 1);
            if let Err(error) = serve(stream, delta).await
                && error.kind() != io::ErrorKind::ConnectionReset
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                eprintln!("the upstream lost a session: {error}");
            }
            live.set(live.get() - 1);
        });
    }
}

async fn serve(mut stream: TcpStream, delta: Bytes) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (head, early) = http::head(&mut stream).await?;
    let key = head::header(&head, "sec-websocket-key").ok_or(io::ErrorKind::InvalidData)?;
    let accept = actix_http::ws::hash_key(key.as_bytes());
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n".to_vec();
    answer.extend_from_slice(b"sec-websocket-accept: ");
    answer.extend_from_slice(&accept);
    answer.extend_from_slice(b"\r\n\r\n");
    answer.extend_from_slice(&frames::server_text(
        r#"{"event_id":"event_1","type":"session.created","session":{"id":"sess_1","object":"realtime.session"}}"#,
    ));
    stream.write_all(&answer).await?;
    let talker = Talker::new(stream, delta);
    let mut reader = Reader::default();
    reader.feed(&early, |seen| answer_to(&seen, &talker));
    while talker.hear(&mut reader, |seen| answer_to(&seen, &talker)).await? {}
    Ok(())
}

fn answer_to(seen: &Seen<'_>, talker: &Rc<Talker>) {
    match seen.opcode {
        TEXT if seen.content.is_empty() => talker.say(),
        TEXT if memchr::memmem::find(seen.content, b"session.finish").is_some() => {
            talker.interject(&frames::server_text(r#"{"event_id":"event_2","type":"session.finished"}"#));
        }
        frames::PING => talker.interject(SERVER_PONG),
        frames::CLOSE => talker.end(),
        _ => {}
    }
}
