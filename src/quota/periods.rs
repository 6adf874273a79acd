//! Budgets whose period is over begin anew; those that roll forget what has left their window.

use jiff::Timestamp;

use super::window;
use crate::error::Error;
use crate::store::backend::AnyConnection;
use crate::store::charging;

/// Turns the pages of budgets that are due.
///
/// # Errors
/// The store's.
pub fn start_periods(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    for budget in charging::budgets_due(connection, now.as_microsecond())? {
        if budget.window_mode == "rolling" {
            charging::let_slices_leave(connection, &budget.id, now.as_microsecond())?;
            continue;
        }
        let Ok((start, end)) = window::period(&budget.window_span, &budget.tz, now) else {
            log::error!("budget {} has no period: mend its window or time zone", budget.id);
            continue;
        };
        charging::start_period(connection, &budget, start.as_microsecond(), end.map(Timestamp::as_microsecond))?;
    }
    Ok(())
}
