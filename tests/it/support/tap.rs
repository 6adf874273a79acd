//! A provider whose answers last for as long as a test wants.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Tokens that each of its answers costs: of the request, of the answer.
pub(crate) const COST: (u64, u64) = (11, 7);

/// The provider, as a chat model in OpenAI's words.
pub(crate) struct Tap {
    /// `http://…`
    pub(crate) url: String,
    closed: watch::Sender<bool>,
    asked: Rc<Cell<usize>>,
}

impl Tap {
    /// Listens until the test is over. Streams begin and don't end, whole answers don't begin, until
    /// [`Tap::finish`].
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (closed, finish) = watch::channel(false);
        let asked = Rc::<Cell<usize>>::default();
        let counter = asked.clone();
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(socket, finish.clone(), counter.clone()));
            }
        });
        Self { url, closed, asked }
    }

    /// Ends every answer, those to come too.
    pub(crate) fn finish(&self) {
        self.closed.send_replace(true);
    }

    /// Waits until so many calls have come in all.
    pub(crate) async fn asked(&self, calls: usize) {
        while self.asked.get() < calls {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn serve(mut socket: TcpStream, mut finish: watch::Receiver<bool>, asked: Rc<Cell<usize>>) {
    let Some(body) = question(&mut socket).await else { return };
    asked.set(asked.get() + 1);
    let streams = body.contains("\"stream\":true");
    let kind = if streams { "text/event-stream" } else { "application/json" };
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let usage = format!(r#""usage":{{"prompt_tokens":{},"completion_tokens":{}}}"#, COST.0, COST.1);
    if streams {
        let first = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"first\"},\"finish_reason\":null}]}\n\n";
        socket.write_all(format!("{head}{}", chunk(first)).as_bytes()).await.unwrap();
    }
    let _over = finish.wait_for(|finished| *finished).await;
    let rest = if streams {
        let stop = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        chunk(&format!("{stop}\n\ndata: {{\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n"))
    } else {
        let choice = r#"{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}"#;
        let body = format!("{{\"object\":\"chat.completion\",\"choices\":[{choice}],{usage}}}");
        format!("{head}{}", chunk(&body))
    };
    let _gone = socket.write_all(format!("{rest}0\r\n\r\n").as_bytes()).await;
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Reads a request whole; returns its body.
async fn question(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.ok()?;
    String::from_utf8(body).ok()
}
