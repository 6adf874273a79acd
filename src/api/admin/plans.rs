//! `/admin/plans`: named sets of limits that licenses are issued with.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::access::Operator;
use super::body::{self, Body};
use super::once::{self, Outcome};
use super::paging::{self, ListQuery};
use super::trail::Trail;
use super::{checks, difference, draft, edit, filling, version};
use crate::api::refusal::Refusal;
use crate::clock;
use crate::config::settings::Keys;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::backend::AnyConnection;
use crate::store::plans::{self, Plan};
use crate::store::{accounting, announcements, licenses};
use crate::wire::admin::{LicenseFields, PageView};
use crate::wire::plans::{AppliedView, PlanFields, PlanView};
use crate::wire::reports::Deleted;

const LONGEST_NAME: usize = 64;
const MOST_DAYS: u32 = 36_600;
/// Licenses that take a plan over in one transaction.
const AT_ONCE: i64 = 100;

/// `POST /admin/plans`: 201 with the plan; a repeat answers 200. `id` is its name. One called `trial` goes before the
/// built-in plan.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `Conflict` for a name that is taken, or an `Idempotency-Key` that came
/// with another body.
pub async fn create(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (mut object, now) = (body.object()?, trail.now());
    let id = name(object.as_object_mut().and_then(|object| object.remove("id")))?;
    let fields = read(object, now)?;
    let now_us = now.as_microsecond();
    let plan = Plan { id: id.clone(), fields: licenses::json(&fields)?, created_at_us: now_us, updated_at_us: now_us };
    let request = once::Request::new(&operator, "POST /admin/plans", &body, now)?;
    let outcome = request.make(&gateway.store, id.clone(), move |connection| {
        if plans::find(connection, &plan.id)?.is_some() {
            return Err(Error::Conflict(format!("there is a plan `{}` already; change it by PATCH", plan.id)));
        }
        plans::insert(connection, &plan)?;
        trail.leave(connection, "plan.create", &plan.id, &difference::made(&stored(&plan)?.view))
    });
    let (new, id) = match outcome.await? {
        Outcome::New => (true, id),
        Outcome::Earlier(id) => (false, id),
    };
    let settings = gateway.config.keys.clone();
    let plan = gateway.store.run(move |connection| load(connection, &id, &settings)).await?;
    if !new {
        return Ok(answer(plan));
    }
    let place = (header::LOCATION, format!("/admin/plans/{}", plan.view.id));
    Ok(HttpResponse::Created().insert_header(place).insert_header(version::etag(&plan.tag)).json(plan.view))
}

/// `GET /admin/plans`; a built-in one counts as the oldest.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let others = [("status", &query.status), ("license_id", &query.license_id), ("subject", &query.subject)];
    if let Some((name, _)) = others.iter().find(|(_, value)| value.is_some()) {
        return Err(Error::field(name, "plans are listed by `limit, cursor, q, sort`").into());
    }
    let (page, settings) = (query.page()?, gateway.config.keys.clone());
    let answer = gateway.store.run(move |connection| {
        let mut found = Vec::new();
        for plan in plans::list(connection, query.q.as_deref(), &page)? {
            found.push((plan.created_at_us, stored(&plan)?.view));
        }
        let wanted = query.q.as_ref().is_none_or(|text| filling::TRIAL.contains(&text.to_lowercase()));
        let place = (0, filling::TRIAL.to_owned());
        let ahead =
            page.after.as_ref().is_none_or(|after| if page.newest_first { place < *after } else { place > *after });
        if wanted && ahead && plans::find(connection, filling::TRIAL)?.is_none() {
            let at = if page.newest_first { found.len() } else { 0 };
            found.splice(at..at, builtin(filling::TRIAL, &settings).map(|plan| (0, plan.view)));
        }
        let answer: PageView<PlanView> =
            paging::answer(found, &page, |(time_us, plan)| (*time_us, plan.id.clone()), |(_, plan)| plan);
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

/// `GET /admin/plans/{id}`.
///
/// # Errors
/// `NotFound`.
pub async fn show(_: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let settings = gateway.config.keys.clone();
    Ok(answer(gateway.store.run(move |connection| load(connection, &id, &settings)).await?))
}

/// `PATCH /admin/plans/{id}`: a merge patch; with `If-Match`, only of the plan as it was read. Licenses keep what they
/// took over before. A built-in plan becomes the operator's.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `PreconditionFailed`, `NotFound`.
pub async fn change(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (patch, settings, now) = (body.object()?, gateway.config.keys.clone(), trail.now());
    // Unknown fields are refused even where null would take them away again.
    let _known: PlanFields = body::fields(patch.clone())?;
    let work = move |connection: &mut AnyConnection| {
        accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            let before = load(connection, &id, &settings)?;
            version::require(operator.if_match.as_deref(), &before.tag)?;
            let fields = read(merged(&before.view.fields, &patch)?, now)?;
            let (json, now_us) = (licenses::json(&fields)?, now.as_microsecond());
            if before.view.builtin {
                let plan = Plan { id: id.clone(), fields: json, created_at_us: now_us, updated_at_us: now_us };
                plans::insert(connection, &plan)?;
            } else {
                plans::change(connection, &id, &json, now_us)?;
            }
            let after = load(connection, &id, &settings)?;
            trail.leave(connection, "plan.change", &id, &difference::between(&before.view, &after.view))?;
            Ok(after)
        })
    };
    Ok(answer(gateway.store.run(work).await?))
}

