//! Budgets whose period is over begin anew; those that roll forget what has left their window.

use jiff::Timestamp;

use super::window;
use crate::error::Error;
use crate::store::backend::AnyConnection;
use crate::store::charging::{self, BudgetRow};

/// Turns the pages of those of these budgets that are due; true if any was.
///
/// # Errors
/// The store's.
pub fn start_periods<'a>(
    connection: &mut AnyConnection,
    budgets: impl Iterator<Item = &'a BudgetRow>,
    now: Timestamp,
) -> Result<bool, Error> {
    let now_us = now.as_microsecond();
    let (mut any, mut rolls) = (false, false);
    for budget in budgets.filter(|budget| budget.is_due(now_us)) {
        any = true;
        if budget.window_mode == "rolling" {
            rolls = true;
            continue;
        }
        let Ok((start, end)) = window::period(&budget.window_span, &budget.tz, now) else {
            log::error!("budget {} has no period: mend its window or time zone", budget.id);
            continue;
        };
        // What was reset since then counts from the reset on.
        let start_us = start.as_microsecond().max(budget.period_start_us);
        charging::start_period(connection, budget, start_us, end.map(Timestamp::as_microsecond))?;
    }
    if rolls {
        charging::let_slices_leave(connection, now_us)?;
    }
    Ok(any)
}
