//! `/admin/plans` and the seats of licenses, described.

use serde_json::json;

use super::operation::{Operation, delete, get, patch, post};
use crate::api::admin::paging::ListQuery;
use crate::wire::admin::PageView;
use crate::wire::machines::{ActivationView, Deactivated, MachineFields, MachineView, Released, ValidationView};
use crate::wire::plans::{AppliedView, PlanDraft, PlanFields, PlanView};
use crate::wire::reports::Deleted;

const ETAG: (&str, &str) = ("etag", "ETag");

/// Their operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = plans();
    all.extend(seats());
    all
}

fn plans() -> Vec<Operation> {
    vec![
        post("/admin/plans", "createPlan", "Make a plan: a named set of limits")
            .operators()
            .about("One called `trial` goes before the built-in plan.")
            .with(&["IdempotencyKey"])
            .takes::<PlanDraft>(json!({"id": "team", "max_sessions": 5, "valid_days": 365}))
            .answers::<PlanView>(201, "The plan.", &[ETAG, ("location", "Location")])
            .answers::<PlanView>(
                200,
                "A repeat under the same `Idempotency-Key`: the plan that was made then.",
                &[ETAG],
            )
            .refuses(&["NotFound", "Conflict"]),
        get("/admin/plans", "listPlans", "List plans")
            .operators()
            .about("A built-in one counts as the oldest.")
            .asks::<ListQuery>(&["limit", "cursor", "q", "sort"])
            .answers::<PageView<PlanView>>(200, "A page, newest first unless sorted otherwise.", &[]),
        get("/admin/plans/{id}", "showPlan", "Show a plan").operators().with(&["PlanId"]).answers::<PlanView>(
            200,
            "The plan.",
            &[ETAG],
        ),
        patch("/admin/plans/{id}", "changePlan", "Change a plan by a merge patch")
            .operators()
            .about("Licenses keep what they took over before. A built-in plan becomes the operator's.")
            .with(&["PlanId", "IfMatch"])
            .takes::<PlanFields>(json!({"max_sessions": 6, "label": null}))
            .answers::<PlanView>(200, "The plan as it is now.", &[ETAG])
            .refuses(&["PreconditionFailed"]),
        delete("/admin/plans/{id}", "deletePlan", "Delete a plan; licenses keep what they took over")
            .operators()
            .about("A built-in plan is as it was brought along then.")
            .with(&["PlanId", "IfMatch"])
            .answers::<Deleted>(200, "Deleted, now or before.", &[])
            .refuses(&["PreconditionFailed"]),
        post("/admin/plans/{id}/apply", "applyPlan", "Let every active license of a plan take its limits over")
            .operators()
            .about("But not its end; what the plan leaves open stays.")
            .with(&["PlanId", "IfMatch"])
            .answers::<AppliedView>(200, "How many licenses.", &[])
            .refuses(&["PreconditionFailed"]),
    ]
}

fn seats() -> Vec<Operation> {
    let seat = |name: &str, id: &str, summary: &str| {
        post(&format!("/v1/licenses/{name}"), id, summary)
            .customers("license")
            .takes::<MachineFields>(json!({"fingerprint": "a-machine"}))
            .refuses(&["LimitReached"])
    };
    vec![
        seat("validate", "validateLicense", "Ask whether the license is good, and the machine has a seat")
            .optional()
            .about("Always 200 where the question can be read; without a fingerprint the license alone is looked at.")
            .answers::<ValidationView>(200, "`valid`, and a constant `code`.", &[]),
        seat("activate", "activateMachine", "Take a seat for a machine")
            .requires(&["fingerprint"])
            .answers::<ActivationView>(201, "The machine, which took a seat.", &[])
            .answers::<ActivationView>(200, "The machine, which has one already.", &[]),
        seat("deactivate", "deactivateMachine", "Give a machine's seat up")
            .requires(&["fingerprint"])
            .answers::<Deactivated>(200, "Its seat is free, now or before.", &[]),
        seat("heartbeat", "heartbeat", "Say that a machine lives").requires(&["fingerprint"]).answers::<MachineView>(
            200,
            "Until when the next one is due.",
            &[],
        ),
        get("/admin/licenses/{id}/machines", "listMachines", "List the machines that have the seats of a license")
            .operators()
            .with(&["LicenseId"])
            .asks::<ListQuery>(&["limit", "cursor", "sort"])
            .answers::<PageView<MachineView>>(200, "A page, newest first unless sorted otherwise.", &[]),
        delete("/admin/licenses/{id}/machines/{fingerprint}", "releaseMachine", "Free a machine's seat")
            .operators()
            .with(&["LicenseId", "Fingerprint"])
            .answers::<Released>(200, "Its seat is free, now or before.", &[]),
    ]
}
