//! `/admin/keys`: make, list, show, change.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::access::Operator;
use super::body::{self, Body};
use super::edit::{self, Whole};
use super::licenses::{self, detail, no_store};
use super::once::{self, Outcome};
use super::paging::{self, ListQuery};
use super::trail::Trail;
use super::{draft, plans};
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::config::settings::Keys;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::license::{self, ApiKey, KeyStatus, License, Narrowing, Status};
use crate::payer;
use crate::store::accounting;
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::store::budgets::{self, Budget};
use crate::store::keys::{self, Change, Filter};
use crate::store::licenses as stored;
use crate::wire::admin::{KeyView, LicenseFields, PageView};

/// The fields of a key on a license that is not its own; the others belong to the license.
const FIELDS_OF_A_SECOND_KEY: [&str; 2] = ["label", "expires_at"];

/// `POST /admin/keys`: 201 with the key, shown this once; a repeat answers 200 without it.
///
/// With `license_id` the key joins that license; otherwise a license is made for it, a trial unless `plan` says so.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `Conflict` for a revoked license, or an `Idempotency-Key` that came
/// with another body.
pub async fn create(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let now = trail.now();
    let object = body.object()?;
    let logged = detail(&object);
    let (public_id, secret) = ids::api_key();
    let (key, own) = draft_key(object, &public_id, &secret, &gateway.config.keys, &trail)?;
    let request = once::Request::new(&operator, "POST /admin/keys", &body, now)?;
    let outcome = request.make(&gateway.store, key.id.clone(), move |connection| {
        accounting::lock_ledger(connection)?;
        match &own {
            Some(whole) => licenses::insert(connection, whole)?,
            None => check_license(connection, &key.license_id)?,
        }
        keys::insert(connection, &key)?;
        trail.leave(connection, "key.create", &key.id, &logged)
    });
    let (new, id) = match outcome.await? {
        Outcome::New => (true, public_id),
        Outcome::Earlier(id) => (false, id),
    };
    let view = gateway.store.run(move |connection| Ok(view(&load(connection, &id)?, now))).await?;
    if new {
        let place = (header::LOCATION, format!("/admin/keys/{}", view.id));
        let view = KeyView { key: Some(secret), ..view };
        return Ok(HttpResponse::Created().insert_header(no_store()).insert_header(place).json(view));
    }
    Ok(HttpResponse::Ok().json(view))
}

/// The key, and the license that is made for it.
fn draft_key(
    mut object: Value,
    public_id: &str,
    secret: &str,
    keys: &Keys,
    trail: &Trail,
) -> Result<(ApiKey, Option<Whole>), Error> {
    let license_id = object.as_object_mut().and_then(|object| object.remove("license_id"));
    let now = trail.now();
    let mut key = ApiKey {
        id: public_id.to_owned(),
        license_id: String::new(),
        own_license: false,
        secret_hash: license::key_hash(secret),
        label: None,
        status: KeyStatus::Active,
        created_at: now,
        updated_at: now,
        expires_at: None,
        expires_after_first_use: None,
        first_used_at: None,
        narrowing: Narrowing::default(),
        metadata: serde_json::Map::new(),
        previous: None,
    };
    match license_id {
        Some(Value::String(id)) => {
            allow(&object, &FIELDS_OF_A_SECOND_KEY)?;
            let fields = draft::license(&body::fields(object)?, now)?;
            key.label = fields.label;
            key.expires_at = fields.expires_at;
            key.license_id = id;
            Ok((key, None))
        }
        None | Some(Value::Null) => {
            let mut fields: LicenseFields = body::fields(object)?;
            fields.plan.get_or_insert_with(|| Some(plans::TRIAL.to_owned()));
            if keys.enable_rate_limit {
                fields.rpm_limit.get_or_insert(Some(keys.max_requests_per_minute));
            }
            let fields = plans::fill(fields, keys, now)?;
            let license = draft::license(&fields, now)?;
            let budgets = draft::budgets(&fields.budgets, (&license.id, payer::NO_KEY), now)?;
            key.label.clone_from(&license.label);
            key.license_id.clone_from(&license.id);
            key.own_license = true;
            Ok((key, Some((license, budgets))))
        }
        Some(_) => Err(Error::field("license_id", "license_id is the id of a license")),
    }
}

