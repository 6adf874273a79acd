//! A caller for the tests: asks a simulator over HTTP and keeps what came.

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::calls::CallRecord;
use crate::simulator::server::{Options, Simulator};

/// A simulator and somebody who calls it.
pub(super) struct Caller {
    pub(super) simulator: Simulator,
    client: awc::Client,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: awc::http::header::HeaderMap,
    pub(super) body: Bytes,
}

impl Caller {
    /// With these faults for each call.
    pub(super) async fn start(faults: Value) -> Self {
        let http_faults = serde_json::from_value(faults).unwrap();
        let simulator = Simulator::start(Options { http_faults, ..Options::default() }).await.unwrap();
        let timeout = std::time::Duration::from_secs(60);
        Self { simulator, client: awc::Client::builder().timeout(timeout).finish() }
    }

    /// These faults for the next call.
    pub(super) fn next(&self, faults: Value) {
        self.simulator.next_http_faults(serde_json::from_value(faults).unwrap());
    }

    pub(super) fn request(&self, method: &str, path: &str) -> awc::ClientRequest {
        let url = format!("{}{path}", self.simulator.http_base());
        self.client.request(method.parse().unwrap(), url).bearer_auth("sk-test")
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request("POST", path).send_json(body).await.unwrap()).await
    }

    pub(super) async fn fetch(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path).send().await.unwrap()).await
    }

    /// All bytes that come until the connection ends, which must be by the simulator's doing.
    pub(super) async fn raw(&self, path: &str, body: &Value) -> String {
        let mut socket = TcpStream::connect(self.simulator.address()).await.unwrap();
        let (body, mut bytes) = (body.to_string(), Vec::new());
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {}", body.len());
        socket.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        // Cut while something is unread, it may end in a reset.
        socket.read_to_end(&mut bytes).await.unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// The last call's record.
    pub(super) fn last(&self) -> CallRecord {
        self.simulator.calls().pop().unwrap()
    }
}

impl Answer {
    pub(super) async fn of<S>(mut response: awc::ClientResponse<S>) -> Self
    where
        S: futures_util::Stream<Item = Result<Bytes, awc::error::PayloadError>> + Unpin,
    {
        let mut body = Vec::new();
        while let Some(part) = response.next().await {
            body.extend_from_slice(&part.unwrap());
        }
        Self { status: response.status().as_u16(), headers: response.headers().clone(), body: body.into() }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The data of the events, without `[DONE]`.
    pub(super) fn events(&self) -> Vec<Value> {
        let data = self.text().lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// What the events say at this place, joined.
    pub(super) fn told(&self, place: &str) -> String {
        let events = self.events();
        events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect()
    }
}
