//! `/admin/keys`: make, list, show, change.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde_json::Value;

use super::access::Operator;
use super::body::{self, Body};
use super::edit::{self, Whole};
use super::licenses::{self, no_store};
use super::once::{self, Outcome};
use super::paging::{self, ListQuery};
use super::trail::Trail;
use super::{difference, draft, filling, key_draft, version};
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::config::settings::Keys;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license::{ApiKey, KeyStatus, License, Status};
use crate::payer;
use crate::store::accounting;
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::store::budgets::{self, Budget};
use crate::store::keys::{self, Filter};
use crate::store::licenses as stored;
use crate::wire::admin::{KeyView, LicenseFields, PageView};
use crate::wire::reports::Deleted;

/// `POST /admin/keys`: 201 with the key, shown this once; a repeat answers 200 without it.
///
/// With `license_id` the key joins that license, and its fields narrow it. Otherwise a license is made for it, a trial
/// unless `plan` says so, and the fields are that license's.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `Conflict` for a revoked license, or an `Idempotency-Key` that came
/// with another body.
pub async fn create(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let now = trail.now();
    let mut object = body.object()?;
    let (public_id, secret) = ids::api_key();
    let request = once::Request::new(&operator, "POST /admin/keys", &body, now)?;
    if let Some(id) = request.earlier(&gateway.store).await? {
        return again(&gateway, id, now).await;
    }
    let license_id = object.as_object_mut().and_then(|object| object.remove("license_id"));
    let (fields, settings): (LicenseFields, _) = (body::fields(object)?, gateway.config.keys.clone());
    let made = match license_id {
        None | Some(Value::Null) => {
            let draft = draft_with_license(fields, (public_id.clone(), secret.clone()), settings, now);
            gateway.store.run(draft).await?
        }
        Some(Value::String(license_id)) => {
            let key = key_draft::joining(&fields, &license_id, (&public_id, &secret), now)?;
            let budgets = draft::budgets(&fields.budgets, (&license_id, &public_id), now)?;
            Made { key, license: None, budgets }
        }
        Some(_) => return Err(Error::field("license_id", "license_id is the id of a license").into()),
    };
    let outcome = request.make(&gateway.store, public_id.clone(), move |connection| {
        accounting::lock_ledger(connection)?;
        insert(connection, &made)?;
        let loaded = load(connection, &made.key.id)?;
        trail.leave(connection, "key.create", &made.key.id, &difference::made(&view(&loaded, now)))
    });
    if let Outcome::Earlier(id) = outcome.await? {
        return again(&gateway, id, now).await;
    }
    let loaded = gateway.store.run(move |connection| load(connection, &public_id)).await?;
    let place = (header::LOCATION, format!("/admin/keys/{}", loaded.0.id));
    let tag = version::etag(&version::of_key(&loaded.0, &loaded.1));
    let view = KeyView { key: Some(secret), ..view(&loaded, now) };
    Ok(HttpResponse::Created().insert_header(no_store()).insert_header(place).insert_header(tag).json(view))
}

/// What a request made that was sent before, as it is now.
async fn again(gateway: &Gateway, id: String, now: Timestamp) -> Result<HttpResponse, Refusal> {
    let loaded = gateway.store.run(move |connection| load(connection, &id)).await?;
    Ok(answer(&loaded, now))
}

/// A key that is to be added.
struct Made {
    key: ApiKey,
    /// The license that is made for it.
    license: Option<License>,
    /// That license's budgets, or the key's own.
    budgets: Vec<Budget>,
}

fn draft_with_license(
    mut fields: LicenseFields,
    (public_id, secret): (String, String),
    settings: Keys,
    now: Timestamp,
) -> impl FnOnce(&mut AnyConnection) -> Result<Made, Error> {
    move |connection| {
        fields.plan.get_or_insert_with(|| Some(filling::TRIAL.to_owned()));
        let plan = filling::named(connection, &fields, &settings)?;
        let fields = key_draft::own_license(fields, plan, &settings, now);
        let license = draft::license(&fields, now)?;
        let budgets = draft::budgets(&fields.budgets, (&license.id, payer::NO_KEY), now)?;
        let bare = key_draft::bare((&public_id, &secret), &license.id, now);
        let key = ApiKey { own_license: true, label: license.label.clone(), ..bare };
        Ok(Made { key, license: Some(license), budgets })
    }
}

