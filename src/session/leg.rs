//! One connection to the provider: what it has heard, what it owes, what of its events the client sees. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frames::Frame;
use super::meter::TokenMeter;
use super::segments::{Rerun, Segments};
use crate::config::settings::UsageReport;
use crate::wire::leg;
use crate::wire::realtime::{Speech, UpstreamEvent, Usage};

/// Audio that was sent for so long, without a word of speech from a leg that lives, holds none.
const HEARD_OUT: Duration = Duration::from_secs(2);
/// A leg that doesn't say anything is given up.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);
/// A leg that doesn't say that it took its settings is spoken to nevertheless.
const SETTINGS_PATIENCE: Duration = Duration::from_secs(3);

/// How far the opening of a leg has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// `session.created` is awaited.
    Greeting,
    /// `session.updated` is awaited.
    Configuring,
    /// It takes audio.
    Ready,
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the client as it came.
    Pass,
    /// It goes to the client like this.
    Change(Frame),
    /// The client doesn't see it.
    Withhold,
}

/// How a leg is opened.
pub struct Opening {
    /// Its number; a later one has a higher.
    pub number: u32,
    /// How its model reports tokens.
    pub usage: UsageReport,
    /// It gets the client's settings from us, before any audio.
    pub settings: bool,
    /// The client has had a greeting: this leg's is not for it.
    pub greeted: bool,
}

/// A leg's state.
pub struct Leg {
    /// Its number.
    pub number: u32,
    /// Where on the session's line its audio begins, bytes.
    pub origin: u64,
    /// What it found in the audio.
    pub segments: Segments,
    /// When it was opened.
    pub opened_at: Instant,
    origin_ms: u64,
    stage: Stage,
    stage_since: Instant,
    settings: bool,
    greeted: bool,
    tokens: TokenMeter,
    /// Settings of ours that it has not answered: the answer is not for the client.
    own_updates: u32,
    /// What the client has already, or gets from another leg.
    hidden: Vec<Hidden>,
    /// What it was given to hear again.
    given: Vec<Rerun>,
    /// Responses that the client saw begin and not end.
    running: Vec<String>,
    /// Speech from here on is another leg's.
    until_ms: Option<u64>,
    /// When so much was sent, milliseconds.
    sent: VecDeque<(Instant, u64)>,
    silent_ms: u64,
    /// Positions of the client's commits that were not answered.
    commits: VecDeque<u64>,
}

/// An item or a response that the client doesn't see, and what belongs to it.
struct Hidden(Vec<String>);

impl Leg {
    /// A leg that was opened now. One that we need not configure takes audio at once.
    #[must_use]
    pub fn new(opening: &Opening, now: Instant) -> Self {
        let first = !opening.greeted && !opening.settings;
        Self {
            number: opening.number,
            origin: 0,
            segments: Segments::default(),
            opened_at: now,
            origin_ms: 0,
            stage: if first { Stage::Ready } else { Stage::Greeting },
            stage_since: now,
            settings: opening.settings,
            greeted: opening.greeted,
            tokens: TokenMeter::new(opening.usage),
            own_updates: 0,
            hidden: Vec::new(),
            given: Vec::new(),
            running: Vec::new(),
            until_ms: None,
            sent: VecDeque::new(),
            silent_ms: 0,
            commits: VecDeque::new(),
        }
    }

    /// Its audio begins here on the session's line, bytes and milliseconds. It hears `reruns` again.
    pub fn begin(&mut self, origin: u64, origin_ms: u64, reruns: Vec<Rerun>) {
        self.origin = origin;
        self.origin_ms = origin_ms;
        self.silent_ms = origin_ms;
        self.given.clone_from(&reruns);
        self.segments = Segments::new(origin_ms, reruns);
    }

    /// What it was given to hear again: what the client has of it, should nobody have heard this leg.
    #[must_use]
    pub fn given(&self) -> Vec<Rerun> {
        self.given.clone()
    }

