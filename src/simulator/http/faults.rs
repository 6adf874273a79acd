//! What may go wrong with an HTTP call, on demand: the switches.

use serde::{Deserialize, Serialize};

/// Faults of one HTTP call; all fields are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpFaults {
    /// Refuse with this status and the API's own body for it: 400, 401, 403, 404, 429, 500, 503, 529.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Refuse with this code, in either spelling (`Throttling.RateQuota`, `limit_requests`). Without `status`, with
    /// the status that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A refusal's `retry-after`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Spare all but this share of the calls, 0 to 100. Which ones is the same in each run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Answer this much later; nothing is sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_delay_ms: Option<u64>,
    /// Send the headers at once and the body this much later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_delay_ms: Option<u64>,
    /// Wait this long before each event after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_delay_ms: Option<u64>,
    /// Answer with so many words, whatever was asked and allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<u64>,
    /// After so many events say an error, worded by `status` and `code`, and end the stream. The call isn't refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_after_chunks: Option<u64>,
    /// Cut the connection after so many events; 0: after the headers. Answers in one piece are cut in the middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_after_chunks: Option<u64>,
    /// Cut the connection without any answer.
    pub drop_before_headers: bool,
    /// Never answer.
    pub hang: bool,
    /// Say nothing of usage.
    pub no_usage: bool,
    /// Pad the first event, or an answer in one piece, with blanks to so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_chunk: Option<usize>,
}

impl HttpFaults {
    /// Whether the call with this number is among the share that is hit.
    #[must_use]
    pub fn hit(&self, number: u64) -> bool {
        self.percent.is_none_or(|percent| mixed(number) % 100 < u64::from(percent))
    }
}

/// A number's bits well stirred (the finalizer of SplitMix64): pseudo-random, the same in each run.
#[must_use]
pub fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_switches_are_refused_by_name() {
        let error = serde_json::from_str::<HttpFaults>(r#"{"sulk":true}"#).unwrap_err();
        assert!(error.to_string().contains("sulk"), "{error}");
    }

    #[test]
    fn a_share_of_the_calls_is_hit() {
        let hits = |percent| {
            let faults = HttpFaults { percent, ..HttpFaults::default() };
            (0..10_000).filter(|number| faults.hit(*number)).count()
        };
        assert_eq!((hits(None), hits(Some(100)), hits(Some(0))), (10_000, 10_000, 0));
        assert!((2_850..3_150).contains(&hits(Some(30))), "{}", hits(Some(30)));
    }
}
