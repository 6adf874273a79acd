//! `/admin/sessions`: who is live on this instance, and an end to it.

use std::collections::HashMap;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::access::Operator;
use super::paging::{self, ListQuery};
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::session::roster::SessionView;
use crate::store::continuity::{self, SessionRow};
use crate::wire::admin::PageView;

#[derive(Serialize)]
struct View {
    id: String,
    license_id: String,
    key_id: Option<String>,
    model: String,
    started_at: Timestamp,
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
    let place = |view: &SessionView| (view.started_at.as_microsecond(), view.id.clone());
    let mut views = gateway.roster.sessions().await;
    views.retain(|view| query.license_id.as_ref().is_none_or(|id| view.license_id == *id));
    views.retain(|view| query.q.as_ref().is_none_or(|text| says(view, text)));
    views.sort_by_key(place);
    if page.newest_first {
        views.reverse();
    }
    if let Some(after) = &page.after {
        views.retain(|view| if page.newest_first { place(view) < *after } else { place(view) > *after });
    }
    views.truncate(usize::try_from(page.limit + 1).unwrap_or(usize::MAX));
    let ids: Vec<String> = views.iter().map(|view| view.id.clone()).collect();
    let rows = gateway.store.run(move |connection| continuity::find_all(connection, &ids)).await?;
    let booked: HashMap<&str, &SessionRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let answer: PageView<View> = paging::answer(views, &page, place, |view| {
        let row = booked.get(view.id.as_str());
        View {
            audio_seconds: row.map_or(0.0, |row| shown::seconds(row.booked_samples)),
            input_tokens: row.map_or(0, |row| row.booked_input_tokens),
            output_tokens: row.map_or(0, |row| row.booked_output_tokens),
            id: view.id,
            license_id: view.license_id,
            key_id: view.key_id,
            model: view.model,
            started_at: view.started_at,
        }
    });
    Ok(HttpResponse::Ok().json(answer))
}

fn says(view: &SessionView, text: &str) -> bool {
    [view.id.as_str(), &view.license_id, &view.model, view.key_id.as_deref().unwrap_or_default()]
        .iter()
        .any(|field| field.contains(text))
}

/// `DELETE /admin/sessions/{id}`; of a session that has ended it answers the same.
///
/// # Errors
/// `NotFound` for a session that never was, or is not on this instance.
pub async fn end(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let id = id.into_inner();
    let live = gateway.roster.end_session(&id).await;
    let subject = id.clone();
    let known = gateway.store.run(move |connection| {
        if live {
            trail.leave(connection, "session.end", &subject, &json!({}))?;
            return Ok(true);
        }
        Ok(continuity::find_all(connection, &[subject])?.iter().any(|row| row.status != "live"))
    });
    if !known.await? {
        return Err(Error::NotFound("this session".to_owned()).into());
    }
    Ok(HttpResponse::Ok().json(json!({ "id": id, "ended": true })))
}
