//! What may go wrong on a connection, on demand: the switches, and the times at which they act.

use serde::{Deserialize, Serialize};

/// Faults of one connection. Times count from its upgrade; all fields are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Refuse the upgrade with this HTTP status: 401, 403, 404, 429, 500, 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<u16>,
    /// Answer the upgrade this much later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_delay_ms: Option<u64>,
    /// End the connection then: abruptly, or with `cap_code` as close code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_ms: Option<u64>,
    /// The close code at `cap_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_code: Option<u16>,
    /// From then on no events; pings are still answered, audio is still taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_after_ms: Option<u64>,
    /// From then on nothing is read, written or answered; the socket stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open_after_ms: Option<u64>,
    /// Close with a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<CloseFault>,
    /// Say an `error` event (`task-failed` in the task protocol).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorFault>,
    /// Read slowly or stop reading; events still go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_reads: Option<SlowReads>,
    /// Never answer a ping.
    pub no_pong: bool,
    /// Pad `response.created` and each audio delta with blanks to a frame of this many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_frames: Option<usize>,
    /// Send events as continuation frames of this many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<usize>,
    /// End the TCP connection in the middle of the first frame with a piece of translation.
    pub drop_mid_delta: bool,
}

/// A close frame on demand. Without a time or a count it follows the upgrade at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloseFault {
    /// The close code.
    pub code: u16,
    /// The reason.
    pub reason: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Or after so many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_events: Option<u64>,
}

/// An error event on demand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorFault {
    /// `error.code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `error.message`.
    pub message: String,
    /// `error.type`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When.
    pub after_ms: u64,
    /// Close right after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<CloseFault>,
}

/// Slow reading on demand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlowReads {
    /// Read no more than this; none: as fast as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Stop reading for good then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_after_ms: Option<u64>,
}

/// What a fault does at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Cut the TCP connection.
    Drop,
    /// Send a close frame.
    Close {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// No more events.
    Silence,
    /// No more of anything.
    HalfOpen,
    /// Say an error.
    Error(ErrorFault),
    /// No more reading.
    StopReading,
}

/// The timed faults of a connection, soonest first.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    acts: Vec<(u64, Act)>,
}

impl Schedule {
    /// The timetable of these faults; `longest_ms` is the provider's own cap on a connection.
    #[must_use]
    pub fn new(faults: &Faults, longest_ms: u64) -> Self {
        let mut acts = vec![(longest_ms, Act::Drop)];
        let mut at = |ms: Option<u64>, act: Act| acts.extend(ms.map(|ms| (ms, act)));
        let cap = faults.cap_code.map_or(Act::Drop, |code| Act::Close { code, reason: String::new() });
        at(faults.cap_ms, cap);
        at(faults.silence_after_ms, Act::Silence);
        at(faults.half_open_after_ms, Act::HalfOpen);
        at(faults.slow_reads.as_ref().and_then(|slow| slow.stop_after_ms), Act::StopReading);
        if let Some(error) = &faults.error {
            at(Some(error.after_ms), Act::Error(error.clone()));
            if let Some(close) = &error.close {
                at(Some(error.after_ms.saturating_add(close.after_ms.unwrap_or(0))), close.act());
            }
        }
        if let Some(close) = &faults.close {
            at(close.after_ms.or_else(|| close.after_events.is_none().then_some(0)), close.act());
        }
        acts.sort_by_key(|(ms, _)| *ms);
        Self { acts }
    }

    /// When the next one acts.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.acts.first().map(|(ms, _)| *ms)
    }

    /// Takes the next one, if it is due.
    pub fn due(&mut self, now_ms: u64) -> Option<Act> {
        let due = self.next_ms().is_some_and(|ms| ms <= now_ms);
        due.then(|| self.acts.remove(0).1)
    }
}

impl CloseFault {
    /// The close frame that this asks for.
    #[must_use]
    pub fn act(&self) -> Act {
        Act::Close { code: self.code, reason: self.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_act_in_the_order_of_their_times() {
        let faults: Faults = serde_json::from_str(
            r#"{"cap_ms":900,"silence_after_ms":100,"slow_reads":{"stop_after_ms":50},
                "error":{"code":"Throttling","message":"no","after_ms":300,"close":{"code":1011,"reason":"x"}},
                "close":{"code":1007,"reason":"y","after_events":3}}"#,
        )
        .unwrap();
        let mut schedule = Schedule::new(&faults, 7_200_000);
        assert_eq!(schedule.due(49), None);
        assert_eq!(schedule.due(100), Some(Act::StopReading));
        assert_eq!(schedule.due(100), Some(Act::Silence));
        assert_eq!(schedule.next_ms(), Some(300));
        assert!(matches!(schedule.due(300), Some(Act::Error(_))));
        assert_eq!(schedule.due(300), Some(Act::Close { code: 1011, reason: "x".to_owned() }));
        assert_eq!(schedule.due(1000), Some(Act::Drop));
        assert_eq!(schedule.next_ms(), Some(7_200_000));
    }

    #[test]
    fn unknown_switches_are_refused_by_name() {
        let error = serde_json::from_str::<Faults>(r#"{"sulk":true}"#).unwrap_err();
        assert!(error.to_string().contains("sulk"), "{error}");
    }
}
