//! `GET /v1/license`: what the caller's own license allows, and how far it is used.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use jiff::Timestamp;
use serde::Serialize;

use super::guard::Caller;
use super::refusal::Refusal;
use super::shown;
use crate::clock;
use crate::gateway::Gateway;
use crate::store::budgets;
use crate::wire::admin::LimitsView;

#[derive(Serialize)]
struct View {
    id: String,
    key_id: Option<String>,
    plan: Option<String>,
    status: &'static str,
    expires_at: Option<Timestamp>,
    #[serde(flatten)]
    limits: LimitsView,
}

/// The caller's license.
///
/// # Errors
/// `StorageUnavailable`.
pub async fn show(caller: Caller, gateway: Data<Gateway>) -> Result<HttpResponse, Refusal> {
    let Caller { license, key } = caller;
    let (id, now) = (license.id.clone(), clock::now());
    gateway.quota.calls_booked().await;
    let key_ids: Vec<String> = key.iter().map(|key| key.id.clone()).collect();
    let budgets = gateway.store.run(move |connection| {
        let mut found = budgets::of_license(connection, &id, now.as_microsecond())?;
        found.extend(budgets::of_keys(connection, &key_ids, now.as_microsecond())?);
        Ok(found)
    });
    let budgets = budgets.await?;
    let key_end = key.as_ref().and_then(|key| key.expires_at);
    let view = View {
        key_id: key.map(|key| key.id),
        plan: license.plan.clone(),
        status: shown::status(&license, now),
        expires_at: [key_end, license.expires_at].into_iter().flatten().min(),
        limits: shown::limits(&license, &budgets, now),
        id: license.id,
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}
