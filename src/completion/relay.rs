//! A stream on its way to the caller: relayed event by event, or translated; what it costs is counted, what speaks of
//! our account is kept back. Pure.

use bytes::Bytes;

use super::api::{Api, Dialect};
use super::failure::{self, Verdict};
use super::meter::Meter;
use super::reading;
use super::usage::{Source, Usage};
use crate::error::Error;
use crate::upstream::native::about::About;
use crate::upstream::native::stream::{Ending, Translator};
use crate::upstream::outcome::Outcome;
use crate::wire::sse::{self, Events};

/// No event is longer, bytes: audio and images come in pieces.
const LONGEST: usize = 16 << 20;

/// What to do with what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytes for the caller that say nothing: a comment.
    Idle(Bytes),
    /// Bytes for the caller.
    Forward(Bytes),
    /// The bytes that tell the caller that the answer is whole: what it cost must be settled first.
    Last(Bytes),
    /// The account, or the provider, failed; nothing more comes. The code is for the log.
    Fail(Outcome, String),
}

/// One stream.
pub struct Relay {
    api: Api,
    events: Events,
    meter: Meter,
    translator: Option<Translator>,
    hides_usage: bool,
    /// The account is the caller's own: what is said of it is the caller's to know.
    own_key: bool,
    /// It said that it is whole.
    finished: bool,
    /// It said an error; what follows is not heard.
    over: bool,
    /// It said something.
    begun: bool,
    /// The error that it said before anything else.
    refusal: Option<Bytes>,
}

impl Relay {
    /// A stream whose words are the caller's.
    #[must_use]
    pub fn new(api: Api, input_guess: u64, hides_usage: bool) -> Self {
        Self {
            api,
            events: Events::default(),
            meter: Meter::new(api.dialect(), input_guess),
            translator: None,
            hides_usage,
            own_key: false,
            finished: false,
            over: false,
            begun: false,
            refusal: None,
        }
    }

    /// A stream in DashScope's own words, for a caller of OpenAI's chat.
    #[must_use]
    pub fn translated(input_guess: u64, about: About, wants_usage: bool) -> Self {
        let meter = Meter::new(Dialect::Dashscope, input_guess);
        Self { meter, translator: Some(Translator::new(about, wants_usage)), ..Self::new(Api::Chat, 0, false) }
    }

    /// With the caller's own account nothing is kept back.
    #[must_use]
    pub fn with_own_key(self, own_key: bool) -> Self {
        Self { own_key, ..self }
    }

    /// Takes what came.
    ///
    /// # Errors
    /// `UpstreamUnavailable` for an event without an end.
    pub fn push(&mut self, piece: Bytes, steps: &mut Vec<Step>) -> Result<(), Error> {
        self.events.push(piece);
        while let Some(event) = self.events.take() {
            if !self.over {
                self.pass(event, steps);
            }
        }
        if self.events.held() > LONGEST {
            return Err(Error::upstream(format!("an event is longer than {LONGEST} bytes")));
        }
        Ok(())
    }

    /// The provider closed the stream. True if it is whole.
    pub fn end(&mut self, steps: &mut Vec<Step>) -> bool {
        let rest = self.events.rest();
        if !rest.is_empty() && !self.over {
            // The last event may lack its blank line.
            self.pass(rest, steps);
        }
        if self.over {
            return true;
        }
        if let Some(translator) = &mut self.translator {
            let mut out = Vec::new();
            let whole = translator.end(&mut out) != Ending::Broken;
            if whole {
                steps.push(Step::Last(out.into()));
            }
            return whole;
        }
        self.finished
    }

    /// The data of the error that was the first word: the request was refused, nothing was answered.
    #[must_use]
    pub fn refusal(&self) -> Option<&Bytes> {
        self.refusal.as_ref()
    }

    /// What it has cost. `whole`: it came to its end.
    #[must_use]
    pub fn cost(&self, whole: bool) -> (Usage, Source) {
        if self.refusal.is_some() {
            return (Usage::default(), Source::Unavailable);
        }
        // What ended by an error costs what was reported, or what had come.
        self.meter.sum(whole && !self.over)
    }

