//! `GET /v1/license`: what the caller's license allows, within it the key that was shown, and how far both are used.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::guard::Caller;
use super::refusal::Refusal;
use super::shown;
use crate::clock;
use crate::gateway::Gateway;
use crate::store::budgets;
use crate::wire::admin::LimitsView;

/// A license as its owner sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OwnLicense")]
pub struct View {
    id: String,
    /// The API key that was shown, if not the license itself.
    key_id: Option<String>,
    plan: Option<String>,
    #[schemars(extend("const" = "active"))]
    status: &'static str,
    /// The license's end or the key's, whichever is sooner.
    expires_at: Option<Timestamp>,
    #[serde(flatten)]
    limits: LimitsView,
}

/// The caller's license.
///
/// # Errors
/// `StorageUnavailable`.
pub async fn show(caller: Caller, gateway: Data<Gateway>) -> Result<HttpResponse, Refusal> {
    let (id, now) = (caller.license.id.clone(), clock::now());
    gateway.quota.calls_booked().await;
    let key_ids: Vec<String> = caller.key.iter().map(|key| key.id.clone()).collect();
    let budgets = gateway.store.run(move |connection| {
        let mut found = budgets::of_license(connection, &id, now.as_microsecond())?;
        found.extend(budgets::of_keys(connection, &key_ids, now.as_microsecond())?);
        Ok(found)
    });
    let budgets = budgets.await?;
    let holder = caller.holder();
    let view = View {
        id: caller.license.id.clone(),
        key_id: caller.key.as_ref().map(|key| key.id.clone()),
        plan: caller.license.plan.clone(),
        status: shown::status(&caller.license, now),
        expires_at: holder.expires_at(),
        limits: shown::together(holder, &budgets, now),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}
