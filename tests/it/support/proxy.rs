//! A wire between the gateway and its store that can be cut, or go dead without a word.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It carries.
    Whole,
    /// Connections break, new ones are closed at once.
    Cut,
    /// Connections stay open and carry nothing.
    Dead,
}

/// The wire; it is gone with its test.
pub(crate) struct Proxy {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    state: watch::Sender<Wire>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A whole wire to `target`, `host:port`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, states) = watch::channel(Wire::Whole);
        let target = target.to_owned();
        let accepting = tokio::task::spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::task::spawn_local(carry(client, target.clone(), states.clone()));
            }
        });
        Self { address, state, accepting }
    }

    /// From now on the wire does this.
    pub(crate) fn set(&self, wire: Wire) {
        self.state.send_replace(wire);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, target: String, mut states: watch::Receiver<Wire>) {
    if *states.borrow() == Wire::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
    let up = pump(client_read, server_write, states.clone());
    let down = pump(server_read, client_write, states.clone());
    let cut = async {
        let _gone = states.wait_for(|wire| *wire == Wire::Cut).await;
    };
    tokio::select! { () = up => {}, () = down => {}, () = cut => {} }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut states: watch::Receiver<Wire>,
) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if states.wait_for(|wire| *wire != Wire::Dead).await.is_err() || to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