    fn pass(&mut self, event: Bytes, steps: &mut Vec<Step>) {
        let read = sse::read(&event);
        if read.data.is_empty() && read.name.is_none() {
            if self.translator.is_none() {
                steps.push(Step::Idle(event));
            }
            return;
        }
        let dialect = if self.translator.is_some() { Dialect::Dashscope } else { self.api.dialect() };
        if reading::is_failure(dialect, read.name, &read.data) {
            self.over = true;
            if let Verdict::Account(outcome) = failure::judge_event(&read.data)
                && !self.own_key
            {
                steps.push(Step::Fail(outcome, failure::code(&read.data)));
                return;
            }
            if !self.begun {
                self.refusal = Some(Bytes::copy_from_slice(&read.data));
            }
        }
        self.begun = true;
        self.meter.see(&read.data);
        if let Some(translator) = &mut self.translator {
            let mut out = Vec::new();
            let name = read.name.and_then(|name| std::str::from_utf8(name).ok());
            translator.feed(name, &read.data, &mut out);
            if !out.is_empty() {
                steps.push(Step::Forward(out.into()));
            }
            return;
        }
        let last = reading::is_last(self.api, read.name, &read.data);
        self.finished |= last || reading::finishes(self.api, &read.data);
        if self.hides_usage && reading::is_usage_alone(&read.data) {
            return;
        }
        drop(read);
        steps.push(if last { Step::Last(event) } else { Step::Forward(event) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"an \\\"error\\\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn run(relay: &mut Relay, stream: &str, size: usize) -> (String, bool) {
        let mut steps = Vec::new();
        for piece in stream.as_bytes().chunks(size.max(1)) {
            relay.push(Bytes::copy_from_slice(piece), &mut steps).unwrap();
        }
        let whole = relay.end(&mut steps);
        let text = steps.into_iter().map(|step| match step {
            Step::Idle(bytes) | Step::Forward(bytes) | Step::Last(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Step::Fail(outcome, code) => format!("<{} {code}>", outcome.word()),
        });
        (text.collect(), whole)
    }

    #[test]
    fn usage_that_nobody_asked_for_is_hidden() {
        let stream = [CHUNK, STOP, USAGE, DONE].concat();
        let mut relay = Relay::new(Api::Chat, 1, true);
        assert_eq!(run(&mut relay, &stream, 9), ([CHUNK, STOP, DONE].concat(), true));
        assert_eq!(relay.cost(true), (Usage { input: 5, output: 7, ..Usage::default() }, Source::Upstream));
        let mut relay = Relay::new(Api::Chat, 1, false);
        assert_eq!(run(&mut relay, &stream, 1_000), (stream, true));
    }

    #[test]
    fn the_account_is_nobody_elses_business() {
        let stream = format!("{CHUNK}data: {{\"error\":{{\"code\":\"Arrearage\",\"message\":\"pay\"}}}}\n\n{CHUNK}");
        let mut relay = Relay::new(Api::Chat, 1, true);
        assert_eq!(run(&mut relay, &stream, 50).0, format!("{CHUNK}<arrears arrearage>"));
        let inspection = "data: {\"error\":{\"code\":\"data_inspection_failed\",\"message\":\"m\"}}\n\n";
        let mut relay = Relay::new(Api::Chat, 1, true);
        assert_eq!(run(&mut relay, inspection, 50), (inspection.to_owned(), true));
        let native = "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\",\"message\":\"m\"}\n\n";
        let mut relay = Relay::new(Api::Native, 1, false);
        assert_eq!(run(&mut relay, native, 7), (native.to_owned(), true));
        assert!(relay.refusal().is_some_and(|said| said.starts_with(b"{\"code\":\"InvalidParameter\"")));
        let mut relay = Relay::new(Api::Chat, 1, true);
        run(&mut relay, &[CHUNK, inspection].concat(), 50);
        assert_eq!(relay.refusal(), None, "something was answered");
    }

    #[test]
    fn a_stream_that_breaks_off_is_not_whole() {
        assert!(!run(&mut Relay::new(Api::Chat, 1, true), CHUNK, 50).1);
        assert!(!run(&mut Relay::new(Api::Messages, 1, false), "event: ping\ndata: {}\n\n", 50).1);
        let frame =
            |reason: &str| format!("data:{{\"output\":{{\"choices\":[{{\"finish_reason\":\"{reason}\"}}]}}}}\n\n");
        assert!(!run(&mut Relay::new(Api::Native, 1, false), &frame("null"), 50).1);
        assert!(run(&mut Relay::new(Api::Native, 1, false), &frame("stop"), 50).1);
    }

    #[test]
    fn what_costs_is_settled_before_the_last_word() {
        let mut steps = Vec::new();
        let mut relay = Relay::new(Api::Messages, 1, false);
        let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        relay.push(Bytes::from(format!("event: message_delta\ndata: {{}}\n\n{stop}")), &mut steps).unwrap();
        assert!(matches!(steps.as_slice(), [Step::Forward(_), Step::Last(last)] if *last == stop));
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_makes_no_difference(size in 1usize..300) {
            let stream = [": hello\n\n", CHUNK, CHUNK, STOP, USAGE, DONE].concat();
            let (mut relay, mut other) = (Relay::new(Api::Chat, 1, true), Relay::new(Api::Chat, 1, true));
            prop_assert_eq!(run(&mut relay, &stream, size), run(&mut other, &stream, 10_000));
            prop_assert_eq!(relay.cost(true), other.cost(true));
        }
    }
}
