//! A gateway of a few lines that speaks the continuity extension and breaks off where a test wants it to.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use actix_codec::Framed;
use actix_http::ws::{Codec, Frame, Message, hash_key};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The token that it grants.
pub(crate) const TOKEN: &str = "rt_a-secret-token";
/// Samples of a sentence.
pub(crate) const SENTENCE: usize = 5_000;

/// What it does to a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Cuts it after so many frames to the client.
    Cut(usize),
    /// The same, and forgets what is not acknowledged.
    Crash(usize),
    /// Says after so many frames that it goes away.
    GoAway(usize),
    /// Closes with a code after so many frames.
    Close(usize, u16),
    /// Doesn't upgrade, with this status.
    Refuse(u16),
}

/// The gateway, seen from a test.
#[derive(Clone)]
pub(crate) struct FakeGateway {
    address: String,
    session: Rc<RefCell<Session>>,
}

#[derive(Default)]
struct Session {
    faults: VecDeque<Fault>,
    window_ms: u64,
    accepted: Vec<i16>,
    epoch: u64,
    /// Counted events, from 1.
    events: Vec<String>,
    /// Ends of sentences, with the last event of each.
    said: Vec<(usize, usize)>,
    started: usize,
    configured: bool,
    finished: bool,
    crashed: bool,
    /// The client was not heard since the crash: it may not know that counting began anew.
    unheard: bool,
    acked: usize,
    runs: usize,
    paths: Vec<String>,
    /// Only the newest is heard.
    connection: usize,
}

impl FakeGateway {
    /// Listens; each connection meets the next fault, those behind them none.
    pub(crate) async fn start(faults: &[Fault], window_ms: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let session = Session { faults: faults.iter().copied().collect(), window_ms, ..Session::default() };
        let gateway = Self { address, session: Rc::new(RefCell::new(session)) };
        let serving = gateway.clone();
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::task::spawn_local(async move { serving.serve(socket).await });
            }
        });
        gateway
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The speech that it has, each sample once.
    pub(crate) fn accepted(&self) -> Vec<i16> {
        self.session.borrow().accepted.clone()
    }

    /// The paths that were asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.session.borrow().paths.clone()
    }

    async fn serve(self, mut socket: TcpStream) -> Option<()> {
        let (path, key) = head(&mut socket).await?;
        if !path.starts_with("/v1/realtime") {
            return answer(&mut socket, 200).await;
        }
        self.session.borrow_mut().paths.push(path.clone());
        let fault = self.session.borrow_mut().faults.pop_front();
        if let Some(Fault::Refuse(status)) = fault {
            return answer(&mut socket, status).await;
        }
        let accept = hash_key(key.as_bytes());
        let accept = std::str::from_utf8(&accept).unwrap();
        let upgrade = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        socket.write_all(upgrade.as_bytes()).await.ok()?;
        let mut line = Line { socket: Framed::new(socket, Codec::new().max_size(4 << 20)), fault, sent: 0 };
        let (greeting, connection) = {
            let mut session = self.session.borrow_mut();
            session.connection += 1;
            (session.greeting(&path), session.connection)
        };
        let served = self.talk(&mut line, greeting, connection).await;
        if served.is_none() && matches!(fault, Some(Fault::Crash(_))) {
            self.session.borrow_mut().crashed = true;
        }
        served
    }

    async fn talk(&self, line: &mut Line, greeting: Vec<String>, connection: usize) -> Option<()> {
        for event in greeting {
            line.say(event).await?;
        }
        while let Some(Ok(frame)) = line.socket.next().await {
            let Frame::Text(text) = frame else { continue };
            if self.session.borrow().connection != connection {
                break;
            }
            let event: Value = serde_json::from_slice(&text).unwrap();
            let answers = self.session.borrow_mut().hear(&event);
            for answer in answers {
                line.say(answer).await?;
            }
        }
        Some(())
    }
}

/// One connection.
struct Line {
    socket: Framed<TcpStream, Codec>,
    fault: Option<Fault>,
    sent: usize,
}

impl Line {
    /// Sends an event; `None` when the connection is to be cut instead.
    async fn say(&mut self, event: String) -> Option<()> {
        match self.fault {
            Some(Fault::Cut(frames) | Fault::Crash(frames)) if self.sent >= frames => return None,
            Some(Fault::Close(frames, code)) if self.sent >= frames => {
                self.socket.send(Message::Close(Some(actix_http::ws::CloseCode::from(code).into()))).await.ok()?;
                return None;
            }
            Some(Fault::GoAway(frames)) if self.sent == frames => {
                let event = json!({"type": "gateway.going_away", "deadline_ms": 10_000}).to_string();
                self.socket.send(Message::Text(event.into())).await.ok()?;
            }
            _ => {}
        }
        self.sent += 1;
        self.socket.send(Message::Text(event.into())).await.ok()
    }
}

