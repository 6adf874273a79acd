//! `/admin/keys/{id}/…`: delete, block, unblock, a new secret, usage forgotten.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::access::Operator;
use super::body::{Body, NoFields};
use super::edit;
use super::keys::{self, Loaded, answer, deleted, leave_difference, locked, refuse_deleted, require};
use super::licenses::no_store;
use super::once::{self, Outcome};
use super::trail::Trail;
use super::version;
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license::{self, ApiKey, KeyStatus, Status};
use crate::store::backend::AnyConnection;
use crate::store::budgets::{self, Reset};
use crate::store::keys::{self as stored, Change};
use crate::wire::admin::{KeyView, Rotation};

/// An old secret is accepted for so long at most, seconds.
const LONGEST_GRACE: u64 = 30 * 86_400;

/// `DELETE /admin/keys/{id}`, or the key itself in its place. Its live sessions end, and so does the license that
/// was made for it, unless other keys use it. Deleting it again answers the same.
///
/// # Errors
/// `NotFound` for a key that never was; `PreconditionFailed`.
pub async fn delete(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (expected, now) = (operator.if_match, trail.now());
    let work = move |connection: &mut _| {
        let whole_key = ids::public_id_of(&id);
        locked(connection, whole_key.unwrap_or(&id), |connection, loaded| {
            let (key, license, _) = loaded;
            if whole_key.is_some() && !key.opens(&id, now) {
                return Err(Error::NotFound("this key".to_owned()));
            }
            require(expected.as_deref(), loaded)?;
            if !set_status(connection, loaded, KeyStatus::Deleted, &trail)? {
                return Ok(());
            }
            budgets::delete_of_key(connection, &key.id)?;
            leave_difference(connection, loaded, ("key.delete", &trail))?;
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
/// `PreconditionFailed`, `Conflict` for a deleted key, `NotFound`.
pub async fn block(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    let loaded = switch(operator, &gateway, id.into_inner(), KeyStatus::Blocked).await?;
    gateway.roster.end_key(&loaded.0.id, Error::LicenseSuspended);
    Ok(answer(&loaded, clock::now()))
}

/// `POST …/unblock`.
///
/// # Errors
/// `PreconditionFailed`, `Conflict` for a deleted key, `NotFound`.
pub async fn unblock(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    let loaded = switch(operator, &gateway, id.into_inner(), KeyStatus::Active).await?;
    Ok(answer(&loaded, clock::now()))
}

async fn switch(operator: Operator, gateway: &Gateway, id: String, status: KeyStatus) -> Result<Loaded, Error> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let expected = operator.if_match;
    let work = move |connection: &mut _| {
        locked(connection, &id, |connection, loaded| {
            require(expected.as_deref(), loaded)?;
            refuse_deleted(&loaded.0)?;
            if !set_status(connection, loaded, status, &trail)? {
                return Ok(());
            }
            let action = if status == KeyStatus::Blocked { "key.block" } else { "key.unblock" };
            leave_difference(connection, loaded, (action, &trail))
        })
    };
    let loaded = gateway.store.run(work).await?;
    gateway.license_changed(&loaded.1.id);
    Ok(loaded)
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

/// `POST …/rotate`: the same key with a new secret, shown this once; a repeat answers without it. The old secret is
/// accepted for `grace_seconds` more, and the one before it no longer; sessions that they opened go on.
///
/// # Errors
/// `InvalidRequest` for a grace out of bounds; `PreconditionFailed`, `NotFound`, `Conflict` for a deleted key, or an
/// `Idempotency-Key` that came with another body.
pub async fn rotate(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (Rotation { grace_seconds }, now): (_, Timestamp) = (body.read_or_default()?, trail.now());
    if grace_seconds > LONGEST_GRACE {
        let message = format!("grace_seconds is a whole number from 0 to {LONGEST_GRACE}");
        return Err(Error::field("grace_seconds", message).into());
    }
    let request = once::Request::new(&operator, &format!("POST /admin/keys/{id}/rotate"), &body, now)?;
    let (id, expected) = (id.into_inner(), operator.if_match);
    let (subject, secret) = (id.clone(), ids::api_key_of(&id));
    let hash = license::key_hash(&secret);
    let outcome = request.make(&gateway.store, id.clone(), move |connection| {
        keys::within(connection, &subject, |connection, loaded| {
            require(expected.as_deref(), loaded)?;
            refuse_deleted(&loaded.0)?;
            stored::change(connection, &subject, &rotated(&loaded.0, hash, grace_seconds, now))?;
            trail.leave(connection, "key.rotate", &subject, &json!({ "grace_seconds": grace_seconds }))
        })
    });
    let new = matches!(outcome.await?, Outcome::New);
    let loaded = gateway.store.run(move |connection| keys::load(connection, &id)).await?;
    gateway.license_changed(&loaded.1.id);
    let tag = version::etag(&version::of_key(&loaded.0, &loaded.1));
    let view = KeyView { key: new.then_some(secret), ..keys::view(&loaded, now) };
    Ok(HttpResponse::Ok().insert_header(no_store()).insert_header(tag).json(view))
}

fn rotated(key: &ApiKey, secret_hash: String, grace_seconds: u64, now: Timestamp) -> Change {
    let grace = SignedDuration::from_secs(grace_seconds.cast_signed());
    let until = (grace_seconds > 0).then(|| now.saturating_add(grace).unwrap_or(Timestamp::MAX));
    Change {
        secret_hash: Some(secret_hash),
        previous_hash: Some(until.map(|_| key.secret_hash.clone())),
        previous_until_us: Some(until.map(Timestamp::as_microsecond)),
        updated_at_us: now.as_microsecond(),
        ..Change::default()
    }
}

/// `POST …/reset-usage`: its own budgets begin at nothing, and those of the license that was made for it.
///
/// # Errors
/// `PreconditionFailed`, `Conflict` for a deleted key, `NotFound`.
pub async fn reset_usage(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (now, expected) = (trail.now(), operator.if_match);
    // What was answered before counts before.
    gateway.quota.calls_booked().await;
    let work = move |connection: &mut _| {
        locked(connection, &id, |connection, loaded| {
            require(expected.as_deref(), loaded)?;
            let (key, license, _) = loaded;
            refuse_deleted(key)?;
            let (of_key, of_license) = (Reset::Key(key.id.clone()), Reset::License(license.id.clone()));
            let whose = if key.own_license { of_license } else { of_key };
            budgets::reset(connection, &whose, clock::now().as_microsecond())?;
            leave_difference(connection, loaded, ("key.reset_usage", &trail))
        })
    };
    let loaded = gateway.store.run(work).await?;
    gateway.license_changed(&loaded.1.id);
    Ok(answer(&loaded, now))
}
