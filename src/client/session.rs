//! A translation's state, whatever connection carries it: transcript, audio, tokens, and where it stands. Pure.

use serde_json::Value;

use super::captions::{Segment, Side, Transcript};
use super::dialect::{Dialect, Wish};
use super::event::{Event, Usage};
use super::parting::Told;

/// What a translation has brought so far.
pub struct Session {
    dialect: Dialect,
    wish: Wish,
    stage: Stage,
    transcript: Transcript,
    audio: Vec<Piece>,
    provider_session: Option<String>,
    tokens: Tokens,
}

/// Translated speech of one response.
struct Piece {
    response: String,
    samples: Vec<i16>,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `session.created` is awaited.
    Opening,
    /// `session.updated` is awaited.
    Configuring,
    /// Audio may flow.
    Open,
    /// `session.finished` came.
    Finished,
}

/// What the connection's driver does after an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Send this event.
    Send(Value),
    /// Audio may flow from now on.
    Begin,
    /// Someone may want to see a caption.
    Caption(usize, Side),
    /// So many samples of translated speech arrived.
    Audio(usize),
    /// The provider didn't like something; the session goes on.
    Notice(String),
    /// All was said.
    Finished,
    /// The session is over, unless more comes.
    Failed(Told),
}

/// Tokens of a session.
#[derive(Debug, Clone, Copy, Default)]
struct Tokens {
    cumulative: bool,
    earlier: Usage,
    latest: Usage,
}

impl Session {
    /// A session that is about to be opened with `model`.
    #[must_use]
    pub fn new(model: &str, wish: Wish) -> Self {
        Self {
            dialect: Dialect::of(model),
            wish,
            stage: Stage::Opening,
            transcript: Transcript::default(),
            audio: Vec::new(),
            provider_session: None,
            // Model 3.5 reports the session so far, the others each response.
            tokens: Tokens { cumulative: model.starts_with("qwen3.5-livetranslate-"), ..Tokens::default() },
        }
    }

    /// Takes an event.
    pub fn on(&mut self, event: Event) -> Step {
        if let Some((index, side)) = self.transcript.on(&event) {
            return Step::Caption(index, side);
        }
        match event {
            Event::SessionCreated(id) if self.provider_session.is_none() => {
                self.provider_session = Some(id);
                if self.stage != Stage::Opening {
                    return Step::Wait;
                }
                self.stage = Stage::Configuring;
                Step::Send(self.dialect.session_update(&self.wish))
            }
            Event::SessionUpdated if self.stage == Stage::Configuring => {
                self.stage = Stage::Open;
                Step::Begin
            }
            Event::SessionFinished => {
                self.stage = Stage::Finished;
                Step::Finished
            }
            Event::Audio { response, samples } => {
                let replaced = self.transcript.replaced_by(&response);
                self.audio.retain(|piece| !replaced.contains(&piece.response));
                Step::Audio(self.keep(response, samples))
            }
            Event::ResponseDone { usage: Some(usage), .. } => {
                self.tokens.take(usage);
                Step::Wait
            }
            // What is refused before audio flows is the wish itself.
            Event::Error { message, recoverable: true, .. } if self.stage == Stage::Open => Step::Notice(message),
            Event::Error { code, message, by_gateway, recoverable } => {
                // The wish won't become right by waiting.
                Step::Failed(Told { code, message, ends: by_gateway || recoverable })
            }
            Event::SessionCreated(_)
            | Event::SessionUpdated
            | Event::SpeechStarted { .. }
            | Event::SpeechStopped { .. }
            | Event::ItemCreated { .. }
            | Event::ResponseCreated(_)
            | Event::OutputItem { .. }
            | Event::Source { .. }
            | Event::Translation { .. }
            | Event::ResponseDone { usage: None, .. }
            | Event::Other => Step::Wait,
        }
    }

    /// What to send after a resume: the configuration, unless it is known to have arrived. `forgotten`: the
    /// gateway lost its memory of the session, and may never have stored it.
    pub fn resumed(&mut self, forgotten: bool) -> Option<Value> {
        if forgotten {
            self.transcript.epoch_lost();
        }
        if self.stage >= Stage::Open {
            return forgotten.then(|| self.dialect.session_update(&self.wish));
        }
        // `session.created` may have been lost with the gateway's memory.
        self.stage = Stage::Configuring;
        Some(self.dialect.session_update(&self.wish))
    }

    /// The provider's connection is being replaced.
    pub fn leg_lost(&mut self) {
        self.transcript.leg_lost();
    }

