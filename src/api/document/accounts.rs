//! `/admin/accounts`, described.

use serde_json::json;

use super::operation::{Operation, delete, get, patch, post};
use crate::api::admin::paging::ListQuery;
use crate::wire::accounts::{AccountFields, AccountTest, AccountView, Resealed};
use crate::wire::admin::PageView;
use crate::wire::reports::Deleted;

/// Its operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = vec![
        post("/admin/accounts", "createAccount", "Add an upstream account")
            .operators()
            .about(
                "Its credential is sealed with `ENCRYPTION_KEY` and never shown; without that setting 409 `conflict`. \
                 Every instance uses it within 2 s. There are 500 accounts at most.",
            )
            .with(&["IdempotencyKey"])
            .takes::<AccountFields>(
                json!({"name": "main", "kind": "anthropic", "credential": "sk-ant-api-key", "weight": 2}),
            )
            .requires(&["name", "kind", "credential"])
            .answers::<AccountView>(201, "The account.", &[("cache-control", "NoStore"), ("location", "Location")])
            .answers::<AccountView>(
                200,
                "A repeat under the same `Idempotency-Key`: the account that was added then.",
                &[],
            )
            .refuses(&["Conflict"]),
        get("/admin/accounts", "listAccounts", "List upstream accounts")
            .operators()
            .about(
                "`DASHSCOPE_API_KEY` and `ANTHROPIC_API_KEY` of the environment are the first: `env-dashscope`, \
                 `env-anthropic`.",
            )
            .asks::<ListQuery>(&["limit", "cursor", "q", "sort"])
            .status(&["enabled", "draining", "disabled"])
            .answers::<PageView<AccountView>>(200, "A page, newest first unless sorted otherwise.", &[]),
        get("/admin/accounts/{id}", "showAccount", "Show an upstream account and how it is doing")
            .operators()
            .with(&["AccountId"])
            .answers::<AccountView>(200, "The account, without its credential.", &[]),
        patch("/admin/accounts/{id}", "changeAccount", "Change an upstream account by a merge patch")
            .operators()
            .about(
                "An account keeps its kind. Of the environment's accounts `mode`, `models`, `weight`, `priority`, \
                 `max_concurrency` and `state` can be changed here, the rest in the environment (409 `conflict`).",
            )
            .with(&["AccountId"])
            .takes::<AccountFields>(json!({"weight": 5, "max_concurrency": null}))
            .answers::<AccountView>(200, "The account as it is now.", &[])
            .refuses(&["Conflict"]),
        delete(
            "/admin/accounts/{id}",
            "deleteAccount",
            "Delete an upstream account; calls under way end by themselves",
        )
        .operators()
        .about("Accounts of the environment can't be deleted (409 `conflict`): disable them.")
        .with(&["AccountId"])
        .answers::<Deleted>(200, "Deleted, now or before.", &[])
        .refuses(&["Conflict"]),
    ];
    all.push(
        post("/admin/accounts/reseal", "resealAccounts", "Seal credentials anew, with the present ENCRYPTION_KEY")
            .operators()
            .about("What ENCRYPTION_KEY_PREVIOUS had sealed. Broken off, it goes on where it is run again.")
            .answers::<Resealed>(200, "What was done, and what could not be.", &[]),
    );
    all.extend(actions());
    all
}

fn actions() -> [Operation; 4] {
    let action = |name: &str, id: &str, summary: &str| {
        post(&format!("/admin/accounts/{{id}}/{name}"), id, summary).operators().with(&["AccountId"])
    };
    [
        action("test", "testAccount", "Ask the provider whether it takes the credential")
            .about(
                "Asks for the provider's models, for 10 s at most. Where it works, this instance forgets the \
                 account's earlier failures.",
            )
            .answers::<AccountTest>(200, "What was found; `ok` says whether the account works.", &[]),
        action("drain", "drainAccount", "Give an upstream account no new calls; those under way end by themselves")
            .answers::<AccountView>(200, "The account, draining.", &[]),
        action("enable", "enableAccount", "Let an upstream account take calls").answers::<AccountView>(
            200,
            "The account, enabled.",
            &[],
        ),
        action("disable", "disableAccount", "Let an upstream account rest").answers::<AccountView>(
            200,
            "The account, disabled.",
            &[],
        ),
    ]
}
