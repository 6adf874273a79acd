//! Licenses, keys and budgets as answers show them, and the claims that a token makes. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::error::Error;
use crate::holder::Holder;
use crate::license::{ApiKey, KeyStatus, License, Narrowing, Status};
use crate::payer;
use crate::quota::balances::soft_limit;
use crate::quota::window;
use crate::signer::{Claims, ISSUER};
use crate::store::budgets::Budget;
use crate::wire::admin::{Amount, BudgetView, KeyView, LicenseView, LimitsView, Unit};

const SAMPLES_A_SECOND: f64 = 16_000.0;
const EXPIRED: &str = "expired";

/// Seconds of so many samples.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³ samples: 17,000 years")]
pub fn seconds(samples: i64) -> f64 {
    samples as f64 / SAMPLES_A_SECOND
}

/// A license as the operator sees it, without its token.
#[must_use]
pub fn license(license: &License, budgets: &[Budget], now: Timestamp) -> LicenseView {
    LicenseView {
        id: license.id.clone(),
        token: None,
        plan: license.plan.clone(),
        label: license.label.clone(),
        status: status(license, now),
        limits: limits(license, budgets, now),
        metadata: license.metadata.clone(),
        expires_at: license.expires_at,
        expires_after_first_use: license.expires_after_first_use.map(|span| span.as_secs()),
        first_used_at: license.first_used_at,
        created_at: license.created_at,
        updated_at: license.updated_at,
    }
}

/// The word for what a license can be used for now.
#[must_use]
pub fn status(license: &License, now: Timestamp) -> &'static str {
    if license.status == Status::Active && license.is_expired(now) { EXPIRED } else { license.status.word() }
}

/// An API key as the operator sees it, without its secret; `budgets` are those of the license that was made for it,
/// or its own.
#[must_use]
pub fn key(key: &ApiKey, license: &License, budgets: &[Budget], now: Timestamp) -> KeyView {
    let expires_at = Holder { license, key: Some(key) }.expires_at();
    let (span, first_used_at, metadata) = if key.own_license {
        (license.expires_after_first_use, license.first_used_at, &license.metadata)
    } else {
        (key.expires_after_first_use, key.first_used_at, &key.metadata)
    };
    let limits = if key.own_license { limits(license, budgets, now) } else { narrowing(&key.narrowing, budgets, now) };
    let expired = expires_at.is_some_and(|end| end <= now);
    KeyView {
        id: key.id.clone(),
        key: None,
        label: key.label.clone(),
        license_id: key.license_id.clone(),
        own_license: key.own_license,
        status: if key.status == KeyStatus::Active && expired { EXPIRED } else { key.status.word() },
        plan: license.plan.clone(),
        limits,
        metadata: metadata.clone(),
        expires_at,
        expires_after_first_use: span.map(|span| span.as_secs()),
        first_used_at,
        previous_valid_until: key.previous.as_ref().map(|(_, until)| *until).filter(|until| now < *until),
        created_at: key.created_at,
        updated_at: key.updated_at,
    }
}

/// What a key allows of what its license allows, with how far its own budgets are used.
fn narrowing(narrowing: &Narrowing, budgets: &[Budget], now: Timestamp) -> LimitsView {
    LimitsView {
        scopes: narrowing.scopes.clone(),
        models: narrowing.models.clone(),
        allowed_ips: narrowing.allowed_ips.iter().map(ToString::to_string).collect(),
        rpm_limit: narrowing.limits.rpm_limit,
        tpm_limit: narrowing.limits.tpm_limit,
        max_parallel_requests: narrowing.limits.max_parallel_requests,
        max_sessions: narrowing.max_sessions,
        max_session_seconds: narrowing.max_session_seconds,
        max_machines: narrowing.limits.max_machines,
        budgets: budgets.iter().map(|row| budget(row, now)).collect(),
    }
}

/// What license and key together allow, with how far the budgets of both are used.
#[must_use]
pub fn together(holder: Holder<'_>, budgets: &[Budget], now: Timestamp) -> LimitsView {
    let numbers = holder.limits();
    LimitsView {
        scopes: holder.scopes(),
        models: holder.models(),
        allowed_ips: holder.allowed_ips().iter().map(ToString::to_string).collect(),
        rpm_limit: numbers.rpm_limit,
        tpm_limit: numbers.tpm_limit,
        max_parallel_requests: numbers.max_parallel_requests,
        max_sessions: holder.max_sessions(),
        max_session_seconds: holder.max_session_seconds(),
        max_machines: numbers.max_machines,
        budgets: budgets.iter().map(|row| budget(row, now)).collect(),
    }
}

