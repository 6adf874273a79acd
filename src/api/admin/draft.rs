//! Makes a license, and changes to one, from the fields that an operator sent. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::checks;
use crate::error::Error;
use crate::ids;
use crate::license::{License, Limits, SCOPES, Status};
use crate::quota::window;
use crate::store::budgets::Budget;
use crate::store::licenses::{self, Change};
use crate::wire::admin::{BudgetFields, Field, LicenseFields, Mode};

const DEFAULT_TZ: &str = "UTC";

/// A new license.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn license(fields: &LicenseFields, now: Timestamp) -> Result<License, Error> {
    checks::license(fields, now)?;
    Ok(License {
        id: ids::license(),
        token_id: ids::token(),
        plan: value(&fields.plan),
        label: value(&fields.label),
        status: Status::Active,
        scopes: scopes(&fields.scopes),
        models: value(&fields.models).unwrap_or_default(),
        allowed_ips: checks::networks(&value(&fields.allowed_ips).unwrap_or_default())?,
        limits: limits(fields, &Limits::default()),
        max_sessions: value(&fields.max_sessions),
        max_session_seconds: value(&fields.max_session_seconds),
        metadata: without_nulls(&value(&fields.metadata).unwrap_or_default()),
        created_at: now,
        updated_at: now,
        expires_at: value(&fields.expires_at).map(truncated),
        expires_after_first_use: value(&fields.expires_after_first_use).map(span),
        first_used_at: None,
    })
}

/// The own budgets of a license, or of one of its keys, in the period that holds `now`.
///
/// # Errors
/// `InvalidRequest` for a time zone that doesn't exist.
pub fn budgets(fields: &Field<Vec<BudgetFields>>, owner: (&str, &str), now: Timestamp) -> Result<Vec<Budget>, Error> {
    let list = fields.as_ref().and_then(Option::as_ref);
    list.into_iter().flatten().map(|fields| budget(fields, owner, now)).collect()
}

fn budget(fields: &BudgetFields, (license_id, key_id): (&str, &str), now: Timestamp) -> Result<Budget, Error> {
    let tz = fields.tz.as_deref().unwrap_or(DEFAULT_TZ);
    let (start, end) = window::first(fields.window.word(), fields.mode == Mode::Rolling, tz, now)?;
    Ok(Budget {
        id: ids::budget(),
        license_id: license_id.to_owned(),
        key_id: key_id.to_owned(),
        unit: fields.unit.word().to_owned(),
        window_span: fields.window.word().to_owned(),
        window_mode: match fields.mode {
            Mode::Fixed => "fixed",
            Mode::Rolling => "rolling",
        }
        .to_owned(),
        tz: tz.to_owned(),
        limit_units: checks::units(fields.unit, fields.limit),
        soft_limit_units: fields.soft_limit.map(|limit| checks::units(fields.unit, limit)),
        used_units: 0,
        reserved_units: 0,
        period_start_us: start.as_microsecond(),
        period_end_us: end.map(Timestamp::as_microsecond),
    })
}

/// What a merge patch changes about `license`; its budgets are another matter.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn change(fields: &LicenseFields, license: &License, now: Timestamp) -> Result<Change, Error> {
    checks::license(fields, now)?;
    let metadata = metadata(&fields.metadata, &license.metadata)?;
    let list = |field: &Field<Vec<String>>| field.as_ref().map(|list| list.clone().unwrap_or_default());
    let networks = list(&fields.allowed_ips).map(|texts| checks::networks(&texts)).transpose()?;
    let limits = limits(fields, &license.limits);
    Ok(Change {
        token_id: None,
        plan: fields.plan.clone(),
        label: fields.label.clone(),
        status: None,
        scopes: fields.scopes.is_some().then(|| licenses::json(&scopes(&fields.scopes))).transpose()?,
        models: list(&fields.models).map(|models| licenses::json(&models)).transpose()?,
        allowed_ips: networks.map(|networks| licenses::json(&networks)).transpose()?,
        limits: (limits != license.limits).then(|| licenses::json(&limits)).transpose()?,
        metadata: metadata.map(|metadata| licenses::json(&metadata)).transpose()?,
        max_sessions: fields.max_sessions.map(|limit| limit.map(licenses::column)),
        max_session_seconds: fields.max_session_seconds.map(|limit| limit.map(licenses::column)),
        expires_at_us: end(fields, license.first_used_at),
        expires_after_first_use_us: span_us(fields),
        updated_at_us: now.as_microsecond(),
    })
}