    /// It takes audio.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// It was opened, and has not said a word.
    #[must_use]
    pub fn mute(&self, now: Instant) -> bool {
        self.stage == Stage::Greeting && now.duration_since(self.stage_since) >= GREETING_PATIENCE
    }

    /// Its settings are to be sent: `session.created` came. True once.
    pub fn wants_settings(&mut self) -> bool {
        let wants = self.stage == Stage::Configuring && self.settings && self.own_updates == 0;
        self.own_updates += u32::from(wants);
        wants
    }

    /// Becomes ready when it keeps silent about its settings.
    pub fn tick(&mut self, now: Instant) {
        if self.stage == Stage::Configuring && now.duration_since(self.stage_since) >= SETTINGS_PATIENCE {
            self.stage = Stage::Ready;
        }
        self.segments.settle(now);
    }

    /// The tokens that it reported.
    #[must_use]
    pub fn tokens(&self) -> Usage {
        self.tokens.total()
    }

    /// Audio went to it, up to this point of the session's line, milliseconds.
    pub fn sent(&mut self, at_ms: u64, now: Instant) {
        const EVERY: Duration = Duration::from_millis(500);
        if self.sent.back().is_none_or(|(at, _)| now.duration_since(*at) >= EVERY) {
            self.sent.push_back((now, at_ms));
        }
    }

    /// It gave a sign of life: what it was sent a while ago and found no speech in holds none.
    pub fn lives(&mut self, now: Instant) {
        while let Some((at, ms)) = self.sent.front().copied()
            && now.duration_since(at) >= HEARD_OUT
        {
            self.silent_ms = ms;
            self.sent.pop_front();
        }
    }

    /// The client committed what it said up to this point.
    pub fn committed(&mut self, at_ms: u64) {
        self.commits.push_back(at_ms);
    }

    /// Everything before it needs not be heard again, milliseconds. `doubt_ms`: from there on somebody seems to
    /// speak whom the leg doesn't hear. `manual`: only a commit makes it answer.
    #[must_use]
    pub fn finished_ms(&self, doubt_ms: Option<u64>, manual: bool) -> u64 {
        let silent_ms = if manual { 0 } else { self.silent_ms.min(doubt_ms.unwrap_or(u64::MAX)) };
        self.segments.finished_ms(silent_ms)
    }

    /// Speech from here on is another leg's. Returns the responses that the client saw begin for such speech, and
    /// what it has of it.
    pub fn end_at(&mut self, at_ms: u64) -> (Vec<String>, Vec<Rerun>) {
        self.until_ms = Some(at_ms);
        let (names, reruns) = self.segments.give_up_from(at_ms);
        let cut = self.running.iter().filter(|response| names.contains(response)).cloned().collect();
        self.running.retain(|response| !names.contains(response));
        names.iter().for_each(|name| self.hide(name));
        (cut, reruns)
    }

    /// Responses that the client saw begin and not end.
    #[must_use]
    pub fn running(&self) -> &[String] {
        &self.running
    }

    /// Follows an event of this leg and decides whether the client sees it.
    pub fn hear(&mut self, text: &str, event: &UpstreamEvent, now: Instant) -> Fate {
        self.lives(now);
        let fate = match event {
            UpstreamEvent::Created(_) => self.greet(now),
            UpstreamEvent::Updated(_) => self.configured(),
            UpstreamEvent::SpeechStarted(speech) => self.started(speech),
            UpstreamEvent::SpeechStopped(speech) => {
                self.segments.stopped(&speech.item, self.origin_ms + speech.at_ms, now);
                Fate::Pass
            }
            UpstreamEvent::Committed(item) => self.answer_commit(item, now),
            UpstreamEvent::SourcePart => {
                self.segments.transcribing();
                Fate::Pass
            }
            UpstreamEvent::SourceDone(item) => {
                self.segments.source_done(item);
                Fate::Pass
            }
            UpstreamEvent::ResponseCreated(response) => self.responding(response),
            UpstreamEvent::TranslationDone(response) => {
                self.segments.translation_done(response);
                Fate::Pass
            }
            UpstreamEvent::ResponseDone { response, usage } => self.responded(response, *usage, now),
            UpstreamEvent::Audio | UpstreamEvent::Finished | UpstreamEvent::Error(_) | UpstreamEvent::Other => {
                Fate::Pass
            }
        };
        self.segments.settle(now);
        if fate == Fate::Pass { self.shown(text, event) } else { fate }
    }

