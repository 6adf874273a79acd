//! The rows, one file for each.
mod crash;
mod cuts;
mod dead;
mod drain;
mod frames;
mod quota;
mod random;
mod rollover;
mod slow;
mod store;
mod storm;
mod upstream;

use std::io;

use crate::Plan;
use crate::launch::Launch;
use crate::table::Table;

/// Every row, in order.
pub(crate) const ALL: &[&str] = &["P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "P13", "P14", "P16"];
/// Those of the short form.
pub(crate) const SHORT: &[&str] = &["P4", "P5", "P6", "P7", "P10", "P12", "P14"];

/// Tries one row.
pub(crate) async fn try_row(row: &str, plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    match row {
        "P4" => cuts::measure(plan, launch, table).await,
        "P5" => crash::measure(plan, launch, table).await,
        "P6" => upstream::measure(plan, launch, table).await,
        "P7" => rollover::measure(plan, launch, table).await,
        "P8" => slow::measure(plan, launch, table).await,
        "P9" => dead::measure(plan, launch, table).await,
        "P10" => random::measure(plan, launch, table).await,
        "P11" => quota::measure(plan, launch, table).await,
        "P12" => drain::measure(plan, launch, table).await,
        "P13" => store::measure(plan, launch, table).await,
        "P14" => frames::measure(plan, launch, table).await,
        "P16" => storm::measure(plan, launch, table).await,
        other => Err(io::Error::other(format!("there is no row {other}"))),
    }
}
