//! Tells an answer event by event: each API words the steps, and the cost of what is told is counted here.

use bytes::Bytes;

use super::answer::{Answer, Step};
use super::calls::Usage;
use super::sse::{Frame, Frames};

/// An event, worded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// As it goes over the wire.
    pub text: String,
    /// Whether it tells the usage.
    pub told: bool,
}

impl Event {
    /// An event that tells no usage.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, told: false }
    }
}

/// The events of an answer. `word` says what a step looks like, given what all steps up to it have cost.
pub fn frames<W, E>(answer: &Answer, mut word: W) -> Frames
where
    W: FnMut(&Step, &Usage) -> E + 'static,
    E: IntoIterator<Item = Event> + 'static,
{
    let mut so_far = answer.usage.read();
    // What was not yet booked on an event.
    let mut open = so_far;
    Box::new(answer.steps().into_iter().flat_map(move |step| {
        let cost = step.cost();
        so_far.completion += cost.completion;
        so_far.reasoning += cost.reasoning;
        open.completion += cost.completion;
        open.reasoning += cost.reasoning;
        let mut events = word(&step, &so_far).into_iter().peekable();
        let mut usage = if events.peek().is_some() { std::mem::take(&mut open) } else { Usage::default() };
        events.map(move |event| Frame {
            bytes: Bytes::from(event.text),
            usage: std::mem::take(&mut usage),
            told: event.told,
        })
    }))
}
