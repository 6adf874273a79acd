//! One realtime session, pure: a client event goes in, server events come out; the audio is its clock.

use serde_json::{Value, json};

use super::dialect::Dialect;
use super::events::{Output, Refusal, event, id, set, with};
use super::hearing::{Change, Hearing, Windows};
use super::numbered::Heard as Numbers;
use super::request::{ClientEvent, Seen};
use super::segment::Segment;
use super::settings::Settings;
use super::tuning::Tuning;
use super::usage::Usage;

/// The largest picture, before base64.
const LARGEST_IMAGE: usize = 500 * 1024;

/// The session's state. It holds a few seconds of audio at most, a minute in manual mode.
#[derive(Debug)]
pub struct Session {
    dialect: Dialect,
    tuning: Tuning,
    settings: Settings,
    hearing: Hearing,
    usage: Usage,
    conversation: String,
    previous_item: Option<String>,
    number: usize,
    /// The sentence being heard, and where it began.
    segment: Option<(Segment, u64)>,
    /// Omni in manual mode: committed, not yet answered.
    waiting: Option<Segment>,
    images: u64,
    finished: bool,
}

impl Session {
    /// A session that has just been opened: says `session.created`.
    #[must_use]
    pub fn open(dialect: Dialect, model: &str, tuning: &Tuning, out: &mut Vec<Output>) -> Self {
        let settings = Settings::new(dialect, model, &id("sess_"));
        out.push(event("session.created", &json!({"session": settings.created()})));
        Self {
            dialect,
            tuning: tuning.clone(),
            hearing: Hearing::new(tuning, &settings.view),
            settings,
            usage: Usage::new(dialect, tuning.cumulative_usage),
            conversation: id("conv_"),
            previous_item: None,
            number: 0,
            segment: None,
            waiting: None,
            images: 0,
            finished: false,
        }
    }

    /// Whether `session.finished` was said.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// What was read of numbered audio, where it is expected.
    #[must_use]
    pub fn numbers(&self) -> Option<&Numbers> {
        self.hearing.numbers()
    }

    /// Takes a text frame.
    pub fn on_text(&mut self, text: &str, out: &mut Vec<Output>) -> Seen {
        let request = match ClientEvent::parse(text) {
            Ok(request) => request,
            Err(refusal) => {
                out.push(refusal.event(None));
                return Seen::Event("invalid".to_owned());
            }
        };
        match self.obey(&request, out) {
            Ok(seen) => seen,
            Err(refusal) => {
                out.push(refusal.event(request.event_id.as_deref()));
                Seen::Event(request.kind.into_owned())
            }
        }
    }

    /// Takes a binary frame: this protocol has none.
    pub fn on_binary(out: &mut Vec<Output>) {
        out.push(Refusal::plain("Binary messages are not supported.").event(None));
        out.push(Output::Close { code: 1003, reason: "Binary messages are not supported.".to_owned() });
    }

    fn obey(&mut self, request: &ClientEvent<'_>, out: &mut Vec<Output>) -> Result<Seen, Refusal> {
        let kind = request.kind.as_ref();
        if self.finished {
            return Err(Refusal::plain("The session has been finished."));
        }
        match kind {
            "input_audio_buffer.append" => return self.append(request, out),
            "session.update" => self.update(request, out)?,
            "input_image_buffer.append" => self.image(request)?,
            "input_audio_buffer.commit" => self.commit(out)?,
            "input_audio_buffer.clear" => {
                self.hearing.clear();
                out.push(event("input_audio_buffer.cleared", &json!({})));
            }
            "session.finish" if self.dialect != Dialect::Omni => self.finish(out),
            "response.create" if !self.dialect.translates() => self.respond(out)?,
            "response.cancel" if !self.dialect.translates() => {
                return Err(Refusal::plain("Conversation has none active response"));
            }
            "conversation.item.create" if !self.dialect.translates() => self.item(request, out)?,
            other => {
                return Err(Refusal::value("type", format!("Invalid event type: '{other}'.")));
            }
        }
        Ok(Seen::Event(kind.to_owned()))
    }

    fn append(&mut self, request: &ClientEvent<'_>, out: &mut Vec<Output>) -> Result<Seen, Refusal> {
        let audio =
            request.audio.as_deref().ok_or_else(|| Refusal::value("audio", "Missing required field: 'audio'."))?;
        let bytes = self.hearing.append(audio, &self.settings.view)?;
        let mut changes = self.hearing.windows();
        while let Some(change) = self.hearing.next(&mut changes, &self.settings.view) {
            self.change(change, &changes, out);
        }
        Ok(Seen::Audio { bytes })
    }

    fn change(&mut self, change: Change, windows: &Windows, out: &mut Vec<Output>) {
        match change {
            Change::Started { from_ms } => {
                self.number += 1;
                let numbered = self.hearing.spoken_from(windows).and_then(|from| usize::try_from(from).ok());
                let number = numbered.unwrap_or(self.number);
                let segment = Segment::new(&self.settings, &self.tuning, number, self.previous_item.clone());
                let mut fields = json!({"audio_start_ms": from_ms, "item_id": segment.speech_item});
                if self.dialect == Dialect::G2 {
                    set(&mut fields, "speaker_id", 1);
                }
                out.push(event("input_audio_buffer.speech_started", &fields));
                if self.dialect.translates() {
                    segment.announce(out);
                }
                self.segment = Some((segment, from_ms));
                self.voiced(self.hearing.now_ms(), windows, out);
            }
            Change::Voiced { until_ms } => self.voiced(until_ms, windows, out),
            Change::Stopped { until_ms } => self.stop(until_ms, windows, out),
        }
    }

