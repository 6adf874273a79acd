//! `GET /v1/models`: what can be asked here, as the accounts' providers say; as OpenAI's clients read it, and as
//! Anthropic's do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use awc::http::Method;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::CallCaller;
use super::refusal::{self, Refusal};
use crate::completion::api::Dialect;
use crate::completion::call::Tools;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::upstream::account::{Account, Kind, State};
use crate::upstream::http::Question;

/// The providers are asked this often at most.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// After some of them didn't answer.
const RETRY_AFTER: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(10);
/// No list is longer, bytes.
const LONGEST: usize = 8 << 20;
/// Anthropic's clients want a date.
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

/// What the providers said last; shared by all threads.
#[derive(Clone, Default)]
pub struct Catalogue(Arc<Mutex<Option<(Instant, Models)>>>);

type Models = Arc<BTreeMap<String, Value>>;

/// `GET …/models`: what the license includes.
///
/// # Errors
/// What the license is refused for.
pub async fn list(request: HttpRequest, caller: CallCaller) -> Result<HttpResponse, Refusal> {
    let models = known(&request).await?;
    let data: Vec<Value> =
        models.iter().filter(|(id, _)| includes(&caller, id)).map(|(_, model)| shown(&request, model)).collect();
    if refusal::dialect(&request) != Dialect::Anthropic {
        return Ok(HttpResponse::Ok().json(json!({ "object": "list", "data": data })));
    }
    let id = |model: Option<&Value>| model.and_then(|model| model.get("id")).cloned();
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(HttpResponse::Ok().json(json!({ "data": data, "has_more": false, "first_id": first_id, "last_id": last_id })))
}

/// `GET …/models/{id}`.
///
/// # Errors
/// `ModelNotFound`, and what the license is refused for.
pub async fn show(request: HttpRequest, caller: CallCaller, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let models = known(&request).await?;
    let model = models.get(id.as_str()).filter(|_| includes(&caller, &id));
    let model = model.ok_or_else(|| Error::ModelNotFound(id.chars().take(200).collect()))?;
    Ok(HttpResponse::Ok().json(shown(&request, model)))
}

fn includes(caller: &CallCaller, id: &str) -> bool {
    match caller {
        CallCaller::Licensed(known) => known.0.allows_model(id),
        CallCaller::OwnKey(_) => true,
    }
}

fn shown(request: &HttpRequest, model: &Value) -> Value {
    if refusal::dialect(request) != Dialect::Anthropic {
        return model.clone();
    }
    let id = model.get("id").cloned().unwrap_or_default();
    let created = model.get("created").and_then(Value::as_i64).and_then(|at| jiff::Timestamp::from_second(at).ok());
    let created = created.map_or_else(|| LONG_AGO.to_owned(), |at| at.to_string());
    let name = model.get("display_name").cloned().unwrap_or_else(|| id.clone());
    json!({ "type": "model", "id": id, "display_name": name, "created_at": created })
}

async fn known(request: &HttpRequest) -> Result<Models, Error> {
    let catalogue = request.app_data::<Data<Catalogue>>().ok_or_else(|| Error::internal("no catalogue in this app"))?;
    let kept = |until: &Instant| Instant::now() < *until;
    let locked = || catalogue.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, models)) = locked().as_ref().filter(|(until, _)| kept(until)) {
        return Ok(models.clone());
    }
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    let tools = request.app_data::<Data<Tools>>().ok_or_else(|| Error::internal("no tools in this app"))?;
    let accounts: Vec<_> =
        gateway.pool.accounts().into_iter().filter(|account| account.state == State::Enabled).collect();
    let answers = join_all(accounts.iter().map(|account| ask(tools, account))).await;
    let complete = answers.iter().all(Option::is_some);
    let mut models = BTreeMap::new();
    for (account, answer) in accounts.iter().zip(answers) {
        // What an account names one by one it has, whether it lists it or not.
        let named = account.models.iter().filter(|pattern| !pattern.contains('*'));
        models.extend(named.map(|id| {
            (id.clone(), json!({ "id": id, "object": "model", "created": 0, "owned_by": account.kind.word() }))
        }));
        let listed = answer.into_iter().flatten().filter(|(id, _)| account.serves(id) || account.serves_anything());
        models.extend(listed);
    }
    let models = Arc::new(models);
    let until = Instant::now() + if complete { KNOWN_FOR } else { RETRY_AFTER };
    *locked() = Some((until, models.clone()));
    Ok(models)
}

#[derive(Deserialize)]
struct List {
    data: Vec<Value>,
}

/// What an account's provider lists, in OpenAI's form; `None` if it doesn't answer.
async fn ask(tools: &Tools, account: &Account) -> Option<Vec<(String, Value)>> {
    let base = account.base_url.as_str();
    let url = match account.kind {
        Kind::Dashscope => format!("{base}/compatible-mode/v1/models"),
        Kind::Openai | Kind::Anthropic if base.ends_with("/v1") => format!("{base}/models"),
        Kind::Openai => format!("{base}/v1/models"),
        Kind::Anthropic => format!("{base}/v1/models?limit=1000"),
    };
    let headers = match account.kind {
        Kind::Anthropic => vec![("anthropic-version", "2023-06-01".to_owned())],
        Kind::Dashscope | Kind::Openai => Vec::new(),
    };
    let question = Question { method: Method::GET, url, headers, body: Bytes::new() };
    let mut answer = tools.http.ask(account, question, PATIENCE).await.ok()?;
    if answer.status != 200 {
        return None;
    }
    let mut body = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, answer.body.next()).await.ok()? {
        body.extend_from_slice(&piece.ok()?);
        if body.len() > LONGEST {
            return None;
        }
    }
    let list: List = serde_json::from_slice(&body).ok()?;
    Some(list.data.into_iter().filter_map(|model| openai_form(account, model)).collect())
}

fn openai_form(account: &Account, model: Value) -> Option<(String, Value)> {
    let id = model.get("id")?.as_str()?.to_owned();
    if account.kind != Kind::Anthropic {
        return Some((id, model));
    }
    let text = |name: &str| model.get(name).and_then(Value::as_str);
    let created = text("created_at").and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let created = created.map_or(0, jiff::Timestamp::as_second);
    let name = text("display_name").unwrap_or(&id);
    let form =
        json!({ "id": id, "object": "model", "created": created, "owned_by": "anthropic", "display_name": name });
    Some((id, form))
}
