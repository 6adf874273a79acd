//! Health, pages, licenses of one's own, and the bases that clients look for.

use serde_json::{Value, json};

use super::operation::{Operation, get, head, post};
use crate::api::license;
use crate::signer::KeySet;
use crate::wire::reports::{Alive, Front, Health, Ticket, TicketFields};

const NO_STORE: (&str, &str) = ("cache-control", "NoStore");

/// Their operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = vec![
        get("/", "front", "Name, version and links; a browser gets the front page")
            .open("pages")
            .answers::<Front>(200, "HTML where `Accept` has `text/html`, otherwise JSON.", &[("vary", "VaryAccept")])
            .also(200, "text/html"),
        file("/static/front.css", "frontStyle", "The front page's style", "text/css"),
        file("/static/front.js", "frontScript", "The front page's script", "text/javascript"),
        file("/static/icon.svg", "icon", "The icon", "image/svg+xml"),
        get("/openapi.json", "openapi", "This document").open("pages").gives(
            "200",
            json!({
                "description": "OpenAPI 3.1.",
                "content": { "application/json": { "schema": { "type": "object" } } },
            }),
        ),
        get("/health", "health", "How the gateway is doing, part by part")
            .open("health")
            .answers::<Health>(
                200,
                "It serves: `ok`, or `degraded` (no provider account, usage that can't be written, or going away).",
                &[],
            )
            .answers::<Health>(
                503,
                "It can't serve: `unavailable`, the store is away.",
                &[("retry-after", "RetryAfter")],
            ),
        get("/readyz", "readyz", "New sessions are welcome")
            .open("health")
            .answers::<Alive>(200, "Yes.", &[])
            .refuses(&["Unavailable"]),
        get("/.well-known/jwks.json", "jwks", "The public keys with which anyone can verify a license offline")
            .open("license")
            .about(
                "A license is a JWT (`EdDSA`; `iss` is `livetranslate-central`, `sub` the license's id). The store is \
                 the truth: suspension, revocation and changed limits win over the claims.",
            )
            .answers::<KeySet>(
                200,
                "RFC 7517: the current key, then the previous one while a new SECRET_KEY takes over.",
                &[("cache-control", "FiveMinutes")],
            ),
        get("/v1/license", "license", "The caller's license: limits, and what is left of them")
            .customers("license")
            .answers::<license::View>(200, "The license, as it is now.", &[NO_STORE]),
        post(
            "/v1/realtime/sessions",
            "createTicket",
            "A ticket for one session, so that a browser's URL never carries a lasting key",
        )
        .customers("realtime")
        .about("The ticket is good for one connection within 60 seconds, as `?ticket=` of any of the WebSocket routes.")
        .takes::<TicketFields>(json!({"model": "qwen3.5-livetranslate-flash-realtime"}))
        .optional()
        .answers::<Ticket>(201, "The ticket.", &[NO_STORE])
        .refuses(&["NotFound"]),
    ];
    for (path, id) in [("/healthz", "healthz"), ("/livez", "livez")] {
        let alive = get(path, id, "The process answers").open("health");
        all.push(alive.answers::<Alive>(200, "Yes.", &[]));
    }
    all.extend(heads());
    all
}

fn file(path: &str, id: &str, summary: &str, media: &str) -> Operation {
    let answer = json!({ "description": "The file.", "content": { media: { "schema": { "type": "string" } } } });
    get(path, id, summary).open("pages").gives("200", answer)
}

fn heads() -> Vec<Operation> {
    let present = || json!({ "$ref": "#/components/responses/Present" });
    let same = "The same as GET, without a body";
    let base = "Look whether this base is there";
    let looks = [
        ("/", "lookFront", same),
        ("/health", "lookHealth", same),
        ("/healthz", "lookHealthz", same),
        ("/livez", "lookLivez", same),
        ("/readyz", "lookReadyz", same),
        ("/v1", "lookV1", base),
        ("/compatible-mode/v1", "lookCompatibleMode", base),
        ("/apps/anthropic", "lookAppsAnthropic", base),
        ("/apps/anthropic/v1", "lookAppsAnthropicV1", base),
        ("/api/v1", "lookApiV1", base),
    ];
    let described = looks.into_iter().map(|(path, id, summary)| {
        let tag = if path == "/" { "pages" } else { "health" };
        let look = head(path, id, summary).open(tag).gives("200", present()).refuses(&["NoBody"]);
        if ["/health", "/readyz"].contains(&path) { look.refuses(&["NotReady"]) } else { look }
    });
    described.collect()
}

/// An answer of `parts.json`.
#[must_use]
pub fn answer(name: &str) -> Value {
    super::operation::reference("responses", name)
}
