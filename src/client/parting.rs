//! Whether a connection that ended may be resumed. Pure.

/// An `error` event that came before the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The event's code, e.g. `insufficient_quota`.
    pub code: String,
    /// The event's sentence.
    pub message: String,
    /// The session ends with it: the gateway's own, or about the session's settings.
    pub ends: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parting {
    /// With a close frame: its code and reason.
    Closed(Option<u16>, String),
    /// Without: what the network said.
    Lost(String),
}

impl Parting {
    /// Whether it is worth to come back, given the last error that was told.
    #[must_use]
    pub fn may_resume(&self, told: Option<&Told>) -> bool {
        let last_word = told.filter(|told| told.ends);
        match (self, last_word) {
            (Self::Lost(_), None) => true,
            (Self::Lost(_), Some(told)) => {
                ["draining", "overloaded", "storage_unavailable", "too_slow"].contains(&told.code.as_str())
            }
            // 1011 with an error says that the provider failed for good.
            (Self::Closed(code, _), last_word) => match code {
                None | Some(1001 | 1005 | 1006 | 1012 | 1013 | 4008) => true,
                Some(1011) => last_word.is_none(),
                Some(_) => false,
            },
        }
    }
}

impl std::fmt::Display for Parting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(Some(code), reason) if reason.is_empty() => write!(formatter, "closed with {code}"),
            Self::Closed(Some(code), reason) => write!(formatter, "closed with {code}, {reason}"),
            Self::Closed(None, _) => formatter.write_str("closed without a reason"),
            Self::Lost(cause) => formatter.write_str(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_resumed() {
        let closed = |code| Parting::Closed(code, String::new());
        let told = |code: &str, ends| Some(Told { code: code.to_owned(), message: String::new(), ends });
        let cases = [
            (Parting::Lost("reset".to_owned()), None, true),
            (Parting::Lost("reset".to_owned()), told("InternalError", false), true),
            (Parting::Lost("reset".to_owned()), told("insufficient_quota", true), false),
            (Parting::Lost("reset".to_owned()), told("draining", true), true),
            (closed(None), None, true),
            (closed(Some(1001)), told("draining", true), true),
            (closed(Some(4008)), told("too_slow", true), true),
            (closed(Some(1012)), None, true),
            (closed(Some(1011)), None, true),
            (closed(Some(1011)), told("upstream_unavailable", true), false),
            (closed(Some(1000)), None, false),
            (closed(Some(1008)), told("session_ended", true), false),
            (closed(Some(4029)), told("insufficient_quota", true), false),
        ];
        for (parting, told, expected) in cases {
            assert_eq!(parting.may_resume(told.as_ref()), expected, "{parting:?} {told:?}");
        }
    }
}
