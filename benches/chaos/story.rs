//! What one customer lived through, and the continuity extension as that customer keeps it (contract §5.4): a second
//! implementation, by the contract alone. Pure: texts go in, what to do comes out; breaches of the contract are noted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use livetranslate::simulator::numbered;
use serde_json::Value;

/// An event that counts.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Its `event_id`.
    pub(crate) id: String,
    /// When it came.
    pub(crate) at: Instant,
}

/// A final caption.
#[derive(Debug, Clone)]
pub(crate) struct Final {
    /// What was spoken, or its translation.
    pub(crate) source: bool,
    /// The sentence, as the simulator names it.
    pub(crate) text: String,
    /// When it came.
    pub(crate) at: Instant,
}

/// One return after a loss.
#[derive(Debug, Clone)]
pub(crate) struct Return {
    /// From the last dial to `gateway.resumed`.
    pub(crate) took: Duration,
    /// From the loss on.
    pub(crate) away: Duration,
    /// The gateway had lost its memory of the session.
    pub(crate) new_epoch: bool,
}

/// What the customer is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    Nothing,
    /// Say how to translate.
    Configure,
    /// The gateway asks to come back at once, perhaps to another instance.
    Move,
    /// All was translated.
    Done,
}

/// A customer's memory of one session.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// Whose audio it is.
    pub(crate) stream: u32,
    /// Samples it has to say.
    pub(crate) total: u64,
    /// The gateway's id of the session.
    pub(crate) session: Option<String>,
    /// What authorizes to come back.
    pub(crate) token: Option<String>,
    /// Counted events so far, in this epoch.
    pub(crate) seq: u64,
    /// The gateway's.
    pub(crate) epoch: u64,
    /// All before it may be forgotten.
    pub(crate) acked: u64,
    /// The next sample to send.
    pub(crate) next: u64,
    /// Samples that were sent at least once.
    pub(crate) sent: u64,
    /// The provider took the settings.
    pub(crate) configured: bool,
    /// `session.finished` came.
    pub(crate) finished: bool,
    /// Every event that counts.
    pub(crate) told: Vec<Told>,
    /// Every final caption.
    pub(crate) finals: Vec<Final>,
    /// Responses that began and have not ended, by id.
    pub(crate) open: BTreeSet<String>,
    /// Audio that the gateway said it left out.
    pub(crate) left_out: u64,
    /// Codes of the gateway's own errors.
    pub(crate) errors: Vec<String>,
    /// Its own other events, and how often each.
    pub(crate) notices: BTreeMap<String, u64>,
    /// Breaches of the contract.
    pub(crate) breaches: Vec<String>,
    /// Every return.
    pub(crate) returns: Vec<Return>,
    /// What was done to it, and when it had spoken for how long.
    pub(crate) blows: Vec<(Duration, String)>,
    /// The connections that were struck, as their far side sees them.
    pub(crate) struck: Vec<SocketAddr>,
    /// The close code of the last socket.
    pub(crate) closed: Option<u16>,
    /// Why it ended before all was translated.
    pub(crate) failed: Option<String>,
    /// Up to here the acknowledged sentences were checked.
    checked: u64,
    /// Sentences whose translation is final.
    told_sentences: BTreeSet<String>,
}

impl Story {
    /// A session that has yet to begin.
    pub(crate) fn new(stream: u32, sentences: u64) -> Self {
        let total = numbered::shift(stream) + sentences * numbered::CYCLE;
        Self { stream, total, ..Self::default() }
    }

