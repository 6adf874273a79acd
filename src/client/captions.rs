//! The transcript: which words were said when, and what they became. Pure: events go in, lines come out.
//!
//! One response translates one segment of speech; the translation's item is not the speech's item. When the
//! provider's connection is replaced or the gateway's memory is lost, a segment may be heard again: what comes
//! then takes the place of what was there.

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
    /// Responses that translated it and whose place another one takes.
    pub retired: Vec<String>,
    /// Whether it may be heard again.
    pub again: Again,
}

/// Whether a segment may be heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Again {
    /// It was heard on the connection that stands.
    #[default]
    No,
    /// For what is not final.
    Rest,
    /// From its beginning.
    Whole,
}

/// A line of text and whether it can still change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caption {
    /// The line to show.
    pub text: String,
    /// It stays so.
    pub is_final: bool,
    /// It is said again: what comes next replaces it.
    pub renewed: bool,
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

/// A segment that begins so near to where an earlier one began is the same, heard again, milliseconds.
const SAME_SPEECH_MS: u64 = 1_500;

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
                self.heard_again(item, *at_ms);
                let index = self.spoken(item);
                self.edit(index, |segment| segment.start_ms = *at_ms)
            }
            Event::SpeechStopped { item, at_ms } => {
                let index = self.spoken(item);
                self.edit(index, |segment| segment.end_ms = Some(*at_ms));
                self.absorb(index);
                None
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
            Event::ResponseDone { response, completed: false, .. } => {
                let cut = self.cut_short(response);
                self.leg_lost();
                cut
            }
            Event::ResponseDone { .. }
            | Event::SessionCreated(_)
            | Event::SessionUpdated
            | Event::SessionFinished
            | Event::Audio { .. }
            | Event::Error { .. }
            | Event::Other => None,
        }
    }

    /// The provider's connection is replaced: unfinished segments may be heard again.
    pub fn leg_lost(&mut self) {
        for segment in self.segments.iter_mut().filter(|segment| segment.again == Again::No) {
            segment.again = Again::Rest;
        }
    }

    /// The gateway lost its memory: segments may be heard again from their beginning, running responses never end.
    pub fn epoch_lost(&mut self) {
        let running = |response: &&Response| {
            self.segments.get(response.segment).is_some_and(|segment| !segment.translation.is_final)
        };
        let running: Vec<String> = self.responses.iter().filter(running).map(|response| response.id.clone()).collect();
        for response in running {
            self.cut_short(&response);
        }
        self.segments.iter_mut().for_each(|segment| segment.again = Again::Whole);
    }

    /// The responses in whose place this one stands.
    pub fn replaced_by(&mut self, response: &str) -> Vec<String> {
        let segment = self.responses.iter().find(|known| known.id == response).map(|known| known.segment);
        let segment = segment.and_then(|index| self.segments.get_mut(index));
        segment.map(|segment| std::mem::take(&mut segment.retired)).unwrap_or_default()
    }

    /// Speech that begins where an earlier segment began is that segment.
    fn heard_again(&mut self, item: &str, at_ms: u64) {
        let is_known = self.segments.iter().any(|segment| segment.item == item);
        let distance = |segment: &Segment| segment.start_ms.abs_diff(at_ms);
        let may_be = |segment: &Segment| segment.again != Again::No && segment.end_ms.is_none_or(|end| at_ms < end);
        let candidates = self.segments.iter_mut().enumerate().filter(|(_, segment)| may_be(segment));
        let nearest = candidates.min_by_key(|(_, segment)| distance(segment));
        let Some((index, segment)) = nearest.filter(|(_, segment)| !is_known && distance(segment) <= SAME_SPEECH_MS)
        else {
            return;
        };
        let whole = segment.again == Again::Whole;
        (segment.item, segment.end_ms, segment.again) = (item.to_owned(), None, Again::No);
        segment.source.renewed = whole || !segment.source.is_final;
        segment.translation.renewed = whole || !segment.translation.is_final;
        if segment.translation.renewed {
            let (old, rest) = std::mem::take(&mut self.responses).into_iter().partition(|known| known.segment == index);
            segment.retired.extend(Vec::into_iter(old).map(|response: Response| response.id));
            self.responses = rest;
        }
    }

    /// Removes earlier segments that are part of one that was heard again in their stead.
    fn absorb(&mut self, into: usize) {
        let Some(whole) = self.segments.get(into) else { return };
        let (start, end) = (whole.start_ms, whole.end_ms.unwrap_or(whole.start_ms));
        let is_part = |segment: &Segment| {
            let middle = segment.start_ms.midpoint(segment.end_ms.unwrap_or(segment.start_ms));
            segment.again == Again::Whole && (start..end).contains(&middle)
        };
        while let Some(index) = self.segments.iter().position(is_part) {
            let mut retired = self.segments.remove(index).retired;
            self.responses.retain_mut(|known| {
                let stays = known.segment != index;
                if stays && known.segment > index {
                    known.segment -= 1;
                } else if !stays {
                    retired.push(std::mem::take(&mut known.id));
                }
                stays
            });
            let into = self.segments.iter_mut().find(|segment| segment.start_ms == start && segment.again == Again::No);
            if let Some(into) = into {
                into.retired.append(&mut retired);
            }
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
        let is_free = |(index, segment): &(usize, &Segment)| {
            segment.again != Again::Whole && self.responses.iter().all(|known| known.segment != *index)
        };
        let free = self.segments.iter().enumerate().find(is_free).map(|(index, _)| index);
        let segment = free.unwrap_or_else(|| self.begin(""));
        self.responses.push(Response { id: response.to_owned(), item: String::new(), segment });
        segment
    }

    /// Takes back an unfinished translation: its segment may be translated again.
    fn cut_short(&mut self, response: &str) -> Option<(usize, Side)> {
        let index = self.responses.iter().find(|known| known.id == response)?.segment;
        let segment = self.segments.get_mut(index)?;
        if segment.translation.is_final {
            return None;
        }
        segment.translation.text.clear();
        segment.retired.push(response.to_owned());
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
    /// Whether the line is another one now. A final line stays, unless it is said again to its end.
    fn apply(&mut self, change: &Change) -> bool {
        if self.is_final {
            let Change::Final(line) = change else { return false };
            return std::mem::take(&mut self.renewed)
                && std::mem::replace(&mut self.text, line.trim().to_owned()) != line.trim();
        }
        if std::mem::take(&mut self.renewed) {
            self.text.clear();
        }
        match change {
            Change::Refresh(line) => self.text.clone_from(line),
            Change::Append(more) => self.text.push_str(more),
            Change::Final(line) => (self.text, self.is_final) = (line.trim().to_owned(), true),
        }
        true
    }
}

#[cfg(test)]
#[path = "captions_tests.rs"]
mod tests;
