//! OpenAI's calls: `/v1/chat/completions`, `/v1/embeddings`, `/v1/responses`, and the same under
//! `/compatible-mode/v1`.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::passed;
use super::refusal::Refusal;
use super::serve::{self, respond};
use crate::completion::api::Api;
use crate::completion::outgoing::Passed;

/// Headers that DashScope heeds on its compatible paths.
const PASSED: [&str; 3] = ["x-dashscope-datainspection", "x-dashscope-session-cache", "x-dashscope-workspace"];

/// `POST …/chat/completions`
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn chat(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    relay(Api::Chat, &request, payload).await
}

/// `POST …/embeddings`
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn embeddings(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    relay(Api::Embeddings, &request, payload).await
}

/// `POST …/responses`
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn responses(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    relay(Api::Responses, &request, payload).await
}

async fn relay(api: Api, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let passed = Passed { headers: passed::headers(request, &PASSED), ..Passed::default() };
    Ok(respond(serve::serve(api, request, payload, passed, false).await?.reply))
}
