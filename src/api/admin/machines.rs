//! `/admin/licenses/{id}/machines`: which machines have the seats of a license.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::access::Operator;
use super::paging::{self, ListQuery};
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::api::seats;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::backend::AnyConnection;
use crate::store::machines;
use crate::store::{accounting, licenses};
use crate::wire::admin::PageView;
use crate::wire::machines::{MachineView, Released};

/// `GET …/machines`: those that live.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault; `NotFound`.
pub async fn list(
    _: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let others =
        [("q", &query.q), ("status", &query.status), ("license_id", &query.license_id), ("subject", &query.subject)];
    if let Some((name, _)) = others.iter().find(|(_, value)| value.is_some()) {
        return Err(Error::field(name, "machines are listed by `limit, cursor, sort`").into());
    }
    let (page, timeout) = (query.page()?, seats::timeout(&gateway));
    let dead_us = seats::dead_us(clock::now(), timeout);
    let answer = gateway.store.run(move |connection| {
        check_license(connection, &id)?;
        let found = machines::list(connection, &id, &page, dead_us)?;
        let mut views = Vec::new();
        for machine in found {
            views.push((machine.activated_at_us, seats::view(machine, timeout)?));
        }
        let place = |(time_us, machine): &(i64, MachineView)| (*time_us, machine.fingerprint.clone());
        let answer: PageView<MachineView> = paging::answer(views, &page, place, |(_, machine)| machine);
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

/// `DELETE …/machines/{fingerprint}`: its seat is free; again answers the same.
///
/// # Errors
/// `NotFound` for a license that never was.
pub async fn delete(
    operator: Operator,
    gateway: Data<Gateway>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let (id, fingerprint) = path.into_inner();
    let removed = fingerprint.clone();
    let work = move |connection: &mut AnyConnection| {
        accounting::transaction(connection, |connection| {
            machines::lock(connection, &id)?;
            check_license(connection, &id)?;
            if machines::delete(connection, &id, &removed)? {
                trail.leave(connection, "license.release_machine", &id, &json!({}))?;
            }
            Ok(())
        })
    };
    gateway.store.run(work).await?;
    Ok(HttpResponse::Ok().json(Released { fingerprint, deactivated: true }))
}

fn check_license(connection: &mut AnyConnection, id: &str) -> Result<(), Error> {
    licenses::find(connection, id)?.map(|_| ()).ok_or_else(|| Error::NotFound("this license".to_owned()))
}
