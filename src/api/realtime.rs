//! `GET /v1/realtime`, `/api-ws/v1/realtime`, `/api-ws/v1/inference`: everything that can be refused is
//! refused here, then the provider is dialled, and only then the customer's connection is upgraded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::BoxBody;
use actix_web::web::{Data, Payload};
use actix_web::{FromRequest as _, HttpMessage as _, HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, WsResponseBuilder};
use futures_util::stream;

use super::answer::RequestId;
use super::entrance::Entrance;
use super::guard::{self, Caller, SocketCaller};
use super::refusal::Refusal;
use crate::clock;
use crate::config::settings::{Protocol, Secret, UsageReport};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license;
use crate::quota::batch::Opening;
use crate::session::client::ClientSession;
use crate::session::control::SessionView;
use crate::session::customer::Identity;
use crate::session::flow::Delivered;
use crate::session::link::UpstreamLink;
use crate::session::messages::{Grip, TakeUp};
use crate::session::parts::Parts;
use crate::session::relay::{Past, Relay};
use crate::session::rules::{Rules, find_model};
use crate::session::socket::ClientSocket;
use crate::upstream::dashscope::{Dashscope, Dialer, Passed};

/// The kind of use that a license must include.
const SCOPE: &str = "realtime";

/// JSON events: LiveTranslate, Omni and their siblings; the model is named in the query. With `resume` the token in
/// it is all the credential that is needed.
///
/// # Errors
/// Every refusal of §7 that concerns a session.
pub async fn realtime(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    if let Some(token) = guard::query(&request, "resume") {
        return resume(&request, payload, &token).await;
    }
    let SocketCaller(caller) = SocketCaller::extract(&request).await?;
    let gateway = gateway(&request)?;
    let named = guard::query(&request, "model").filter(|model| !model.is_empty());
    let named =
        named.ok_or_else(|| Error::field("model", "name a model: `?model=qwen3.5-livetranslate-flash-realtime`"))?;
    let model = find_model(&gateway.config, &caller.holder().model_lists(), &named)?;
    if model.protocol == Protocol::Task {
        return Err(Error::ModelNotFound(named).into());
    }
    let (protocol, usage) = (model.protocol, model.usage);
    open(caller, &request, payload, Wanted { model: named, protocol, usage }).await
}

/// The task protocol: the model is named by `run-task`, after the upgrade.
///
/// # Errors
/// Every refusal of §7 that concerns a session.
pub async fn inference(
    SocketCaller(caller): SocketCaller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let wanted = Wanted { model: "task".to_owned(), protocol: Protocol::Task, usage: UsageReport::PerResponse };
    open(caller, &request, payload, wanted).await
}

struct Wanted {
    model: String,
    protocol: Protocol,
    usage: UsageReport,
}

