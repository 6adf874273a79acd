//! `/admin/usage`: what was used, summed up; as JSON or CSV.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::body::Body;
use super::paging;
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::accounting;
use crate::store::budgets::{self, Reset};
use crate::store::licenses;
use crate::store::usage_report::{self, Question, SLICE_US, Sum};
use crate::wire::admin::UsageReset;

const DEFAULT_DAYS: i64 = 30;
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 800);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UsageQuery {
    start: Option<String>,
    end: Option<String>,
    group_by: Option<String>,
    tz: Option<String>,
}

/// The question, and the zone whose days count.
struct Asked {
    question: Question,
    zone: TimeZone,
}

/// One group; what it is not grouped by is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_id: Option<String>,
    /// Empty for usage with the license itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Counts {
    audio_seconds: f64,
    input_tokens: i64,
    output_tokens: i64,
    sessions: i64,
    cached_tokens: i64,
    reasoning_tokens: i64,
    requests: i64,
}

#[derive(Serialize)]
struct Report {
    start: Timestamp,
    end: Timestamp,
    data: Vec<Row>,
    totals: Counts,
}

/// `GET /admin/usage?start&end&group_by&tz`: sums by `group_by` (of `day,model,license,key`; `day` if left out) over
/// the last 30 days if not told otherwise. Times are RFC 3339 or dates; an `end` that is a date is included.
/// Live sessions' usage is in it up to a second ago; `sessions` counts those that began.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn report(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let now = clock::now();
    let Asked { question, zone } = ask(&paging::read(request.query_string())?, now)?;
    let asked = question.clone();
    gateway.quota.calls_booked().await;
    let sums =
        gateway.store.run(move |connection| usage_report::sums(connection, &question, now.as_microsecond())).await?;
    let report = fold(&asked, &zone, &sums);
    let accepted = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepted.is_some_and(|accept| accept.contains("text/csv")) {
        return Ok(HttpResponse::Ok().content_type("text/csv; charset=utf-8").body(csv(&asked, &report.data)));
    }
    Ok(HttpResponse::Ok().json(report))
}

fn ask(query: &UsageQuery, now: Timestamp) -> Result<Asked, Error> {
    let zone = match query.tz.as_deref() {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name)
            .map_err(|_| Error::field("tz", "tz is an IANA time zone such as `UTC` or `Asia/Tokyo`"))?,
    };
    let mut question = Question::default();
    for group in query.group_by.as_deref().unwrap_or("day").split(',').map(str::trim) {
        match group {
            "day" => question.by_time = true,
            "model" => question.by_model = true,
            "license" => question.by_license = true,
            "key" => question.by_key = true,
            _ => return Err(Error::field("group_by", "group_by is a list of day, model, license, key")),
        }
    }
    let end = match query.end.as_deref() {
        None => now.saturating_add(SignedDuration::from_secs(1)).map_err(Error::internal)?,
        Some(text) => moment("end", text, &zone, 1)?,
    };
    let start = match query.start.as_deref() {
        Some(text) => moment("start", text, &zone, 0)?,
        None => {
            let local = end.to_zoned(zone.clone()).checked_sub(DEFAULT_DAYS.days()).map_err(Error::internal)?;
            local.start_of_day().map_err(Error::internal)?.timestamp()
        }
    };
    if start >= end {
        return Err(Error::field("start", "start must be before end"));
    }
    if end.duration_since(start) > LONGEST {
        return Err(Error::field("start", format!("at most {} days are summed at once", LONGEST.as_hours() / 24)));
    }
    question.start_us = start.as_microsecond();
    question.end_us = end.as_microsecond();
    Ok(Asked { question, zone })
}

/// A time, or the midnight `days_later` after a date.
fn moment(param: &str, text: &str, zone: &TimeZone, days_later: i64) -> Result<Timestamp, Error> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let wrong = || Error::field(param, format!("{param} is a time such as 2026-11-21T12:00:00Z or a date"));
    let date: Date = if text.len() == 10 { text.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    let date = date.checked_add(days_later.days()).map_err(|_| wrong())?;
    Ok(date.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp())
}

