//! `/admin/licenses/{id}/…`: suspend, reinstate, revoke, renew, a new token, usage forgotten.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use jiff::Timestamp;
use serde_json::json;

use super::access::Operator;
use super::body::{Body, NoFields};
use super::difference;
use super::edit::{self, Whole};
use super::filling;
use super::licenses::{answer, no_store, with_token};
use super::once::{self, Outcome};
use super::trail::Trail;
use super::version;
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license::{License, Status};
use crate::store::budgets::{self, Reset};
use crate::store::licenses::{self, Change};
use crate::wire::admin::{Reissue, Renewal};

/// Beyond a century it is easier not to expire.
const MOST_DAYS: u32 = 36_600;

/// `POST …/suspend`: its live sessions end.
///
/// # Errors
/// `Conflict` for a revoked license, `NotFound`.
pub async fn suspend(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    let whole = set_status(operator, &gateway, id.into_inner(), Status::Suspended).await?;
    gateway.license_changed(&whole.0.id);
    gateway.roster.end_license(&whole.0.id, Error::LicenseSuspended);
    Ok(answer(&whole, clock::now()))
}

/// `POST …/reinstate`.
///
/// # Errors
/// `Conflict` for a revoked license, `NotFound`.
pub async fn reinstate(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    let whole = set_status(operator, &gateway, id.into_inner(), Status::Active).await?;
    gateway.license_changed(&whole.0.id);
    Ok(answer(&whole, clock::now()))
}

/// `POST …/revoke` and `DELETE …`: for good; its live sessions end.
///
/// # Errors
/// `NotFound`.
pub async fn revoke(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    let whole = set_status(operator, &gateway, id.into_inner(), Status::Revoked).await?;
    gateway.license_changed(&whole.0.id);
    gateway.roster.end_license(&whole.0.id, Error::LicenseRevoked);
    Ok(answer(&whole, clock::now()))
}

async fn set_status(operator: Operator, gateway: &Gateway, id: String, status: Status) -> Result<Whole, Error> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let expected = operator.if_match;
    let work = move |connection: &mut _| {
        edit::locked(connection, &id, |connection, license| {
            version::require(expected.as_deref(), &version::of_license(license))?;
            edit::set_status(connection, license, status, &trail)
        })
    };
    gateway.store.run(work).await
}

/// `POST …/renew`: until `expires_at`, or for `days` more (KEY_EXPIRY_DAYS if left out). Old tokens go on as well. A
/// repeat renews nothing, and answers without a token.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `PreconditionFailed`, `NotFound`, `Conflict` for a revoked license, or
/// an `Idempotency-Key` that came with another body.
pub async fn renew(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (renewal, now): (Renewal, Timestamp) = (body.read_or_default()?, trail.now());
    check(&renewal, now)?;
    let days = renewal.days.unwrap_or(gateway.config.keys.expiry_days);
    let request = once::Request::new(&operator, &format!("POST /admin/licenses/{id}/renew"), &body, now)?;
    let (id, expected) = (id.into_inner(), operator.if_match);
    let subject = id.clone();
    let work = move |connection: &mut _| {
        edit::within(connection, &subject, |connection, license| {
            version::require(expected.as_deref(), &version::of_license(license))?;
            refuse_revoked(license)?;
            let end = renewal.expires_at.unwrap_or_else(|| {
                let from = license.expires_at.map_or(now, |end| end.max(now));
                filling::end_after(days, from)
            });
            let change = Change {
                expires_at_us: Some(Some(end.as_microsecond())),
                updated_at_us: now.as_microsecond(),
                ..Change::default()
            };
            licenses::change(connection, &license.id, &change)?;
            let ends = |end: Option<Timestamp>| json!({ "expires_at": end });
            let difference = difference::between(&ends(license.expires_at), &ends(Some(end)));
            trail.leave(connection, "license.renew", &license.id, &difference)
        })
    };
    let outcome = request.make(&gateway.store, id.clone(), work).await?;
    let whole = gateway.store.run(move |connection| edit::load(connection, &id)).await?;
    gateway.license_changed(&whole.0.id);
    tokened(&gateway, &whole, &outcome, now)
}

/// 200 with the license, and with a token where this is no repeat.
fn tokened(gateway: &Gateway, whole: &Whole, outcome: &Outcome, now: Timestamp) -> Result<HttpResponse, Refusal> {
    let Outcome::New = outcome else { return Ok(answer(whole, now)) };
    let tag = version::etag(&version::of_license(&whole.0));
    Ok(HttpResponse::Ok().insert_header(no_store()).insert_header(tag).json(with_token(gateway, whole, now)?))
}

fn check(renewal: &Renewal, now: Timestamp) -> Result<(), Error> {
    if renewal.expires_at.is_some() && renewal.days.is_some() {
        return Err(Error::field("days", "give either expires_at or days"));
    }
    if renewal.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::field("expires_at", "expires_at is in the past"));
    }
    if renewal.days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        return Err(Error::field("days", format!("days is a whole number from 1 to {MOST_DAYS}")));
    }
    Ok(())
}

/// `POST …/token`: signs a token with what is true now; with `rotate`, those issued before become invalid. A
/// repeat does neither.
///
/// # Errors
/// `PreconditionFailed`, `NotFound`, `Conflict` for a revoked license, or an `Idempotency-Key` that came with another
/// body.
pub async fn token(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (Reissue { rotate }, now) = (body.read_or_default()?, trail.now());
    let request = once::Request::new(&operator, &format!("POST /admin/licenses/{id}/token"), &body, now)?;
    let (id, expected) = (id.into_inner(), operator.if_match);
    let subject = id.clone();
    let work = move |connection: &mut _| {
        edit::within(connection, &subject, |connection, license| {
            version::require(expected.as_deref(), &version::of_license(license))?;
            refuse_revoked(license)?;
            if rotate {
                let change =
                    Change { token_id: Some(ids::token()), updated_at_us: now.as_microsecond(), ..Change::default() };
                licenses::change(connection, &license.id, &change)?;
            }
            trail.leave(connection, "license.token", &license.id, &json!({ "rotate": rotate }))
        })
    };
    let outcome = request.make(&gateway.store, id.clone(), work).await?;
    let whole = gateway.store.run(move |connection| edit::load(connection, &id)).await?;
    gateway.license_changed(&whole.0.id);
    tokened(&gateway, &whole, &outcome, now)
}

/// `POST …/reset-usage`: its budgets begin at nothing; what live sessions hold stays held.
///
/// # Errors
/// `NotFound`.
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
        edit::logged(connection, &id, ("license.reset_usage", &trail), |connection, license| {
            version::require(expected.as_deref(), &version::of_license(license))?;
            let whose = Reset::License(license.id.clone());
            budgets::reset(connection, &whose, clock::now().as_microsecond()).map(|_| ())
        })
    };
    let whole = gateway.store.run(work).await?;
    gateway.license_changed(&whole.0.id);
    Ok(answer(&whole, now))
}

fn refuse_revoked(license: &License) -> Result<(), Error> {
    if license.status == Status::Revoked {
        return Err(Error::Conflict("this license was revoked for good; issue a new one".to_owned()));
    }
    Ok(())
}
