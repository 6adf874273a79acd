//! What the two sides of a session say, as far as it matters to metering and to its end. Pure.

use std::time::Instant;

use bytestring::ByteString;

use super::delivery::Kind;
use super::frames::Frame;
use super::meter::Meter;
use super::rules::{Rules, find_model};
use super::watch::Watch;
use crate::config::settings::Protocol;
use crate::error::Error;
use crate::ids;
use crate::wire::realtime::{self, Settings, UpstreamEvent};
use crate::wire::task;

/// One session's conversation so far.
pub struct Dialogue {
    rules: Rules,
    /// Counts the audio.
    pub meter: Meter,
    /// The provider was asked for the end: `session.finish`, `finish-task`.
    pub finish_sent: bool,
    /// A task runs.
    pub task_running: bool,
    /// The task's last word was said.
    pub task_over: bool,
    task_id: Option<String>,
}

/// What a client's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// For the legs.
    pub kind: Kind,
    /// Bytes of audio in it.
    pub bytes: u64,
}

/// What a provider's message brought.
#[derive(Debug, Default)]
pub struct Heard {
    /// What it is; `None` where the session speaks in tasks.
    pub event: Option<UpstreamEvent>,
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
        Self { meter: Meter::pcm(), finish_sent: false, task_running: false, task_over: false, task_id: None, rules }
    }

    /// The session goes on from here: so much was metered before, of audio with this many samples a second.
    pub fn go_on(&mut self, metered: u64, rate: u64) {
        self.meter = Meter::Pcm { rate, bytes: 0, before: metered };
    }

    /// What so many bytes of audio are metered as, at the rate in force.
    #[must_use]
    pub fn metered(&self, bytes: u64) -> u64 {
        self.meter.of(bytes)
    }

    /// Reads a client's message.
    ///
    /// # Errors
    /// [`Refused`], when it must not reach the provider.
    pub fn read(&mut self, frame: &Frame, watch: &mut Watch, now: Instant) -> Result<Read, Refused> {
        let audio = |bytes: u64| Read { kind: if bytes == 0 { Kind::Other } else { Kind::Audio }, bytes };
        match (self.rules.protocol, frame) {
            (Protocol::Task, Frame::Binary(bytes)) => Ok(audio(bytes.len() as u64)),
            (Protocol::Task, Frame::Text(text)) => self.read_task(text, now).map(|()| audio(0)),
            (Protocol::Livetranslate | Protocol::Omni, Frame::Binary(_)) => Err(Refused::Session(Error::BinaryFrame)),
            (Protocol::Livetranslate | Protocol::Omni, Frame::Text(text)) => {
                let read = realtime::client_frame(text);
                let mut kind = audio(read.audio_bytes).kind;
                if let Some(update) = &read.update {
                    if let Some(format) = &update.compressed {
                        return Err(Refused::Frame(error_event(&compressed(format))));
                    }
                    self.configure(update, watch);
                    kind = Kind::Settings;
                }
                if let Some(audio) = read.audio {
                    watch.listen(audio, now);
                }
                self.finish_sent |= read.finish;
                if read.finish {
                    kind = Kind::Finish;
                } else if read.commit {
                    kind = Kind::Commit;
                } else if read.beside_audio {
                    kind = Kind::BesideAudio;
                }
                Ok(Read { kind, bytes: read.audio_bytes })
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
                        self.task_running = true;
                        self.task_over = false;
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

    /// Follows a provider's message; only the leg that takes audio (`current`) tells what settings are in force.
    pub fn follow(&mut self, frame: &Frame, current: bool, watch: &mut Watch) -> Heard {
        if self.rules.protocol == Protocol::Task {
            if let Frame::Text(text) = frame {
                self.follow_task(text);
            }
            return Heard::default();
        }
        let event = match frame {
            Frame::Text(text) => realtime::upstream_event(text),
            Frame::Binary(_) => UpstreamEvent::Other,
        };
        let mut unmetered = None;
        if let (true, UpstreamEvent::Created(settings) | UpstreamEvent::Updated(settings)) = (current, &event) {
            self.configure(settings, watch);
            unmetered = settings.compressed.as_deref().map(compressed);
        }
        Heard { event: Some(event), unmetered }
    }

    fn follow_task(&mut self, text: &str) {
        let (seconds, ended) = match task::upstream_event(text) {
            task::UpstreamEvent::Result(seconds) => (seconds, false),
            task::UpstreamEvent::Ended(seconds) => (seconds, true),
            task::UpstreamEvent::Other => return,
        };
        seconds.into_iter().for_each(|seconds| self.meter.report(seconds));
        if ended {
            self.task_running = false;
            self.task_over = true;
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
    let resets_at = if let Error::InsufficientQuota { resets_at } = error { Some(*resets_at) } else { None };
    let fault = realtime::Fault { kind: row.kind, code: row.code, message: &message, param: error.param(), resets_at };
    realtime::error_event(&ids::event(), &fault)
}

fn compressed(format: &str) -> Error {
    let shown: String = format.chars().take(20).collect();
    Error::field(
        "session.input_audio_format",
        format!("the input format `{shown}` is not relayed, because audio is metered by its samples; send `pcm`"),
    )
}
