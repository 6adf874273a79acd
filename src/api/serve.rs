//! What all calls to models have in common: who calls, within which limits, and how the answer goes out.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Data, Payload};
use actix_web::{FromRequest as _, HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use futures_util::stream;

use super::answer::RequestId;
use super::guard::CallCaller;
use crate::clock;
use crate::completion::api::Api;
use crate::completion::bill::{Bill, Payer};
use crate::completion::call::{self, Call, Tools};
use crate::completion::head::Head;
use crate::completion::outgoing::Passed;
use crate::completion::reply::{Body, Piece, Reply};
use crate::completion::served::Cut;
use crate::config::settings::Secret;
use crate::credentials::Known;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license::License;
use crate::quota::purse::Amounts;
use crate::session::socket::ClientSocket;
use crate::upstream::account::{Account, Kind, Mode, State};

/// The longest that a request's body may take to come in.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// Set aside for an answer whose caller names no limit, tokens; more where the license's answers have cost more.
const USUAL_OUTPUT: u64 = 1_024;
/// Whom calls with nothing but a provider's key are booked on.
const OWN_KEY: &str = "byok";

/// A call that was answered, before the answer is dressed.
pub struct Answered {
    /// The answer.
    pub reply: Reply,
    /// Whose call it was.
    pub license_id: String,
}

/// Serves a call to a model. `streams`: whether a header asks for events.
///
/// # Errors
/// Every refusal of §7 that concerns a call.
pub async fn serve(
    api: Api,
    request: &HttpRequest,
    payload: Payload,
    passed: Passed,
    streams: bool,
) -> Result<Answered, Error> {
    let arrived = Instant::now();
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    if gateway.draining() {
        return Err(Error::Draining);
    }
    let caller = CallCaller::extract(request).await.map_err(|refusal| refusal.0)?;
    let caller = allowed(gateway, request, caller, api)?;
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes() != b"identity") {
        return Err(Error::field("Content-Encoding", "send the body as it is, without Content-Encoding"));
    }
    let body = read(payload, gateway.config.server.max_body_bytes).await?;
    let head = Head::read(api, &body, streams)?;
    if caller.license().is_some_and(|license| !license.allows_model(&head.model)) {
        return Err(Error::ModelNotAllowed(head.model));
    }
    let bill = bill(gateway, request, &caller, (api, &head), arrived).await?;
    let cut = request.conn_data::<ClientSocket>().cloned().map(|socket| Box::new(move || socket.cut()) as Cut);
    let tools = request.app_data::<Data<Tools>>().ok_or_else(|| Error::internal("no tools in this app"))?;
    let license_id = caller.license_id.clone();
    let mut hasher = DefaultHasher::new();
    license_id.hash(&mut hasher);
    let call = Call {
        api,
        head,
        body,
        passed,
        own: caller.own_key.map(|key| own_account(gateway, key)),
        caller: hasher.finish(),
        bill,
        request_id: request_id(request),
        created: clock::now().as_second(),
        cut,
    };
    let reply = call::make(call, tools.get_ref().clone()).await?;
    request.extensions_mut().insert(reply.readings);
    Ok(Answered { reply, license_id })
}

/// Who calls, and with whose key.
struct Allowed {
    known: Option<Known>,
    license_id: String,
    key_id: Option<String>,
    own_key: Option<Secret>,
}

impl Allowed {
    fn license(&self) -> Option<&License> {
        self.known.as_deref().map(|(license, _)| license)
    }
}

fn allowed(gateway: &Gateway, request: &HttpRequest, caller: CallCaller, api: Api) -> Result<Allowed, Error> {
    let known = match caller {
        CallCaller::OwnKey(key) => {
            return Ok(Allowed { known: None, license_id: OWN_KEY.to_owned(), key_id: None, own_key: Some(key) });
        }
        CallCaller::Licensed(known) => known,
    };
    let (license, key) = &*known;
    if !license.allows_scope(api.scope()) {
        return Err(Error::ScopeNotAllowed(api.scope()));
    }
    let own_key = request.headers().get("x-dashscope-api-key").and_then(|value| value.to_str().ok()).map(Secret::new);
    if own_key.is_some() && !gateway.config.upstream.allow_byok {
        return Err(Error::field("X-DashScope-API-Key", "this gateway does not take callers' own provider keys"));
    }
    let (license_id, key_id) = (license.id.clone(), key.as_ref().map(|key| key.id.clone()));
    Ok(Allowed { license_id, key_id, own_key, known: Some(known) })
}