/// What a merge patch makes of metadata, if it says anything of it.
///
/// # Errors
/// `InvalidRequest` when there is too much of it.
pub fn metadata(
    patch: &Field<Map<String, Value>>,
    before: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, Error> {
    let metadata = match patch {
        None => return Ok(None),
        Some(None) => Map::new(),
        Some(Some(patch)) => merged(before, patch),
    };
    checks::metadata_size(&metadata)?;
    Ok(Some(metadata))
}

/// The end that a merge patch sets. Where the first use was before, a new span counts from there.
#[must_use]
pub fn end(fields: &LicenseFields, first_used_at: Option<Timestamp>) -> Option<Option<i64>> {
    let named = fields.expires_at.map(|end| end.map(Timestamp::as_microsecond));
    let counted = || {
        let (seconds, from) = (fields.expires_after_first_use.flatten()?, first_used_at?);
        Some(Some(from.saturating_add(span(seconds)).ok()?.as_microsecond()))
    };
    named.or_else(counted)
}

/// The span from the first use that a merge patch sets.
#[must_use]
pub fn span_us(fields: &LicenseFields) -> Option<Option<i64>> {
    fields.expires_after_first_use.map(|seconds| seconds.map(span).map(licenses::microseconds))
}

fn value<T: Clone>(field: &Field<T>) -> Option<T> {
    field.clone().flatten()
}

fn scopes(field: &Field<Vec<String>>) -> Vec<String> {
    value(field).unwrap_or_else(|| SCOPES.map(str::to_owned).to_vec())
}

/// The limits as the fields change them.
#[must_use]
pub fn limits(fields: &LicenseFields, before: &Limits) -> Limits {
    Limits {
        rpm_limit: fields.rpm_limit.unwrap_or(before.rpm_limit),
        tpm_limit: fields.tpm_limit.unwrap_or(before.tpm_limit),
        max_parallel_requests: fields.max_parallel_requests.unwrap_or(before.max_parallel_requests),
        max_machines: fields.max_machines.unwrap_or(before.max_machines),
    }
}

/// To the store's resolution.
fn truncated(time: Timestamp) -> Timestamp {
    crate::clock::at(time.as_microsecond())
}

fn span(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(licenses::column(seconds))
}

/// RFC 7396 for objects: members of null are removed, objects are merged, all else replaces.
#[must_use]
pub fn merged(target: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = target.clone();
    for (name, change) in patch {
        match change {
            Value::Null => {
                merged.remove(name);
            }
            Value::Object(change) => {
                let empty = Map::new();
                let before = merged.get(name).and_then(Value::as_object).unwrap_or(&empty);
                let after = self::merged(before, change);
                merged.insert(name.clone(), Value::Object(after));
            }
            other => {
                merged.insert(name.clone(), other.clone());
            }
        }
    }
    merged
}

/// What a patch of nothing with `metadata` leaves: the same rules for POST and PATCH.
fn without_nulls(metadata: &Map<String, Value>) -> Map<String, Value> {
    merged(&Map::new(), metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::body;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn drafted(fields: Value) -> License {
        license(&body::fields(fields).unwrap(), now()).unwrap()
    }

    #[test]
    fn nothing_said_is_unlimited() {
        let license = drafted(json!({}));
        assert_eq!(license.scopes, SCOPES);
        assert_eq!(license.limits, Limits::default());
        assert!(license.expires_at.is_none() && license.models.is_empty() && license.max_sessions.is_none());
    }

    #[test]
    fn a_patch_touches_what_it_names() {
        let license = drafted(json!({"label": "a", "rpm_limit": 5, "tpm_limit": 6,
            "metadata": {"keep": 1, "drop": 2, "deep": {"a": 1, "b": 2}}}));
        let patch = json!({"label": null, "rpm_limit": null, "metadata": {"drop": null, "deep": {"b": 3}}});
        let change = change(&body::fields(patch).unwrap(), &license, now()).unwrap();
        assert_eq!(change.label, Some(None));
        assert_eq!(change.limits.as_deref(), Some(r#"{"tpm_limit":6}"#));
        assert_eq!(change.metadata.as_deref(), Some(r#"{"deep":{"a":1,"b":3},"keep":1}"#));
        assert!(change.scopes.is_none() && change.expires_at_us.is_none() && change.status.is_none());
    }

    #[test]
    fn audio_budgets_count_samples() {
        let fields: LicenseFields = body::fields(json!({"budgets": [
            {"unit": "audio_seconds", "limit": 0.25, "window": "1d", "tz": "Asia/Tokyo"},
            {"unit": "requests", "limit": 7},
        ]}))
        .unwrap();
        let budgets = budgets(&fields.budgets, ("lic_1", ""), now()).unwrap();
        assert_eq!(budgets[0].limit_units, 4_000);
        assert_eq!(
            budgets[0].period_end_us,
            Some("2026-11-21T15:00:00Z".parse::<Timestamp>().unwrap().as_microsecond())
        );
        assert_eq!((budgets[1].limit_units, budgets[1].period_end_us), (7, None));
    }
}
