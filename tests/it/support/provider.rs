//! As much of a provider as tells whether it takes a credential.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A provider that takes one credential, whichever way it comes, and answers others with 401.
pub(crate) struct Provider {
    /// `http://…`
    pub(crate) url: String,
    /// The request line of each request.
    pub(crate) asked: Rc<RefCell<Vec<String>>>,
}

impl Provider {
    /// Listens until the test is over.
    pub(crate) async fn start(credential: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, credential) = (Rc::new(RefCell::new(Vec::new())), credential.to_owned());
        let told = asked.clone();
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::task::spawn_local(answer(socket, credential.clone(), told.clone()));
            }
        });
        Self { url, asked }
    }
}

async fn answer(mut socket: TcpStream, credential: String, told: Rc<RefCell<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(socket.read(&mut byte).await, Ok(1)) {
            return;
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).unwrap();
    told.borrow_mut().push(head.lines().next().unwrap().to_owned());
    let known = head.lines().filter_map(|line| line.split_once(": ")).any(|(name, value)| {
        let name = name.to_ascii_lowercase();
        (name == "authorization" && value == format!("Bearer {credential}"))
            || (name == "x-api-key" && value == credential && head.contains("anthropic-version: 2023-06-01"))
    });
    let status = if known { "200 OK" } else { "401 Unauthorized" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    let _gone = socket.write_all(answer.as_bytes()).await;
}