/// Brings slices to days and the rows of one group together.
fn fold(question: &Question, zone: &TimeZone, sums: &[Sum]) -> Report {
    let mut groups: BTreeMap<(String, &str, &str, &str), [i64; 7]> = BTreeMap::new();
    let mut totals = [0; 7];
    for sum in sums {
        let day = if question.by_time {
            clock::at(sum.slice.saturating_mul(SLICE_US)).to_zoned(zone.clone()).date().to_string()
        } else {
            String::new()
        };
        let group = groups.entry((day, &sum.model, &sum.license_id, &sum.key_id)).or_default();
        let counts = [
            sum.samples,
            sum.input_tokens,
            sum.output_tokens,
            sum.sessions,
            sum.cached_tokens,
            sum.reasoning_tokens,
            sum.requests,
        ];
        for ((place, total), count) in group.iter_mut().zip(&mut totals).zip(counts) {
            *place += count;
            *total += count;
        }
    }
    let given = |wanted: bool, text: &str| wanted.then(|| text.to_owned());
    let data = groups.into_iter().filter(|(_, counts)| counts.iter().any(|count| *count != 0));
    Report {
        start: clock::at(question.start_us),
        end: clock::at(question.end_us),
        data: data
            .map(|((day, model, license_id, key_id), group)| Row {
                day: given(question.by_time, &day),
                model: given(question.by_model, model),
                license_id: given(question.by_license, license_id),
                key_id: given(question.by_key, key_id),
                counts: counts(group),
            })
            .collect(),
        totals: counts(totals),
    }
}

fn counts(
    [samples, input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests]: [i64; 7],
) -> Counts {
    let audio_seconds = shown::seconds(samples);
    Counts { audio_seconds, input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests }
}

fn csv(question: &Question, rows: &[Row]) -> String {
    let groups = [
        (question.by_time, "day"),
        (question.by_model, "model"),
        (question.by_license, "license_id"),
        (question.by_key, "key_id"),
    ];
    let mut head: Vec<&str> = groups.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name).collect();
    head.extend(["audio_seconds", "input_tokens", "output_tokens", "sessions"]);
    head.extend(["cached_tokens", "reasoning_tokens", "requests"]);
    let mut lines = vec![head.join(",")];
    for row in rows {
        let groups = [&row.day, &row.model, &row.license_id, &row.key_id];
        let mut cells: Vec<String> = groups.into_iter().flatten().map(|cell| quoted(cell)).collect();
        let counts = &row.counts;
        cells.push(counts.audio_seconds.to_string());
        let Counts { input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests, .. } = *counts;
        let numbers = [input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests];
        cells.extend(numbers.map(|count| count.to_string()));
        lines.push(cells.join(","));
    }
    lines.push(String::new());
    lines.join("\r\n")
}

/// RFC 4180.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// `POST /admin/usage/reset`: the budgets of one license, or of all, begin at nothing. The ledger stays.
///
/// # Errors
/// `InvalidRequest` for a license that doesn't exist.
pub async fn reset(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let UsageReset { license_id } = body.read_or_default()?;
    // What was answered before counts before.
    gateway.quota.calls_booked().await;
    let work = move |connection: &mut _| {
        accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            let whose = license_id.clone().map_or(Reset::All, Reset::License);
            let reset = budgets::reset(connection, &whose, trail.now().as_microsecond())?;
            if let Some(id) = &license_id
                && licenses::find(connection, id)?.is_none()
            {
                return Err(Error::field("license_id", "license_id names no license"));
            }
            let detail = serde_json::json!({ "budgets": reset });
            trail.leave(connection, "usage.reset", license_id.as_deref().unwrap_or("all"), &detail)?;
            Ok(serde_json::json!({ "reset": true, "license_id": license_id, "budgets": reset }))
        })
    };
    let done = gateway.store.run(work).await?;
    gateway.quota.calls().doubt_all();
    Ok(HttpResponse::Ok().json(done))
}
