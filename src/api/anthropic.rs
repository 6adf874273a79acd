//! Anthropic's calls: `/v1/messages`, `/v1/messages/count_tokens`, the same under `/apps/anthropic`, and
//! `/api/v1/messages`.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::passed;
use super::refusal::Refusal;
use super::serve::{self, respond};
use crate::completion::api::Api;
use crate::completion::outgoing::Passed;

/// Headers that tell which version of the protocol is spoken, and what of it is wanted.
const PASSED: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// `POST …/messages`
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn messages(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    relay(Api::Messages, &request, payload).await
}

/// `POST …/messages/count_tokens`: not booked, but counted towards the rate.
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn count_tokens(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    relay(Api::CountTokens, &request, payload).await
}

async fn relay(api: Api, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let headers = passed::headers(request, &PASSED);
    // `?beta=true`
    let passed = Passed { headers, query: request.query_string().to_owned(), ..Passed::default() };
    Ok(respond(serve::serve(api, request, payload, passed, false).await?.reply))
}
