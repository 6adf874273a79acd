//! Named sets of limits: a plan fills in what a license's fields leave out.

use jiff::{SignedDuration, Timestamp};

use crate::config::settings::Keys;
use crate::error::Error;
use crate::wire::admin::{BudgetFields, LicenseFields, Mode, Unit, Window};

/// The built-in plan: ten minutes of audio once, for KEY_EXPIRY_DAYS.
pub const TRIAL: &str = "trial";
const TRIAL_AUDIO_SECONDS: f64 = 600.0;

/// The fields with what their plan adds.
///
/// # Errors
/// `InvalidRequest` for a plan that doesn't exist.
pub fn fill(fields: LicenseFields, keys: &Keys, now: Timestamp) -> Result<LicenseFields, Error> {
    let ends = fields.expires_at.is_some() || fields.expires_after_first_use.is_some();
    let plan = match &fields.plan {
        None | Some(None) => return Ok(fields),
        Some(Some(name)) if name == TRIAL => LicenseFields {
            budgets: Some(Some(vec![BudgetFields {
                unit: Unit::AudioSeconds,
                limit: TRIAL_AUDIO_SECONDS,
                soft_limit: None,
                window: Window::Lifetime,
                mode: Mode::Fixed,
                tz: None,
            }])),
            expires_at: (!ends).then(|| Some(end_after(keys.expiry_days, now))),
            ..LicenseFields::default()
        },
        Some(Some(name)) => {
            return Err(Error::field("plan", format!("there is no plan `{name}`; the built-in one is `{TRIAL}`")));
        }
    };
    Ok(LicenseFields {
        budgets: fields.budgets.or(plan.budgets),
        expires_at: fields.expires_at.or(plan.expires_at),
        ..fields
    })
}

/// So many days after `from`.
#[must_use]
pub fn end_after(days: u32, from: Timestamp) -> Timestamp {
    from.saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX)
}
