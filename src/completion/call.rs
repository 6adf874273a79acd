//! A call from account to account until one serves it, and what becomes of it when its caller leaves.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

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
use crate::quota::running::Running;
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
/// A stream whose provider says nothing for so long is asked for elsewhere.
const SOON: Duration = Duration::from_secs(60);

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
    /// Whose it is, a hash: an account's failures weigh by whom they befell.
    pub caller: u64,
    /// What it owes.
    pub bill: Bill,
    /// For errors in streams.
    pub request_id: String,
    /// When it came, seconds since 1970: what an OpenAI answer calls `created`.
    pub created: i64,
    /// Cuts the caller off.
    pub cut: Option<Cut>,
    /// Says when its license or key may not be used any more.
    pub running: Running,
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
    let left = Rc::new(Cell::new(false));
    Lasting { running: Some(Box::pin(run(call, tools, left.clone()))), left }.await
}

/// How far a call has come on its way from account to account.
#[derive(Default)]
struct Trip {
    /// Accounts that were asked.
    tried: Vec<String>,
    /// How long was waited for them.
    waited: Duration,
    /// What the last one failed by, and what that is told as.
    failed: Option<(Outcome, Error)>,
    /// An account didn't have what was asked for, and this is what its provider says of that.
    elsewhere: Option<(Chosen, Whole, String)>,
    /// The request can't be said in an account's words.
    unsaid: Option<Error>,
}

/// A call that whoever waits for it may leave.
struct Lasting {
    /// None once it is answered.
    running: Option<LocalBoxFuture<'static, Result<Reply, Error>>>,
    /// Whether nobody waits any more.
    left: Rc<Cell<bool>>,
}

impl Future for Lasting {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.running else { return Poll::Pending };
        let answer = ready!(running.as_mut().poll(context));
        self.running = None;
        Poll::Ready(answer)
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.left.set(true);
            spawn_local(running);
        }
    }
}

async fn run(mut call: Call, tools: Tools, left: Rc<Cell<bool>>) -> Result<Reply, Error> {
    let about =
        About { id: format!("chatcmpl-{}", call.request_id), created: call.created, model: call.head.model.clone() };
    let mut trip = Trip::default();
    loop {
        let chosen = match choose(&call, &tools, &trip.tried) {
            // Nobody waits, and nothing was paid for.
            Ok(_) if left.get() => return Err(Error::internal("the caller has left")),
            Ok(chosen) => chosen,
            Err(none) => return give_up(call, trip, none),
        };
        if let Some((outcome, _)) = &trip.failed {
            call.bill.retried(outcome.word());
        }
        let account = chosen.account();
        trip.tried.push(account.id.clone());
        let name = if call.own.is_some() { "own" } else { account.name.as_str() }.to_owned();
        let asked = match outgoing(call.api, &call.head, &call.body, &call.passed, account) {
            Ok(asked) => asked,
            Err(error) => {
                chosen.report(Outcome::CallersFault);
                trip.unsaid = Some(error);
                continue;
            }
        };
        let attempt = Attempt {
            http: &tools.http,
            api: call.api,
            kind: account.kind,
            request_id: &call.request_id,
            input_guess: call.head.input_tokens,
            wants_usage: call.head.wants_usage,
            names_workspace: call.passed.names_workspace(),
            own_key: call.own.is_some(),
            about: &about,
            deadline: deadline(&call, &tools, &trip.tried),
        };
        match attempt.make(account, asked, &mut trip.waited).await {
            Answered::Whole(whole) => {
                let good = whole.cost.is_some() && whole.status < 300;
                chosen.report(if good { Outcome::Served } else { Outcome::CallersFault });
                return Ok(finish(&mut call, &chosen, whole, (trip.waited, &name)));
            }
            Answered::Stream(stream) => {
                chosen.report(Outcome::Served);
                return Ok(relay(call, (Served(chosen), *stream), (trip.waited, &name), tools.timeout));
            }
            Answered::Failed(outcome, said) => {
                log::warn!(request_id = call.request_id.as_str(), account = name.as_str(), outcome = outcome.word();
                    "an account did not serve a call: {said}");
                chosen.report(outcome);
                trip.failed = Some((outcome, failure::error(outcome, &said)));
            }
            Answered::Elsewhere(whole) => {
                chosen.report(Outcome::CallersFault);
                trip.elsewhere = Some((chosen, whole, name));
            }
        }
    }
}

