//! `/admin/keys`, described.

use serde_json::json;

use super::operation::{Operation, delete, get, patch, post};
use crate::api::admin::paging::ListQuery;
use crate::wire::admin::{KeyView, LicenseFields, PageView, Rotation};
use crate::wire::reports::{Deleted, SharedKeyFields};

const NO_STORE: (&str, &str) = ("cache-control", "NoStore");
const LOCATION: (&str, &str) = ("location", "Location");

/// Its operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = vec![
        post("/admin/keys", "createKey", "Make an API key")
            .operators()
            .about(
                "With `license_id` the key joins that license, and what is said of it narrows that. Otherwise a license \
                 is made for it with the fields given, a trial unless `plan` says so.",
            )
            .with(&["IdempotencyKey"])
            .takes::<LicenseFields>(json!({"label": "shop"}))
            .or_takes::<SharedKeyFields>()
            .answers::<KeyView>(201, "The key; `key` is shown this once.", &[NO_STORE, LOCATION])
            .showing("key")
            .answers::<KeyView>(
                200,
                "A repeat under the same `Idempotency-Key`: the key that was made then, without its secret.",
                &[],
            )
            .refuses(&["Conflict"]),
        get("/admin/keys", "listKeys", "List API keys")
            .operators()
            .asks::<ListQuery>(&["limit", "cursor", "q", "sort", "license_id"])
            .status(&["active", "blocked", "deleted"])
            .answers::<PageView<KeyView>>(200, "A page, newest first unless sorted otherwise.", &[]),
        get("/admin/keys/{id}", "showKey", "Show an API key").operators().with(&["KeyId"]).answers::<KeyView>(
            200,
            "The key, without its secret.",
            &[],
        ),
        patch("/admin/keys/{id}", "changeKey", "Change an API key by a merge patch")
            .operators()
            .about(
                "A key whose license was made for it takes the license's fields; one on a shared license narrows it.",
            )
            .with(&["KeyId", "IfMatch"])
            .takes::<LicenseFields>(json!({"label": "shop, till 2"}))
            .answers::<KeyView>(200, "The key as it is now.", &[])
            .refuses(&["Conflict", "PreconditionFailed"]),
        delete("/admin/keys/{id}", "deleteKey", "Delete an API key; its live sessions end")
            .operators()
            .about("The license that was made for it is revoked, unless other keys use it.")
            .with(&["KeyId"])
            .answers::<Deleted>(200, "Deleted, now or before.", &[]),
    ];
    all.extend(actions());
    all
}

fn actions() -> [Operation; 4] {
    let action = |name: &str, id: &str, summary: &str| {
        post(&format!("/admin/keys/{{id}}/{name}"), id, summary).operators().with(&["KeyId"]).refuses(&["Conflict"])
    };
    [
        action("block", "blockKey", "Let a key rest; its live sessions end").answers::<KeyView>(
            200,
            "The key, blocked.",
            &[],
        ),
        action("unblock", "unblockKey", "Let a blocked key be used again").answers::<KeyView>(
            200,
            "The key, active.",
            &[],
        ),
        action("rotate", "rotateKey", "Give a key a new secret")
            .about("The old one is accepted for `grace_seconds` more, and the one before it no longer.")
            .with(&["IdempotencyKey"])
            .takes::<Rotation>(json!({"grace_seconds": 3600}))
            .optional()
            .answers::<KeyView>(
                200,
                "The key; `key` is shown this once, not to a repeat under the same `Idempotency-Key`. Sessions that \
                 earlier secrets opened go on.",
                &[NO_STORE],
            ),
        action("reset-usage", "resetKeyUsage", "Begin the budgets of a key's license at nothing").answers::<KeyView>(
            200,
            "The key.",
            &[],
        ),
    ]
}