    /// The sentences that it will have said.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = Range<u64>> {
        numbered::sentences(self.stream, self.total)
    }

    /// The query of the next dial, behind the path.
    pub(crate) fn query(&self, model: &str, resumable: bool) -> String {
        match &self.token {
            Some(token) => format!("resume={token}&last_seq={}", self.seq),
            None if resumable => format!("model={model}&resumable=1"),
            None => format!("model={model}"),
        }
    }

    /// The socket of before is gone. Without a token, so is all that came by it.
    pub(crate) fn lose(&mut self) {
        if self.token.is_none() {
            *self = Self { stream: self.stream, total: self.total, ..Self::default() };
        }
    }

    /// Takes an event.
    pub(crate) fn on(&mut self, text: &str, at: Instant) -> Step {
        let Ok(event) = serde_json::from_str::<Value>(text) else {
            self.breach("an event that is no JSON");
            return Step::Nothing;
        };
        let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, id) = (field("type"), field("event_id"));
        if name.starts_with("gateway.") {
            return self.on_own(name, &event);
        }
        if name == "error" && id.starts_with("event_gw_") {
            self.errors.push(event.pointer("/error/code").and_then(Value::as_str).unwrap_or_default().to_owned());
            return Step::Nothing;
        }
        self.seq += 1;
        self.told.push(Told { id: id.to_owned(), at });
        match name {
            "session.created" if !self.configured => return Step::Configure,
            "session.updated" => self.configured = true,
            "session.finished" => {
                self.finished = true;
                return Step::Done;
            }
            "conversation.item.input_audio_transcription.completed" => self.caption(true, field("transcript"), at),
            "response.audio_transcript.done" => self.caption(false, field("transcript"), at),
            "response.text.done" => self.caption(false, field("text"), at),
            "response.created" => {
                self.open.insert(response_id(&event));
            }
            "response.done" => self.end_response(&response_id(&event)),
            _ => {}
        }
        Step::Nothing
    }

    fn on_own(&mut self, name: &str, event: &Value) -> Step {
        let number = |field: &str| event.get(field).and_then(Value::as_u64).unwrap_or_default();
        let text = |field: &str| event.get(field).and_then(Value::as_str).map(str::to_owned);
        match name {
            "gateway.session" => {
                (self.session, self.token, self.epoch) = (text("session_id"), text("resume_token"), number("epoch"));
                if self.epoch != 1 || self.token.is_none() || number("window_ms") == 0 || !self.told.is_empty() {
                    self.breach("gateway.session is not as it must be");
                }
            }
            "gateway.resumed" => return self.on_resumed(number("epoch"), number("samples"), number("seq")),
            "gateway.ack" => self.on_ack(number("samples")),
            "gateway.gap" => {
                let (from, to) = (number("from_seq"), number("to_seq"));
                if from != self.seq + 1 || to < from {
                    self.breach("a gap that does not follow");
                }
                self.left_out += (to + 1).saturating_sub(from);
                self.seq = to;
            }
            "gateway.going_away" => return Step::Move,
            _ => *self.notices.entry(name.to_owned()).or_default() += 1,
        }
        Step::Nothing
    }

    fn on_resumed(&mut self, epoch: u64, samples: u64, seq: u64) -> Step {
        if epoch < self.epoch || (epoch == self.epoch && seq != self.seq) || (epoch > self.epoch && seq != 0) {
            self.breach("gateway.resumed counts wrongly");
        }
        if samples < self.acked {
            self.breach("gateway.resumed asks for audio that it had acknowledged");
        }
        if samples > self.sent {
            self.breach("gateway.resumed skips audio that was never sent");
        }
        if epoch > self.epoch {
            // Its responses died with it.
            self.open.clear();
        }
        (self.epoch, self.seq, self.next) = (epoch, seq, samples);
        if self.configured { Step::Nothing } else { Step::Configure }
    }

    fn on_ack(&mut self, samples: u64) {
        if samples < self.acked || samples > self.sent {
            self.breach("gateway.ack goes back, or beyond what was sent");
        }
        let ended = self.sentences().skip_while(|part| part.end <= self.checked).take_while(|part| part.end <= samples);
        let untold = ended.filter(|part| !self.told_sentences.contains(&name(part))).count();
        if untold > 0 {
            self.breach("gateway.ack came before the captions of what it covers");
        }
        self.checked = self.checked.max(samples);
        self.acked = self.acked.max(samples);
    }

    fn caption(&mut self, source: bool, text: &str, at: Instant) {
        let text = text.trim_end().to_owned();
        if !source {
            self.told_sentences.insert(text.clone());
        }
        self.finals.push(Final { source, text, at });
    }

    fn end_response(&mut self, id: &str) {
        if !self.open.remove(id) {
            self.breach("a response ended that was not open");
        }
    }

    fn breach(&mut self, what: &str) {
        self.breaches.push(what.to_owned());
    }
}

/// What the simulator calls a sentence.
pub(crate) fn name(sentence: &Range<u64>) -> String {
    format!("s{}-{}", sentence.start, sentence.end)
}

fn response_id(event: &Value) -> String {
    event.pointer("/response/id").and_then(Value::as_str).unwrap_or_default().to_owned()
}
