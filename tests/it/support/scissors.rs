//! A TCP proxy that cuts its first connections after so many bytes to the client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// Listens in front of `target` (`HOST:PORT`); answers its own address. One connection after the other meets the
/// next of `cuts`, those behind them none.
pub(crate) async fn cutting(target: &str, cuts: &[usize]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (target, cuts) = (target.to_owned(), Rc::new(RefCell::new(cuts.iter().copied().collect::<VecDeque<_>>())));
    tokio::task::spawn_local(async move {
        while let Ok((client, _)) = listener.accept().await {
            let cut = cuts.borrow_mut().pop_front();
            tokio::task::spawn_local(forward(client, target.clone(), cut.unwrap_or(usize::MAX)));
        }
    });
    address
}

async fn forward(mut client: TcpStream, target: String, cut: usize) {
    let mut gateway = TcpStream::connect(target).await.unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_gateway, mut to_gateway) = gateway.split();
    let down = async {
        let (mut chunk, mut left) = ([0; 4_096], cut);
        while left > 0 {
            let Ok(count) = from_gateway.read(&mut chunk).await else { return };
            let passed = count.min(left);
            if count == 0 || to_client.write_all(&chunk[..passed]).await.is_err() {
                return;
            }
            left -= passed;
        }
    };
    // Both sockets go with the first direction that ends.
    tokio::select! {
        () = down => {}
        _ = copy(&mut from_client, &mut to_gateway) => {}
    }
}
