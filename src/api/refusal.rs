//! An error on its way out: status, JSON body, `retry-after`, and the cause into the log, once.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use crate::clock;
use crate::completion::api::Dialect;
use crate::error::Error;

/// What handlers return instead of an answer. The request id joins the body in [`super::answer`].
#[derive(Debug)]
pub struct Refusal(pub Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.0.retry_after_seconds(clock::now()) {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        if matches!(self.0, Error::InsufficientQuota { .. }) {
            answer.insert_header(("x-should-retry", "false"));
        }
        answer.finish()
    }
}

/// In whose form a request is answered. The list of models has one path for two: Anthropic's clients name a version.
#[must_use]
pub fn dialect(request: &HttpRequest) -> Dialect {
    let is_in = |prefixes: &[&str]| prefixes.iter().any(|prefix| request.path().starts_with(prefix));
    let names_version = || request.headers().contains_key("anthropic-version");
    if is_in(&["/v1/messages", "/apps/anthropic", "/api/v1/messages"]) || is_in(&["/v1/models"]) && names_version() {
        Dialect::Anthropic
    } else if is_in(&["/api/v1/"]) {
        Dialect::Dashscope
    } else {
        Dialect::Openai
    }
}
