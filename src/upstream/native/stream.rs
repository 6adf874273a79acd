//! A native stream as `chat.completion.chunk` events, frame by frame.

use crate::error::Error;
use crate::wire::members::Members;

use super::about::About;
use super::calls::Calls;
use super::growth::Growth;
use super::json::{Object, array, quoted};
use super::output::{Choice, Output};
use super::usage::{self, NativeUsage};
use super::{failure, models};

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every choice was finished; `[DONE]` was said.
    Whole,
    /// The provider said an error, which was passed on; nothing more was said.
    Failed,
    /// It stopped before its end; an error event was said.
    Broken,
}

/// One stream.
#[derive(Debug)]
pub struct Translator {
    about: About,
    include_usage: bool,
    may_accumulate: bool,
    choices: Vec<Said>,
    /// The last `usage`, as JSON text: each counts from the stream's start.
    usage: String,
    failure: Option<String>,
    ending: Option<Ending>,
}

/// What was said of one choice.
#[derive(Debug)]
struct Said {
    index: u64,
    /// Its role was said.
    opened: bool,
    content: Growth,
    reasoning: Growth,
    calls: Calls,
    finished: bool,
}

impl Translator {
    /// A stream of which nothing came yet. `include_usage`: the caller asked for it.
    #[must_use]
    pub fn new(about: About, include_usage: bool) -> Self {
        let may_accumulate = models::may_accumulate(&about.model);
        Self {
            about,
            include_usage,
            may_accumulate,
            choices: Vec::new(),
            usage: String::new(),
            failure: None,
            ending: None,
        }
    }

    /// Takes one event, by its name and its joined data, and appends whole events to `out`. What is no JSON object is
    /// skipped; after an error, or the end, everything is.
    pub fn feed(&mut self, event: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
        if self.ending.is_some() {
            return;
        }
        let frame = std::str::from_utf8(data).ok().and_then(Members::read);
        if event == Some("error") || frame.as_ref().is_some_and(failure::is_failure) {
            let code = frame.as_ref().and_then(failure::code);
            self.failure = Some(code.unwrap_or_else(|| "InternalError".to_owned()));
            self.ending = Some(Ending::Failed);
            say(&failure::event(data), out);
            return;
        }
        let Some(frame) = frame else { return };
        if let Some(usage) = frame.last("usage").filter(|usage| NativeUsage::read(usage).is_some()) {
            usage.clone_into(&mut self.usage);
        }
        let Some(output) = frame.last("output").and_then(Output::read) else { return };
        for (at, choice) in output.choices.iter().enumerate() {
            let others = if at == 0 { output.others.as_slice() } else { &[] };
            self.pass(choice, others, out);
        }
    }

