//! What all calls to models have in common: who calls, within which limits, and how the answer goes out.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{FromRequest as _, HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::stream;

use super::answer::RequestId;
use super::bodies::{self, Bodies};
use super::guard::CallCaller;
use super::passed;
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
use crate::holder::Holder;
use crate::ids;
use crate::payer;
use crate::quota::purse::Amounts;
use crate::quota::rate::Subject;
use crate::quota::rates::Pass;
use crate::quota::running::Running;
use crate::session::socket::ClientSocket;
use crate::upstream::account::{Account, Kind, Mode, State};
use crate::wire::members::Members;

/// Set aside for an answer whose caller names no limit, tokens; more where the license's answers have cost more.
const USUAL_OUTPUT: u64 = 1_024;
/// The id of an account that a caller brings.
pub const OWN_ACCOUNT: &str = "own";
/// What a caller is told to wait for where its provider names no time, seconds.
const USUAL_WAIT: u64 = 2;
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
    passed::check(request, &passed)?;
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes() != b"identity") {
        return Err(Error::field("Content-Encoding", "send the body as it is, without Content-Encoding"));
    }
    bodies::check_length(request, gateway.config.server.max_body_bytes)?;
    let license_id = caller.license_id.clone();
    let running = caller.running(gateway);
    let mut ending = running.ending();
    let pass = enter(gateway, request, caller.subjects()).await?;
    let asked = Asked { api, passed, streams, arrived };
    let asking = Box::pin(ask(gateway, (request, payload), asked, caller, (pass, running)));
    let reply = tokio::select! {
        biased;
        reply = asking => reply?,
        // Where it is on its way it goes on by itself, as when its caller leaves.
        why = ending.wait() => return Err(why),
    };
    request.extensions_mut().insert(reply.readings);
    Ok(Answered { reply, license_id })
}

/// Lets a call begin within its caller's limits, before anything of it is read. Whatever it is answered with tells
/// how they stand.
///
/// # Errors
/// `RateLimited`, `ConcurrencyLimit`.
pub async fn enter(gateway: &Gateway, request: &HttpRequest, subjects: Vec<Subject>) -> Result<Pass, Error> {
    let (entered, readings) = gateway.rates.enter(subjects, Instant::now()).await;
    request.extensions_mut().insert(readings);
    entered
}

/// What is asked, besides the body.
struct Asked {
    api: Api,
    passed: Passed,
    streams: bool,
    arrived: Instant,
}

async fn ask(
    gateway: &Gateway,
    (request, payload): (&HttpRequest, Payload),
    asked: Asked,
    caller: Allowed,
    (pass, running): (Pass, Running),
) -> Result<Reply, Error> {
    let bodies = request.app_data::<Data<Bodies>>().ok_or_else(|| Error::internal("no room for bodies in this app"))?;
    let tools = request.app_data::<Data<Tools>>().ok_or_else(|| Error::internal("no tools in this app"))?;
    let body = bodies.read(payload, gateway.config.server.max_body_bytes).await?;
    let head = Head::read(asked.api, &body, asked.streams)?;
    if caller.holder().is_some_and(|holder| !holder.allows_model(&head.model)) {
        return Err(Error::ModelNotAllowed(head.model));
    }
    if let Some(holder) = caller.holder().filter(|holder| holder.names_models()) {
        check_fallbacks(holder, &body)?;
    }
    let bill = bill(gateway, &caller, (&asked, &head), pass).await?;
    warn(gateway, request, &caller.payer());
    let cut = request.conn_data::<ClientSocket>().cloned().map(|socket| Box::new(move || socket.cut()) as Cut);
    let call = Call {
        api: asked.api,
        head,
        body,
        passed: asked.passed,
        caller: caller.number(),
        own: caller.own_key.map(|key| own_account(gateway, key)),
        bill,
        request_id: request_id(request),
        created: clock::now().as_second(),
        cut,
        running,
    };
    call::make(call, tools.get_ref().clone()).await
}

