//! `/admin/licenses`: issue, list, show, change.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;

use super::access::Operator;
use super::body::Body;
use super::difference;
use super::edit::{self, Whole};
use super::once::{self, Outcome};
use super::paging::{self, ListQuery};
use super::trail::Trail;
use super::{draft, filling, version};
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::license::{License, Status};
use crate::payer;
use crate::store::budgets::{self, Budget};
use crate::store::licenses::{self, Filter};
use crate::wire::admin::{LicenseFields, LicenseView, PageView};

/// `POST /admin/licenses`: 201 with the license and its token; a repeat answers 200 without the token.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `Conflict` for an `Idempotency-Key` that came with another body.
pub async fn create(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let request = once::Request::new(&operator, "POST /admin/licenses", &body, trail.now())?;
    if let Some(id) = request.earlier(&gateway.store).await? {
        return again(&gateway, id, trail.now()).await;
    }
    let (fields, settings): (LicenseFields, _) = (body.read()?, gateway.config.keys.clone());
    let named = fields.clone();
    let plan = gateway.store.run(move |connection| filling::named(connection, &named, &settings)).await?;
    let fields = filling::for_new(fields, plan, trail.now());
    let license = draft::license(&fields, trail.now())?;
    let budgets = draft::budgets(&fields.budgets, (&license.id, payer::NO_KEY), trail.now())?;
    let (now, whole) = (trail.now(), (license.clone(), budgets));
    let issued = whole.clone();
    let outcome = request
        .make(&gateway.store, license.id, move |connection| {
            insert(connection, &whole)?;
            let made = difference::made(&shown::license(&whole.0, &whole.1, trail.now()));
            trail.leave(connection, "license.create", &whole.0.id, &made)
        })
        .await?;
    match outcome {
        Outcome::New => Ok(HttpResponse::Created()
            .insert_header(no_store())
            .insert_header((header::LOCATION, format!("/admin/licenses/{}", issued.0.id)))
            .insert_header(version::etag(&version::of_license(&issued.0)))
            .json(with_token(&gateway, &issued, now)?)),
        Outcome::Earlier(id) => again(&gateway, id, now).await,
    }
}

/// What a request made that was sent before, as it is now.
async fn again(gateway: &Gateway, id: String, now: Timestamp) -> Result<HttpResponse, Refusal> {
    let whole = gateway.store.run(move |connection| edit::load(connection, &id)).await?;
    Ok(answer(&whole, now))
}

/// Adds a license and its budgets.
///
/// # Errors
/// The store's.
pub fn insert(connection: &mut crate::store::backend::AnyConnection, whole: &Whole) -> Result<(), Error> {
    let (license, budgets) = whole;
    licenses::insert(connection, license)?;
    budgets.iter().try_for_each(|budget| budgets::insert(connection, budget))
}

/// `GET /admin/licenses`.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let (page, now) = (query.page()?, clock::now());
    let filter = filter(&query, now)?;
    let view = gateway.store.run(move |connection| {
        let found = licenses::list(connection, &filter, &page)?;
        let ids: Vec<String> = found.iter().map(|license| license.id.clone()).collect();
        let budgets = budgets::of_licenses(connection, &ids, now.as_microsecond())?;
        let place = |license: &License| (license.created_at.as_microsecond(), license.id.clone());
        let answer: PageView<LicenseView> = paging::answer(found, &page, place, |license| {
            let own: Vec<Budget> = budgets.iter().filter(|budget| budget.license_id == license.id).cloned().collect();
            shown::license(&license, &own, now)
        });
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(view.await?))
}

fn filter(query: &ListQuery, now: Timestamp) -> Result<Filter, Error> {
    if query.subject.is_some() || query.license_id.is_some() {
        return Err(Error::request("licenses are listed by `limit, cursor, q, status, sort`"));
    }
    let now_us = now.as_microsecond();
    let (status, expired) = match query.status.as_deref() {
        None => (None, None),
        Some("expired") => (Some(Status::Active), Some((true, now_us))),
        Some(word) => match Status::read(word) {
            Some(Status::Active) => (Some(Status::Active), Some((false, now_us))),
            Some(status) => (Some(status), None),
            None => return Err(Error::field("status", "status is active, suspended, revoked or expired")),
        },
    };
    Ok(Filter { text: query.q.clone(), status, expired })
}

/// `GET /admin/licenses/{id}`.
///
/// # Errors
/// `NotFound`.
pub async fn show(_: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let whole = gateway.store.run(move |connection| edit::load(connection, &id)).await?;
    Ok(answer(&whole, clock::now()))
}

/// `PATCH /admin/licenses/{id}`: a merge patch; with `If-Match`, only of the license as it was read.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `PreconditionFailed`, `NotFound`, `Conflict` for a revoked license.
pub async fn change(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let fields: LicenseFields = body.read()?;
    let (keys, now, expected) = (gateway.config.keys.clone(), trail.now(), operator.if_match);
    let whole = gateway
        .store
        .run(move |connection| {
            edit::logged(connection, &id, ("license.change", &trail), |connection, license| {
                version::require(expected.as_deref(), &version::of_license(license))?;
                if license.status == Status::Revoked {
                    return Err(Error::Conflict("this license was revoked for good; issue a new one".to_owned()));
                }
                edit::patch(connection, license, fields, &keys, &trail)
            })
        })
        .await?;
    gateway.license_changed(&whole.0.id);
    Ok(answer(&whole, now))
}

/// 200 with the license.
#[must_use]
pub fn answer(whole: &Whole, now: Timestamp) -> HttpResponse {
    let (license, budgets) = whole;
    HttpResponse::Ok()
        .insert_header(version::etag(&version::of_license(license)))
        .json(shown::license(license, budgets, now))
}

/// The license with a token just signed.
///
/// # Errors
/// `Internal`: a defect.
pub fn with_token(gateway: &Gateway, whole: &Whole, now: Timestamp) -> Result<LicenseView, Error> {
    let (license, budgets) = whole;
    let token = gateway.signer.sign(&shown::claims(license, budgets, now)?)?;
    Ok(LicenseView { token: Some(token), ..shown::license(license, budgets, now) })
}

/// Keeps secrets out of caches.
#[must_use]
pub fn no_store() -> (header::HeaderName, &'static str) {
    (header::CACHE_CONTROL, "no-store")
}