/// `DELETE /admin/plans/{id}`: licenses keep what they took over. A built-in plan is as it was brought along then.
/// Deleting it again answers the same.
///
/// # Errors
/// `PreconditionFailed`.
pub async fn delete(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let id = id.into_inner();
    let name = id.clone();
    let work = move |connection: &mut AnyConnection| {
        accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            let Some(plan) = plans::find(connection, &name)? else { return Ok(()) };
            version::require(operator.if_match.as_deref(), &version::of_time(plan.updated_at_us))?;
            plans::delete(connection, &name)?;
            trail.leave(connection, "plan.delete", &name, &difference::removed(&stored(&plan)?.view))
        })
    };
    gateway.store.run(work).await?;
    Ok(HttpResponse::Ok().json(Deleted { id, deleted: true }))
}

/// `POST /admin/plans/{id}/apply`: every active license of the plan takes its limits over, but not its end. What the
/// plan leaves open stays.
///
/// # Errors
/// `PreconditionFailed`, `NotFound`.
pub async fn apply(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (id, settings, expected) = (id.into_inner(), gateway.config.keys.clone(), operator.if_match);
    let name = id.clone();
    let plan = gateway.store.run(move |connection| load(connection, &name, &settings)).await?;
    version::require(expected.as_deref(), &plan.tag)?;
    let fields = filling::limits(plan.view.fields);
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let (name, from, fields, of_batch) = (id.clone(), after.clone(), fields.clone(), trail.clone());
        let work = move |connection: &mut _| take_over(connection, (&name, &from), &fields, &of_batch);
        let batch = gateway.store.run(work).await?;
        batch.iter().for_each(|id| gateway.license_changed(id));
        count += batch.len();
        let Some(last) = batch.last() else { break };
        after.clone_from(last);
    }
    let name = id.clone();
    let work = move |connection: &mut _| trail.leave(connection, "plan.apply", &name, &json!({ "licenses": count }));
    gateway.store.run(work).await?;
    Ok(HttpResponse::Ok().json(AppliedView { id, licenses: count }))
}

/// Gives some licenses of a plan, those after `after`, its limits; returns which.
fn take_over(
    connection: &mut AnyConnection,
    (plan, after): (&str, &str),
    fields: &LicenseFields,
    trail: &Trail,
) -> Result<Vec<String>, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let ids = plans::licenses_of(connection, plan, after, AT_ONCE)?;
        for license in licenses::find_all(connection, &ids)? {
            edit::apply(connection, &license, fields, trail)?;
            trail.leave(connection, "license.change", &license.id, &json!({ "plan": plan, "applied": true }))?;
        }
        announcements::announce(connection)?;
        Ok(ids)
    })
}

/// A plan as it is shown, and its version.
struct Shown {
    view: PlanView,
    tag: String,
}

fn load(connection: &mut AnyConnection, id: &str, settings: &Keys) -> Result<Shown, Error> {
    match plans::find(connection, id)? {
        Some(plan) => stored(&plan),
        None => builtin(id, settings).ok_or_else(|| Error::NotFound("this plan".to_owned())),
    }
}

fn stored(plan: &Plan) -> Result<Shown, Error> {
    let view = PlanView {
        id: plan.id.clone(),
        builtin: false,
        fields: filling::read(plan)?,
        created_at: Some(clock::at(plan.created_at_us)),
        updated_at: Some(clock::at(plan.updated_at_us)),
    };
    Ok(Shown { view, tag: version::of_time(plan.updated_at_us) })
}

fn builtin(id: &str, settings: &Keys) -> Option<Shown> {
    let fields = filling::builtin(id, settings)?;
    let view = PlanView { id: id.to_owned(), builtin: true, fields, created_at: None, updated_at: None };
    Some(Shown { view, tag: version::of_time(0) })
}

fn answer(plan: Shown) -> HttpResponse {
    HttpResponse::Ok().insert_header(version::etag(&plan.tag)).json(plan.view)
}

/// What a plan says after a merge patch.
fn merged(fields: &PlanFields, patch: &Value) -> Result<Value, Error> {
    let fields = serde_json::to_value(fields).map_err(Error::internal)?;
    let (Value::Object(fields), Value::Object(patch)) = (fields, patch) else {
        return Err(Error::internal("a plan's fields, or a patch, that are no object"));
    };
    Ok(Value::Object(draft::merged(&fields, patch)))
}

/// The name of a new plan.
fn name(id: Option<Value>) -> Result<String, Error> {
    let sane = |name: &str| {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(letters)
    };
    match id {
        Some(Value::String(name)) if sane(&name) => Ok(name),
        Some(_) | None => Err(Error::field(
            "id",
            format!("id is the plan's name: 1 to {LONGEST_NAME} lower-case letters, digits, `_` and `-`"),
        )),
    }
}

/// What a plan may say, within the bounds of a license's fields.
fn read(object: Value, now: Timestamp) -> Result<PlanFields, Error> {
    let mut plan: PlanFields = body::fields(object)?;
    if plan.valid_days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        let message = format!("valid_days is a whole number from 1 to {MOST_DAYS}, or null for no end");
        return Err(Error::field("valid_days", message));
    }
    let others = LicenseFields {
        label: plan.label.clone().map(Some),
        expires_after_first_use: plan.expires_after_first_use.map(Some),
        metadata: plan.metadata.clone().map(Some),
        ..filling::limits(plan.clone())
    };
    checks::license(&others, now)?;
    if let Some(networks) = &plan.allowed_ips {
        let plain = checks::networks(networks)?;
        plan.allowed_ips = Some(plain.iter().map(ToString::to_string).collect());
    }
    Ok(plan)
}
