//! Either of the two protocols behind a socket.

use bytes::Bytes;
use serde_json::json;

use super::dialect::Dialect;
use super::events::{Output, event, set};
use super::faults::ErrorFault;
use super::numbered::Heard;
use super::request::Seen;
use super::session::Session;
use super::task::Task;
use super::tuning::Tuning;

/// Who speaks on a connection. Times are milliseconds since its upgrade.
#[derive(Debug)]
pub enum Protocol {
    /// `/api-ws/v1/realtime`
    Realtime(Box<Session>),
    /// `/api-ws/v1/inference`
    Task(Box<Task>),
}

impl Protocol {
    /// A realtime session; `out` gets what it says at once.
    #[must_use]
    pub fn realtime(dialect: Dialect, model: &str, tuning: &Tuning, out: &mut Vec<Output>) -> Self {
        Self::Realtime(Box::new(Session::open(dialect, model, tuning, out)))
    }

    /// A connection of the task protocol; it says nothing until it is asked.
    #[must_use]
    pub fn task(tuning: &Tuning) -> Self {
        Self::Task(Box::new(Task::new(tuning)))
    }

    /// Takes a text frame.
    pub fn on_text(&mut self, text: &str, now_ms: u64, out: &mut Vec<Output>) -> Seen {
        match self {
            Self::Realtime(session) => session.on_text(text, out),
            Self::Task(task) => task.on_text(text, now_ms, out),
        }
    }

    /// What was read of numbered audio, where it is expected.
    #[must_use]
    pub fn numbers(&self) -> Option<&Heard> {
        match self {
            Self::Realtime(session) => session.numbers(),
            Self::Task(_) => None,
        }
    }

    /// Takes a binary frame.
    pub fn on_binary(&mut self, bytes: &Bytes, now_ms: u64, out: &mut Vec<Output>) -> Seen {
        match self {
            Self::Realtime(_) => {
                Session::on_binary(out);
                Seen::Event("binary".to_owned())
            }
            Self::Task(task) => task.on_binary(bytes, now_ms, out),
        }
    }

    /// When [`Self::on_time`] has something to do.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Realtime(_) => None,
            Self::Task(task) => task.deadline_ms(),
        }
    }

    /// Lets time pass.
    pub fn on_time(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        match self {
            Self::Realtime(_) => {}
            Self::Task(task) => task.on_time(now_ms, out),
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
            Self::Task(task) => task.failed(fault.code.as_deref().unwrap_or("InternalError"), &fault.message),
        }
    }
}
