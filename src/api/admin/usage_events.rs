//! `GET /admin/usage/events`: the usage ledger, row by row.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde::Serialize;

use super::access::Operator;
use super::paging::{self, ListQuery};
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::gateway::Gateway;
use crate::store::usage_report::{self, Event};
use crate::wire::admin::PageView;

#[derive(Serialize)]
struct View {
    session_id: String,
    license_id: String,
    key_id: Option<String>,
    model: String,
    audio_seconds: f64,
    input_tokens: i64,
    output_tokens: i64,
    cached_tokens: i64,
    reasoning_tokens: i64,
    requests: i64,
    usage_source: String,
    route: String,
    account: Option<String>,
    occurred_at: Timestamp,
}

/// The ledger's rows, newest first unless sorted otherwise; with `license_id`, those of one license.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let page = query.page()?;
    let license_id = query.license_id.or(query.q);
    gateway.quota.calls_booked().await;
    let answer = gateway.store.run(move |connection| {
        let found = usage_report::events(connection, license_id.as_deref(), &page)?;
        let place = |event: &Event| (event.occurred_at_us, event.session_id.clone());
        let answer: PageView<View> = paging::answer(found, &page, place, |event| View {
            session_id: event.session_id,
            license_id: event.license_id,
            key_id: event.key_id,
            model: event.model,
            audio_seconds: shown::seconds(event.samples),
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            cached_tokens: event.cached_tokens,
            reasoning_tokens: event.reasoning_tokens,
            requests: event.requests,
            usage_source: event.usage_source,
            route: event.route,
            account: event.account,
            occurred_at: clock::at(event.occurred_at_us),
        });
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}
