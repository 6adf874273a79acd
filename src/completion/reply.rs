//! What a call is answered with.

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::api::Dialect;
use crate::error::Error;
use crate::quota::rate::Readings;

/// A piece of a stream on its way to the caller.
#[derive(Debug)]
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// The stream is over, and was said to be: without this it was cut off.
    End,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `content-type`, as the provider said it.
    pub content_type: String,
    /// The provider's words about the call, by lower-case name.
    pub headers: Vec<(&'static str, String)>,
    /// The id of the account that answered.
    pub account: String,
    /// How the license's limits stand.
    pub readings: Readings,
    /// The body.
    pub body: Body,
}

/// An answer's body.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Stream(mpsc::Receiver<Piece>),
}

/// The type of an error in Anthropic's bodies.
#[must_use]
pub fn anthropic_kind(error: &Error) -> &'static str {
    match error.row().status {
        401 => "authentication_error",
        403 => "permission_error",
        404 | 410 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        503 if matches!(
            error,
            Error::Overloaded | Error::UpstreamRateLimited { .. } | Error::NoUpstreamAvailable { .. }
        ) =>
        {
            "overloaded_error"
        }
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// An error's body in a dialect, as §7 of the contract has it.
#[must_use]
pub fn error_body(dialect: Dialect, error: &Error, request_id: &str) -> serde_json::Value {
    let row = error.row();
    let with_reset = |mut body: serde_json::Value| {
        if let (Error::InsufficientQuota { resets_at }, Some(body)) = (error, body.as_object_mut()) {
            body.insert("resets_at".to_owned(), json!(resets_at));
        }
        body
    };
    match dialect {
        Dialect::Openai => {
            let inner = json!({
                "message": error.to_string(),
                "type": row.kind,
                "param": error.param(),
                "code": row.code,
            });
            json!({ "error": with_reset(inner), "request_id": request_id })
        }
        Dialect::Anthropic => {
            let inner = json!({ "type": anthropic_kind(error), "message": error.to_string() });
            json!({ "type": "error", "error": with_reset(inner), "request_id": request_id })
        }
        Dialect::Dashscope => {
            with_reset(json!({ "code": row.code, "message": error.to_string(), "request_id": request_id }))
        }
    }
}

/// The event that ends a stream by an error.
#[must_use]
pub fn error_event(dialect: Dialect, error: &Error, request_id: &str) -> Bytes {
    let body = error_body(dialect, error, request_id);
    match dialect {
        Dialect::Openai => format!("data: {body}\n\n"),
        Dialect::Anthropic => format!("event: error\ndata: {body}\n\n"),
        Dialect::Dashscope => {
            // The comment is what the provider says; its SDKs read the status from a field of that name, where there
            // is one, and else take every failure for the caller's.
            let status = error.row().status;
            format!("event:error\n:HTTP_STATUS/{status}\nstatus:{status}\ndata:{body}\n\n")
        }
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_ends_a_stream_in_its_own_dialect() {
        let event = |dialect| String::from_utf8(error_event(dialect, &Error::upstream("x"), "r").to_vec()).unwrap();
        assert!(event(Dialect::Openai).starts_with("data: {\"error\":{"));
        assert!(event(Dialect::Anthropic).starts_with("event: error\ndata: {"));
        let native = event(Dialect::Dashscope);
        assert!(native.starts_with("event:error\n:HTTP_STATUS/502\nstatus:502\ndata:{\"code\":"), "{native}");
    }
}