async fn open(
    caller: Caller,
    request: &HttpRequest,
    payload: Payload,
    wanted: Wanted,
) -> Result<HttpResponse, Refusal> {
    let gateway = gateway(request)?;
    if !caller.holder().allows_scope(SCOPE) {
        return Err(Error::ScopeNotAllowed(SCOPE).into());
    }
    let passed = passed(request, &gateway)?;
    let view = SessionView {
        id: ids::session(),
        license_id: caller.license.id.clone(),
        key_id: caller.key.as_ref().map(|key| key.id.clone()),
        model: wanted.model.clone(),
        started_at: clock::now(),
    };
    let token = (wanted.protocol != Protocol::Task && guard::flag(request, "resumable")).then(ids::resume_token);
    let resume_hash = token.as_deref().map(license::key_hash);
    let opening = Opening {
        session_id: view.id.clone(),
        license_id: view.license_id.clone(),
        key_id: view.key_id.clone(),
        model: view.model.clone(),
        started_at: view.started_at,
        // Only a session whose provider keeps no conversation can go on elsewhere, and none that came with something
        // that is not kept: the caller's own key, a header.
        resume_hash: resume_hash.clone().filter(|_| wanted.protocol == Protocol::Livetranslate && passed.is_plain()),
        max_sessions: caller.license.max_sessions,
        max_sessions_of_key: caller.key.as_ref().and_then(|key| key.narrowing.max_sessions),
    };
    let seat = gateway.roster.admit(view, caller.license.max_sessions).await?;
    check_upgrade(request)?;
    let lease = gateway.quota.open(opening).await?;
    let model = (wanted.protocol != Protocol::Task).then_some(wanted.model.as_str());
    let dialer = dialer(request, model, passed)?;
    let upstream = match dialer.dial().await {
        Ok(upstream) => upstream,
        Err(refused) => {
            // Its answer doesn't wait for a store that may be away.
            actix_web::rt::spawn(lease.settle(refused.error.row().code));
            return Err(refused.error.into());
        }
    };
    let rules = rules(&gateway, &caller, &wanted, request);
    log::info!(request_id = request_id(request), session_id = seat.session_id(), license_id = caller.license.id.as_str(), model = wanted.model.as_str();
        "session started");
    let window = Duration::from_secs(gateway.config.realtime.resume_window_seconds);
    let identity = token.map(|token| Identity { session_id: seat.session_id().to_owned(), token, epoch: 1, window });
    let parts = Parts {
        relay: Relay::new(rules, identity, Instant::now()),
        seat,
        lease,
        upstream,
        dialer,
        client_socket: request.conn_data::<ClientSocket>().cloned(),
        slow_after: Duration::from_secs(gateway.config.realtime.slow_client_seconds),
        resume_hash,
        metrics: gateway.metrics.clone(),
    };
    upgrade(UpstreamLink::start_with(parts), request, payload)
}

