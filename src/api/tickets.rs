//! `POST /v1/realtime/sessions`: a one-time ticket, so that a browser's URL never carries a lasting key.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::SignedDuration;

use super::admin::body::Body;
use super::guard::Caller;
use super::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license;
use crate::store::tickets::{self, Ticket as Stored};
use crate::wire::reports::{Ticket, TicketFields};

/// A ticket is good for so long.
const LIFE: SignedDuration = SignedDuration::from_secs(60);

/// A ticket for one session.
///
/// # Errors
/// `ScopeNotAllowed`, `ModelNotFound`, `ModelNotAllowed`; `InvalidRequest` for a body of another shape.
pub async fn create(
    caller: Caller,
    gateway: Data<Gateway>,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let fields: TicketFields = body.read_or_default()?;
    let holder = caller.holder();
    if !holder.allows_scope("realtime") {
        return Err(Error::ScopeNotAllowed("realtime").into());
    }
    if let Some(model) = fields.model {
        gateway.config.model(&model).ok_or_else(|| Error::ModelNotFound(model.clone()))?;
        if !holder.allows_model(&model) {
            return Err(Error::ModelNotAllowed(model).into());
        }
    }
    let now = clock::now();
    let expires_at = now.saturating_add(LIFE).map_err(Error::internal)?;
    let secret = ids::ticket();
    let ticket = Stored {
        secret_hash: license::key_hash(&secret),
        license_id: caller.license.id,
        key_id: caller.key.map(|key| key.id),
        expires_at_us: expires_at.as_microsecond(),
    };
    gateway.store.run(move |connection| tickets::insert(connection, &ticket, now.as_microsecond())).await?;
    let answer = Ticket { ticket: secret, ws_url: ws_url(&gateway, &request), expires_at };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

fn ws_url(gateway: &Gateway, request: &HttpRequest) -> String {
    if let Some(domain) = &gateway.config.server.domain {
        return format!("wss://{domain}/v1/realtime");
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let scheme = if request.connection_info().scheme() == "https" { "wss" } else { "ws" };
    format!("{scheme}://{}/v1/realtime", host.unwrap_or("localhost"))
}
