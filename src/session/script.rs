//! The client's settings as the provider took them: what a new leg is told first. Pure.

use std::collections::VecDeque;

use bytestring::ByteString;

use crate::wire::leg;
use crate::wire::members::Members;

/// Updates without an answer that are remembered.
const PENDING_LIMIT: usize = 16;
/// Settings beyond this can't be carried to another leg, bytes.
const LARGEST: usize = 64 * 1024;

/// The settings in force, and what was asked for since.
#[derive(Debug, Default)]
pub struct Script {
    /// All that was taken, as one `session.update`.
    accepted: Option<String>,
    pending: VecDeque<ByteString>,
}

impl Script {
    /// The settings that another instance wrote down.
    #[must_use]
    pub fn of(accepted: Option<String>) -> Self {
        Self { accepted, pending: VecDeque::new() }
    }

    /// All that was taken, as one `session.update`.
    #[must_use]
    pub fn accepted(&self) -> Option<&str> {
        self.accepted.as_deref()
    }

    /// What was asked for and not answered, in order.
    pub fn pending(&self) -> impl Iterator<Item = &ByteString> {
        self.pending.iter()
    }

    /// The client asks for other settings.
    pub fn ask(&mut self, update: &ByteString) {
        if self.pending.len() < PENDING_LIMIT && update.len() <= LARGEST {
            self.pending.push_back(update.clone());
        }
    }

    /// The oldest request was granted; returns all settings, if they changed.
    pub fn granted(&mut self) -> Option<&str> {
        let update = self.pending.pop_front()?;
        let merged = leg::merged_update(self.accepted.as_deref(), &update).filter(|merged| merged.len() <= LARGEST)?;
        self.accepted = Some(merged);
        self.accepted.as_deref()
    }

    /// A request was refused: that of this id, or else the oldest.
    pub fn refused(&mut self, event_id: Option<&str>) {
        let id = |update: &ByteString| {
            Members::read(update).and_then(|members| members.strings("event_id").last().map(|id| id.into_owned()))
        };
        let Some(event_id) = event_id else {
            self.pending.pop_front();
            return;
        };
        if let Some(index) = self.pending.iter().position(|update| id(update).as_deref() == Some(event_id)) {
            self.pending.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(id: &str, voice: &str) -> ByteString {
        format!(r#"{{"event_id":"{id}","type":"session.update","session":{{"voice":"{voice}"}}}}"#).into()
    }

    #[test]
    fn only_what_was_taken_is_carried_on() {
        let mut script = Script::default();
        for (id, voice) in [("1", "a"), ("2", "b"), ("3", "c")] {
            script.ask(&update(id, voice));
        }
        script.refused(Some("2"));
        script.refused(Some("another event's"));
        assert!(script.granted().unwrap().contains(r#""voice":"a""#));
        assert_eq!(script.pending().count(), 1);
        script.refused(None);
        assert!(script.accepted().unwrap().contains(r#""voice":"a""#));
        assert_eq!(script.granted(), None);
    }
}
