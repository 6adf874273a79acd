//! A call from account to account until one serves it, and what becomes of it when its caller leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::api::Api;
use super::attempt::{Answered, Attempt, Stream, Whole};
use super::bill::Bill;
use super::failure;
use super::head::Head;
use super::outgoing::{Passed, outgoing};
use super::pump::Pump;
use super::reply::{Body, Reply};
use super::served::{Chosen, Cut, Served};
use crate::error::Error;
use crate::upstream::account::Account;
use crate::upstream::choice::{NoAccount, Wanted};
use crate::upstream::http::HttpCaller;
use crate::upstream::native::about::About;
use crate::upstream::outcome::Outcome;
use crate::upstream::pool::Pool;

/// Pieces of a stream that wait for their caller.
const WAITING: usize = 2;
/// Accounts that are asked for one call at most.
const ACCOUNTS: usize = 8;

/// One call.
pub struct Call {
    /// What is asked.
    pub api: Api,
    /// What was read of it.
    pub head: Head,
    /// All of it.
    pub body: Bytes,
    /// What else goes along.
    pub passed: Passed,
    /// The caller's own account, if the call goes by that.
    pub own: Option<Account>,
    /// What it owes.
    pub bill: Bill,
    /// For errors in streams.
    pub request_id: String,
    /// When it came, seconds since 1970: what an OpenAI answer calls `created`.
    pub created: i64,
    /// Cuts the caller off.
    pub cut: Option<Cut>,
}

/// What calls are made with, of one worker.
#[derive(Clone)]
pub struct Tools {
    /// The client.
    pub http: HttpCaller,
    /// The accounts.
    pub pool: Pool,
    /// REQUEST_TIMEOUT: until an answer begins, between two pieces of it, and for reading on when the caller has left.
    pub timeout: Duration,
}

/// Makes a call; its answer begins here. Should the caller leave, it goes on to its end by itself, and is booked.
///
/// # Errors
/// `NoUpstreamAvailable`, `ModelNotFound`, `UpstreamUnavailable`, `UpstreamTimeout`, `UpstreamRateLimited`,
/// `InvalidRequest` for what can't be said to the account.
pub async fn make(call: Call, tools: Tools) -> Result<Reply, Error> {
    let (tell, told) = oneshot::channel();
    tokio::task::spawn_local(run(call, tools, tell));
    told.await.map_err(Error::internal)?
}

async fn run(mut call: Call, tools: Tools, tell: oneshot::Sender<Result<Reply, Error>>) {
    let about =
        About { id: format!("chatcmpl-{}", call.request_id), created: call.created, model: call.head.model.clone() };
    let (mut tried, mut waited, mut last) = (Vec::new(), Duration::ZERO, None);
    let mut failed: Option<Outcome> = None;
    loop {
        let chosen = match choose(&call, &tools, &tried, last.take()) {
            // Nobody waits, and nothing was paid for.
            Ok(_) if tell.is_closed() => return,
            Ok(chosen) => chosen,
            Err(error) => {
                call.bill.answered(error.row().status, "none");
                drop(tell.send(Err(error)));
                return;
            }
        };
        if let Some(outcome) = failed.take() {
            call.bill.retried(outcome.word());
        }
        let account = chosen.account();
        let asked = match outgoing(call.api, &call.head, &call.body, &call.passed, account) {
            Ok(asked) => asked,
            Err(error) => {
                chosen.report(Outcome::CallersFault);
                call.bill.answered(error.row().status, "none");
                drop(tell.send(Err(error)));
                return;
            }
        };
        let attempt = Attempt {
            http: &tools.http,
            api: call.api,
            input_guess: call.head.input_tokens,
            streams: call.head.streams,
            wants_usage: call.head.wants_usage,
            names_workspace: call.passed.names_workspace(),
            own_key: call.own.is_some(),
            about: &about,
            deadline: Instant::now() + tools.timeout,
        };
        let name = if call.own.is_some() { "own" } else { account.name.as_str() }.to_owned();
        match attempt.make(account, asked, &mut waited).await {
            Answered::Whole(whole) => {
                chosen.report(if whole.cost.is_some() { Outcome::Served } else { Outcome::CallersFault });
                finish(&mut call, &chosen, whole, (waited, &name), tell);
                return;
            }
            Answered::Stream(stream) => {
                chosen.report(Outcome::Served);
                relay(call, (Served(chosen), *stream), (waited, &name), tools.timeout, tell).await;
                return;
            }
            Answered::Failed(outcome, said) => {
                log::warn!(request_id = call.request_id.as_str(), account = name.as_str(), outcome = outcome.word();
                    "an account did not serve a call: {said}");
                chosen.report(outcome);
                tried.push(account.id.clone());
                failed = Some(outcome);
                last = Some(failure::error(outcome, &said));
            }
            Answered::Elsewhere(whole) => {
                chosen.report(Outcome::CallersFault);
                tried.push(account.id.clone());
                if tried.len() >= ACCOUNTS || call.own.is_some() || !another(&call, &tools, &tried) {
                    finish(&mut call, &chosen, whole, (waited, &name), tell);
                    return;
                }
            }
        }
    }
}

