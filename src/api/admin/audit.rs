//! `GET /admin/audit`: who changed what, when, from where.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value};

use super::access::Operator;
use super::paging;
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::audit::{self, Entry, Filter};
use crate::wire::admin::PageView;
use crate::wire::audit::{AuditQuery, AuditView};

const LONGEST_TEXT: usize = 200;

/// The entries, newest first unless sorted otherwise.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query: AuditQuery = paging::read(request.query_string())?;
    let page = paging::page(query.limit.as_deref(), query.cursor.as_deref(), query.sort.as_deref())?;
    let filter = filter(query)?;
    let answer = gateway.store.run(move |connection| {
        let found = audit::list(connection, &filter, &page)?;
        let place = |entry: &Entry| (entry.occurred_at_us, entry.id.clone());
        let answer: PageView<AuditView> = paging::answer(found, &page, place, view);
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

fn filter(query: AuditQuery) -> Result<Filter, Error> {
    for (name, text) in [("q", &query.q), ("action", &query.action), ("subject", &query.subject)] {
        if text.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT) {
            return Err(Error::field(name, format!("{name} has at most {LONGEST_TEXT} bytes")));
        }
    }
    let moment = |param: &str, text: &Option<String>, days_later: i64| {
        text.as_deref().map(|text| moment(param, text, days_later)).transpose()
    };
    let (start_us, end_us) = (moment("start", &query.start, 0)?, moment("end", &query.end, 1)?);
    if start_us.zip(end_us).is_some_and(|(start_us, end_us)| start_us >= end_us) {
        return Err(Error::field("start", "start must be before end"));
    }
    Ok(Filter { action: query.action, subject: query.subject, text: query.q, start_us, end_us })
}

/// A time in microseconds, or the midnight `days_later` after a date, in UTC.
fn moment(param: &str, text: &str, days_later: i64) -> Result<i64, Error> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    let wrong = || Error::field(param, format!("{param} is a time such as 2026-11-21T12:00:00Z or a date"));
    let date: Date = if text.len() == 10 { text.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    let date = date.checked_add(days_later.days()).map_err(|_| wrong())?;
    Ok(date.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp().as_microsecond())
}

fn view(entry: Entry) -> AuditView {
    let mut detail: Map<String, Value> = serde_json::from_str(&entry.detail).unwrap_or_default();
    let mut side = |name: &str| match detail.remove(name) {
        Some(Value::Object(fields)) => Some(fields),
        Some(_) | None => None,
    };
    AuditView {
        before: side("before"),
        after: side("after"),
        id: entry.id,
        occurred_at: clock::at(entry.occurred_at_us),
        actor: entry.actor,
        address: entry.address,
        action: entry.action,
        subject: entry.subject,
        detail,
        request_id: entry.request_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_strict() {
        let read = |query: &str| paging::read::<AuditQuery>(query).and_then(filter);
        let param = |query: &str| read(query).unwrap_err().param().map(str::to_owned);
        assert_eq!(param("colour=red").as_deref(), Some("colour"));
        assert_eq!(param("start=yesterday").as_deref(), Some("start"));
        assert_eq!(param("start=2026-02-02&end=2026-02-01").as_deref(), Some("start"));
        assert_eq!(param("end=2026-02-30").as_deref(), Some("end"));
        assert_eq!(param(&format!("q={}", "x".repeat(201))).as_deref(), Some("q"));
        let day = read("start=2026-02-01&end=2026-02-01&action=license.").unwrap();
        assert_eq!(day.end_us.unwrap() - day.start_us.unwrap(), 86_400_000_000, "a last day is included");
    }
}
