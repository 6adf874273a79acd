//! Either of the two protocols behind a socket.

use bytes::Bytes;
use serde_json::json;

use super::dialect::Dialect;
use super::events::{Output, event, set};
use super::faults::ErrorFault;
use super::request::Seen;
use super::session::Session;
use super::tuning::Tuning;

/// Who speaks on a connection. Times are milliseconds since its upgrade.
#[derive(Debug)]
pub enum Protocol {
    /// `/api-ws/v1/realtime`
    Realtime(Box<Session>),
}

impl Protocol {
    /// A realtime session; `out` gets what it says at once.
    #[must_use]
    pub fn realtime(dialect: Dialect, model: &str, tuning: &Tuning, out: &mut Vec<Output>) -> Self {
        Self::Realtime(Box::new(Session::open(dialect, model, tuning, out)))
    }

    /// Takes a text frame.
    pub fn on_text(&mut self, text: &str, _now_ms: u64, out: &mut Vec<Output>) -> Seen {
        match self {
            Self::Realtime(session) => session.on_text(text, out),
        }
    }

    /// Takes a binary frame.
    pub fn on_binary(&mut self, _bytes: &Bytes, _now_ms: u64, out: &mut Vec<Output>) -> Seen {
        match self {
            Self::Realtime(_) => {
                Session::on_binary(out);
                Seen::Event("binary".to_owned())
            }
        }
    }

    /// When [`Self::on_time`] has something to do.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Realtime(_) => None,
        }
    }

    /// Lets time pass.
    pub fn on_time(&mut self, _now_ms: u64, _out: &mut Vec<Output>) {
        match self {
            Self::Realtime(_) => {}
        }
    }

    /// The event with which this protocol reports a fault.
    #[must_use]
    pub fn error(&self, fault: &ErrorFault) -> Output {
        match self {
            Self::Realtime(_) => {
                let mut error = json!({"message": fault.message});
                if let Some(code) = &fault.code {
                    set(&mut error, "code", code.as_str());
                }
                if let Some(kind) = &fault.kind {
                    set(&mut error, "type", kind.as_str());
                }
                event("error", &json!({"error": error}))
            }
        }
    }
}