    fn keep(&mut self, response: String, mut samples: Vec<i16>) -> usize {
        let count = samples.len();
        match self.audio.last_mut().filter(|piece| piece.response == response) {
            Some(piece) => piece.samples.append(&mut samples),
            None => self.audio.push(Piece { response, samples }),
        }
        count
    }

    /// Where it stands.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The segments so far.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.transcript.segments()
    }

    /// The provider's `sess_…`, once it is open.
    #[must_use]
    pub fn provider_session(&self) -> Option<&str> {
        self.provider_session.as_deref()
    }

    /// Tokens reported so far.
    #[must_use]
    pub fn tokens(&self) -> Usage {
        self.tokens.total()
    }

    /// Translated speech so far, 24 kHz mono; the session keeps none of it.
    pub fn take_audio(&mut self) -> Vec<i16> {
        std::mem::take(&mut self.audio).into_iter().flat_map(|piece| piece.samples).collect()
    }
}

impl Tokens {
    fn take(&mut self, usage: Usage) {
        // A decrease in a running total begins a new one.
        if !self.cumulative || usage.input_tokens < self.latest.input_tokens {
            self.earlier = self.total();
        }
        self.latest = usage;
    }

    fn total(&self) -> Usage {
        Usage {
            input_tokens: self.earlier.input_tokens + self.latest.input_tokens,
            output_tokens: self.earlier.output_tokens + self.latest.output_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(model: &str) -> Session {
        Session::new(model, Wish { target: "en".to_owned(), source: None, text_only: true })
    }

    fn open(model: &str) -> Session {
        let mut session = session(model);
        session.on(Event::SessionCreated("sess_1".to_owned()));
        session.on(Event::SessionUpdated);
        session
    }

    fn error(recoverable: bool) -> Event {
        let (code, message) = ("invalid_value".to_owned(), "no such voice".to_owned());
        Event::Error { code, message, recoverable, by_gateway: false }
    }

    #[test]
    fn a_session_opens_configures_and_finishes() {
        let mut session = session("qwen3.8-livetranslate-flash-realtime");
        assert!(matches!(session.on(Event::SessionCreated("sess_1".to_owned())), Step::Send(update)
            if update.pointer("/session/output_modalities").is_some()));
        assert_eq!(session.on(Event::Other), Step::Wait);
        assert_eq!((session.on(Event::SessionUpdated), session.stage()), (Step::Begin, Stage::Open));
        assert_eq!(session.on(Event::SessionUpdated), Step::Wait);
        let audio = Event::Audio { response: "r".to_owned(), samples: vec![1, 2] };
        assert_eq!(session.on(audio), Step::Audio(2));
        assert_eq!((session.on(Event::SessionFinished), session.stage()), (Step::Finished, Stage::Finished));
        assert_eq!(session.provider_session(), Some("sess_1"));
        assert_eq!(session.take_audio(), [1, 2]);
    }

    #[test]
    fn a_gateway_that_forgot_the_session_is_told_its_configuration() {
        let mut session = open("qwen3.8-livetranslate-flash-realtime");
        assert_eq!(session.resumed(false), None);
        assert!(session.resumed(true).is_some());
        assert_eq!((session.on(Event::SessionUpdated), session.stage()), (Step::Wait, Stage::Open));
    }

    #[test]
    fn errors_end_a_session_unless_it_is_open_and_they_are_about_a_request() {
        let failed =
            |ends| Step::Failed(Told { code: "invalid_value".to_owned(), message: "no such voice".to_owned(), ends });
        let mut configuring = session("qwen3-livetranslate-flash-realtime");
        configuring.on(Event::SessionCreated("sess_1".to_owned()));
        assert_eq!(configuring.on(error(true)), failed(true));
        let mut running = open("qwen3-livetranslate-flash-realtime");
        assert_eq!(running.on(error(true)), Step::Notice("no such voice".to_owned()));
        assert_eq!(running.on(error(false)), failed(false));
    }

    #[test]
    fn tokens_are_running_totals_in_3_5_and_sums_elsewhere() {
        let reports = [(85, 33), (133, 60), (20, 5)];
        for (model, total) in [("qwen3.5-livetranslate-x", (153, 65)), ("qwen3.8-livetranslate-x", (238, 98))] {
            let mut session = open(model);
            for (input_tokens, output_tokens) in reports {
                let usage = Some(Usage { input_tokens, output_tokens });
                session.on(Event::ResponseDone { response: "r".to_owned(), completed: true, usage });
            }
            assert_eq!((session.tokens().input_tokens, session.tokens().output_tokens), total, "{model}");
        }
    }
}
