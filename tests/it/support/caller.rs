//! A developer's program: calls models over HTTP with a license.

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::operator::{Answer, Operator};

/// Someone who calls models.
pub(crate) struct Caller {
    url: String,
    token: String,
}

impl Caller {
    /// With this license or key.
    pub(crate) fn new(url: String, token: &str) -> Self {
        Self { url, token: token.to_owned() }
    }

    /// A question to a chat model.
    pub(crate) fn question(text: &str) -> Value {
        json!({"model": "qwen-plus", "messages": [{"role": "user", "content": text}]})
    }

    /// The same, to be answered as a stream.
    pub(crate) fn streamed(text: &str) -> Value {
        let mut question = Self::question(text);
        question["stream"] = Value::from(true);
        question
    }

    /// `POST`, read whole.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Operator::with_bearer(self.url.clone(), &self.token).post(path, body).await
    }

    /// `POST`, read whole; none when the gateway goes away.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<String> {
        let client = awc::Client::builder().timeout(std::time::Duration::from_secs(60)).finish();
        let request = client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let body = request.send_json(body).await.ok()?.body().await.ok()?;
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    /// Anything, read whole.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Operator::with_bearer(self.url.clone(), &self.token).send(method, path, headers, body).await
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Operator::with_bearer(self.url.clone(), &self.token).get(path).await
    }

    /// Asks for a stream, over a connection of its own.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> Opened {
        let client = awc::Client::builder().timeout(std::time::Duration::from_secs(60)).finish();
        let request = client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = request.send_json(body).await.unwrap();
        assert_eq!(answer.status(), 200);
        Opened { answer: Box::pin(answer.map(|piece| piece.map_err(|error| error.to_string()))) }
    }

    /// Asks for a stream and leaves after so many pieces of it; returns status and what came.
    pub(crate) async fn leave_after(&self, path: &str, body: &Value, pieces: usize) -> (u16, Bytes) {
        // A connection of its own, so that leaving closes it.
        let client = awc::Client::builder().timeout(std::time::Duration::from_secs(60)).finish();
        let request = client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let mut answer = request.send_json(body).await.unwrap();
        let mut came = Vec::new();
        for _ in 0..pieces {
            match answer.next().await {
                Some(Ok(piece)) => came.extend_from_slice(&piece),
                Some(Err(_)) | None => break,
            }
        }
        (answer.status().as_u16(), came.into())
    }
}

/// A stream that is read piece by piece. Dropped, its caller leaves.
pub(crate) struct Opened {
    answer: futures_util::stream::LocalBoxStream<'static, Result<Bytes, String>>,
}

impl Opened {
    /// Reads until a text has come.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut came = String::new();
        while !came.contains(text) {
            let piece = self.answer.next().await.unwrap_or_else(|| panic!("it ended after {came}"));
            came.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// Reads what is left; whether the connection said that this is all.
    pub(crate) async fn rest(mut self) -> (String, bool) {
        let mut came = String::new();
        while let Some(piece) = self.answer.next().await {
            let Ok(piece) = piece else { return (came, false) };
            came.push_str(std::str::from_utf8(&piece).unwrap());
        }
        (came, true)
    }
}