/// Has the answer tell of budgets that are used beyond their soft limit.
fn warn(gateway: &Gateway, request: &HttpRequest, payer: &str) {
    let warnings = gateway.quota.calls().warnings(payer);
    for warning in &*warnings {
        gateway.metrics.calls.quota_warnings.with_label_values(&[&warning.unit]).inc();
    }
    request.extensions_mut().insert(warnings);
}

/// Who calls, and with whose key.
struct Allowed {
    known: Option<Known>,
    license_id: String,
    key_id: Option<String>,
    own_key: Option<Secret>,
}

impl Allowed {
    fn holder(&self) -> Option<Holder<'_>> {
        self.known.as_deref().map(Holder::of)
    }

    /// The [`payer::name`] of whose budgets count.
    fn payer(&self) -> String {
        payer::name(&self.license_id, self.key_id.as_deref())
    }

    /// The same for all calls of a license, for telling callers apart.
    fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.license_id.hash(&mut hasher);
        hasher.finish()
    }

    /// Ends with what allows the call.
    fn running(&self, gateway: &Gateway) -> Running {
        let known = self.known.as_deref();
        known.map_or_else(Running::of_nobody, |(license, key)| gateway.running.begin(license, key.as_ref()))
    }

    /// Whose limits the call keeps.
    fn subjects(&self) -> Vec<Subject> {
        self.known.as_deref().map(|(license, key)| Subject::of(license, key.as_ref())).unwrap_or_default()
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
    if !Holder::of(&known).allows_scope(api.scope()) {
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
        id: OWN_ACCOUNT.to_owned(),
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

/// Refuses a list of models to fall back on, which some providers heed, unless each of them is included.
fn check_fallbacks(holder: Holder<'_>, body: &[u8]) -> Result<(), Error> {
    let members = std::str::from_utf8(body).ok().and_then(Members::read);
    let lists = members.iter().flat_map(|members| members.all("models"));
    let allowed = |list: &str| {
        serde_json::from_str::<Vec<String>>(list).is_ok_and(|names| names.iter().all(|name| holder.allows_model(name)))
    };
    if lists.into_iter().all(allowed) {
        return Ok(());
    }
    Err(Error::field("models", "`models` may name no model that this license does not include"))
}

/// Takes what the call may use.
async fn bill(
    gateway: &Gateway,
    caller: &Allowed,
    (asked, head): (&Asked, &Head),
    mut pass: Pass,
) -> Result<Bill, Error> {
    let api = asked.api;
    let payer = caller.payer();
    let tokens = if caller.own_key.is_some() || !api.is_metered() {
        0
    } else {
        let usual = || gateway.quota.calls().usual_output(&payer).unsigned_abs().max(USUAL_OUTPUT);
        head.input_tokens.saturating_add(head.most_output.unwrap_or_else(usual))
    };
    // A budget must hold all that the call may use; the pace of a license goes by what its calls do use.
    let paced = match head.most_output {
        Some(_) => tokens,
        None => tokens.min(head.input_tokens.saturating_add(gateway.quota.calls().usual_output(&payer).unsigned_abs())),
    };
    pass.set_aside(paced, Instant::now()).await?;
    let share = if api.is_metered() {
        let need = Amounts { tokens: i64::try_from(tokens).unwrap_or(i64::MAX), requests: 1 };
        Some(gateway.quota.reserve(&payer, need).await?)
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
    Ok(Bill::new(api, payer, (pass, share), gateway.metrics.calls.clone(), asked.arrived))
}

/// The HTTP answer of a reply.
#[must_use]
pub fn respond(reply: Reply) -> HttpResponse {
    let mut answer = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY));
    answer.insert_header((header::CONTENT_TYPE, reply.content_type));
    if matches!(reply.status, 429 | 503) && reply.headers.iter().all(|(name, _)| *name != "retry-after") {
        answer.insert_header((header::RETRY_AFTER, USUAL_WAIT));
    }
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

fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}