fn insert(connection: &mut AnyConnection, made: &Made) -> Result<(), Error> {
    let Made { key, license, budgets } = made;
    if let Some(license) = license {
        let whole: Whole = (license.clone(), budgets.clone());
        licenses::insert(connection, &whole)?;
        return keys::insert(connection, key);
    }
    match stored::find(connection, &key.license_id)? {
        None => return Err(Error::field("license_id", "license_id names no license")),
        Some(license) if license.status == Status::Revoked => {
            return Err(Error::Conflict("this license was revoked for good".to_owned()));
        }
        Some(_) => keys::insert(connection, key)?,
    }
    budgets.iter().try_for_each(|budget| budgets::insert(connection, budget))
}

/// `GET /admin/keys`.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let (page, now) = (query.page()?, clock::now());
    let filter = filter(query, now)?;
    let answer = gateway.store.run(move |connection| {
        let found = keys::list(connection, &filter, &page)?;
        let mut license_ids: Vec<String> = found.iter().map(|key| key.license_id.clone()).collect();
        license_ids.sort_unstable();
        license_ids.dedup();
        let key_ids: Vec<String> = found.iter().map(|key| key.id.clone()).collect();
        let licenses = stored::find_all(connection, &license_ids)?;
        let of_licenses = budgets::of_licenses(connection, &license_ids, now.as_microsecond())?;
        let of_keys = budgets::of_keys(connection, &key_ids, now.as_microsecond())?;
        let joined = found.into_iter().filter_map(|key| {
            let license = licenses.iter().find(|license| license.id == key.license_id)?;
            let own = if key.own_license {
                of_licenses.iter().filter(|budget| budget.license_id == license.id).cloned().collect()
            } else {
                of_keys.iter().filter(|budget| budget.key_id == key.id).cloned().collect()
            };
            Some((key, license.clone(), own))
        });
        let place = |(key, ..): &Loaded| (key.created_at.as_microsecond(), key.id.clone());
        let answer: PageView<KeyView> = paging::answer(joined.collect(), &page, place, |loaded| view(&loaded, now));
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

fn filter(query: ListQuery, now: Timestamp) -> Result<Filter, Error> {
    if query.subject.is_some() {
        return Err(Error::field("subject", "keys are listed by `limit, cursor, q, status, license_id, sort`"));
    }
    let now_us = now.as_microsecond();
    let (status, expired) = match query.status.as_deref().map(|word| (word, KeyStatus::read(word))) {
        None => (None, None),
        Some(("expired", _)) => (Some(KeyStatus::Active), Some((true, now_us))),
        Some((_, Some(KeyStatus::Active))) => (Some(KeyStatus::Active), Some((false, now_us))),
        Some((_, Some(status))) => (Some(status), None),
        Some((_, None)) => return Err(Error::field("status", "status is active, blocked, deleted or expired")),
    };
    Ok(Filter { text: query.q, status, expired, license_id: query.license_id })
}

/// `GET /admin/keys/{id}`.
///
/// # Errors
/// `NotFound`.
pub async fn show(_: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let loaded = gateway.store.run(move |connection| load(connection, &id)).await?;
    Ok(answer(&loaded, clock::now()))
}

/// `PATCH /admin/keys/{id}`: a merge patch; with `If-Match`, only of the key as it was read. Where a license was made
/// for the key, it is the license's fields that change.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `PreconditionFailed`, `NotFound`, `Conflict` for a deleted key.
pub async fn change(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (settings, now, expected) = (gateway.config.keys.clone(), trail.now(), operator.if_match);
    let fields: LicenseFields = body.read()?;
    let loaded = gateway.store.run(move |connection| {
        locked(connection, &id, |connection, loaded| {
            require(expected.as_deref(), loaded)?;
            patch(connection, loaded, fields, &settings, &trail)?;
            leave_difference(connection, loaded, ("key.change", &trail))
        })
    });
    let loaded = loaded.await?;
    gateway.license_changed(&loaded.1.id);
    Ok(answer(&loaded, now))
}

fn patch(
    connection: &mut AnyConnection,
    (key, license, _): &Loaded,
    fields: LicenseFields,
    settings: &Keys,
    trail: &Trail,
) -> Result<(), Error> {
    refuse_deleted(key)?;
    let now = trail.now();
    if key.own_license {
        let label = fields.label.clone();
        edit::patch(connection, license, fields, settings, trail)?;
        let change = keys::Change { label, updated_at_us: now.as_microsecond(), ..keys::Change::default() };
        keys::change(connection, &key.id, &change)?;
        return Ok(());
    }
    keys::change(connection, &key.id, &key_draft::change(&fields, key, now)?)?;
    if fields.budgets.is_some() {
        let owner = (license.id.as_str(), key.id.as_str());
        let wanted = draft::budgets(&fields.budgets, owner, now)?;
        edit::replace_budgets(connection, owner, wanted, now)?;
    }
    Ok(())
}

/// A key, its license, and the budgets of the license that was made for it, or its own.
pub type Loaded = (ApiKey, License, Vec<Budget>);

/// The key as the operator sees it.
#[must_use]
pub fn view(loaded: &Loaded, now: Timestamp) -> KeyView {
    let (key, license, budgets) = loaded;
    shown::key(key, license, budgets, now)
}

/// 200 with the key.
#[must_use]
pub fn answer(loaded: &Loaded, now: Timestamp) -> HttpResponse {
    let tag = version::etag(&version::of_key(&loaded.0, &loaded.1));
    HttpResponse::Ok().insert_header(tag).json(view(loaded, now))
}

/// Whether the key is as `If-Match` wants it.
///
/// # Errors
/// `PreconditionFailed`.
pub fn require(if_match: Option<&str>, (key, license, _): &Loaded) -> Result<(), Error> {
    version::require(if_match, &version::of_key(key, license))
}

/// The key with this public id.
///
/// # Errors
/// `NotFound`.
pub fn load(connection: &mut AnyConnection, id: &str) -> Result<Loaded, Error> {
    let found = keys::find_with_license(connection, id)?;
    let (key, license) = found.ok_or_else(|| Error::NotFound("this key".to_owned()))?;
    let now_us = clock::now().as_microsecond();
    let budgets = if key.own_license {
        budgets::of_license(connection, &license.id, now_us)?
    } else {
        budgets::of_keys(connection, std::slice::from_ref(&key.id), now_us)?
    };
    Ok((key, license, budgets))
}

/// Runs `work` on the key as it stands, with nobody else changing it, and returns it as it is then. Every instance
/// is told to look after its sessions.
///
/// # Errors
/// `NotFound`, and what `work` returns.
pub fn locked(
    connection: &mut AnyConnection,
    id: &str,
    work: impl FnOnce(&mut AnyConnection, &Loaded) -> Result<(), Error>,
) -> Result<Loaded, Error> {
    accounting::transaction(connection, |connection| {
        within(connection, id, work)?;
        load(connection, id)
    })
}

/// The same inside a transaction.
///
/// # Errors
/// As [`locked`].
pub fn within(
    connection: &mut AnyConnection,
    id: &str,
    work: impl FnOnce(&mut AnyConnection, &Loaded) -> Result<(), Error>,
) -> Result<(), Error> {
    accounting::lock_ledger(connection)?;
    let loaded = load(connection, id)?;
    work(connection, &loaded)?;
    announcements::announce(connection)
}

/// Leaves in the trail what became of a key, as `action`.
///
/// # Errors
/// The store's.
pub fn leave_difference(
    connection: &mut AnyConnection,
    before: &Loaded,
    (action, trail): (&str, &Trail),
) -> Result<(), Error> {
    let (id, now) = (&before.0.id, trail.now());
    let after = load(connection, id)?;
    trail.leave(connection, action, id, &difference::between(&view(before, now), &view(&after, now)))
}

/// Deleted keys don't change any more.
///
/// # Errors
/// `Conflict`.
pub fn refuse_deleted(key: &ApiKey) -> Result<(), Error> {
    if key.status == KeyStatus::Deleted {
        return Err(Error::Conflict("this key was deleted; make a new one".to_owned()));
    }
    Ok(())
}

/// The answer to a deletion.
#[must_use]
pub fn deleted(id: &str) -> HttpResponse {
    HttpResponse::Ok().json(Deleted { id: id.to_owned(), deleted: true })
}
