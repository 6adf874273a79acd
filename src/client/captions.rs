//! The transcript: which words were said when, and what they became. Pure: events go in, lines come out.
//!
//! One response translates one segment of speech; the translation's item is not the speech's item.

use super::event::{Change, Event};

/// One stretch of speech with its two captions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    /// Where the speech begins, milliseconds into the audio sent.
    pub start_ms: u64,
    /// Where it ends; `None` while it goes on, or when the server didn't say.
    pub end_ms: Option<u64>,
    /// What was said.
    pub source: Caption,
    /// What it became.
    pub translation: Caption,
    /// The provider's id of the speech.
    pub item: String,
}

/// A line of text and whether it can still change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caption {
    /// The line to show.
    pub text: String,
    /// It stays so.
    pub is_final: bool,
}

/// Which of a segment's captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What was said.
    Source,
    /// What it became.
    Translation,
}

/// A session's segments, in the order of speech.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    segments: Vec<Segment>,
    responses: Vec<Response>,
}

#[derive(Debug, Clone)]
struct Response {
    id: String,
    item: String,
    segment: usize,
}

impl Transcript {
    /// The segments so far.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Takes an event; answers which caption changed.
    pub fn on(&mut self, event: &Event) -> Option<(usize, Side)> {
        match event {
            Event::SpeechStarted { item, at_ms } => {
                let index = self.spoken(item);
                self.edit(index, |segment| segment.start_ms = *at_ms)
            }
            Event::SpeechStopped { item, at_ms } => {
                let index = self.spoken(item);
                self.edit(index, |segment| segment.end_ms = Some(*at_ms))
            }
            Event::ResponseCreated(response) => {
                self.responding(response);
                None
            }
            Event::OutputItem { response, item } => {
                self.responding(response);
                let known = self.responses.iter_mut().find(|known| known.id == *response)?;
                known.item.clone_from(item);
                None
            }
            Event::ItemCreated { item, previous } => {
                let segment = self.segments.iter().position(|segment| Some(&segment.item) == previous.as_ref())?;
                let response = self.responses.iter_mut().find(|known| known.item == *item)?;
                response.segment = segment;
                None
            }
            Event::Source { item, change } => {
                let index = self.spoken(item);
                let caption = &mut self.segments.get_mut(index)?.source;
                caption.apply(change).then_some((index, Side::Source))
            }
            Event::Translation { response, change } => {
                let index = self.responding(response);
                let caption = &mut self.segments.get_mut(index)?.translation;
                caption.apply(change).then_some((index, Side::Translation))
            }
            Event::ResponseDone { response, completed: false, .. } => self.cut_short(response),
            Event::ResponseDone { .. }
            | Event::SessionCreated(_)
            | Event::SessionUpdated
            | Event::SessionFinished
            | Event::Audio(_)
            | Event::Error { .. }
            | Event::Other => None,
        }
    }

    /// The segment of an input item, made when it is new.
    fn spoken(&mut self, item: &str) -> usize {
        self.segments.iter().position(|segment| segment.item == item).unwrap_or_else(|| self.begin(item))
    }

    fn begin(&mut self, item: &str) -> usize {
        let start_ms = self.segments.last().map_or(0, |last| last.end_ms.unwrap_or(last.start_ms));
        self.segments.push(Segment { item: item.to_owned(), start_ms, ..Segment::default() });
        self.segments.len() - 1
    }

    /// The segment that a response translates: the first that none translates yet, until an item tells more.
    fn responding(&mut self, response: &str) -> usize {
        if let Some(known) = self.responses.iter().find(|known| known.id == response) {
            return known.segment;
        }
        let is_free = |index: &usize| self.responses.iter().all(|known| known.segment != *index);
        let free = (0..self.segments.len()).find(is_free);
        let segment = free.unwrap_or_else(|| self.begin(""));
        self.responses.push(Response { id: response.to_owned(), item: String::new(), segment });
        segment
    }

    /// Takes back an unfinished translation: its segment may be translated again.
    fn cut_short(&mut self, response: &str) -> Option<(usize, Side)> {
        let index = self.responses.iter().find(|known| known.id == response)?.segment;
        let caption = &mut self.segments.get_mut(index)?.translation;
        if caption.is_final {
            return None;
        }
        caption.text.clear();
        self.responses.retain(|known| known.id != response);
        Some((index, Side::Translation))
    }

    fn edit(&mut self, index: usize, change: impl FnOnce(&mut Segment)) -> Option<(usize, Side)> {
        self.segments.get_mut(index).map(change);
        None
    }
}

impl Segment {
    /// One of the two captions.
    #[must_use]
    pub fn caption(&self, side: Side) -> &Caption {
        match side {
            Side::Source => &self.source,
            Side::Translation => &self.translation,
        }
    }
}

impl Caption {
    /// Whether the line is another one now. A second final line is not taken.
    fn apply(&mut self, change: &Change) -> bool {
        if self.is_final {
            return false;
        }
        match change {
            Change::Refresh(line) => self.text.clone_from(line),
            Change::Append(more) => self.text.push_str(more),
            Change::Final(line) => *self = Self { text: line.trim().to_owned(), is_final: true },
        }
        true
    }
}

#[cfg(test)]
#[path = "captions_tests.rs"]
mod tests;
