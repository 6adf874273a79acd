//! What the gateway says of itself to a resumable client: the `gateway.*` events of the continuity extension.

use serde::Deserialize;

use crate::config::settings::Secret;

/// An event of the gateway's own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type")]
pub enum Announcement {
    /// The first event of a session: how to resume it.
    #[serde(rename = "gateway.session")]
    Session {
        /// Authorizes a resume; never shown.
        resume_token: Secret,
        /// How long the client may be away, milliseconds.
        window_ms: u64,
        /// Which memory of the session the gateway counts by.
        epoch: u64,
    },
    /// The first event after a resume: where both go on.
    #[serde(rename = "gateway.resumed")]
    Resumed {
        /// Higher than before: the gateway lost its memory of the session.
        epoch: u64,
        /// Audio is wanted from this sample on.
        samples: u64,
        /// The next counted event is the one after it.
        seq: u64,
    },
    /// Audio before it needs not be kept.
    #[serde(rename = "gateway.ack")]
    Ack {
        /// Samples since the session began.
        samples: u64,
    },
    /// Translated speech that this client was too slow for; the events count.
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
    /// It was replaced.
    #[serde(rename = "gateway.reconnected")]
    Reconnected,
    /// A budget runs out.
    #[serde(rename = "gateway.quota")]
    Quota {
        /// `audio_seconds`, `tokens`, `requests`
        unit: String,
        /// What is left of it.
        remaining: f64,
    },
    /// The gateway sends only this kind from now on.
    #[serde(rename = "gateway.degraded")]
    Degraded {
        /// `text`
        mode: String,
    },
    /// This instance goes away; another one takes the session.
    #[serde(rename = "gateway.going_away")]
    GoingAway {
        /// Milliseconds until the socket is closed.
        deadline_ms: u64,
    },
}

impl Announcement {
    /// Reads a text frame; `None` for every other event, and for announcements without a meaning here.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        // Most events carry speech: they are not read twice.
        if !text.contains("\"gateway.") {
            return None;
        }
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::continuity::GatewayEvent;

    #[test]
    fn what_the_gateway_writes_is_read() {
        let (samples, seq) = (1_600, 7);
        let cases = [
            (
                GatewayEvent::Resumed { session_id: "gws_1".to_owned(), epoch: 2, samples, seq },
                Announcement::Resumed { epoch: 2, samples, seq },
            ),
            (GatewayEvent::Ack { samples }, Announcement::Ack { samples }),
            (GatewayEvent::Gap { from_seq: 3, to_seq: 5 }, Announcement::Gap { from_seq: 3, to_seq: 5 }),
            (GatewayEvent::Reconnecting, Announcement::Reconnecting),
            (GatewayEvent::Reconnected, Announcement::Reconnected),
            (
                GatewayEvent::Quota { unit: "tokens", remaining: 9.5 },
                Announcement::Quota { unit: "tokens".to_owned(), remaining: 9.5 },
            ),
            (GatewayEvent::Degraded { mode: "text" }, Announcement::Degraded { mode: "text".to_owned() }),
            (GatewayEvent::GoingAway { deadline_ms: 9 }, Announcement::GoingAway { deadline_ms: 9 }),
        ];
        for (written, read) in cases {
            assert_eq!(Announcement::read(&written.frame()), Some(read));
        }
        for text in [r#"{"type":"error"}"#, r#"{"type":"gateway.new_one"}"#, r#"{"text":"\"gateway.ack\""}"#] {
            assert_eq!(Announcement::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let event = GatewayEvent::Session {
            session_id: "gws_1".to_owned(),
            resume_token: "rt_secret".to_owned(),
            window_ms: 120_000,
            epoch: 1,
        };
        let read = Announcement::read(&event.frame()).unwrap();
        assert!(!format!("{read:?}").contains("rt_secret"), "{read:?}");
        assert!(matches!(read, Announcement::Session { resume_token, .. }
            if resume_token.expose() == "rt_secret"));
    }
}
