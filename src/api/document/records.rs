//! What the operator can look up: usage, sessions, audit log, figures.

use serde_json::{Value, json};

use super::operation::{Operation, delete, get, post};
use crate::api::admin::paging::ListQuery;
use crate::api::admin::usage::{Report, UsageQuery};
use crate::api::admin::usage_events::EventsQuery;
use crate::api::admin::{sessions, usage_events};
use crate::wire::admin::{PageView, UsageReset};
use crate::wire::audit::{AuditQuery, AuditView};
use crate::wire::reports::{Ended, Stats, UsageResetDone};

const A_PAGE: &str = "A page, newest first unless sorted otherwise.";

/// Its operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    vec![
        get("/admin/usage", "usage", "Sum up what was used")
            .operators()
            .about(
                "Live sessions' usage is in it up to a second ago; `sessions` counts those that began. 800 days at \
                 most are summed at once. Beyond USAGE_RETENTION_DAYS sums begin and end at quarters of an hour: \
                 `start` and `end` of the answer say what was summed.",
            )
            .asks::<UsageQuery>(&["start", "end", "group_by", "tz", "license_id", "key_id", "model"])
            .answers::<Report>(
                200,
                "The sums; what they aren't grouped by is absent. CSV (RFC 4180, with a head) where `Accept` has \
                 `text/csv`.",
                &[],
            )
            .also(200, "text/csv"),
        get("/admin/usage/events", "usageEvents", "List the ledger's rows")
            .operators()
            .about("As far as they are kept: USAGE_RETENTION_DAYS. CSV where `Accept` has `text/csv`.")
            .asks::<EventsQuery>(&[
                "limit",
                "cursor",
                "sort",
                "license_id",
                "q",
                "key_id",
                "model",
                "start",
                "end",
                "tz",
            ])
            .answers::<PageView<usage_events::View>>(200, A_PAGE, &[("x-next-cursor", "NextCursor")])
            .also(200, "text/csv"),
        post("/admin/usage/reset", "resetUsage", "Begin the budgets of one license, or of all, at nothing")
            .operators()
            .about("The ledger stays. Without a body, or without `license_id`, every license is meant.")
            .takes::<UsageReset>(Value::Null)
            .optional()
            .answers::<UsageResetDone>(200, "How many budgets.", &[]),
        get("/admin/sessions", "listSessions", "List the live sessions of all instances")
            .operators()
            .asks::<ListQuery>(&["limit", "cursor", "q", "sort", "license_id"])
            .status(&["live"])
            .answers::<PageView<sessions::View>>(200, A_PAGE, &[]),
        delete("/admin/sessions/{id}", "endSession", "End a live session")
            .operators()
            .about("It gets an `error` event `session_ended` and is closed with 1008.")
            .with(&["SessionId"])
            .answers::<Ended>(200, "Ended, now or before.", &[]),
        get("/admin/audit", "audit", "Who changed what, when")
            .operators()
            .about("Kept where ENABLE_OPERATION_LOG is on.")
            .asks::<AuditQuery>(&["limit", "cursor", "sort", "q", "action", "subject", "start", "end"])
            .answers::<PageView<AuditView>>(200, A_PAGE, &[]),
        get("/admin/stats", "stats", "The gateway at a glance").operators().answers::<Stats>(200, "Counts.", &[]),
        get("/metrics", "metrics", "Figures for Prometheus")
            .open("health")
            .gives(
                "200",
                json!({
                    "description": "Prometheus text format 0.0.4.",
                    "content": { "text/plain; version=0.0.4; charset=utf-8": { "schema": { "type": "string" } } },
                }),
            )
            .refuses(&["Error"]),
    ]
}
