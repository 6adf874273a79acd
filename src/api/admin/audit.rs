//! `GET /admin/audit`: who changed what, when.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::access::Operator;
use super::paging::{self, ListQuery};
use crate::api::refusal::Refusal;
use crate::clock;
use crate::gateway::Gateway;
use crate::store::audit::{self, Entry};
use crate::wire::admin::PageView;

#[derive(Serialize)]
struct View {
    id: String,
    occurred_at: Timestamp,
    actor: String,
    action: String,
    subject: String,
    detail: Value,
    request_id: String,
}

/// The entries, newest first unless sorted otherwise; with `subject` or `q`, those of one thing.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let page = query.page()?;
    let subject = query.subject.or(query.license_id).or(query.q);
    let answer = gateway.store.run(move |connection| {
        let found = audit::list(connection, subject.as_deref(), &page)?;
        let place = |entry: &Entry| (entry.occurred_at_us, entry.id.clone());
        let answer: PageView<View> = paging::answer(found, &page, place, |entry| View {
            id: entry.id,
            occurred_at: clock::at(entry.occurred_at_us),
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
            request_id: entry.request_id,
        });
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}
