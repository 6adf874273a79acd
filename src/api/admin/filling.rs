//! What a plan adds: it fills in what a license's fields leave out.

use jiff::{SignedDuration, Timestamp};

use crate::config::settings::Keys;
use crate::error::Error;
use crate::store::backend::AnyConnection;
use crate::store::plans;
use crate::wire::admin::{BudgetFields, LicenseFields, Mode, Unit, Window};
use crate::wire::plans::PlanFields;

/// The built-in plan: ten minutes of audio once, for KEY_EXPIRY_DAYS. One of the operator's goes before it.
pub const TRIAL: &str = "trial";
const TRIAL_AUDIO_SECONDS: f64 = 600.0;

/// The plan that the program brings along under this name.
#[must_use]
pub fn builtin(name: &str, keys: &Keys) -> Option<PlanFields> {
    let budget = BudgetFields {
        unit: Unit::AudioSeconds,
        limit: TRIAL_AUDIO_SECONDS,
        soft_limit: None,
        window: Window::Lifetime,
        mode: Mode::Fixed,
        tz: None,
    };
    let trial = PlanFields { budgets: Some(vec![budget]), valid_days: Some(keys.expiry_days), ..PlanFields::default() };
    (name == TRIAL).then_some(trial)
}

/// The plan that the fields name; one that says nothing where they name none.
///
/// # Errors
/// `InvalidRequest` for a plan that doesn't exist.
pub fn named(connection: &mut AnyConnection, fields: &LicenseFields, keys: &Keys) -> Result<PlanFields, Error> {
    let Some(name) = fields.plan.as_ref().and_then(Option::as_ref) else { return Ok(PlanFields::default()) };
    let plan = match plans::find(connection, name)? {
        Some(plan) => Some(read(&plan)?),
        None => builtin(name, keys),
    };
    plan.ok_or_else(|| Error::field("plan", format!("there is no plan `{name}`; GET /admin/plans lists them")))
}

/// What a stored plan says.
///
/// # Errors
/// `Internal`: a defect.
pub fn read(plan: &plans::Plan) -> Result<PlanFields, Error> {
    serde_json::from_str(&plan.fields).map_err(|error| Error::internal(format!("a plan's fields: {error}")))
}

/// The fields of a license that begins at `now`, with what its plan adds. Whoever names an end wants none of the plan's.
#[must_use]
pub fn for_new(fields: LicenseFields, plan: PlanFields, now: Timestamp) -> LicenseFields {
    let ends = fields.expires_at.is_some() || fields.expires_after_first_use.is_some();
    let (days, span) = if ends { (None, None) } else { (plan.valid_days, plan.expires_after_first_use) };
    LicenseFields {
        expires_at: fields.expires_at.or_else(|| days.map(|days| Some(end_after(days, now)))),
        expires_after_first_use: fields.expires_after_first_use.or_else(|| span.map(Some)),
        ..for_present(fields, plan)
    }
}

/// The fields of a license that goes on, with what its plan adds: the plan's end is for new licenses.
#[must_use]
pub fn for_present(fields: LicenseFields, plan: PlanFields) -> LicenseFields {
    let added = limits(plan);
    LicenseFields {
        scopes: fields.scopes.or(added.scopes),
        models: fields.models.or(added.models),
        allowed_ips: fields.allowed_ips.or(added.allowed_ips),
        rpm_limit: fields.rpm_limit.or(added.rpm_limit),
        tpm_limit: fields.tpm_limit.or(added.tpm_limit),
        max_parallel_requests: fields.max_parallel_requests.or(added.max_parallel_requests),
        max_sessions: fields.max_sessions.or(added.max_sessions),
        max_session_seconds: fields.max_session_seconds.or(added.max_session_seconds),
        max_machines: fields.max_machines.or(added.max_machines),
        budgets: fields.budgets.or(added.budgets),
        ..fields
    }
}

/// A plan's limits as a license's fields.
#[must_use]
pub fn limits(plan: PlanFields) -> LicenseFields {
    LicenseFields {
        scopes: plan.scopes.map(Some),
        models: plan.models.map(Some),
        allowed_ips: plan.allowed_ips.map(Some),
        rpm_limit: plan.rpm_limit.map(Some),
        tpm_limit: plan.tpm_limit.map(Some),
        max_parallel_requests: plan.max_parallel_requests.map(Some),
        max_sessions: plan.max_sessions.map(Some),
        max_session_seconds: plan.max_session_seconds.map(Some),
        max_machines: plan.max_machines.map(Some),
        budgets: plan.budgets.map(Some),
        ..LicenseFields::default()
    }
}

/// So many days after `from`.
#[must_use]
pub fn end_after(days: u32, from: Timestamp) -> Timestamp {
    from.saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_adds_what_is_left_out() {
        let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let plan = || PlanFields {
            rpm_limit: Some(5),
            tpm_limit: Some(6),
            valid_days: Some(2),
            expires_after_first_use: Some(60),
            ..PlanFields::default()
        };
        let said = LicenseFields { rpm_limit: Some(None), tpm_limit: Some(Some(9)), ..LicenseFields::default() };
        let new = for_new(said.clone(), plan(), now);
        assert_eq!((new.rpm_limit, new.tpm_limit, new.models), (Some(None), Some(Some(9)), None));
        assert_eq!(new.expires_at, Some(Some("2026-11-23T00:00:00Z".parse().unwrap())));
        assert_eq!(new.expires_after_first_use, Some(Some(60)));
        let endless = LicenseFields { expires_at: Some(None), ..LicenseFields::default() };
        let new = for_new(endless, plan(), now);
        assert_eq!((new.expires_at, new.expires_after_first_use, new.rpm_limit), (Some(None), None, Some(Some(5))));
        let present = for_present(said, plan());
        assert_eq!((present.expires_at, present.expires_after_first_use), (None, None));
    }
}