fn wanted<'a>(call: &'a Call, tried: &'a [String]) -> Wanted<'a> {
    let sticky = Some(call.head.conversation);
    Wanted { kinds: call.api.kinds(), model: &call.head.model, sticky, tried }
}

/// Whether there is another account to ask.
fn another(call: &Call, tools: &Tools, tried: &[String]) -> bool {
    tools.pool.choose(&wanted(call, tried), Instant::now()).is_ok()
}

/// Who takes the call; else why nobody does: the last failure, if there was one.
fn choose(call: &Call, tools: &Tools, tried: &[String], failed: Option<Error>) -> Result<Chosen, Error> {
    if let Some(own) = &call.own {
        return failed.map_or_else(|| Ok(Chosen::Own(Arc::new(own.clone()))), Err);
    }
    if let Some(error) = failed.as_ref().filter(|_| tried.len() >= ACCOUNTS) {
        return Err(error.clone());
    }
    match tools.pool.choose(&wanted(call, tried), Instant::now()) {
        Ok(pick) => Ok(Chosen::Ours(pick)),
        Err(none) => Err(failed.unwrap_or(match none {
            NoAccount::UnknownModel => Error::ModelNotFound(call.head.model.clone()),
            NoAccount::None | NoAccount::AllTried | NoAccount::Busy { .. } => Error::NoUpstreamAvailable,
        })),
    }
}

/// Books a whole answer and hands it over.
fn finish(
    call: &mut Call,
    chosen: &Chosen,
    whole: Whole,
    (waited, name): (Duration, &str),
    tell: oneshot::Sender<Result<Reply, Error>>,
) {
    call.bill.begins(waited);
    if let Some(cost) = whole.cost {
        call.bill.settle(&chosen.account().id, cost);
    }
    call.bill.answered(whole.status, name);
    let reply = Reply {
        status: whole.status,
        content_type: whole.content_type,
        headers: whole.headers,
        account: chosen.account().id.clone(),
        readings: call.bill.readings(),
        body: Body::Whole(whole.body),
    };
    drop(tell.send(Ok(reply)));
}

/// Hands a stream over and sees it to its end.
async fn relay(
    call: Call,
    (served, stream): (Served, Stream),
    (waited, name): (Duration, &str),
    timeout: Duration,
    tell: oneshot::Sender<Result<Reply, Error>>,
) {
    call.bill.begins(waited);
    call.bill.answered(stream.status, name);
    let (pieces, taken) = mpsc::channel(WAITING);
    let reply = Reply {
        status: stream.status,
        content_type: stream.content_type,
        headers: stream.headers,
        account: served.account_id().to_owned(),
        readings: call.bill.readings(),
        body: Body::Stream(taken),
    };
    // Whoever has left takes the receiver along: the pump finds it closed.
    drop(tell.send(Ok(reply)));
    let pump = Pump {
        dialect: call.api.dialect(),
        request_id: call.request_id,
        relay: stream.relay,
        body: stream.body,
        bill: call.bill,
        served,
        caller: Some(pieces),
        cut: call.cut,
        timeout,
        said: false,
    };
    pump.run(stream.steps).await;
}
