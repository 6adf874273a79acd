//! What the two sides of a session say, as far as it matters to metering and to its end. Pure.

use std::time::Instant;

use bytestring::ByteString;

use super::frames::Frame;
use super::meter::{Meter, TokenMeter};
use super::rules::{Rules, find_model};
use super::watch::Watch;
use crate::config::settings::Protocol;
use crate::error::Error;
use crate::ids;
use crate::wire::realtime::{self, Settings, UpstreamEvent, Usage};
use crate::wire::task;

/// One session's conversation so far.
pub struct Dialogue {
    rules: Rules,
    /// Counts the audio.
    pub meter: Meter,
    tokens: TokenMeter,
    /// The provider was asked for the end: `session.finish`, `finish-task`.
    pub finish_sent: bool,
    /// The provider has said its last word.
    pub finished: bool,
    /// The provider hears speech.
    pub speaking: bool,
    /// A response, or a task, is running.
    pub responding: bool,
    task_id: Option<String>,
}

/// What a provider's message brought.
#[derive(Debug, Default)]
pub struct Heard {
    /// It was the provider's last word.
    pub ended: bool,
    /// The session's token totals.
    pub tokens: Option<Usage>,
    /// The settings in force can't be metered: however they got there, the session ends.
    pub unmetered: Option<Error>,
}

/// Why a client's message does not go on.
pub enum Refused {
    /// It is answered, and the session goes on.
    Frame(ByteString),
    /// It ends the session.
    Session(Error),
}

impl Dialogue {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            meter: Meter::pcm(),
            tokens: TokenMeter::new(rules.usage),
            finish_sent: false,
            finished: false,
            speaking: false,
            responding: false,
            task_id: None,
            rules,
        }
    }

    /// Reads a client's message; returns the bytes of audio in it.
    ///
    /// # Errors
    /// [`Refused`], when it must not reach the provider.
    pub fn read(&mut self, frame: &Frame, watch: &mut Watch, now: Instant) -> Result<u64, Refused> {
        match (self.rules.protocol, frame) {
            (Protocol::Task, Frame::Binary(bytes)) => Ok(bytes.len() as u64),
            (Protocol::Task, Frame::Text(text)) => self.read_task(text, now).map(|()| 0),
            (Protocol::Livetranslate | Protocol::Omni, Frame::Binary(_)) => Err(Refused::Session(Error::BinaryFrame)),
            (Protocol::Livetranslate | Protocol::Omni, Frame::Text(text)) => {
                let read = realtime::client_frame(text);
                if let Some(update) = read.update {
                    if let Some(format) = update.compressed {
                        return Err(Refused::Frame(error_event(&compressed(&format))));
                    }
                    self.configure(&update, watch);
                }
                self.finish_sent |= read.finish;
                if let Some(audio) = read.audio {
                    watch.listen(audio, now);
                }
                Ok(read.audio_bytes)
            }
        }
    }

    fn read_task(&mut self, text: &str, now: Instant) -> Result<(), Refused> {
        match task::client_frame(text) {
            task::ClientFrame::Run(task) => {
                let known = find_model(&self.rules.config, &self.rules.allowed_models, &task.model);
                self.task_id = Some(task.id.clone());
                self.finish_sent = false;
                match known {
                    Ok(model) if model.protocol == Protocol::Task => {
                        self.responding = true;
                        self.meter.begin(&task, now);
                        Ok(())
                    }
                    Ok(_) => Err(Refused::Session(Error::ModelNotFound(task.model))),
                    Err(error) => Err(Refused::Session(error)),
                }
            }
            task::ClientFrame::Finish => {
                self.finish_sent = true;
                Ok(())
            }
            task::ClientFrame::Other => Ok(()),
            // Another parser might find a task in it, of any model and format.
            task::ClientFrame::Unreadable => {
                Err(Refused::Session(Error::request("text frames must be JSON objects with a `header`")))
            }
        }
    }

    fn configure(&mut self, settings: &Settings, watch: &mut Watch) {
        if let Some(rate) = settings.sample_rate {
            self.meter.set_rate(rate);
        }
        if let Some(manual) = settings.manual {
            watch.manual = manual;
        }
    }

    /// Follows a provider's message.
    pub fn follow(&mut self, frame: &Frame, watch: &mut Watch) -> Heard {
        let Frame::Text(text) = frame else { return Heard::default() };
        if self.rules.protocol == Protocol::Task {
            return Heard { ended: self.follow_task(text), ..Heard::default() };
        }
        let (mut tokens, mut unmetered) = (None, None);
        match realtime::upstream_event(text) {
            UpstreamEvent::SpeechStarted => self.speaking = true,
            UpstreamEvent::SpeechStopped => self.speaking = false,
            UpstreamEvent::ResponseCreated => self.responding = true,
            UpstreamEvent::ResponseDone(usage) => {
                self.responding = false;
                tokens = usage.map(|usage| self.tokens.add(usage));
            }
            UpstreamEvent::Configured(settings) => {
                self.configure(&settings, watch);
                unmetered = settings.compressed.as_deref().map(compressed);
            }
            UpstreamEvent::Finished => self.finished = true,
            UpstreamEvent::Other => {}
        }
        Heard { ended: self.finished, tokens, unmetered }
    }

    fn follow_task(&mut self, text: &str) -> bool {
        match task::upstream_event(text) {
            task::UpstreamEvent::Result(seconds) => {
                seconds.into_iter().for_each(|seconds| self.meter.report(seconds));
                false
            }
            task::UpstreamEvent::Ended(seconds) => {
                seconds.into_iter().for_each(|seconds| self.meter.report(seconds));
                self.responding = false;
                true
            }
            task::UpstreamEvent::Other => false,
        }
    }

    /// The word that asks the provider to flush and report, once; `None` if it was said, or there is none.
    pub fn end(&mut self) -> Option<ByteString> {
        if self.finish_sent {
            return None;
        }
        let word = match (self.rules.protocol, &self.task_id) {
            (Protocol::Livetranslate, _) => realtime::finish_event(&ids::event()),
            (Protocol::Task, Some(task_id)) => task::finish(task_id),
            (Protocol::Task, None) | (Protocol::Omni, _) => return None,
        };
        self.finish_sent = true;
        Some(word)
    }

    /// What tells the client why its session ends.
    #[must_use]
    pub fn goodbye(&self, why: &Error) -> ByteString {
        match self.rules.protocol {
            Protocol::Task => {
                let task_id = self.task_id.as_deref().unwrap_or_default();
                task::failed(task_id, why.row().code, &why.to_string())
            }
            Protocol::Livetranslate | Protocol::Omni => error_event(why),
        }
    }
}

fn error_event(error: &Error) -> ByteString {
    let (row, message) = (error.row(), error.to_string());
    let fault = realtime::Fault { kind: row.kind, code: row.code, message: &message, param: error.param() };
    realtime::error_event(&ids::event(), &fault)
}

fn compressed(format: &str) -> Error {
    let shown: String = format.chars().take(20).collect();
    Error::field(
        "session.input_audio_format",
        format!("the input format `{shown}` is not relayed, because audio is metered by its samples; send `pcm`"),
    )
}
