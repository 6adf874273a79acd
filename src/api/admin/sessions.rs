//! `/admin/sessions`: who is live, on whichever instance, and an end to it.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::access::Operator;
use super::difference;
use super::paging::{self, ListQuery};
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::backend::AnyConnection;
use crate::store::continuity::{self, Filter, SessionRow};
use crate::store::{accounting, announcements};
use crate::wire::admin::PageView;
use crate::wire::reports::Ended;

/// A live session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct View {
    id: String,
    license_id: String,
    key_id: Option<String>,
    model: String,
    /// The process that has it.
    instance_id: String,
    started_at: Timestamp,
    /// Since when its client is not there; it may still come back.
    away_since: Option<Timestamp>,
    /// Booked so far.
    audio_seconds: f64,
    input_tokens: i64,
    output_tokens: i64,
}

/// `GET /admin/sessions`: newest first unless sorted otherwise, with what is booked so far.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let page = query.page()?;
    if query.status.as_deref().is_some_and(|status| status != "live") {
        return Err(Error::field("status", "every session listed here is live").into());
    }
    let answer = gateway.store.run(move |connection| {
        let filter = Filter { text: query.q, license_id: query.license_id };
        let rows = continuity::list(connection, &filter, &page)?;
        let place = |row: &SessionRow| (row.started_at_us, row.id.clone());
        Ok::<PageView<View>, Error>(paging::answer(rows, &page, place, view))
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

fn view(row: SessionRow) -> View {
    View {
        id: row.id,
        license_id: row.license_id,
        key_id: row.key_id,
        model: row.model,
        instance_id: row.instance_id,
        started_at: clock::at(row.started_at_us),
        away_since: row.away_since_us.map(clock::at),
        audio_seconds: shown::seconds(row.booked_samples),
        input_tokens: row.booked_input_tokens,
        output_tokens: row.booked_output_tokens,
    }
}

/// `DELETE /admin/sessions/{id}`: the instance that has it ends it; one that waits to be resumed can't be any more.
/// Of a session that has ended it answers the same.
///
/// # Errors
/// `NotFound` for a session that never was.
pub async fn end(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let subject = id.clone();
    let known = gateway.store.run(move |connection| {
        accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            end_stored(connection, &subject, &trail)
        })
    });
    let known = known.await?;
    // Here it need not wait for the announcement.
    if !gateway.roster.end_session(&id).await && !known {
        return Err(Error::NotFound("this session".to_owned()).into());
    }
    Ok(HttpResponse::Ok().json(Ended { id: id.into_inner(), ended: true }))
}

/// False for a session that never was.
fn end_stored(connection: &mut AnyConnection, id: &str, trail: &Trail) -> Result<bool, Error> {
    let reason = Error::SessionEnded.row().code;
    let wanted = continuity::want_end(connection, id, reason)?;
    if wanted {
        announcements::announce(connection)?;
    }
    if wanted || continuity::end_parked(connection, &[id.to_owned()], reason)? > 0 {
        let difference = difference::between(&json!({ "status": "live" }), &json!({ "status": "ended" }));
        trail.leave(connection, "session.end", id, &difference)?;
        return Ok(true);
    }
    Ok(!continuity::find_all(connection, &[id.to_owned()])?.is_empty())
}
