//! Sees a stream to its end: at the caller's pace while it is there, and without it when it has left.

use std::time::{Duration, Instant};

use awc::error::PayloadError;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::LocalBoxStream;
use tokio::sync::mpsc;

use super::api::Dialect;
use super::bill::Bill;
use super::failure;
use super::relay::{Relay, Step};
use super::reply::{self, Piece};
use super::served::{Cut, Served};
use crate::error::Error;
use crate::quota::running::Running;
use crate::upstream::outcome::Outcome;

/// A caller that takes nothing for so long has left, whatever its connection says.
const STALLED: Duration = Duration::from_secs(120);
/// A caller that takes nothing for so long keeps the provider waiting.
const SLOW: Duration = Duration::from_secs(1);
/// After its last word a provider has so long to close the stream.
const CLOSING: Duration = Duration::from_secs(2);
/// A caller who may not go on has so long to take what is said about it.
const FAREWELL: Duration = Duration::from_millis(500);

/// One stream on its way.
pub struct Pump {
    /// In whose form errors are told.
    pub dialect: Dialect,
    /// For errors.
    pub request_id: String,
    /// What makes of the provider's bytes what the caller gets.
    pub relay: Relay,
    /// The provider's bytes.
    pub body: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
    /// What it costs.
    pub bill: Bill,
    /// Who serves it; counts as one of its calls until the end.
    pub served: Served,
    /// Where it goes; none once the caller has left.
    pub caller: Option<mpsc::Sender<Piece>>,
    /// Cuts a caller off that takes nothing.
    pub cut: Option<Cut>,
    /// Says when the caller may not go on.
    pub running: Running,
    /// REQUEST_TIMEOUT.
    pub timeout: Duration,
    /// The last word was said.
    pub said: bool,
    /// The caller was told that the answer is whole.
    pub told_whole: bool,
    /// The provider had to wait for the caller: should it lose patience, that isn't its fault.
    pub slow: bool,
}

/// Why a stream ended before its end.
struct Broken {
    /// For the caller.
    error: Error,
    /// For the account.
    outcome: Outcome,
}

fn broken_off(cause: impl std::fmt::Display) -> Broken {
    Broken { error: Error::upstream(format!("the stream broke off: {cause}")), outcome: Outcome::Failing }
}

impl Pump {
    /// Runs until the provider has said everything, and what it cost is booked.
    pub async fn run(mut self, first: Vec<Step>) {
        let mut broken = self.pass(first).await;
        let mut left_at = None;
        while broken.is_none() {
            let patience = self.patience(&mut left_at);
            let mut steps = Vec::new();
            let next = tokio::select! {
                biased;
                why = self.running.ended(), if self.caller.is_some() => {
                    self.dismiss(&why).await;
                    continue;
                }
                next = tokio::time::timeout(patience, self.body.next()) => next,
            };
            match next {
                Ok(Some(Ok(piece))) => {
                    let pushed = self.relay.push(piece, &mut steps);
                    broken = self.pass(steps).await.or(pushed.err().map(broken_off));
                }
                Ok(Some(Err(_))) | Err(_) if self.said => break,
                Ok(Some(Err(error))) => broken = Some(broken_off(error)),
                Ok(None) => {
                    if !self.relay.end(&mut steps) {
                        broken = Some(broken_off("it was not whole"));
                    }
                    self.settle(broken.is_none());
                    let failed = self.pass(steps).await;
                    broken = broken.or(failed);
                    break;
                }
                Err(_) => broken = Some(Broken { error: Error::UpstreamTimeout, outcome: Outcome::TimedOut }),
            }
        }
        self.settle(broken.is_none());
        if let Some(Broken { error, outcome }) = broken {
            let cause = error.cause().unwrap_or_default();
            log::warn!(request_id = self.request_id.as_str(); "{error}: {cause}");
            self.served.broke_off(if self.slow { Outcome::Abandoned } else { outcome });
            let event = reply::error_event(self.dialect, &error, &self.request_id);
            self.send(Piece::Bytes(event)).await;
        }
        self.send(Piece::End).await;
        if let Some(why) = self.running.why() {
            self.dismiss(&why).await;
        }
    }

    /// Tells the caller why it may not go on, and ends its connection. What the stream costs is found out without it.
    async fn dismiss(&mut self, why: &Error) {
        let Some(caller) = self.caller.take() else { return };
        let event = reply::error_event(self.dialect, why, &self.request_id);
        let told_whole = self.told_whole;
        let farewell = async {
            if !told_whole {
                caller.send(Piece::Bytes(event)).await?;
            }
            caller.send(Piece::End).await?;
            caller.closed().await;
            Ok::<(), mpsc::error::SendError<Piece>>(())
        };
        let taken = tokio::time::timeout(FAREWELL, farewell).await;
        log::info!(request_id = self.request_id.as_str(), code = why.row().code; "a stream was ended: {why}");
        if taken.is_err()
            && let Some(cut) = self.cut.take()
        {
            cut();
        }
    }

    /// How long the provider may be silent: REQUEST_TIMEOUT, in all once the caller has left.
    fn patience(&self, left_at: &mut Option<Instant>) -> Duration {
        if self.caller.as_ref().is_some_and(|caller| !caller.is_closed()) {
            return self.timeout;
        }
        let left_at = *left_at.get_or_insert_with(Instant::now);
        self.timeout.saturating_sub(left_at.elapsed())
    }

    /// Does what is to be done; the error that ends the stream, if one does.
    async fn pass(&mut self, steps: Vec<Step>) -> Option<Broken> {
        for step in steps {
            match step {
                Step::Idle(bytes) | Step::Forward(bytes) => {
                    self.send(Piece::Bytes(bytes)).await;
                }
                Step::Last(bytes) => {
                    self.settle(true);
                    self.told_whole = self.send(Piece::Bytes(bytes)).await;
                    (self.said, self.timeout) = (true, CLOSING);
                }
                Step::Fail(outcome, code) => {
                    let error = failure::error(outcome, &format!("the provider said {code} in its stream"));
                    return Some(Broken { error, outcome });
                }
            }
        }
        None
    }

    /// Gives the caller a piece, when it takes one. False if it didn't, or may not have it any more.
    async fn send(&mut self, piece: Piece) -> bool {
        let Some(caller) = &self.caller else { return false };
        let begun = Instant::now();
        let sent = tokio::select! {
            biased;
            _why = self.running.ended() => return false,
            sent = tokio::time::timeout(STALLED, caller.send(piece)) => sent,
        };
        self.slow |= begun.elapsed() > SLOW;
        match sent {
            Ok(Ok(())) => return true,
            Ok(Err(_)) => self.caller = None,
            Err(_) => {
                self.caller = None;
                if let Some(cut) = self.cut.take() {
                    cut();
                }
            }
        }
        false
    }

    /// Books what the stream has cost, once.
    fn settle(&mut self, whole: bool) {
        let cost = self.relay.cost(whole);
        self.bill.settle(self.served.account_id(), cost);
    }
}

impl Drop for Pump {
    /// A stream that is cut off with its worker owes what came of it.
    fn drop(&mut self) {
        self.settle(false);
    }
}