    fn voiced(&mut self, until_ms: u64, windows: &Windows, out: &mut Vec<Output>) {
        let Some((segment, from_ms)) = &mut self.segment else { return };
        segment.push(self.hearing.held());
        self.hearing.release();
        let length_ms = until_ms - *from_ms;
        segment.heard(length_ms, out);
        if length_ms >= self.tuning.longest_segment_ms {
            self.hearing.stop();
            self.stop(until_ms, windows, out);
        }
    }

    fn stop(&mut self, until_ms: u64, windows: &Windows, out: &mut Vec<Output>) {
        let Some((mut segment, _)) = self.segment.take() else { return };
        segment.name(self.hearing.tell(windows));
        let stopped = json!({"audio_end_ms": until_ms, "item_id": segment.speech_item});
        let stopped = event("input_audio_buffer.speech_stopped", &stopped);
        if self.dialect.translates() {
            segment.flush(out);
            out.push(stopped);
        } else {
            out.push(stopped);
            self.committed(&segment, out);
            segment.flush(out);
        }
        self.close(segment, out);
    }

    fn close(&mut self, mut segment: Segment, out: &mut Vec<Output>) {
        segment.done(&mut self.usage, self.hearing.heard_ms(), &self.conversation, out);
        self.previous_item = Some(segment.item);
    }

    fn committed(&self, segment: &Segment, out: &mut Vec<Output>) {
        let mut fields = json!({"item_id": segment.speech_item});
        if let Some(before) = &self.previous_item {
            set(&mut fields, "previous_item_id", before.as_str());
        }
        out.push(event("input_audio_buffer.committed", &fields));
        segment.announce(out);
    }

    fn update(&mut self, request: &ClientEvent<'_>, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let patch = request.session.as_ref().and_then(Value::as_object);
        let patch = patch.ok_or_else(|| Refusal::value("session", "Missing required field: 'session'."))?;
        let before = self.settings.view.clone();
        self.settings.update(patch)?;
        let view = &self.settings.view;
        if before.turn != view.turn || before.rate != view.rate {
            if let Some(until_ms) = self.hearing.stop() {
                self.stop(until_ms, &self.hearing.windows(), out);
            }
            self.hearing.tune(&self.settings.view);
        }
        out.push(event("session.updated", &json!({"session": self.settings.updated()})));
        Ok(())
    }

    fn image(&mut self, request: &ClientEvent<'_>) -> Result<(), Refusal> {
        if self.hearing.heard_ms() == 0 {
            return Err(Refusal::plain("Error append image before append audio."));
        }
        let image =
            request.image.as_deref().ok_or_else(|| Refusal::value("image", "Missing required field: 'image'."))?;
        if image.len() / 4 * 3 > LARGEST_IMAGE {
            return Err(Refusal::value("image", "The image is larger than 500 KB."));
        }
        self.images += 1;
        Ok(())
    }

    fn commit(&mut self, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let length_ms = self.hearing.uncommitted_ms().filter(|_| self.settings.view.turn.is_none());
        let Some(length_ms) = length_ms else {
            return Err(Refusal::plain("Error committing input audio buffer: buffer too small, or have no audio."));
        };
        self.number += 1;
        let mut segment = Segment::new(&self.settings, &self.tuning, self.number, self.previous_item.clone());
        segment.push(self.hearing.held());
        self.hearing.clear();
        self.committed(&segment, out);
        segment.heard(length_ms.min(self.tuning.longest_segment_ms), out);
        if self.dialect.translates() {
            segment.flush(out);
            self.close(segment, out);
        } else {
            self.waiting = Some(segment);
        }
        Ok(())
    }

    fn respond(&mut self, out: &mut Vec<Output>) -> Result<(), Refusal> {
        if self.segment.is_some() {
            return Err(Refusal::plain("Cannot create response while user is speaking."));
        }
        let mut segment = self.waiting.take().unwrap_or_else(|| {
            self.number += 1;
            Segment::new(&self.settings, &self.tuning, self.number, self.previous_item.clone())
        });
        segment.flush(out);
        self.close(segment, out);
        Ok(())
    }

    fn item(&mut self, request: &ClientEvent<'_>, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let item = request.item.clone().unwrap_or_default();
        if item.get("type").and_then(Value::as_str) != Some("function_call_output") {
            return Err(Refusal::value("item.type", "Only 'function_call_output' can be created."));
        }
        let item = with(json!({"id": id("item_"), "object": "realtime.item"}), &item);
        out.push(event("conversation.item.created", &json!({"item": item})));
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Output>) {
        if let Some(until_ms) = self.hearing.stop() {
            self.stop(until_ms, &self.hearing.windows(), out);
        }
        if self.settings.view.turn.is_none() && self.dialect.translates() {
            // Nothing uncommitted is left behind: its refusal means that there was nothing.
            self.commit(out).unwrap_or_default();
        }
        if self.dialect.translates() {
            self.finished = true;
            out.push(event("session.finished", &json!({})));
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
