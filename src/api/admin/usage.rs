//! `/admin/usage`: what was used, summed up; as JSON or CSV.

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::body::Body;
use super::trail::Trail;
use super::{csv, paging, span};
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::accounting;
use crate::store::budgets::{self, Reset};
use crate::store::licenses;
use crate::store::usage_report::{self, Only, Question, Sum};
use crate::wire::admin::UsageReset;
use crate::wire::reports::{UsageCounts as Counts, UsageResetDone};

const DEFAULT_DAYS: i64 = 30;
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 800);

/// What a report may be asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsageQuery {
    /// A time (RFC 3339) or a date; without it 30 days before `end`.
    #[schemars(example = "2026-11-21")]
    start: Option<String>,
    /// A time (RFC 3339), or a date, which is included; without it now.
    #[schemars(example = "2026-11-21")]
    end: Option<String>,
    /// What each row sums up: a list of `day`, `model`, `license`, `key`; without it `day`.
    #[schemars(regex(pattern = "^(day|model|license|key)(,(day|model|license|key))*$"), example = "day,model")]
    group_by: Option<String>,
    /// IANA name of the time zone whose days count; without it `UTC`.
    #[schemars(example = "Asia/Tokyo")]
    tz: Option<String>,
    /// Of one license.
    license_id: Option<String>,
    /// With one key.
    key_id: Option<String>,
    /// Of one model.
    model: Option<String>,
}

/// One group; what it is not grouped by is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "UsageRow")]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date"))]
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

/// What was used, in groups and in all.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsageReport")]
pub struct Report {
    start: Timestamp,
    end: Timestamp,
    data: Vec<Row>,
    totals: Counts,
    /// The columns that tell groups apart.
    #[serde(skip)]
    groups: Vec<&'static str>,
}

/// `GET /admin/usage?start&end&group_by&tz`: sums by `group_by` (of `day,model,license,key`; `day` if left out) over
/// the last 30 days if not told otherwise, of one `license_id`, `key_id` or `model` where these are given. Times are
/// RFC 3339 or dates; an `end` that is a date is included. Live sessions' usage is in it up to a second ago;
/// `sessions` counts those that began. Beyond USAGE_RETENTION_DAYS sums begin and end at quarters of an hour: the
/// answer's `start` and `end` say what was summed.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn report(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let now = clock::now();
    let mut question = ask(paging::read(request.query_string())?, now)?;
    gateway.quota.calls_booked().await;
    let work = move |connection: &mut _| {
        let sums = usage_report::sums(connection, &mut question, now.as_microsecond())?;
        Ok(fold(&question, &sums))
    };
    let report = gateway.store.run(work).await?;
    Ok(if csv::is_wanted(&request) { csv::answer().body(table(&report)) } else { HttpResponse::Ok().json(report) })
}

fn ask(query: UsageQuery, now: Timestamp) -> Result<Question, Error> {
    let zone = span::zone(query.tz.as_deref())?;
    let only = Only { license_id: query.license_id, key_id: query.key_id, model: query.model };
    let (mut question, mut by_day) = (Question { only, ..Question::default() }, false);
    for group in query.group_by.as_deref().unwrap_or("day").split(',').map(str::trim) {
        match group {
            "day" => by_day = true,
            "model" => question.by_model = true,
            "license" => question.by_license = true,
            "key" => question.by_key = true,
            _ => return Err(Error::field("group_by", "group_by is a list of day, model, license, key")),
        }
    }
    let end = match query.end.as_deref() {
        None => now.saturating_add(SignedDuration::from_secs(1)).map_err(Error::internal)?,
        Some(text) => span::moment("end", text, &zone, 1)?,
    };
    let start = match query.start.as_deref() {
        Some(text) => span::moment("start", text, &zone, 0)?,
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
    if by_day {
        question.offsets = span::offsets(&zone, start, end);
    }
    question.start_us = start.as_microsecond();
    question.end_us = end.as_microsecond();
    Ok(question)
}

/// Brings the rows of one group together.
fn fold(question: &Question, sums: &[Sum]) -> Report {
    let mut groups: BTreeMap<(i64, &str, &str, &str), [i64; 7]> = BTreeMap::new();
    let mut totals = [0; 7];
    for sum in sums {
        let group = groups.entry((sum.day, &sum.model, &sum.license_id, &sum.key_id)).or_default();
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
                day: (!question.offsets.is_empty()).then(|| span::date(day).to_string()),
                model: given(question.by_model, model),
                license_id: given(question.by_license, license_id),
                key_id: given(question.by_key, key_id),
                counts: counts(group),
            })
            .collect(),
        totals: counts(totals),
        groups: groups_of(question),
    }
}

fn counts(
    [samples, input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests]: [i64; 7],
) -> Counts {
    let audio_seconds = shown::seconds(samples);
    Counts { audio_seconds, input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests }
}

fn groups_of(question: &Question) -> Vec<&'static str> {
    let groups = [
        (!question.offsets.is_empty(), "day"),
        (question.by_model, "model"),
        (question.by_license, "license_id"),
        (question.by_key, "key_id"),
    ];
    groups.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name).collect()
}

fn table(report: &Report) -> String {
    const COUNTS: [&str; 7] =
        ["audio_seconds", "input_tokens", "output_tokens", "sessions", "cached_tokens", "reasoning_tokens", "requests"];
    let head: Vec<&str> = report.groups.iter().copied().chain(COUNTS).collect();
    let rows = report.data.iter().map(|row| {
        let groups = [&row.day, &row.model, &row.license_id, &row.key_id];
        let mut cells: Vec<String> = groups.into_iter().flatten().cloned().collect();
        let Counts { audio_seconds, input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests } =
            row.counts;
        cells.push(audio_seconds.to_string());
        let numbers = [input_tokens, output_tokens, sessions, cached_tokens, reasoning_tokens, requests];
        cells.extend(numbers.map(|count| count.to_string()));
        cells
    });
    csv::table(&head, rows)
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
            let reset = budgets::reset(connection, &whose, clock::now().as_microsecond())?;
            if let Some(id) = &license_id
                && licenses::find(connection, id)?.is_none()
            {
                return Err(Error::field("license_id", "license_id names no license"));
            }
            let detail = serde_json::json!({ "budgets": reset });
            trail.leave(connection, "usage.reset", license_id.as_deref().unwrap_or("all"), &detail)?;
            Ok(UsageResetDone { reset: true, license_id, budgets: reset })
        })
    };
    let done = gateway.store.run(work).await?;
    gateway.quota.calls().doubt_all();
    Ok(HttpResponse::Ok().json(done))
}
