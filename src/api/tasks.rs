//! The jobs that DashScope's services begin: whose each is, and what the provider says of it.

use std::time::{Duration, Instant};

use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use awc::http::Method;
use jiff::SignedDuration;
use serde::Deserialize;

use super::guard::CallCaller;
use super::passed;
use super::refusal::Refusal;
use super::serve::{self, Answered};
use crate::clock;
use crate::completion::api::Api;
use crate::completion::call::Tools;
use crate::completion::failure::{self, Verdict};
use crate::completion::outgoing::Passed;
use crate::completion::reply::{Body, Reply};
use crate::config::settings::Secret;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::holder::Holder;
use crate::license::License;
use crate::quota::rate::{Readings, Subject};
use crate::store::connection::Store;
use crate::store::upstream_tasks;
use crate::upstream::account::{Account, Kind};
use crate::upstream::http::{Answer, Question};

/// The provider keeps a job's result for a day; whose it is is known a little longer.
const TASK_MEMORY: SignedDuration = SignedDuration::from_hours(48);
/// No state of a job is longer, bytes.
const LONGEST: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// When a store that was away is told again of a job, seconds after the last try.
const AGAIN: [u64; 5] = [1, 5, 30, 120, 300];

/// An answer that begins a job.
#[derive(Deserialize)]
struct Begun {
    output: Job,
}

#[derive(Deserialize)]
struct Job {
    task_id: String,
}

/// Whose a job is, and which account has it.
#[derive(Clone)]
struct Note {
    task_id: String,
    license_id: String,
    account: String,
}

impl Note {
    async fn keep(self, store: &Store) -> Result<(), Error> {
        let now = clock::now();
        let oldest_us = now.saturating_sub(TASK_MEMORY).map_or(0, jiff::Timestamp::as_microsecond);
        let kept = store.run(move |connection| {
            let Self { task_id, license_id, account } = &self;
            upstream_tasks::insert(connection, (task_id, license_id, account), now.as_microsecond(), oldest_us)
        });
        match kept.await {
            // The caller's own account has it.
            Err(Error::Conflict(_)) => Ok(()),
            kept => kept,
        }
    }

    async fn keep_later(self, store: Store) {
        for seconds in AGAIN {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            if self.clone().keep(&store).await.is_ok() {
                return;
            }
        }
        let (task_id, license_id) = (self.task_id.as_str(), self.license_id.as_str());
        log::error!(task_id = task_id, license_id = license_id; "a job could not be noted: its license can't ask for it");
    }
}

/// Notes whose job it is, and which account has it. The job is paid for: whoever began it is told so even if the store
/// is away, which is then told later.
///
/// # Errors
/// None but defects.
pub async fn remember(request: &HttpRequest, answered: &Answered) -> Result<(), Error> {
    let Body::Whole(body) = &answered.reply.body else { return Ok(()) };
    let Ok(begun) = serde_json::from_slice::<Begun>(body) else { return Ok(()) };
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    let (license_id, account) = (answered.license_id.clone(), answered.reply.account.clone());
    let note = Note { task_id: begun.output.task_id, license_id, account };
    if let Err(error) = note.clone().keep(&gateway.store).await {
        let task_id = note.task_id.as_str();
        log::warn!(task_id = task_id; "a job is noted later: {}", error.cause().unwrap_or_default());
        actix_web::rt::spawn(note.keep_later(gateway.store.clone()));
    }
    Ok(())
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
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    let tools = request.app_data::<Data<Tools>>().ok_or_else(|| Error::internal("no tools in this app"))?;
    let passed = Passed { headers: passed::headers(request, &["x-dashscope-workspace"]), ..Passed::default() };
    passed::check(request, &passed)?;
    let names_workspace = passed.names_workspace();
    let no_such = || Error::NotFound("this task".to_owned());
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(no_such().into());
    }
    let (account, _pass) = match caller {
        CallCaller::OwnKey(key) => (serve::own_account(gateway, key), None),
        CallCaller::Licensed(known) => {
            if !Holder::of(&known).allows_scope(Api::Native.scope()) {
                return Err(Error::ScopeNotAllowed(Api::Native.scope()).into());
            }
            let account = account_of(gateway, request, &known.0, id).await?.ok_or_else(no_such)?;
            // What the provider is asked counts as a request, though it costs nothing.
            (account, Some(serve::enter(gateway, request, Subject::of(&known.0, known.1.as_ref())).await?))
        }
    };
    let url = format!("{}/api/v1/tasks/{id}{action}", account.base_url);
    let question = Question { method, url, headers: passed.headers, body: Bytes::new() };
    let answer = tools.http.ask(&account, question, PATIENCE).await.map_err(Error::from)?;
    Ok(serve::respond(told(&account, answer, names_workspace).await?))
}

/// What the caller may know of an answer: what is said about our account is ours.
async fn told(account: &Account, mut answer: Answer, names_workspace: bool) -> Result<Reply, Error> {
    let (status, wait) = (answer.status, answer.retry_after());
    let own_key = account.id == serve::OWN_ACCOUNT;
    let retry_after = answer.header("retry-after").filter(|_| own_key).map(|wait| ("retry-after", wait.to_owned()));
    let body = answer.whole(LONGEST, Instant::now() + PATIENCE).await?;
    if !own_key
        && !(200..300).contains(&status)
        && let Verdict::Account(outcome) = failure::judge(Kind::Dashscope, status, &body, wait, names_workspace)
    {
        let said = format!("a job's state was answered with {status} {}", failure::code(&body));
        return Err(failure::error(outcome, &said));
    }
    Ok(Reply {
        status,
        content_type: "application/json".to_owned(),
        headers: retry_after.into_iter().collect(),
        account: account.id.clone(),
        readings: Readings::default(),
        body: Body::Whole(body),
    })
}

async fn account_of(
    gateway: &Gateway,
    request: &HttpRequest,
    license: &License,
    id: &str,
) -> Result<Option<Account>, Error> {
    let (id, license_id) = (id.to_owned(), license.id.clone());
    let account = gateway.store.run(move |connection| upstream_tasks::account_of(connection, &id, &license_id)).await?;
    let Some(account) = account else { return Ok(None) };
    let own = request.headers().get("x-dashscope-api-key").and_then(|value| value.to_str().ok());
    if let Some(key) = own.filter(|_| gateway.config.upstream.allow_byok) {
        return Ok(Some(serve::own_account(gateway, Secret::new(key))));
    }
    let known = gateway.pool.accounts().into_iter().find(|known| known.id == account);
    Ok(known.map(|known| known.as_ref().clone()))
}