    /// Ends the stream: the caller's usage chunk and `[DONE]`, or the error event that a broken stream must end with.
    /// A second call says nothing and answers alike.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Ending {
        if let Some(ending) = self.ending {
            return ending;
        }
        let is_whole = !self.choices.is_empty() && self.choices.iter().all(|said| said.finished);
        self.ending = Some(if is_whole { Ending::Whole } else { Ending::Broken });
        if !is_whole {
            say(broken().as_bytes(), out);
            return Ending::Broken;
        }
        if let Some(usage) = usage::translate(&self.usage).filter(|_| self.include_usage) {
            let mut chunk = self.chunk();
            chunk.raw("choices", "[]");
            chunk.raw("usage", &usage);
            say(chunk.finish().as_bytes(), out);
        }
        say(b"[DONE]", out);
        Ending::Whole
    }

    /// What was used so far, as far as the provider said.
    #[must_use]
    pub fn usage(&self) -> Option<NativeUsage> {
        NativeUsage::read(&self.usage)
    }

    /// The native code of the error that ended the stream.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Passes on what a frame adds to a choice: a chunk with its delta, then one with its end.
    fn pass(&mut self, choice: &Choice<'_>, others: &[(String, &str)], out: &mut Vec<u8>) {
        let at = self.place(choice.index);
        let Some(said) = self.choices.get_mut(at).filter(|said| !said.finished) else { return };
        let delta = said.delta(choice, &self.about);
        said.finished = choice.finish.is_some();
        let index = said.index;
        if delta.is_some() || choice.logprobs.is_some() || !others.is_empty() {
            let mut chunk = self.chunk();
            chunk.raw("choices", &one(index, &delta.unwrap_or_else(|| "{}".to_owned()), choice.logprobs, None));
            self.close(chunk, others, out);
        }
        if let Some(finish) = &choice.finish {
            let mut chunk = self.chunk();
            chunk.raw("choices", &one(index, "{}", None, Some(finish)));
            self.close(chunk, &[], out);
        }
    }

    fn place(&mut self, index: u64) -> usize {
        self.choices.iter().position(|said| said.index == index).unwrap_or_else(|| {
            let may_accumulate = self.may_accumulate;
            self.choices.push(Said {
                index,
                opened: false,
                content: Growth::new(may_accumulate),
                reasoning: Growth::new(may_accumulate),
                calls: Calls::default(),
                finished: false,
            });
            self.choices.len() - 1
        })
    }

    /// The beginning of every chunk.
    fn chunk(&self) -> Object {
        let mut chunk = Object::default();
        chunk.text("id", &self.about.id);
        chunk.raw("object", r#""chat.completion.chunk""#);
        chunk.raw("created", &self.about.created.to_string());
        chunk.text("model", &self.about.model);
        chunk
    }

    /// The end of every chunk with choices.
    fn close(&self, mut chunk: Object, others: &[(String, &str)], out: &mut Vec<u8>) {
        for (name, value) in others {
            chunk.raw(name, value);
        }
        if self.include_usage {
            chunk.raw("usage", "null");
        }
        say(chunk.finish().as_bytes(), out);
    }
}

impl Said {
    /// What the frame adds; the first delta says the role, too. `None` where there is nothing to say.
    fn delta(&mut self, choice: &Choice<'_>, about: &About) -> Option<String> {
        let last = choice.finish.is_some();
        let content = self.content.add(&choice.content, last);
        let reasoning = choice.reasoning.as_deref().map(|text| self.reasoning.add(text, last)).unwrap_or_default();
        let mut calls = self.calls.add(&choice.calls, self.index, about);
        if last {
            calls.extend(self.calls.finish(self.index, about));
        }
        let opens = !std::mem::replace(&mut self.opened, true);
        let mut delta = Object::default();
        if opens {
            delta.raw("role", r#""assistant""#);
        }
        if opens || !content.is_empty() {
            delta.text("content", &content);
        }
        if !reasoning.is_empty() {
            delta.text("reasoning_content", &reasoning);
        }
        if !calls.is_empty() {
            delta.raw("tool_calls", &array(&calls));
        }
        for (name, value) in &choice.others {
            delta.raw(name, value);
        }
        Some(delta.finish()).filter(|delta| delta != "{}")
    }
}

/// `choices` with one choice.
fn one(index: u64, delta: &str, logprobs: Option<&str>, finish: Option<&str>) -> String {
    let mut choice = Object::default();
    choice.raw("index", &index.to_string());
    choice.raw("delta", delta);
    choice.raw("logprobs", logprobs.unwrap_or("null"));
    choice.raw("finish_reason", &finish.map_or("null".to_owned(), quoted));
    array(&[choice.finish()])
}

fn broken() -> String {
    let cause = Error::upstream("the stream stopped before its end");
    let row = cause.row();
    let (mut error, mut body) = (Object::default(), Object::default());
    error.text("message", &cause.to_string());
    error.text("type", row.kind);
    error.raw("param", "null");
    error.text("code", row.code);
    body.raw("error", &error.finish());
    body.finish()
}

/// One event. Its data is one line: raw JSON may hold line breaks between its tokens, which mean nothing there.
fn say(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend(data.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    out.extend_from_slice(b"\n\n");
}