/// A license's limits, with how far its budgets are used.
#[must_use]
pub fn limits(license: &License, budgets: &[Budget], now: Timestamp) -> LimitsView {
    together(Holder { license, key: None }, budgets, now)
}

/// A budget as of `now`: a period that is over counts as begun anew, whether the ledger has turned its page or not.
#[must_use]
pub fn budget(budget: &Budget, now: Timestamp) -> BudgetView {
    let over = budget.period_end_us.is_some_and(|end_us| end_us <= now.as_microsecond());
    let (used, resets_at) = if over && budget.window_mode != "rolling" {
        let period = window::period(&budget.window_span, &budget.tz, now);
        (0, period.ok().and_then(|(_, end)| end))
    } else {
        (budget.used_units, budget.period_end_us.map(clock::at))
    };
    let remaining = (budget.limit_units - used - budget.reserved_units).max(0);
    let amount = |units| {
        if budget.unit == Unit::AudioSeconds.word() { Amount::Seconds(seconds(units)) } else { Amount::Count(units) }
    };
    BudgetView {
        owner: if budget.key_id == payer::NO_KEY { "license" } else { "key" },
        unit: budget.unit.clone(),
        window: budget.window_span.clone(),
        mode: budget.window_mode.clone(),
        tz: budget.tz.clone(),
        limit: amount(budget.limit_units),
        soft_limit: amount(soft_limit(budget.limit_units, budget.soft_limit_units)),
        used: amount(used),
        reserved: amount(budget.reserved_units),
        remaining: amount(remaining),
        resets_at,
    }
}

/// What a token for this license says.
///
/// # Errors
/// `Internal`: a defect.
pub fn claims(license: &License, budgets: &[Budget], now: Timestamp) -> Result<Claims, Error> {
    let view = limits(license, budgets, now);
    let mut limits = Map::new();
    let numbers = [
        ("rpm_limit", view.rpm_limit),
        ("tpm_limit", view.tpm_limit),
        ("max_parallel_requests", view.max_parallel_requests),
        ("max_sessions", view.max_sessions),
        ("max_session_seconds", view.max_session_seconds),
        ("max_machines", view.max_machines),
    ];
    limits.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), Value::from(number?)))));
    if !view.allowed_ips.is_empty() {
        limits.insert("allowed_ips".to_owned(), json!(view.allowed_ips));
    }
    if !view.budgets.is_empty() {
        let promised = |budget: &BudgetView| json!({"unit": budget.unit, "limit": budget.limit, "window": budget.window, "mode": budget.mode, "tz": budget.tz});
        limits.insert("budgets".to_owned(), view.budgets.iter().map(promised).collect());
    }
    Ok(Claims {
        iss: ISSUER.to_owned(),
        sub: license.id.clone(),
        jti: license.token_id.clone(),
        iat: now.as_second(),
        nbf: now.as_second(),
        exp: license.expires_at.map(Timestamp::as_second),
        plan: license.plan.clone(),
        scopes: view.scopes,
        models: view.models,
        limits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: &str, period_end_us: Option<i64>) -> Budget {
        Budget {
            id: "bud_1".into(),
            license_id: "lic_1".into(),
            unit: unit.into(),
            window_span: if period_end_us.is_some() { "1d".into() } else { "lifetime".into() },
            window_mode: "fixed".into(),
            tz: "UTC".into(),
            limit_units: 160_000,
            used_units: 8_000,
            reserved_units: 4_000,
            period_start_us: 0,
            period_end_us,
            key_id: String::new(),
            soft_limit_units: None,
        }
    }

    #[test]
    fn audio_is_shown_in_seconds() {
        let view = budget(&row("audio_seconds", None), clock::at(5));
        let shown = serde_json::to_value(view).unwrap();
        assert_eq!(shown["limit"], 10.0);
        assert_eq!(shown["used"], 0.5);
        assert_eq!(shown["remaining"], 9.25);
        assert_eq!(shown["resets_at"], Value::Null);
        assert_eq!(serde_json::to_value(budget(&row("tokens", None), clock::at(5))).unwrap()["used"], 8_000);
    }

    #[test]
    fn a_period_that_is_over_counts_as_begun_anew() {
        let day_us = 86_400_000_000;
        let view = budget(&row("tokens", Some(day_us)), clock::at(day_us));
        assert_eq!((view.used, view.resets_at), (Amount::Count(0), Some(clock::at(2 * day_us))));
    }
}
