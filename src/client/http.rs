//! Plain requests to a gateway: JSON in, JSON out, its refusals as sentences.

use std::time::Duration;

use awc::http::{Method, StatusCode, Version};
use serde_json::Value;

use super::failure::Failure;
use super::server::Server;
use crate::config::settings::Secret;

const LARGEST_BODY: usize = 16 << 20;

/// A caller of one gateway's HTTP routes.
pub struct Http {
    client: awc::Client,
    server: Server,
    bearer: Option<Secret>,
}

impl Http {
    /// A caller with a bearer credential (or none) and a limit for each request.
    #[must_use]
    pub fn new(server: Server, bearer: Option<Secret>, timeout: Duration) -> Self {
        Self { client: client(timeout), server, bearer }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`Failure::Unreachable`], or [`Failure::Refused`] for any status but 2xx.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// `PATCH path` with a JSON body.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::DELETE, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let mut request = self.client.request(method, self.server.http(path));
        if let Some(bearer) = &self.bearer {
            request = request.insert_header(("authorization", format!("Bearer {}", bearer.expose())));
        }
        let sent = match body {
            Some(body) => request.send_json(body).await,
            None => request.send().await,
        };
        let mut response = sent.map_err(|error| unreachable(&self.server, error))?;
        let bytes = response.body().limit(LARGEST_BODY).await.map_err(|error| unreachable(&self.server, error))?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if response.status().is_success() { Ok(body) } else { Err(refusal(response.status(), &body)) }
    }
}

/// An HTTP/1.1 client that checks certificates against the public roots.
pub(super) fn client(timeout: Duration) -> awc::Client {
    // An error says that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let connector = awc::Connector::new().max_http_version(Version::HTTP_11).timeout(timeout);
    awc::Client::builder().connector(connector).timeout(timeout).finish()
}

pub(super) fn unreachable(server: &Server, cause: impl std::fmt::Display) -> Failure {
    Failure::Unreachable { server: server.to_string(), cause: cause.to_string() }
}

/// What an error body of any of the gateway's shapes says.
fn refusal(status: StatusCode, body: &Value) -> Failure {
    let text = |pointers: [&str; 2]| pointers.iter().find_map(|pointer| body.pointer(pointer)?.as_str());
    Failure::Refused {
        status: status.as_u16(),
        code: text(["/error/code", "/code"]).unwrap_or("unknown").to_owned(),
        message: text(["/error/message", "/message"])
            .or(status.canonical_reason())
            .unwrap_or("it gave no reason")
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_of_each_shape_become_sentences() {
        let cases = [
            (
                json!({"error": {"message": "used up", "type": "insufficient_quota", "code": "insufficient_quota"}}),
                "the gateway refused (429 insufficient_quota): used up",
            ),
            (
                json!({"code": "InvalidApiKey", "message": "Invalid"}),
                "the gateway refused (429 InvalidApiKey): Invalid",
            ),
            (Value::Null, "the gateway refused (429 unknown): Too Many Requests"),
        ];
        for (body, sentence) in cases {
            assert_eq!(refusal(StatusCode::TOO_MANY_REQUESTS, &body).to_string(), sentence);
        }
    }
}