/// The DashScope account that a caller brings.
#[must_use]
pub fn own_account(gateway: &Gateway, credential: Secret) -> Account {
    Account {
        id: "own".to_owned(),
        name: "own".to_owned(),
        kind: Kind::Dashscope,
        base_url: gateway.config.upstream.dashscope_http_base_url.trim_end_matches('/').to_owned(),
        credential,
        mode: Mode::Compatible,
        models: Vec::new(),
        weight: 1,
        priority: 0,
        max_concurrency: None,
        state: State::Enabled,
    }
}

/// Takes what the call may use.
async fn bill(
    gateway: &Gateway,
    request: &HttpRequest,
    caller: &Allowed,
    (api, head): (Api, &Head),
    arrived: Instant,
) -> Result<Bill, Error> {
    let limits = caller.license().map(|license| license.limits.clone()).unwrap_or_default();
    let tokens = if caller.own_key.is_some() || !api.is_metered() {
        0
    } else {
        let usual = || gateway.quota.calls().usual_output(&caller.license_id).unsigned_abs().max(USUAL_OUTPUT);
        head.input_tokens.saturating_add(head.most_output.unwrap_or_else(usual))
    };
    let entered = gateway.rates.enter(&caller.license_id, &limits, tokens, Instant::now());
    let pass = entered.inspect_err(|_| {
        request.extensions_mut().insert(gateway.rates.read(&caller.license_id, &limits, Instant::now()));
    })?;
    let share = if api.is_metered() {
        let need = Amounts { tokens: i64::try_from(tokens).unwrap_or(i64::MAX), requests: 1 };
        Some(gateway.quota.reserve(&caller.license_id, need).await?)
    } else {
        None
    };
    let payer = Payer {
        call_id: ids::call(),
        license_id: caller.license_id.clone(),
        key_id: caller.key_id.clone(),
        model: head.model.clone(),
        own_key: caller.own_key.is_some(),
    };
    Ok(Bill::new(api, payer, (pass, share), gateway.metrics.calls.clone(), arrived))
}

/// Reads a body of bounded length.
///
/// # Errors
/// `TooLarge`, `InvalidRequest` when it doesn't come in.
pub async fn read(mut payload: Payload, limit: usize) -> Result<Bytes, Error> {
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(part) = payload.next().await {
            let part = part.map_err(|error| Error::request(format!("the body could not be read: {error}")))?;
            if body.len() + part.len() > limit {
                return Err(Error::TooLarge { limit });
            }
            // Most bodies come in one piece.
            if body.is_empty() {
                body = BytesMut::from(part);
            } else {
                body.extend_from_slice(&part);
            }
        }
        Ok(body.freeze())
    };
    let late = || Error::request(format!("the body did not come in within {} s", BODY_PATIENCE.as_secs()));
    tokio::time::timeout(BODY_PATIENCE, reading).await.map_err(|_| late())?
}

/// The HTTP answer of a reply.
#[must_use]
pub fn respond(reply: Reply) -> HttpResponse {
    let mut answer = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY));
    answer.insert_header((header::CONTENT_TYPE, reply.content_type));
    for (name, value) in reply.headers {
        answer.insert_header((name, value));
    }
    match reply.body {
        Body::Whole(body) => answer.body(body),
        Body::Stream(pieces) => {
            // Proxies before us must not gather events either.
            answer.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header(("x-accel-buffering", "no"));
            answer.streaming(stream::unfold(Some(pieces), |pieces| async move {
                let mut pieces = pieces?;
                match pieces.recv().await {
                    Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(pieces))),
                    Some(Piece::End) => None,
                    // Cut off, the answer must not look whole.
                    None => Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)), None)),
                }
            }))
        }
    }
}

/// A header's value, for the upstream.
#[must_use]
pub fn passed_headers(request: &HttpRequest, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let value = |name: &str| request.headers().get(name)?.to_str().ok().map(str::to_owned);
    names.iter().filter_map(|name| Some((*name, value(name)?))).collect()
}

fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}