/// Goes on with a session whose client was away: here, where it lives on, or from what the store has of it.
async fn resume(request: &HttpRequest, payload: Payload, token: &str) -> Result<HttpResponse, Refusal> {
    let gateway = gateway(request)?;
    check_upgrade(request)?;
    if gateway.draining() {
        return Err(Error::Draining.into());
    }
    let last_seq = guard::query(request, "last_seq").unwrap_or_else(|| "0".to_owned());
    let last_seq: u64 = last_seq
        .parse()
        .map_err(|_| Error::field("last_seq", "`last_seq` is the number of the last event received"))?;
    let hash = license::key_hash(token);
    let entrance = request.app_data::<Data<Entrance>>().ok_or_else(|| Error::internal("no entrance in this app"))?;
    let turn = entrance.turn().await?;
    let Some(found) = gateway.roster.find(&hash).await else {
        drop(turn);
        return take_over(request, payload, hash).await;
    };
    // While the store is away, a session that lives goes on; what ends it meanwhile is told to it later.
    if gateway.quota.away().since().is_none() {
        let (view, key_id) = (&found.view, found.view.key_id.as_deref());
        match guard::still_good(request, &view.license_id, key_id, Some(&view.id)).await {
            Ok(_) | Err(Error::StorageUnavailable { .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    let client_socket = request.conn_data::<ClientSocket>().cloned();
    let answer = found.link.send(TakeUp { last_seq, client_socket }).await;
    let grip = answer.map_err(|_| Error::SessionGone)??;
    log::info!(request_id = request_id(request), session_id = found.view.id.as_str(); "session resumed");
    upgrade(grip, request, payload)
}

/// Goes on with a session that another instance, or an earlier life of this one, has left.
async fn take_over(request: &HttpRequest, payload: Payload, hash: String) -> Result<HttpResponse, Refusal> {
    let gateway = gateway(request)?;
    let resumed = gateway.quota.resume(hash.clone()).await?;
    let opening = resumed.opening;
    let caller = guard::still_good(request, &opening.license_id, opening.key_id.as_deref(), None).await?;
    let model = find_model(&gateway.config, &caller.holder().model_lists(), &opening.model)?;
    let wanted = Wanted { model: opening.model.clone(), protocol: model.protocol, usage: model.usage };
    let view = SessionView {
        id: opening.session_id,
        license_id: opening.license_id,
        key_id: opening.key_id,
        model: opening.model,
        started_at: opening.started_at,
    };
    let started_at = view.started_at;
    let seat = gateway.roster.admit(view, None).await?;
    let dialer = dialer(request, Some(&wanted.model), passed(request, &gateway)?)?;
    let upstream = match dialer.dial().await {
        Ok(upstream) => upstream,
        Err(refused) => {
            // It can be tried again.
            actix_web::rt::spawn(resumed.lease.release(refused.error.row().code));
            return Err(refused.error.into());
        }
    };
    let rules = rules(&gateway, &caller, &wanted, request);
    log::info!(request_id = request_id(request), session_id = seat.session_id(), epoch = resumed.epoch; "session taken over");
    let window = Duration::from_secs(gateway.config.realtime.resume_window_seconds);
    let session_id = seat.session_id().to_owned();
    let identity = Identity { session_id, token: String::new(), epoch: resumed.epoch, window };
    let age = clock::now().duration_since(started_at);
    let past = Past { ack: resumed.ack, settings: resumed.settings, age: age.try_into().unwrap_or_default() };
    let parts = Parts {
        relay: Relay::resumed(rules, identity, past, Instant::now()),
        seat,
        lease: resumed.lease,
        upstream,
        dialer,
        client_socket: request.conn_data::<ClientSocket>().cloned(),
        slow_after: Duration::from_secs(gateway.config.realtime.slow_client_seconds),
        resume_hash: Some(hash),
        metrics: gateway.metrics.clone(),
    };
    upgrade(UpstreamLink::start_with(parts), request, payload)
}

fn rules(gateway: &Gateway, caller: &Caller, wanted: &Wanted, request: &HttpRequest) -> Rules {
    let realtime = &gateway.config.realtime;
    let model = gateway.config.model(&wanted.model);
    let rollover = model.and_then(|model| model.rollover_seconds).unwrap_or(realtime.rollover_seconds);
    let one_leg = guard::flag(request, "legs");
    Rules {
        protocol: wanted.protocol,
        usage: wanted.usage,
        allowed_models: caller.holder().model_lists(),
        config: gateway.config.clone(),
        ping_phase: Duration::from_millis(rand::random_range(0..=realtime.ping_seconds * 1_000)),
        replaceable: wanted.protocol == Protocol::Livetranslate && !one_leg,
        rollover_after: Duration::from_secs(rollover),
        rollover_tokens: model.map_or(u64::MAX, |model| model.rollover_input_tokens),
        longest: caller.holder().max_session_seconds().map(Duration::from_secs),
        expires_at: caller.license.expires_at,
        key_expires_at: caller.key.as_ref().and_then(|key| key.expires_at),
    }
}

fn dialer(request: &HttpRequest, model: Option<&str>, passed: Passed) -> Result<Dialer, Error> {
    let dashscope = request.app_data::<Data<Dashscope>>().ok_or_else(|| Error::internal("no dialer in this app"))?;
    Ok(Dialer::new(dashscope.get_ref().clone(), model, passed))
}

fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Pairs a socket on this thread with its link and answers 101.
fn upgrade(grip: Grip, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let downlink = grip.downlink.clone();
    let client = ClientSession::new(grip, payload);
    let offered = WsResponseBuilder::new(client, request, stream::pending()).protocols(&["realtime"]);
    let answer = offered.start().map_err(|error| Error::request(error.to_string()))?;
    Ok(answer.map_body(|_, body| BoxBody::new(Delivered::new(downlink, body))))
}

/// Checks the upgrade's headers before anything is booked.
fn check_upgrade(request: &HttpRequest) -> Result<(), Error> {
    ws::handshake(request).map(|_| ()).map_err(|error| {
        Error::request(format!("this is a WebSocket endpoint: connect with ws:// or wss:// ({error})"))
    })
}

fn passed(request: &HttpRequest, gateway: &Gateway) -> Result<Passed, Error> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let own_key = header("x-dashscope-api-key").map(Secret::new);
    if own_key.is_some() && !gateway.config.upstream.allow_byok {
        return Err(Error::field("X-DashScope-API-Key", "this gateway does not take callers' own provider keys"));
    }
    Ok(Passed { own_key, data_inspection: header("x-dashscope-datainspection") })
}

fn gateway(request: &HttpRequest) -> Result<Arc<Gateway>, Error> {
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    Ok(gateway.clone().into_inner())
}
