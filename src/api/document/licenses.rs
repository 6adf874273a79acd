//! `/admin/licenses`, described.

use serde_json::json;

use super::operation::{Operation, delete, get, patch, post};
use crate::api::admin::paging::ListQuery;
use crate::wire::admin::{LicenseFields, LicenseView, PageView, Reissue, Renewal};

const ETAG: (&str, &str) = ("etag", "ETag");
const NO_STORE: (&str, &str) = ("cache-control", "NoStore");
const LOCATION: (&str, &str) = ("location", "Location");

/// Its operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = vec![
        post("/admin/licenses", "createLicense", "Issue a license")
            .operators()
            .about(
                "What isn't named is not limited; a plan fills in what is left out. The built-in plan `trial` has 600 \
                 seconds of audio once, and ends after KEY_EXPIRY_DAYS.",
            )
            .with(&["IdempotencyKey"])
            .takes::<LicenseFields>(json!({"label": "Ada", "max_sessions": 2,
                "budgets": [{"unit": "audio_seconds", "limit": 3600, "window": "1mo"}]}))
            .answers::<LicenseView>(201, "The license and its token.", &[NO_STORE, ETAG, LOCATION])
            .showing("token")
            .answers::<LicenseView>(
                200,
                "A repeat under the same `Idempotency-Key`: the license that was made then, without its token.",
                &[ETAG],
            )
            .refuses(&["Conflict"]),
        get("/admin/licenses", "listLicenses", "List licenses")
            .operators()
            .asks::<ListQuery>(&["limit", "cursor", "q", "sort"])
            .status(&["active", "suspended", "revoked", "expired"])
            .answers::<PageView<LicenseView>>(200, "A page, newest first unless sorted otherwise.", &[]),
        get("/admin/licenses/{id}", "showLicense", "Show a license")
            .operators()
            .with(&["LicenseId"])
            .answers::<LicenseView>(200, "The license.", &[ETAG]),
        patch("/admin/licenses/{id}", "changeLicense", "Change a license by a merge patch")
            .operators()
            .about(
                "RFC 7396: what isn't named stays, null clears. Budgets with the same unit, window and time zone keep \
                 what was used. Live sessions follow a changed end.",
            )
            .with(&["LicenseId", "IfMatch"])
            .takes::<LicenseFields>(json!({"max_sessions": 3, "label": null}))
            .answers::<LicenseView>(200, "The license as it is now.", &[ETAG])
            .refuses(&["Conflict", "PreconditionFailed"]),
        delete("/admin/licenses/{id}", "deleteLicense", "Revoke a license for good; the same as /revoke")
            .operators()
            .with(&["LicenseId"])
            .answers::<LicenseView>(200, "The license, revoked.", &[ETAG]),
    ];
    all.extend(actions());
    all
}

fn actions() -> [Operation; 6] {
    let action = |name: &str, id: &str, summary: &str| {
        post(&format!("/admin/licenses/{{id}}/{name}"), id, summary).operators().with(&["LicenseId"])
    };
    [
        action("suspend", "suspendLicense", "Let a license rest; its live sessions end")
            .answers::<LicenseView>(200, "The license, suspended.", &[ETAG])
            .refuses(&["Conflict"]),
        action("reinstate", "reinstateLicense", "Let a suspended license be used again")
            .answers::<LicenseView>(200, "The license, active.", &[ETAG])
            .refuses(&["Conflict"]),
        action("revoke", "revokeLicense", "End a license for good; its live sessions end").answers::<LicenseView>(
            200,
            "The license, revoked.",
            &[ETAG],
        ),
        action("renew", "renewLicense", "Move a license's end")
            .about(
                "Until `expires_at`, or for `days` from the present end, or from now if that is later. With neither: \
                 for KEY_EXPIRY_DAYS.",
            )
            .takes::<Renewal>(json!({"days": 30}))
            .optional()
            .answers::<LicenseView>(
                200,
                "The license, with a token that has the new end. Earlier tokens go on as well.",
                &[NO_STORE],
            )
            .showing("token")
            .refuses(&["Conflict"]),
        action("token", "issueToken", "Sign a token with what is true now")
            .about("With `rotate`, the tokens issued before become invalid.")
            .takes::<Reissue>(json!({"rotate": true}))
            .optional()
            .answers::<LicenseView>(200, "The license and its new token.", &[NO_STORE])
            .showing("token")
            .refuses(&["Conflict"]),
        action("reset-usage", "resetLicenseUsage", "Begin a license's budgets at nothing")
            .about("What live sessions hold stays held. The ledger stays.")
            .answers::<LicenseView>(200, "The license.", &[ETAG]),
    ]
}
