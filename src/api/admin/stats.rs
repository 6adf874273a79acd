//! `GET /admin/stats`: the gateway at a glance.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::web::Data;
use jiff::SignedDuration;

use super::access::Operator;
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::usage_report::{self, Question};
use crate::store::{continuity, keys, licenses};
use crate::wire::reports::{Stats, UsageCounts};

/// Licenses and keys by status, live sessions, and what was used in the last 24 hours.
///
/// # Errors
/// `StorageUnavailable`.
pub async fn show(_: Operator, gateway: Data<Gateway>) -> Result<HttpResponse, Refusal> {
    let now = clock::now();
    let day_ago = now.saturating_sub(SignedDuration::from_hours(24)).map_err(Error::internal)?;
    let (start_us, now_us) = (day_ago.as_microsecond(), now.as_microsecond());
    let mut question = Question { start_us, end_us: now_us + 1, ..Question::default() };
    let stored = gateway.store.run(move |connection| {
        let licenses: BTreeMap<String, i64> = licenses::count_by_status(connection)?.into_iter().collect();
        let keys: BTreeMap<String, i64> = keys::count_by_status(connection)?.into_iter().collect();
        Ok((
            licenses,
            keys,
            continuity::count_live(connection)?,
            usage_report::sums(connection, &mut question, now_us)?,
        ))
    });
    let (licenses, keys, live, sums) = stored.await?;
    let total = |part: fn(&usage_report::Sum) -> i64| sums.iter().map(part).sum::<i64>();
    let last_24_hours = UsageCounts {
        audio_seconds: shown::seconds(total(|sum| sum.samples)),
        input_tokens: total(|sum| sum.input_tokens),
        output_tokens: total(|sum| sum.output_tokens),
        sessions: total(|sum| sum.sessions),
        cached_tokens: total(|sum| sum.cached_tokens),
        reasoning_tokens: total(|sum| sum.reasoning_tokens),
        requests: total(|sum| sum.requests),
    };
    Ok(HttpResponse::Ok().json(Stats { licenses, keys, sessions_live: live, last_24_hours }))
}
