//! Makes a key, and changes to one, from the fields that an operator sent. Pure.

use jiff::Timestamp;

use super::{checks, draft, filling};
use crate::config::settings::Keys;
use crate::error::Error;
use crate::license::{self, ApiKey, KeyStatus, Narrowing};
use crate::store::keys::Change;
use crate::store::licenses;
use crate::wire::admin::LicenseFields;
use crate::wire::plans::PlanFields;

/// A key that joins a license; what the fields don't name is the license's.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn joining(
    fields: &LicenseFields,
    license_id: &str,
    (id, secret): (&str, &str),
    now: Timestamp,
) -> Result<ApiKey, Error> {
    refuse_plan(fields)?;
    let drafted = draft::license(fields, now)?;
    Ok(ApiKey {
        label: drafted.label,
        expires_at: drafted.expires_at,
        expires_after_first_use: drafted.expires_after_first_use,
        narrowing: narrowing(fields, &Narrowing::default())?,
        metadata: drafted.metadata,
        ..bare((id, secret), license_id, now)
    })
}

/// A key with nothing of its own.
#[must_use]
pub fn bare((id, secret): (&str, &str), license_id: &str, now: Timestamp) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        license_id: license_id.to_owned(),
        own_license: false,
        secret_hash: license::key_hash(secret),
        label: None,
        status: KeyStatus::Active,
        created_at: now,
        updated_at: now,
        expires_at: None,
        expires_after_first_use: None,
        first_used_at: None,
        narrowing: Narrowing::default(),
        metadata: serde_json::Map::new(),
        previous: None,
    }
}

/// The fields of a license that is made for a key: what neither they nor the plan name is as the settings say.
#[must_use]
pub fn own_license(fields: LicenseFields, plan: PlanFields, keys: &Keys, now: Timestamp) -> LicenseFields {
    let mut fields = filling::for_new(fields, plan, now);
    if keys.enable_rate_limit {
        fields.rpm_limit.get_or_insert(Some(keys.max_requests_per_minute));
    }
    if fields.expires_after_first_use.is_none() {
        fields.expires_at.get_or_insert_with(|| Some(filling::end_after(keys.expiry_days, now)));
    }
    fields
}

/// What a merge patch changes about a key that joined a license; its budgets are another matter.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn change(fields: &LicenseFields, key: &ApiKey, now: Timestamp) -> Result<Change, Error> {
    refuse_plan(fields)?;
    checks::license(fields, now)?;
    let narrowing = narrowing(fields, &key.narrowing)?;
    let metadata = draft::metadata(&fields.metadata, &key.metadata)?;
    Ok(Change {
        label: fields.label.clone(),
        narrowing: (narrowing != key.narrowing).then(|| licenses::json(&narrowing)).transpose()?,
        metadata: metadata.map(|metadata| licenses::json(&metadata)).transpose()?,
        expires_at_us: draft::end(fields, key.first_used_at),
        expires_after_first_use_us: draft::span_us(fields),
        updated_at_us: now.as_microsecond(),
        ..Change::default()
    })
}

fn narrowing(fields: &LicenseFields, before: &Narrowing) -> Result<Narrowing, Error> {
    let list = |field: &Option<Option<Vec<String>>>, before: &[String]| {
        field.clone().map_or_else(|| before.to_vec(), Option::unwrap_or_default)
    };
    let networks = match &fields.allowed_ips {
        None => before.allowed_ips.clone(),
        Some(texts) => checks::networks(texts.as_deref().unwrap_or_default())?,
    };
    Ok(Narrowing {
        scopes: list(&fields.scopes, &before.scopes),
        models: list(&fields.models, &before.models),
        allowed_ips: networks,
        limits: draft::limits(fields, &before.limits),
        max_sessions: fields.max_sessions.unwrap_or(before.max_sessions),
        max_session_seconds: fields.max_session_seconds.unwrap_or(before.max_session_seconds),
    })
}

fn refuse_plan(fields: &LicenseFields) -> Result<(), Error> {
    if fields.plan.is_none() {
        return Ok(());
    }
    Err(Error::field("plan", "a key that joins a license has no plan; name its limits, or change the license's plan"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::body;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_patch_touches_what_it_names() {
        let fields = body::fields(json!({"models": ["a"], "scopes": ["chat"], "rpm_limit": 5, "max_sessions": 2,
            "metadata": {"x": 1}}));
        let key = joining(&fields.unwrap(), "lic_1", ("public", "secret"), now()).unwrap();
        assert_eq!((key.narrowing.limits.rpm_limit, key.narrowing.max_sessions), (Some(5), Some(2)));
        let patch = json!({"models": null, "rpm_limit": null, "allowed_ips": ["10.1.2.3/8"], "metadata": {"y": 2}});
        let change = change(&body::fields(patch).unwrap(), &key, now()).unwrap();
        let narrowing: Narrowing = serde_json::from_str(&change.narrowing.unwrap()).unwrap();
        assert!(narrowing.models.is_empty() && narrowing.limits.rpm_limit.is_none());
        assert_eq!((narrowing.scopes, narrowing.max_sessions), (vec!["chat".to_owned()], Some(2)));
        assert_eq!(narrowing.allowed_ips, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(change.metadata.as_deref(), Some(r#"{"x":1,"y":2}"#));
        let plan = body::fields(json!({"plan": "trial"})).unwrap();
        assert_eq!(super::change(&plan, &key, now()).unwrap_err().param(), Some("plan"));
    }
}
