//! The operator: holds the admin key and speaks JSON.

use serde_json::Value;

use super::app::ADMIN_KEY;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: u16,
    /// Headers, lower-case.
    pub(crate) headers: Vec<(String, String)>,
    /// The JSON body, or null.
    pub(crate) body: Value,
    /// The body as text.
    pub(crate) text: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The code of an error body.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// Someone who calls the gateway with a bearer.
pub(crate) struct Operator {
    url: String,
    bearer: String,
}

impl Operator {
    /// The holder of the admin key.
    pub(crate) fn new(url: String) -> Self {
        Self { url, bearer: ADMIN_KEY.to_owned() }
    }

    /// Somebody with another bearer.
    pub(crate) fn with_bearer(url: String, bearer: &str) -> Self {
        Self { url, bearer: bearer.to_owned() }
    }

    /// `GET`
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], String::new()).await
    }

    /// `POST` with a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Anything.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let client = awc::Client::builder().timeout(std::time::Duration::from_secs(30)).finish();
        let mut request = client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        if !self.bearer.is_empty() {
            request = request.bearer_auth(&self.bearer);
        }
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let mut answer = request.send_body(body).await.unwrap();
        let text = String::from_utf8(answer.body().limit(64 << 20).await.unwrap().to_vec()).unwrap();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        Answer {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }
}
