//! Backups, and budgets held against the ledger, described.

use serde_json::{Value, json};

use super::operation::{Operation, delete, get, post};
use crate::api::admin::paging::ListQuery;
use crate::api::admin::reconcile::{self, ReconcileQuery, Reconciled};
use crate::wire::admin::{PageView, UsageReset};
use crate::wire::backups::{BackupFields, BackupView};
use crate::wire::reports::Deleted;

/// Their operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    vec![
        get("/admin/usage/reconcile", "compareUsage", "Compare budgets with the ledger")
            .operators()
            .about(
                "The budgets that don't agree with it. Where a period began while sessions were live, what they used \
                 in the minute around it may belong to either side: that is no difference.",
            )
            .asks::<ReconcileQuery>(&["limit", "cursor", "license_id", "all"])
            .answers::<PageView<reconcile::View>>(200, "A page.", &[]),
        post("/admin/usage/reconcile", "reconcileUsage", "Set budgets to what the ledger says")
            .operators()
            .about("Without a body, or without `license_id`, those of every license.")
            .takes::<UsageReset>(Value::Null)
            .optional()
            .answers::<Reconciled>(200, "What they said before.", &[]),
        post("/admin/backups", "createBackup", "Back up the store into a file of the answering instance")
            .operators()
            .about("Calls and sessions go on meanwhile. One is made at a time.")
            .with(&["IdempotencyKey"])
            .takes::<BackupFields>(json!({}))
            .optional()
            .answers::<BackupView>(201, "The backup, written.", &[("location", "Location")])
            .answers::<BackupView>(200, "A repeat under the same `Idempotency-Key`: the backup made then.", &[])
            .refuses(&["NotFound", "Conflict"]),
        get("/admin/backups", "listBackups", "List the backups of the answering instance")
            .operators()
            .asks::<ListQuery>(&["limit", "cursor", "q", "sort"])
            .answers::<PageView<BackupView>>(200, "A page, newest first unless sorted otherwise.", &[]),
        get("/admin/backups/{id}", "showBackup", "Show a backup")
            .operators()
            .with(&["BackupId"])
            .answers::<BackupView>(200, "The backup.", &[]),
        delete("/admin/backups/{id}", "deleteBackup", "Delete a backup")
            .operators()
            .with(&["BackupId"])
            .answers::<Deleted>(200, "Deleted, now or before.", &[]),
    ]
}
