//! DashScope's own services, relayed byte for byte: `POST /api/v1/services/…`, and the jobs that they begin.

use std::time::Duration;

use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use awc::http::Method;
use futures_util::StreamExt as _;
use jiff::SignedDuration;
use serde::Deserialize;

use super::guard::CallCaller;
use super::refusal::Refusal;
use super::serve::{self, Answered, respond};
use crate::clock;
use crate::completion::api::Api;
use crate::completion::call::Tools;
use crate::completion::outgoing::Passed;
use crate::completion::reply::Body;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::license::License;
use crate::store::upstream_tasks;
use crate::upstream::account::Account;
use crate::upstream::http::{Answer, Question, Unanswered};

/// Headers that DashScope's services heed.
const PASSED: [&str; 6] = [
    "accept",
    "x-dashscope-sse",
    "x-dashscope-async",
    "x-dashscope-workspace",
    "x-dashscope-datainspection",
    "x-dashscope-ossresourceresolve",
];
/// The provider keeps a job's result for a day; whose it is is known a little longer.
const TASK_MEMORY: SignedDuration = SignedDuration::from_hours(48);
/// No state of a job is longer, bytes.
const LONGEST: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// `POST /api/v1/services/…`
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn service(request: HttpRequest, payload: Payload, path: Path<String>) -> Result<HttpResponse, Refusal> {
    let headers = serve::passed_headers(&request, &PASSED);
    let says = |wanted: &str, value: &str| {
        headers.iter().any(|(name, given)| *name == wanted && given.to_lowercase().contains(value))
    };
    let streams = says("x-dashscope-sse", "enable") || says("accept", "text/event-stream");
    let begins_job = says("x-dashscope-async", "enable");
    let sane = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !path.split('/').all(sane) {
        return Err(Error::NotFound("this service".to_owned()).into());
    }
    let path = format!("/services/{path}");
    let passed = Passed { path, query: request.query_string().to_owned(), headers };
    let answered = serve::serve(Api::Native, &request, payload, passed, streams).await?;
    if begins_job {
        remember(&request, &answered).await?;
    }
    Ok(respond(answered.reply))
}

/// An answer that begins a job.
#[derive(Deserialize)]
struct Begun {
    output: Job,
}

#[derive(Deserialize)]
struct Job {
    task_id: String,
}

/// Notes whose job it is, and which account has it.
async fn remember(request: &HttpRequest, answered: &Answered) -> Result<(), Error> {
    let Body::Whole(body) = &answered.reply.body else { return Ok(()) };
    let Ok(begun) = serde_json::from_slice::<Begun>(body) else { return Ok(()) };
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    let (id, license_id, account) = (begun.output.task_id, answered.license_id.clone(), answered.reply.account.clone());
    let now = clock::now();
    let oldest_us = now.saturating_sub(TASK_MEMORY).map_or(0, jiff::Timestamp::as_microsecond);
    let noted = gateway.store.run(move |connection| {
        upstream_tasks::insert(connection, (&id, &license_id, &account), now.as_microsecond(), oldest_us)
    });
    match noted.await {
        // The caller's own account has it.
        Err(Error::Conflict(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `GET /api/v1/tasks/{id}`: the state of a job that this license began.
///
/// # Errors
/// `NotFound` for somebody else's job, and what the provider fails by.
pub async fn task(request: HttpRequest, caller: CallCaller, id: Path<String>) -> Result<HttpResponse, Refusal> {
    ask(&request, caller, &id, Method::GET, "").await
}

/// `POST /api/v1/tasks/{id}/cancel`: ends a job that waits.
///
/// # Errors
/// As [`task`].
pub async fn cancel(request: HttpRequest, caller: CallCaller, id: Path<String>) -> Result<HttpResponse, Refusal> {
    ask(&request, caller, &id, Method::POST, "/cancel").await
}

async fn ask(
    request: &HttpRequest,
    caller: CallCaller,
    id: &str,
    method: Method,
    action: &str,
) -> Result<HttpResponse, Refusal> {
    let no_such = || Error::NotFound("this task".to_owned());
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(no_such().into());
    }
    let account = match caller {
        CallCaller::OwnKey(key) => {
            let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway"))?;
            serve::own_account(gateway, key)
        }
        CallCaller::Licensed(known) => account_of(request, &known.0, id).await?.ok_or_else(no_such)?,
    };
    let tools = request.app_data::<Data<Tools>>().ok_or_else(|| Error::internal("no tools in this app"))?;
    let url = format!("{}/api/v1/tasks/{id}{action}", account.base_url);
    let headers = serve::passed_headers(request, &["x-dashscope-workspace"]);
    let question = Question { method, url, headers, body: Bytes::new() };
    let answer = tools.http.ask(&account, question, PATIENCE).await.map_err(|error| match error {
        Unanswered::TimedOut => Error::UpstreamTimeout,
        Unanswered::Dropped => Error::upstream("it closed the connection"),
        Unanswered::Unreachable(why) => Error::upstream(why),
    })?;
    if matches!(answer.status, 401 | 403 | 500..) && account.id != "own" {
        return Err(Error::upstream(format!("a job's state was answered with {}", answer.status)).into());
    }
    let status = answer.status;
    let body = whole(answer).await?;
    let status = actix_web::http::StatusCode::from_u16(status).map_err(Error::internal)?;
    Ok(HttpResponse::build(status).content_type("application/json").body(body))
}

async fn whole(mut answer: Answer) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(piece) =
        tokio::time::timeout(PATIENCE, answer.body.next()).await.map_err(|_| Error::UpstreamTimeout)?
    {
        body.extend_from_slice(&piece.map_err(Error::upstream)?);
        if body.len() > LONGEST {
            return Err(Error::upstream("a job's state is too long"));
        }
    }
    Ok(body)
}

async fn account_of(request: &HttpRequest, license: &License, id: &str) -> Result<Option<Account>, Error> {
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    if !license.allows_scope(Api::Native.scope()) {
        return Err(Error::ScopeNotAllowed(Api::Native.scope()));
    }
    let (id, license_id) = (id.to_owned(), license.id.clone());
    let account = gateway.store.run(move |connection| upstream_tasks::account_of(connection, &id, &license_id)).await?;
    let Some(account) = account else { return Ok(None) };
    let own = request.headers().get("x-dashscope-api-key").and_then(|value| value.to_str().ok());
    if let Some(key) = own.filter(|_| gateway.config.upstream.allow_byok) {
        return Ok(Some(serve::own_account(gateway, crate::config::settings::Secret::new(key))));
    }
    let known = gateway.pool.accounts().into_iter().find(|known| known.id == account);
    Ok(known.map(|known| known.as_ref().clone()))
}
