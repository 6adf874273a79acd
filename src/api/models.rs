//! `GET /v1/models`: what can be asked here, as the accounts' providers say; as OpenAI's clients read it, and as
//! Anthropic's do.

use std::sync::Arc;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::catalogue::{self, Catalogue, Models};
use super::guard::CallCaller;
use super::refusal::{self, Refusal};
use super::serve;
use crate::completion::api::Dialect;
use crate::completion::call::Tools;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::holder::Holder;

/// Anthropic's clients want a date.
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

/// `GET …/models`: what the license includes.
///
/// # Errors
/// What the license is refused for.
pub async fn list(request: HttpRequest, caller: CallCaller) -> Result<HttpResponse, Refusal> {
    let models = known(&request, &caller).await?;
    let data: Vec<Value> = models.values().map(|model| shown(&request, model)).collect();
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
    let models = known(&request, &caller).await?;
    let model = models.get(id.as_str()).ok_or_else(|| Error::ModelNotFound(id.chars().take(200).collect()))?;
    Ok(HttpResponse::Ok().json(shown(&request, model)))
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

/// What the caller may ask: by the accounts of this gateway, or by the provider's key that it brings and no other.
async fn known(request: &HttpRequest, caller: &CallCaller) -> Result<Arc<Models>, Error> {
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))?;
    let tools = request.app_data::<Data<Tools>>().ok_or_else(|| Error::internal("no tools in this app"))?;
    let holder = match caller {
        CallCaller::OwnKey(key) => {
            return Ok(Arc::new(catalogue::ask(tools, &serve::own_account(gateway, key.clone())).await?));
        }
        CallCaller::Licensed(known) => Holder::of(known),
    };
    let catalogue = request.app_data::<Data<Catalogue>>().ok_or_else(|| Error::internal("no catalogue in this app"))?;
    let known = catalogue.known(tools).await;
    if known.complete && !holder.names_models() {
        return Ok(known.models);
    }
    let included = known.models.iter().filter(|(id, _)| holder.allows_model(id));
    let mut models: Models = included.map(|(id, model)| (id.clone(), model.clone())).collect();
    if !known.complete {
        // What license or key name must not vanish because an account has never answered.
        for id in holder.models().into_iter().filter(|id| !id.contains('*') && holder.allows_model(id)) {
            models.entry(id.clone()).or_insert_with(|| catalogue::plain(&id));
        }
    }
    Ok(Arc::new(models))
}