fn check_license(connection: &mut AnyConnection, id: &str) -> Result<(), Error> {
    match stored::find(connection, id)? {
        None => Err(Error::field("license_id", "license_id names no license")),
        Some(license) if license.status == Status::Revoked => {
            Err(Error::Conflict("this license was revoked for good".to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// Refuses fields that are none of `names`.
fn allow(object: &Value, names: &[&str]) -> Result<(), Error> {
    let other = object.as_object().and_then(|object| object.keys().find(|name| !names.contains(&name.as_str())));
    match other {
        None => Ok(()),
        Some(name) => Err(Error::field(
            name,
            format!("a key on a shared license has only {}; change the license for `{name}`", names.join(", ")),
        )),
    }
}

/// `GET /admin/keys`.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let (page, now) = (query.page()?, clock::now());
    let status = match query.status.as_deref().map(|word| (word, KeyStatus::read(word))) {
        None => None,
        Some((_, Some(status))) => Some(status),
        Some((_, None)) => return Err(Error::field("status", "status is active, blocked or deleted").into()),
    };
    let filter = Filter { text: query.q, status, license_id: query.license_id };
    let answer = gateway.store.run(move |connection| {
        let found = keys::list(connection, &filter, &page)?;
        let mut ids: Vec<String> = found.iter().map(|key| key.license_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let licenses = stored::find_all(connection, &ids)?;
        let budgets = budgets::of_licenses(connection, &ids, now.as_microsecond())?;
        let joined = found.into_iter().filter_map(|key| {
            let license = licenses.iter().find(|license| license.id == key.license_id)?;
            let own = budgets.iter().filter(|budget| budget.license_id == license.id).cloned().collect();
            Some((key, license.clone(), own))
        });
        let place = |(key, ..): &Loaded| (key.created_at.as_microsecond(), key.id.clone());
        let answer: PageView<KeyView> = paging::answer(joined.collect(), &page, place, |loaded| view(&loaded, now));
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

/// `GET /admin/keys/{id}`.
///
/// # Errors
/// `NotFound`.
pub async fn show(_: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let view = gateway.store.run(move |connection| Ok(view(&load(connection, &id)?, clock::now()))).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// `PATCH /admin/keys/{id}`: a merge patch. Where the license was made for the key, it takes the license's fields.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `NotFound`; `Conflict` for a deleted key.
pub async fn change(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (object, settings, now) = (body.object()?, gateway.config.keys.clone(), trail.now());
    let fields: LicenseFields = body::fields(object.clone())?;
    let loaded = gateway.store.run(move |connection| {
        locked(connection, &id, |connection, (key, license, _)| {
            refuse_deleted(key)?;
            let mut change =
                Change { label: fields.label.clone(), updated_at_us: now.as_microsecond(), ..Change::default() };
            if key.own_license {
                edit::patch(connection, license, fields, &settings, &trail)?;
            } else {
                allow(&object, &FIELDS_OF_A_SECOND_KEY)?;
                change.expires_at_us = draft::change(&fields, license, now)?.expires_at_us;
            }
            keys::change(connection, &key.id, &change)?;
            trail.leave(connection, "key.change", &key.id, &detail(&object))
        })
    });
    let loaded = loaded.await?;
    gateway.license_changed(&loaded.1.id);
    gateway.roster.license_changed(&loaded.1.id, loaded.1.expires_at);
    Ok(HttpResponse::Ok().json(view(&loaded, now)))
}

/// A key, its license and that license's budgets.
pub type Loaded = (ApiKey, License, Vec<Budget>);

/// The key as the operator sees it.
#[must_use]
pub fn view(loaded: &Loaded, now: jiff::Timestamp) -> KeyView {
    let (key, license, budgets) = loaded;
    shown::key(key, license, budgets, now)
}

/// The key with this public id, or this whole key.
///
/// # Errors
/// `NotFound`.
pub fn load(connection: &mut AnyConnection, id_or_key: &str) -> Result<Loaded, Error> {
    let unknown = || Error::NotFound("this key".to_owned());
    let public_id = ids::public_id_of(id_or_key);
    let (key, license) = keys::find_with_license(connection, public_id.unwrap_or(id_or_key))?.ok_or_else(unknown)?;
    if public_id.is_some() && !license::same_secret(&license::key_hash(id_or_key), &key.secret_hash) {
        return Err(unknown());
    }
    let budgets = budgets::of_license(connection, &license.id, clock::now().as_microsecond())?;
    Ok((key, license, budgets))
}

/// Runs `work` on the key as it stands, with nobody else changing it, and returns it as it is then. Every instance
/// is told to look after its sessions.
///
/// # Errors
/// `NotFound`, and what `work` returns.
pub fn locked(
    connection: &mut AnyConnection,
    id_or_key: &str,
    work: impl FnOnce(&mut AnyConnection, &Loaded) -> Result<(), Error>,
) -> Result<Loaded, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let loaded = load(connection, id_or_key)?;
        work(connection, &loaded)?;
        announcements::announce(connection)?;
        load(connection, &loaded.0.id)
    })
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
    HttpResponse::Ok().json(json!({ "id": id, "deleted": true }))
}