    /// What passes is hidden where the client has it already, and put on the session's line.
    fn shown(&mut self, text: &str, event: &UpstreamEvent) -> Fate {
        if !self.hidden.is_empty() && self.hides(text, event) {
            return Fate::Withhold;
        }
        let timed = matches!(event, UpstreamEvent::SpeechStarted(_) | UpstreamEvent::SpeechStopped(_));
        let moved = (timed && self.origin_ms > 0).then(|| leg::later(text, self.origin_ms)).flatten();
        moved.map_or(Fate::Pass, |moved| Fate::Change(Frame::Text(moved)))
    }

    fn hides(&mut self, text: &str, event: &UpstreamEvent) -> bool {
        let subjects = leg::subjects(text);
        let concerned = |hidden: &Hidden| hidden.0.iter().any(|id| subjects.contains(id));
        let Some(index) = self.hidden.iter().position(concerned) else { return false };
        if matches!(event, UpstreamEvent::ResponseDone { .. } | UpstreamEvent::SourceDone(_)) {
            self.hidden.remove(index);
        } else if let Some(hidden) = self.hidden.get_mut(index) {
            let new: Vec<String> = subjects.into_iter().filter(|subject| !hidden.0.contains(subject)).collect();
            hidden.0.extend(new);
        }
        true
    }

    fn hide(&mut self, id: &str) {
        self.hidden.push(Hidden(vec![id.to_owned()]));
    }

    fn greet(&mut self, now: Instant) -> Fate {
        let withhold = self.greeted;
        if self.stage == Stage::Greeting {
            self.stage = if self.settings { Stage::Configuring } else { Stage::Ready };
            self.stage_since = now;
        }
        self.greeted = true;
        if withhold { Fate::Withhold } else { Fate::Pass }
    }

    /// Settings were taken, or refused.
    fn configured(&mut self) -> Fate {
        if self.own_updates == 0 {
            return Fate::Pass;
        }
        self.own_updates -= 1;
        self.stage = Stage::Ready;
        Fate::Withhold
    }

    fn started(&mut self, speech: &Speech) -> Fate {
        let at_ms = self.origin_ms + speech.at_ms;
        if self.until_ms.is_some_and(|until_ms| at_ms >= until_ms) {
            self.hide(&speech.item);
            return Fate::Pass;
        }
        if self.segments.started(&speech.item, at_ms).source {
            self.hide(&speech.item);
        }
        Fate::Pass
    }

    /// Manual turns: the leg took what was committed.
    fn answer_commit(&mut self, item: &str, now: Instant) -> Fate {
        if let Some(at_ms) = self.commits.pop_front() {
            let from_ms = self.segments.quiet_since_ms();
            if self.segments.started(item, from_ms).source {
                self.hide(item);
            }
            self.segments.stopped(item, at_ms, now);
        }
        Fate::Pass
    }

    fn responding(&mut self, response: &str) -> Fate {
        let beyond = self.until_ms.is_some() && !self.segments.awaits_response();
        if beyond || self.segments.responding(response) {
            self.hide(response);
        } else {
            self.running.push(response.to_owned());
        }
        Fate::Pass
    }

    fn responded(&mut self, response: &str, usage: Option<Usage>, now: Instant) -> Fate {
        if let Some(usage) = usage {
            self.tokens.add(usage);
        }
        self.segments.response_done(response, now);
        self.running.retain(|running| running != response);
        Fate::Pass
    }
}
