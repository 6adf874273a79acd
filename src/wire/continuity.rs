//! The continuity extension (`?resumable=1`): the gateway's own events, and what counts between both sides.
//!
//! Both count every event but the gateway's own (`gateway.*`, and `error` events that the gateway made), from 1.

use std::borrow::Cow;

use bytestring::ByteString;
use serde::Serialize;

use super::members::Members;

/// What begins the `event_id` of every event that the gateway makes.
pub const OWN_ID: &str = "event_gw_";

/// An event of the gateway's own, sent to resumable clients. Never counted, never replayed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum GatewayEvent {
    /// The first event of a session.
    #[serde(rename = "gateway.session")]
    Session {
        /// The session's id, `gws_…`.
        session_id: String,
        /// Authorizes a resume. Never logged.
        resume_token: String,
        /// How long a client may be away, milliseconds.
        window_ms: u64,
        /// 1, and one more after each loss of the gateway's memory of the session.
        epoch: u64,
    },
    /// The first event after a resume.
    #[serde(rename = "gateway.resumed")]
    Resumed {
        /// The session's id.
        session_id: String,
        /// Where it is higher than the client knew it, counting starts again at 1.
        epoch: u64,
        /// The client sends its audio from this sample on.
        samples: u64,
        /// Counting goes on from here: the next event is `seq + 1`.
        seq: u64,
    },
    /// All audio before it is durably booked and its final captions were delivered.
    #[serde(rename = "gateway.ack")]
    Ack {
        /// Samples since the session began, at the client's own rate.
        samples: u64,
    },
    /// Audio deltas that were dropped for a client that was away or slow; they count.
    #[serde(rename = "gateway.gap")]
    Gap {
        /// The first that is missing.
        from_seq: u64,
        /// The last that is missing.
        to_seq: u64,
    },
    /// The provider's leg is being replaced.
    #[serde(rename = "gateway.reconnecting")]
    Reconnecting,
    /// The provider's new leg has taken over.
    #[serde(rename = "gateway.reconnected")]
    Reconnected,
    /// A budget runs out.
    #[serde(rename = "gateway.quota")]
    Quota {
        /// `audio_seconds`, `tokens`
        unit: &'static str,
        /// What is left of it.
        remaining: f64,
    },
    /// A slow client gets only this kind from now on.
    #[serde(rename = "gateway.degraded")]
    Degraded {
        /// `text`
        mode: &'static str,
    },
    /// This instance goes away: resume at once, another one takes over.
    #[serde(rename = "gateway.going_away")]
    GoingAway {
        /// Milliseconds until the socket is closed.
        deadline_ms: u64,
    },
}

impl GatewayEvent {
    /// The event as a text frame.
    #[must_use]
    pub fn frame(&self) -> ByteString {
        // Numbers, strings and booleans only: this can't fail.
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// What a client says to the gateway alone; it is not relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientWord {
    /// `gateway.received`: events up to this one arrived.
    Received(u64),
    /// Another `gateway.*` event, without meaning.
    Other,
}

/// Reads a client's word to the gateway; `None` for everything that is to be relayed.
#[must_use]
pub fn client_word(members: &Members<'_>) -> Option<ClientWord> {
    let kind = members.strings("type").last()?;
    match kind.as_ref() {
        "gateway.received" => Some(members.number("seq").map_or(ClientWord::Other, ClientWord::Received)),
        other => other.starts_with("gateway.").then_some(ClientWord::Other),
    }
}

/// Whether an event from the gateway counts, by its `type` and `event_id`.
#[must_use]
pub fn counts(kind: &str, event_id: &str) -> bool {
    let own = kind.starts_with("gateway.") || kind == "error" && event_id.starts_with(OWN_ID);
    !own
}

/// [`counts`], of a whole event.
#[must_use]
pub fn frame_counts(text: &str) -> bool {
    let Some(members) = Members::read(text) else { return true };
    let last = |name: &str| members.strings(name).last().unwrap_or(Cow::Borrowed(""));
    counts(&last("type"), &last("event_id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_contracts_form() {
        let resumed = GatewayEvent::Resumed { session_id: "gws_1".into(), epoch: 2, samples: 1_600, seq: 0 };
        assert_eq!(
            resumed.frame(),
            r#"{"type":"gateway.resumed","session_id":"gws_1","epoch":2,"samples":1600,"seq":0}"#
        );
        assert_eq!(GatewayEvent::Reconnecting.frame(), r#"{"type":"gateway.reconnecting"}"#);
    }

    #[test]
    fn what_counts() {
        for (text, counted) in [
            (r#"{"type":"gateway.ack","samples":1}"#, false),
            (r#"{"type":"error","event_id":"event_gw_1","error":{}}"#, false),
            (r#"{"type":"error","event_id":"event_1","error":{}}"#, true),
            (r#"{"type":"response.done","event_id":"event_gw_1"}"#, true),
            ("not json", true),
        ] {
            assert_eq!(frame_counts(text), counted, "{text}");
        }
    }

    #[test]
    fn words_to_the_gateway() {
        let word = |text| client_word(&Members::read(text).unwrap());
        assert_eq!(word(r#"{"type":"gateway.received","seq":7}"#), Some(ClientWord::Received(7)));
        assert_eq!(word(r#"{"type":"gateway.received"}"#), Some(ClientWord::Other));
        assert_eq!(word(r#"{"type":"gateway.x"}"#), Some(ClientWord::Other));
        assert_eq!(word(r#"{"type":"session.finish"}"#), None);
    }
}