impl Session {
    /// What a new connection hears first.
    fn greeting(&mut self, path: &str) -> Vec<String> {
        let Some(last_seq) = number(path, "last_seq=") else {
            let (faults, paths) = (std::mem::take(&mut self.faults), std::mem::take(&mut self.paths));
            *self = Self {
                faults,
                paths,
                window_ms: self.window_ms,
                epoch: 1,
                runs: self.runs + 1,
                connection: self.connection,
                ..Self::default()
            };
            let granted = json!({"type": "gateway.session", "session_id": "gws_1", "resume_token": TOKEN,
                "window_ms": self.window_ms, "epoch": 1});
            return vec![
                granted.to_string(),
                self.event(json!({"type": "session.created", "session": {"id": "sess_1"}})),
            ];
        };
        assert!(path.contains(&format!("resume={TOKEN}")), "{path}");
        let mut seq = if self.unheard { 0 } else { last_seq };
        self.delivered(seq);
        if std::mem::take(&mut self.crashed) {
            self.accepted.truncate(self.acked);
            self.events.clear();
            self.said.retain(|(end, _)| *end <= self.acked);
            self.said.iter_mut().for_each(|(_, last)| *last = 0);
            (self.started, self.finished) = (self.said.len(), false);
            (self.epoch, self.runs, seq, self.unheard) = (self.epoch + 1, self.runs + 1, 0, true);
        }
        let resumed = json!({"type": "gateway.resumed", "session_id": "gws_1", "epoch": self.epoch,
            "samples": self.accepted.len(), "seq": seq});
        let missed = self.events[seq..].iter().cloned();
        [resumed.to_string()].into_iter().chain(missed).collect()
    }

    /// Events up to this one arrived: whole sentences among them are acknowledged.
    fn delivered(&mut self, seq: usize) {
        let ends = self.said.iter().filter(|(_, last)| *last <= seq).map(|(end, _)| *end);
        self.acked = ends.max().unwrap_or(0).max(self.acked);
    }

    /// Takes a client's event; answers what to say.
    fn hear(&mut self, event: &Value) -> Vec<String> {
        self.unheard = false;
        match event["type"].as_str().unwrap() {
            "session.update" => {
                self.configured = true;
                vec![self.event(json!({"type": "session.updated"}))]
            }
            "input_audio_buffer.append" => {
                assert!(self.configured, "speech came before the settings");
                let bytes = BASE64_STANDARD.decode(event["audio"].as_str().unwrap()).unwrap();
                self.accepted.extend(bytes.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
                self.translate(false)
            }
            "session.finish" if self.finished => Vec::new(),
            "session.finish" => {
                self.finished = true;
                let mut events = self.translate(true);
                events.push(self.event(json!({"type": "session.finished"})));
                events
            }
            "gateway.received" => {
                self.delivered(usize::try_from(event["seq"].as_u64().unwrap()).unwrap());
                vec![json!({"type": "gateway.ack", "samples": self.acked}).to_string()]
            }
            other => panic!("{other}"),
        }
    }

    /// Sentences of a fixed length, whose captions and speech are made of their samples.
    fn translate(&mut self, all: bool) -> Vec<String> {
        let mut events = Vec::new();
        while self.accepted.len() > self.said.len() * SENTENCE {
            let (index, start) = (self.said.len(), self.said.len() * SENTENCE);
            let end = (start + SENTENCE).min(self.accepted.len());
            let (item, response) = (format!("item_{}_{index}", self.runs), format!("resp_{}_{index}", self.runs));
            if self.started == index {
                self.started += 1;
                let at = start / 16;
                events.push(self.event(
                    json!({"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": at}),
                ));
            }
            if end < start + SENTENCE && !all {
                break;
            }
            let said = format!("{}…{}", self.accepted[start], self.accepted[end - 1]);
            let speech = BASE64_STANDARD.encode(self.accepted[start].to_le_bytes().repeat(3));
            let transcription = "conversation.item.input_audio_transcription";
            for event in [
                json!({"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": end / 16}),
                json!({"type": format!("{transcription}.text"), "item_id": item, "text": "", "stash": "what"}),
                json!({"type": "response.created", "response": {"id": response}}),
                json!({"type": format!("{transcription}.completed"), "item_id": item, "transcript": format!("heard {said}")}),
                json!({"type": "response.audio_transcript.delta", "response_id": response, "delta": "sa"}),
                json!({"type": "response.audio.delta", "response_id": response, "delta": speech}),
                json!({"type": "response.audio_transcript.delta", "response_id": response, "delta": "id"}),
                json!({"type": "response.audio.delta", "response_id": response, "delta": speech}),
                json!({"type": "response.audio_transcript.done", "response_id": response, "transcript": format!("said {said}")}),
                json!({"type": "response.done", "response": {"id": response, "status": "completed"}}),
            ] {
                events.push(self.event(event));
            }
            self.said.push((end, self.events.len()));
        }
        events
    }

    fn event(&mut self, event: Value) -> String {
        let event = event.to_string();
        self.events.push(event.clone());
        event
    }
}

/// A request's path and WebSocket key.
async fn head(socket: &mut TcpStream) -> Option<(String, String)> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(socket.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).unwrap();
    let path = text.split(' ').nth(1)?.to_owned();
    let key =
        text.lines().find_map(|line| line.to_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim()));
    Some((path, key.unwrap_or_default().to_owned()))
}

async fn answer(socket: &mut TcpStream, status: u16) -> Option<()> {
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    socket.write_all(text.as_bytes()).await.ok()
}

fn number(path: &str, name: &str) -> Option<usize> {
    path.split_once(name)?.1.parse().ok()
}
