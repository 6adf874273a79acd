//! DashScope's own services, relayed byte for byte: `POST /api/v1/services/…`.

use actix_web::web::{Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::passed;
use super::refusal::Refusal;
use super::serve::{self, respond};
use super::tasks;
use crate::completion::api::Api;
use crate::completion::outgoing::Passed;
use crate::error::Error;

/// Headers that DashScope's services heed.
const PASSED: [&str; 6] = [
    "accept",
    "x-dashscope-sse",
    "x-dashscope-async",
    "x-dashscope-workspace",
    "x-dashscope-datainspection",
    "x-dashscope-ossresourceresolve",
];
/// No service's path is longer, bytes.
const LONGEST_PATH: usize = 512;

/// `POST /api/v1/services/…`
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn service(request: HttpRequest, payload: Payload, path: Path<String>) -> Result<HttpResponse, Refusal> {
    let headers = passed::headers(&request, &PASSED);
    let says = |wanted: &str, value: &str| {
        headers.iter().any(|(name, given)| *name == wanted && given.to_lowercase().contains(value))
    };
    let streams = says("x-dashscope-sse", "enable") || says("accept", "text/event-stream");
    let begins_job = says("x-dashscope-async", "enable");
    let sane = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if path.len() > LONGEST_PATH || !path.split('/').all(sane) {
        return Err(Error::NotFound("this service".to_owned()).into());
    }
    let path = format!("/services/{path}");
    let passed = Passed { path, query: request.query_string().to_owned(), headers };
    let answered = serve::serve(Api::Native, &request, payload, passed, streams).await?;
    if begins_job {
        tasks::remember(&request, &answered).await?;
    }
    Ok(respond(answered.reply))
}
