//! `GET /v1/realtime`, `/api-ws/v1/realtime`, `/api-ws/v1/inference`: everything that can be refused is
//! refused here, then the provider is dialled, and only then the customer's connection is upgraded.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, WsResponseBuilder};
use futures_util::stream;

use super::answer::RequestId;
use super::guard::{self, Caller, SocketCaller};
use super::refusal::Refusal;
use crate::clock;
use crate::config::settings::{Protocol, Secret, UsageReport};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::quota::batch::Opening;
use crate::session::client::ClientSession;
use crate::session::flow::Delivered;
use crate::session::link::{Parts, UpstreamLink};
use crate::session::roster::SessionView;
use crate::session::rules::{Rules, find_model};
use crate::session::socket::ClientSocket;
use crate::upstream::dashscope::{Dashscope, Endpoint, Passed};

/// The kind of use that a license must include.
const SCOPE: &str = "realtime";

/// JSON events: LiveTranslate, Omni and their siblings; the model is named in the query.
///
/// # Errors
/// Every refusal of §7 that concerns a session.
pub async fn realtime(
    SocketCaller(caller): SocketCaller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let gateway = gateway(&request)?;
    let named = guard::query(&request, "model").filter(|model| !model.is_empty());
    let named =
        named.ok_or_else(|| Error::field("model", "name a model: `?model=qwen3.5-livetranslate-flash-realtime`"))?;
    let model = find_model(&gateway.config, &caller.license.models, &named)?;
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
    if guard::query(request, "resume").is_some() {
        return Err(Error::SessionGone.into());
    }
    if !caller.license.allows_scope(SCOPE) {
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
    let opening = Opening {
        session_id: view.id.clone(),
        license_id: view.license_id.clone(),
        key_id: view.key_id.clone(),
        model: view.model.clone(),
        started_at: view.started_at,
        max_sessions: caller.license.max_sessions,
        resume_hash: None,
    };
    let seat = gateway.roster.admit(view, caller.license.max_sessions).await?;
    check_upgrade(request)?;
    let lease = gateway.quota.open(opening).await?;
    let endpoint = match wanted.protocol {
        Protocol::Task => Endpoint::Inference,
        Protocol::Livetranslate | Protocol::Omni => Endpoint::Realtime { model: &wanted.model },
    };
    let dialer = request.app_data::<Data<Dashscope>>().ok_or_else(|| Error::internal("no dialer in this app"))?;
    let upstream = match dialer.dial(endpoint, &passed).await {
        Ok(upstream) => upstream,
        Err(error) => {
            // Its answer doesn't wait for a store that may be away.
            actix_web::rt::spawn(lease.settle(error.row().code));
            return Err(error.into());
        }
    };
    let rules = Rules {
        protocol: wanted.protocol,
        usage: wanted.usage,
        allowed_models: caller.license.models.clone(),
        config: gateway.config.clone(),
        ping_phase: Duration::from_millis(rand::random_range(0..=gateway.config.realtime.ping_seconds * 1_000)),
        longest: caller.license.max_session_seconds.map(Duration::from_secs),
        expires_at: caller.license.expires_at,
        key_expires_at: caller.key.as_ref().and_then(|key| key.expires_at),
    };
    let client_socket = request.conn_data::<ClientSocket>().cloned();
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    log::info!(request_id = request_id, session_id = seat.session_id(), license_id = caller.license.id.as_str(), model = wanted.model.as_str();
        "session started");
    let metrics = gateway.metrics.clone();
    upgrade(Parts { seat, lease, rules, upstream, client_socket, metrics }, request, payload)
}

/// Pairs the two actors on this thread and answers 101.
fn upgrade(parts: Parts, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let (link, uplink, downlink) = UpstreamLink::start_with(parts);
    let client = ClientSession::new(link.recipient(), uplink, downlink.clone(), payload);
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