/// Nobody is left to ask. A failure may pass: that is told rather than that others don't have the model.
fn give_up(mut call: Call, trip: Trip, none: Error) -> Result<Reply, Error> {
    let error = match (trip.failed, trip.elsewhere, trip.unsaid) {
        (Some((_, error)), ..) => error,
        (None, Some((chosen, whole, name)), _) => {
            return Ok(finish(&mut call, &chosen, whole, (trip.waited, &name)));
        }
        (None, None, unsaid) => unsaid.unwrap_or(none),
    };
    call.bill.answered(error.row().status, "none");
    Err(error)
}

fn wanted<'a>(call: &'a Call, tried: &'a [String]) -> Wanted<'a> {
    let sticky = Some(call.head.conversation);
    Wanted { kinds: call.api.kinds(), model: &call.head.model, sticky, caller: call.caller, tried }
}

/// Until when an account's answer is waited for: REQUEST_TIMEOUT from the call's arrival. Where there is another account
/// it must be left time to serve, and a stream begins soon.
fn deadline(call: &Call, tools: &Tools, tried: &[String]) -> Instant {
    let (now, last) = (Instant::now(), call.bill.arrived() + tools.timeout);
    if call.own.is_some() || tools.pool.choose(&wanted(call, tried), now).is_err() {
        return last;
    }
    let half = last.saturating_duration_since(now) / 2;
    now + if call.head.streams { half.min(SOON) } else { half }
}

/// Who takes the call.
fn choose(call: &Call, tools: &Tools, tried: &[String]) -> Result<Chosen, Error> {
    if tried.len() >= ACCOUNTS {
        return Err(Error::no_upstream(None));
    }
    if let Some(own) = &call.own {
        let fresh = tried.is_empty().then(|| Chosen::Own(Arc::new(own.clone())));
        return fresh.ok_or(Error::no_upstream(None));
    }
    match tools.pool.choose(&wanted(call, tried), Instant::now()) {
        Ok(pick) => Ok(Chosen::Ours(pick)),
        Err(NoAccount::UnknownModel) => Err(Error::ModelNotFound(call.head.model.clone())),
        Err(NoAccount::None | NoAccount::AllTried) => Err(no_upstream(call, None)),
        Err(NoAccount::Busy { retry_after }) => Err(no_upstream(call, Some(retry_after))),
    }
}

/// Tells the operator, in the log, why no account takes the call.
fn no_upstream(call: &Call, wait: Option<Duration>) -> Error {
    let why = match wait {
        Some(_) => "all accounts that serve it cool down or are full",
        None => "no enabled account serves it: set DASHSCOPE_API_KEY or add one at /admin/accounts",
    };
    let (request_id, model) = (call.request_id.as_str(), call.head.model.as_str());
    log::warn!(request_id = request_id, model = model; "no account can take a call: {why}");
    Error::no_upstream(wait)
}

/// Books a whole answer.
fn finish(call: &mut Call, chosen: &Chosen, whole: Whole, (waited, name): (Duration, &str)) -> Reply {
    call.bill.begins(waited);
    if let Some(cost) = whole.cost {
        call.bill.settle(&chosen.account().id, cost);
    }
    call.bill.answered(whole.status, name);
    Reply {
        status: whole.status,
        content_type: whole.content_type,
        headers: whole.headers,
        account: chosen.account().id.clone(),
        readings: call.bill.readings(),
        body: Body::Whole(whole.body),
    }
}

/// Begins an answer that is a stream, which goes to its end by itself. What was asked is let go of here: it takes memory
/// that others wait for.
fn relay(call: Call, (served, stream): (Served, Stream), (waited, name): (Duration, &str), timeout: Duration) -> Reply {
    drop(call.body);
    call.bill.begins(waited);
    call.bill.answered(stream.status, name);
    let (pieces, taken) = mpsc::channel(WAITING);
    let reply = Reply {
        status: stream.status,
        content_type: stream.content_type,
        headers: stream.headers,
        account: served.account_id().to_owned(),
        readings: call.bill.readings(),
        // Whoever has left takes the receiver along: the pump finds it closed.
        body: Body::Stream(taken),
    };
    let pump = Pump {
        dialect: call.api.dialect(),
        request_id: call.request_id,
        relay: stream.relay,
        body: stream.body,
        bill: call.bill,
        served,
        caller: Some(pieces),
        cut: call.cut,
        running: call.running,
        told_whole: false,
        timeout,
        said: false,
        slow: false,
    };
    spawn_local(pump.run(stream.steps));
    reply
}
