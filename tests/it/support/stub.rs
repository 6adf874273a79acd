//! A provider that answers what a test wants, word for word, and keeps what it was asked.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it answers from now on.
#[derive(Default)]
struct Says {
    answer: String,
    resets_kept: bool,
}

/// The provider.
pub(crate) struct Stub {
    /// `http://…`
    pub(crate) url: String,
    /// Each request's head.
    pub(crate) heads: Rc<RefCell<Vec<String>>>,
    says: Rc<RefCell<Says>>,
}

impl Stub {
    /// Listens until the test is over; answers nothing sensible yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heads, says) = (Rc::<RefCell<Vec<String>>>::default(), Rc::<RefCell<Says>>::default());
        let (told, saying) = (heads.clone(), says.clone());
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(socket, saying.clone(), told.clone()));
            }
        });
        Self { url, heads, says }
    }

    /// Answers so; `headers` are whole lines.
    pub(crate) fn says(&self, status: u16, headers: &str, body: &str) {
        let length = body.len();
        self.says.borrow_mut().answer = format!(
            "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
    }

    /// Resets a connection on which a second question comes.
    pub(crate) fn resets_kept_connections(&self) {
        self.says.borrow_mut().resets_kept = true;
    }

    /// How often it was asked for something that begins so, e.g. `GET /v1/models`.
    pub(crate) fn asked(&self, line: &str) -> usize {
        self.heads.borrow().iter().filter(|head| head.starts_with(line)).count()
    }
}

async fn serve(mut socket: TcpStream, says: Rc<RefCell<Says>>, told: Rc<RefCell<Vec<String>>>) {
    let mut questions = 0;
    while let Some(head) = question(&mut socket).await {
        questions += 1;
        told.borrow_mut().push(head);
        let answer = says.borrow().answer.clone();
        if questions > 1 && says.borrow().resets_kept {
            // Closed with no patience for what is under way: a reset.
            socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            return;
        }
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a request whole; returns its head.
async fn question(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.ok()?;
    Some(head)
}
