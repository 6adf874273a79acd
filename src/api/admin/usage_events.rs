//! `GET /admin/usage/events`: the usage ledger, row by row; as JSON or CSV.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::paging::{self, ListQuery};
use super::{csv, span};
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::page::Page;
use crate::store::usage::{self, Event, Filter, Place};
use crate::store::usage_report::Only;
use crate::wire::admin::PageView;

/// What the ledger may be asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsQuery {
    /// Rows at most; without it 50.
    #[schemars(with = "Option<i64>", range(min = 1, max = 500))]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Newest first (so without it), or oldest first.
    #[schemars(extend("enum" = ["-created_at", "created_at"]))]
    sort: Option<String>,
    /// The same as `license_id`.
    q: Option<String>,
    /// Of one license.
    license_id: Option<String>,
    /// With one key.
    key_id: Option<String>,
    /// Of one model.
    model: Option<String>,
    /// From then on: a time (RFC 3339) or a date.
    #[schemars(example = "2026-11-21")]
    start: Option<String>,
    /// Up to then; a date is included.
    #[schemars(example = "2026-11-21")]
    end: Option<String>,
    /// IANA name of the time zone whose days are meant; without it `UTC`.
    #[schemars(example = "Asia/Tokyo")]
    tz: Option<String>,
}

/// A piece of usage: of a realtime session, or one call to a model.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsageEvent")]
pub struct View {
    /// The session's id, or the call's.
    session_id: String,
    /// `byok`: a caller with nothing but a provider key of their own.
    license_id: String,
    key_id: Option<String>,
    model: String,
    audio_seconds: f64,
    input_tokens: i64,
    output_tokens: i64,
    /// Of the tokens in, those from a cache.
    cached_tokens: i64,
    /// Of the tokens out, those of reasoning.
    reasoning_tokens: i64,
    /// 1 for a call, 0 for a session.
    requests: i64,
    /// Who counted: the provider; the gateway, from the text; nobody.
    #[schemars(extend("enum" = ["upstream", "estimated", "unavailable"]))]
    usage_source: String,
    /// What was called.
    #[schemars(extend("enum" = ["realtime", "chat", "embeddings", "responses", "messages", "native"]))]
    route: String,
    /// The upstream account that served the call.
    account: Option<String>,
    occurred_at: Timestamp,
}

/// The ledger's rows, newest first unless sorted otherwise, as far as they are kept: of one `license_id`, `key_id` or
/// `model`, from `start` to `end`, where these are given. As CSV, `x-next-cursor` says where the next page begins.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let (filter, page) = read(paging::read(request.query_string())?)?;
    let after = page.after.as_ref().map(place).transpose()?;
    gateway.quota.calls_booked().await;
    let answer = gateway.store.run(move |connection| {
        let found = usage::events(connection, &filter, after.as_ref(), &page)?;
        Ok(paging::answer(found, &page, |event| (event.occurred_at_us, mark(event)), view))
    });
    let answer: PageView<View> = answer.await?;
    if !csv::is_wanted(&request) {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let mut head = csv::answer();
    if let Some(cursor) = &answer.next_cursor {
        head.insert_header(("x-next-cursor", cursor.as_str()));
    }
    Ok(head.body(table(&answer.data)))
}

fn read(query: EventsQuery) -> Result<(Filter, Page), Error> {
    let zone = span::zone(query.tz.as_deref())?;
    let moment = |param, text: Option<String>, days_later| {
        let time = text.map(|text| span::moment(param, &text, &zone, days_later)).transpose();
        time.map(|time| time.map(Timestamp::as_microsecond))
    };
    let (start_us, end_us) = (moment("start", query.start, 0)?, moment("end", query.end, 1)?);
    if start_us.zip(end_us).is_some_and(|(start_us, end_us)| start_us >= end_us) {
        return Err(Error::field("start", "start must be before end"));
    }
    let only = Only { license_id: query.license_id.or(query.q), key_id: query.key_id, model: query.model };
    let list = ListQuery { limit: query.limit, cursor: query.cursor, sort: query.sort, ..ListQuery::default() };
    Ok((Filter { only, start_us, end_us }, list.page()?))
}

/// What tells rows of the same time apart.
fn mark(event: &Event) -> String {
    format!("{} {} {}", event.session_id, event.mark_samples, event.mark_tokens)
}

/// The place that a cursor stands for.
fn place((occurred_at_us, mark): &(i64, String)) -> Result<Place, Error> {
    let wrong = || Error::field("cursor", "cursor is not one that this list has given");
    let mut words = mark.splitn(3, ' ');
    let session_id = words.next().unwrap_or_default().to_owned();
    let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong);
    Ok(Place { occurred_at_us: *occurred_at_us, session_id, mark_samples: number()?, mark_tokens: number()? })
}

fn view(event: Event) -> View {
    View {
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
    }
}

fn table(rows: &[View]) -> String {
    const HEAD: [&str; 14] = [
        "occurred_at",
        "session_id",
        "license_id",
        "key_id",
        "model",
        "route",
        "account",
        "usage_source",
        "audio_seconds",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "requests",
    ];
    let rows = rows.iter().map(|row| {
        let (key_id, account) = (row.key_id.as_deref(), row.account.as_deref());
        let words = [row.session_id.as_str(), &row.license_id, key_id.unwrap_or_default(), &row.model, &row.route];
        let more = [account.unwrap_or_default(), &row.usage_source];
        let tokens = [row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens, row.requests];
        let mut cells = vec![row.occurred_at.to_string()];
        cells.extend(words.into_iter().chain(more).map(str::to_owned));
        cells.push(row.audio_seconds.to_string());
        cells.extend(tokens.map(|count| count.to_string()));
        cells
    });
    csv::table(&HEAD, rows)
}
