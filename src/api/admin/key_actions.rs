//! `/admin/keys/{id}/…`: delete, block, unblock, a new secret, usage forgotten.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde_json::json;

use super::access::Operator;
use super::edit;
use super::keys::{self, Loaded, deleted, locked, refuse_deleted};
use super::licenses::no_store;
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license::{self, KeyStatus, Status};
use crate::store::backend::AnyConnection;
use crate::store::budgets::{self, Reset};
use crate::store::keys::{self as stored, Change};
use crate::wire::admin::KeyView;

/// `DELETE /admin/keys/{id}`, or the key itself in its place. Its live sessions end, and so does the license that
/// was made for it, unless other keys use it. Deleting it again answers the same.
///
/// # Errors
/// `NotFound` for a key that never was.
pub async fn delete(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let work = move |connection: &mut _| {
        locked(connection, &id, |connection, loaded| {
            let (key, license, _) = loaded;
            if !set_status(connection, loaded, KeyStatus::Deleted, &trail)? {
                return Ok(());
            }
            trail.leave(connection, "key.delete", &key.id, &json!({}))?;
            if key.own_license && stored::count_living(connection, &license.id)? == 0 {
                edit::set_status(connection, license, Status::Revoked, &trail)?;
            }
            Ok(())
        })
    };
    let (key, license, _) = gateway.store.run(work).await?;
    gateway.license_changed(&license.id);
    gateway.roster.end_key(&key.id, Error::LicenseRevoked);
    if license.status == Status::Revoked {
        gateway.roster.end_license(&license.id, Error::LicenseRevoked);
    }
    Ok(deleted(&key.id))
}

/// `POST …/block`: its live sessions end.
///
/// # Errors
/// `Conflict` for a deleted key, `NotFound`.
pub async fn block(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let view = switch(&operator, &gateway, id.into_inner(), KeyStatus::Blocked).await?;
    gateway.roster.end_key(&view.id, Error::LicenseSuspended);
    Ok(HttpResponse::Ok().json(view))
}

/// `POST …/unblock`.
///
/// # Errors
/// `Conflict` for a deleted key, `NotFound`.
pub async fn unblock(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let view = switch(&operator, &gateway, id.into_inner(), KeyStatus::Active).await?;
    Ok(HttpResponse::Ok().json(view))
}

async fn switch(operator: &Operator, gateway: &Gateway, id: String, status: KeyStatus) -> Result<KeyView, Error> {
    let trail = Trail::new(&gateway.config, operator, clock::now());
    let now = trail.now();
    let work = move |connection: &mut _| {
        locked(connection, &id, |connection, loaded| {
            refuse_deleted(&loaded.0)?;
            if !set_status(connection, loaded, status, &trail)? {
                return Ok(());
            }
            let action = if status == KeyStatus::Blocked { "key.block" } else { "key.unblock" };
            trail.leave(connection, action, &loaded.0.id, &json!({}))
        })
    };
    let loaded = gateway.store.run(work).await?;
    gateway.license_changed(&loaded.1.id);
    Ok(keys::view(&loaded, now))
}

/// False if it has that status already.
fn set_status(
    connection: &mut AnyConnection,
    (key, ..): &Loaded,
    status: KeyStatus,
    trail: &Trail,
) -> Result<bool, Error> {
    if key.status == status {
        return Ok(false);
    }
    let change =
        Change { status: Some(status.word()), updated_at_us: trail.now().as_microsecond(), ..Change::default() };
    stored::change(connection, &key.id, &change)
}

/// `POST …/rotate`: the same key with a new secret, shown this once. The old one opens nothing any more; sessions
/// that it opened go on.
///
/// # Errors
/// `Conflict` for a deleted key, `NotFound`.
pub async fn rotate(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let now = trail.now();
    let work = move |connection: &mut _| {
        let mut secret = None;
        let loaded = locked(connection, &id, |connection, (key, ..)| {
            refuse_deleted(key)?;
            let made = ids::api_key_of(&key.id);
            let change = Change {
                secret_hash: Some(license::key_hash(&made)),
                updated_at_us: now.as_microsecond(),
                ..Change::default()
            };
            secret = Some(made);
            stored::change(connection, &key.id, &change)?;
            trail.leave(connection, "key.rotate", &key.id, &json!({}))
        })?;
        Ok(KeyView { key: secret, ..keys::view(&loaded, now) })
    };
    let view = gateway.store.run(work).await?;
    gateway.license_changed(&view.license_id);
    Ok(HttpResponse::Ok().insert_header(no_store()).json(view))
}

/// `POST …/reset-usage`: the budgets of its license begin at nothing.
///
/// # Errors
/// `Conflict` for a deleted key, `NotFound`.
pub async fn reset_usage(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let now = trail.now();
    let work = move |connection: &mut _| {
        locked(connection, &id, |connection, (key, license, _)| {
            refuse_deleted(key)?;
            budgets::reset(connection, &Reset::License(license.id.clone()), trail.now().as_microsecond())?;
            trail.leave(connection, "key.reset_usage", &key.id, &json!({ "license_id": license.id }))
        })
    };
    let loaded = gateway.store.run(work).await?;
    gateway.license_changed(&loaded.1.id);
    Ok(HttpResponse::Ok().json(keys::view(&loaded, now)))
}
