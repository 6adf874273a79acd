//! Budgets whose period is over begin anew.

use jiff::Timestamp;

use super::window;
use crate::error::Error;
use crate::store::accounting;
use crate::store::backend::AnyConnection;

/// Starts the periods that are due.
///
/// # Errors
/// The store's.
pub fn start_periods(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    for budget in accounting::budgets_due(connection, now.as_microsecond())? {
        let Ok((start, end)) = window::period(&budget.window_span, &budget.tz, now) else {
            log::error!("budget {} has no period: mend its window or time zone", budget.id);
            continue;
        };
        accounting::start_period(connection, &budget, start.as_microsecond(), end.map(Timestamp::as_microsecond))?;
    }
    Ok(())
}
