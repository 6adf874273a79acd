//! The task protocol of `/api-ws/v1/inference`: JSON control, binary audio (Gummy and its siblings).

use bytestring::ByteString;
use serde::Deserialize;
use serde_json::json;

use super::members::Members;

/// What a client's text frame means to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// `run-task`
    Run(Task),
    /// `finish-task`
    Finish,
    /// Anything else.
    Other,
    /// Not a JSON object with a header, as far as we can tell.
    Unreadable,
}

/// A task as its `run-task` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Task {
    /// The client's id for it.
    pub id: String,
    /// Model.
    pub model: String,
    /// Audio format: `pcm`, `wav`, or a compressed one.
    pub format: String,
    /// Samples a second.
    pub sample_rate: u64,
}

impl Task {
    /// Whether the audio's length can be told from its bytes.
    #[must_use]
    pub fn is_pcm(&self) -> bool {
        matches!(self.format.as_str(), "pcm" | "wav")
    }
}

/// Reads a client's control frame.
#[must_use]
pub fn client_frame(text: &str) -> ClientFrame {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Payload {
        model: String,
        parameters: Parameters,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Parameters {
        format: String,
        sample_rate: u64,
    }
    let Some(members) = Members::read(text) else { return ClientFrame::Unreadable };
    let Some(header) = members.objects("header").last() else { return ClientFrame::Unreadable };
    match header.strings("action").last().as_deref() {
        Some("run-task") => {
            let payload = members.all("payload").last().and_then(|payload| serde_json::from_str(payload).ok());
            let Payload { model, parameters } = payload.unwrap_or_default();
            let id = header.strings("task_id").last().unwrap_or_default().into_owned();
            ClientFrame::Run(Task { id, model, format: parameters.format, sample_rate: parameters.sample_rate })
        }
        Some("finish-task") => ClientFrame::Finish,
        Some(_) | None => ClientFrame::Other,
    }
}

/// What an upstream's text frame means to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamEvent {
    /// `result-generated`, with the billed seconds so far where it reports them.
    Result(Option<u64>),
    /// `task-finished` or `task-failed`.
    Ended(Option<u64>),
    /// Anything else.
    Other,
}

/// Reads an upstream's event.
#[must_use]
pub fn upstream_event(text: &str) -> UpstreamEvent {
    let Some(members) = Members::read(text) else { return UpstreamEvent::Other };
    let header = members.objects("header").last();
    let event = header.and_then(|header| header.strings("event").last());
    let payload = members.objects("payload").last();
    let usage = payload.and_then(|payload| payload.objects("usage").last());
    let seconds = usage.and_then(|usage| usage.number("duration"));
    match event.as_deref() {
        Some("result-generated") => UpstreamEvent::Result(seconds),
        Some("task-finished" | "task-failed") => UpstreamEvent::Ended(seconds),
        Some(_) | None => UpstreamEvent::Other,
    }
}

/// `task-failed` with our code: how this protocol says no after the upgrade.
#[must_use]
pub fn failed(task_id: &str, code: &str, message: &str) -> ByteString {
    let event = json!({
        "header": {
            "task_id": task_id,
            "event": "task-failed",
            "error_code": code,
            "error_message": message,
            "attributes": {},
        },
        "payload": {},
    });
    event.to_string().into()
}

/// `finish-task`, sent when a client left without it, or may send no more.
#[must_use]
pub fn finish(task_id: &str) -> ByteString {
    let event = json!({
        "header": { "action": "finish-task", "task_id": task_id, "streaming": "duplex" },
        "payload": { "input": {} },
    });
    event.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames() {
        let run = r#"{"header":{"action":"run-task","task_id":"t1","streaming":"duplex"},"payload":{"task_group":"audio","model":"gummy-realtime-v1","parameters":{"sample_rate":16000,"format":"pcm"},"input":{}}}"#;
        let task =
            Task { id: "t1".into(), model: "gummy-realtime-v1".into(), format: "pcm".into(), sample_rate: 16_000 };
        assert_eq!(client_frame(run), ClientFrame::Run(task));
        assert_eq!(client_frame(r#"{"header":{"action":"finish-task"}}"#), ClientFrame::Finish);
        assert_eq!(client_frame(r#"{"header":{"action":"other"}}"#), ClientFrame::Other);
        for text in ["[]", &run.replace("16000", "NaN"), "{}"] {
            assert_eq!(client_frame(text), ClientFrame::Unreadable, "{text}");
        }
    }

    #[test]
    fn events() {
        let result = r#"{"header":{"event":"result-generated"},"payload":{"output":{},"usage":{"duration":3}}}"#;
        assert_eq!(upstream_event(result), UpstreamEvent::Result(Some(3)));
        let ended = r#"{"header":{"event":"task-finished"},"payload":{"output":{},"usage":null}}"#;
        assert_eq!(upstream_event(ended), UpstreamEvent::Ended(None));
    }
}
