//! The WebSocket routes, described: `GET` with 101, and what is refused before it.

use serde_json::json;

use super::operation::{Operation, get, reference};

const REALTIME: &str = "\
Text frames, one JSON event each. Every event passes byte for byte, in order, once, both ways. Whatever can be refused \
is refused before the upgrade, as the HTTP answers below; the provider is dialled before the upgrade too.

A connection to the provider that is lost, silent or near its time limit is replaced (LiveTranslate models, unless \
`legs=1`): settings and what was not answered for are sent to the new one, whose greeting is withheld; a response \
that was cut short ends with a `response.done` of status `incomplete`, and its sentence comes as a new response. \
Times are on the session's line.

With `resumable=1` the first event is `gateway.session {session_id, resume_token, window_ms, epoch}`. Both sides \
count all events from 1, but `gateway.*` and the gateway's own `error` events. The client says `gateway.received \
{seq}` about once a second; `gateway.ack {samples}` tells that all audio before is booked and its final captions \
were received: it may be forgotten. After a loss, `?resume=TOKEN&last_seq=N` within `window_ms` is answered by \
`gateway.resumed {session_id, epoch, samples, seq}` and the events from `seq + 1`; the client sends its audio again \
from `samples`. A higher `epoch` (after a crash, or on another instance) starts counting at 1. Also: `gateway.gap \
{from_seq, to_seq}`, `gateway.reconnecting`, `gateway.reconnected`, `gateway.quota {unit, remaining}`, \
`gateway.degraded {mode}`, `gateway.going_away {deadline_ms}`.

The gateway adds nothing else but an `error` event before a close of its own (`event_id` begins `event_gw_`, `error` \
is an ErrorDetail), and `session.finish` upstream where a LiveTranslate client left without it. It refuses \
compressed audio (`opus`), as its length can't be metered.

Close codes: 1000 done; 1001 `draining`; 1002 protocol violated; 1003 binary frame; 1007 invalid UTF-8; 1008 \
`license_expired`, `license_revoked`, `license_suspended`, `session_expired`, `session_idle`, `session_ended`, \
`invalid_request`; 1009 a frame over 4 MiB; 1011 the provider failed; 1013 `overloaded`, `storage_unavailable`; 4008 \
`too_slow` (a resumable session can be resumed); 4029 `insufficient_quota`.";
const HANDSHAKE: [&str; 5] = ["Upgrade", "WebSocketVersion", "WebSocketKey", "OwnProviderKey", "DataInspection"];
const REALTIME_QUERY: [&str; 5] = ["Model", "Resumable", "Legs", "Resume", "LastSeq"];

/// Their operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let realtime = |path: &str, id: &str, summary: &str| {
        upgraded(get(path, id, summary).sockets(true), true)
            .with(&REALTIME_QUERY)
            .with(&HANDSHAKE)
            .refuses(&["SessionGone", "Error"])
    };
    vec![
        realtime("/v1/realtime", "realtime", "WebSocket: a live session in the provider's realtime protocol")
            .about(REALTIME),
        realtime(
            "/api-ws/v1/realtime",
            "realtimeDashscope",
            "WebSocket: the same as /v1/realtime, where DashScope's SDKs look for it",
        ),
        upgraded(
            get(
                "/api-ws/v1/inference",
                "inference",
                "WebSocket: DashScope's task protocol (Gummy), audio in binary frames",
            )
            .sockets(false),
            false,
        )
        .about(
            "The model is named by `run-task`. What can't be refused at the upgrade is refused after `run-task` by \
             `task-failed` with the code below, then a close.",
        )
        .with(&HANDSHAKE)
        .refuses(&["Error"]),
    ]
}

fn upgraded(operation: Operation, with_subprotocol: bool) -> Operation {
    let mut headers = json!({
        "upgrade": { "schema": { "const": "websocket" } },
        "sec-websocket-accept": { "schema": { "type": "string" } },
        "x-quota-warning": reference("headers", "QuotaWarning"),
        "x-request-id": reference("headers", "RequestId"),
    });
    if let (true, Some(headers)) = (with_subprotocol, headers.as_object_mut()) {
        let offered = json!({
            "description": "`realtime`, where it was offered.",
            "required": false,
            "schema": { "const": "realtime" },
        });
        headers.insert("sec-websocket-protocol".to_owned(), offered);
    }
    let about = if with_subprotocol { "The session begins: its first event follows." } else { "The task may be run." };
    operation.gives("101", json!({ "description": about, "headers": headers }))
}
