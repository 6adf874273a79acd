//! A session's connections to the provider: the one that takes audio, the one that comes, the one whose tail is
//! awaited. Decides which of them the client hears, and when one replaces another. Pure.
//!
//! ```text
//! a leg is lost:   current ─✕     dial ─► coming ─(settings taken)─► begins at what was not answered for ─► current
//! before its cap:  current ───────dial ─► coming ─(ready; a pause)─► begins in the pause ─► current
//!                     └─(session.finish)─► retiring ─(its tail comes first)─► gone
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::delivery::{Delivery, Kind, Sent};
use super::frames::Frame;
use super::leg::{Fate, Leg, Opening};
use super::redial::Redial;
use super::rules::Rules;
use super::script::Script;
use super::segments::Rerun;
use super::source::Source;
use super::step::{Action, Step};
use crate::config::settings::UsageReport;
use crate::wire::realtime::{UpstreamEvent, Usage};

/// Where nobody is heard, speech that seems unanswered may have begun so long ago.
const DOUBT_MS: u64 = 1_500;

/// Where a lost leg's successor begins.
pub(super) struct Restart {
    pub(super) position: u64,
    pub(super) reruns: Vec<Rerun>,
}

/// A session's legs.
pub struct Legs {
    pub(super) usage: UsageReport,
    pub(super) replaceable: bool,
    pub(super) rollover_after: Duration,
    pub(super) rollover_tokens: u64,
    /// The client's line, and what of it may be needed again.
    pub source: Source,
    pub(super) script: Script,
    pub(super) current: Option<Leg>,
    pub(super) coming: Option<Leg>,
    pub(super) retiring: Option<(Leg, Instant)>,
    /// What the current leg says while the retiring one's tail is awaited.
    pub(super) behind: VecDeque<Delivery>,
    pub(super) restart: Option<Restart>,
    /// The number of the leg that is being dialled.
    pub(super) dialling: Option<u32>,
    pub(super) redial: Redial,
    pub(super) numbers: u32,
    pub(super) greeted: bool,
    /// The client was told that a leg is being replaced.
    pub(super) announced: bool,
    /// The provider is to say its last word: every leg that takes over is asked for it.
    pub finishing: bool,
    pub(super) finished: bool,
    /// Tokens of legs that are gone.
    pub(super) spent: Usage,
    /// Manual turns: the position up to which all was committed.
    pub(super) committed: u64,
    pub(super) doubt_ms: Option<u64>,
    pub(super) forgotten_ms: u64,
    pub(super) replaced_for_silence: bool,
    pub(super) refused: bool,
}

impl Legs {
    /// A session whose first leg, number 1, was just opened and is the client's own to configure.
    #[must_use]
    pub fn new(rules: &Rules, now: Instant) -> Self {
        let mut legs = Self::before(rules, Source::new(0, 16_000, rules.replaceable), Script::default());
        legs.current = Some(legs.open(now));
        legs
    }

    /// A session that goes on here from `samples`: its first leg, number 1, was just opened.
    #[must_use]
    pub fn resumed(rules: &Rules, samples: u64, rate: u64, settings: Option<String>, now: Instant) -> Self {
        let source = Source::new(2 * samples, rate, rules.replaceable);
        let mut legs = Self::before(rules, source, Script::of(settings));
        // A client that never got to configure its session may not have been greeted either.
        legs.greeted = legs.script.accepted().is_some();
        legs.restart = Some(Restart { position: 2 * samples, reruns: Vec::new() });
        legs.coming = Some(legs.open(now));
        legs
    }

    fn before(rules: &Rules, source: Source, script: Script) -> Self {
        Self {
            usage: rules.usage,
            replaceable: rules.replaceable,
            rollover_after: rules.rollover_after,
            rollover_tokens: rules.rollover_tokens,
            committed: source.end(),
            source,
            script,
            current: None,
            coming: None,
            retiring: None,
            behind: VecDeque::new(),
            restart: None,
            dialling: None,
            redial: Redial::default(),
            numbers: 0,
            greeted: false,
            announced: false,
            finishing: false,
            finished: false,
            spent: Usage::default(),
            doubt_ms: None,
            forgotten_ms: 0,
            replaced_for_silence: false,
            refused: false,
        }
    }

    pub(super) fn open(&mut self, now: Instant) -> Leg {
        self.numbers += 1;
        let settings = self.script.accepted().is_some();
        Leg::new(&Opening { number: self.numbers, usage: self.usage, settings, greeted: self.greeted }, now)
    }

    /// Whether lost legs are replaced.
    #[must_use]
    pub fn replaceable(&self) -> bool {
        self.replaceable
    }

    /// The leg of this number gave a sign of life.
    pub fn lives(&mut self, number: u32, now: Instant) {
        if let Some(leg) = self.current.as_mut().filter(|leg| leg.number == number) {
            leg.lives(now);
        }
    }

    /// Audio goes on at once.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.current.is_some()
    }

    /// The provider hears speech.
    #[must_use]
    pub fn speaking(&self) -> bool {
        self.current.as_ref().is_some_and(|leg| leg.segments.speaking())
    }

    /// A response runs, or is still to come to the client.
    #[must_use]
    pub fn responding(&self) -> bool {
        let runs = |leg: &Leg| !leg.running().is_empty();
        self.retiring.is_some() || self.restart.is_some() || self.current.as_ref().is_some_and(runs)
    }

    /// The provider has said its last word.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// The session's tokens so far.
    #[must_use]
    pub fn tokens(&self) -> Usage {
        let legs = self.current.iter().chain(&self.coming).chain(self.retiring.iter().map(|(leg, _)| leg));
        legs.fold(self.spent, |sum, leg| added(sum, leg.tokens()))
    }

    /// The number of the leg that takes audio.
    #[must_use]
    pub fn current(&self) -> Option<u32> {
        self.current.as_ref().map(|leg| leg.number)
    }

    /// A client's message goes to the current leg, with so many bytes of audio and samples to count.
    pub fn forward(&mut self, frame: Frame, sent: Sent, step: &mut Step<'_>) {
        let Some(leg) = &mut self.current else { return };
        match (&frame, sent.kind) {
            (Frame::Text(text), Kind::Settings) if self.replaceable => self.script.ask(text),
            (_, Kind::Audio | Kind::Commit | Kind::BesideAudio) => {
                self.source.push(&frame, sent.bytes, sent.kind == Kind::Commit)
            }
            (_, Kind::Settings | Kind::Finish | Kind::Other) => {}
        }
        match sent.kind {
            Kind::Finish => self.finishing = true,
            Kind::Commit => {
                self.committed = self.source.end();
                leg.committed(self.source.ms(self.committed));
            }
            Kind::Audio => leg.sent(self.source.ms(self.source.end()), step.now),
            Kind::Settings | Kind::BesideAudio | Kind::Other => {}
        }
        step.act(Action::ToUpstream(leg.number, frame, sent.samples));
    }

    /// Asks the current leg for its last word, or the next one as soon as it has taken over.
    pub fn finish(&mut self, word: &bytestring::ByteString, step: &mut Step<'_>) {
        self.finishing = true;
        if let Some(leg) = &self.current {
            step.act(Action::Inject(leg.number, Frame::Text(word.clone())));
        }
    }

    /// The coming leg said that it can't go on; told once.
    pub fn refused(&mut self) -> Option<u32> {
        std::mem::take(&mut self.refused).then(|| self.coming.as_ref().map(|leg| leg.number)).flatten()
    }

    /// Somebody seems to speak whom the provider doesn't hear.
    pub fn doubt(&mut self, unanswered: bool) {
        if unanswered && !self.replaced_for_silence {
            let at_ms = self.source.ms(self.source.end()).saturating_sub(DOUBT_MS);
            self.doubt_ms.get_or_insert(at_ms);
        }
    }

    /// Follows an event of the provider; returns what the client gets of it, in order.
    pub fn hear(&mut self, number: u32, frame: Frame, event: &UpstreamEvent, step: &mut Step<'_>) -> Vec<Delivery> {
        let Frame::Text(text) = &frame else { return vec![Delivery { frame, audio: false }] };
        let retiring = self.retiring.as_ref().is_some_and(|(leg, _)| leg.number == number);
        let is = |leg: &Option<Leg>| leg.as_ref().is_some_and(|leg| leg.number == number);
        let (current, coming) = (is(&self.current), is(&self.coming));
        let leg = match (current, coming, retiring) {
            (true, ..) => self.current.as_mut(),
            (_, true, _) => self.coming.as_mut(),
            (_, _, true) => self.retiring.as_mut().map(|(leg, _)| leg),
            // A leg that was given up: fenced off.
            _ => None,
        };
        let Some(leg) = leg else { return Vec::new() };
        let fate = leg.hear(text, event, step.now);
        if coming && matches!(event, UpstreamEvent::Error(_)) {
            // It does not take our settings, or nothing at all.
            self.refused = true;
            return Vec::new();
        }
        if coming {
            return self.prepare(&fate, frame, step);
        }
        if retiring && *event == UpstreamEvent::Finished {
            return self.retired(step);
        }
        if current && fate != Fate::Withhold {
            self.doubt_ms = None;
            self.replaced_for_silence = false;
            self.note(event, step);
        }
        let audio = *event == UpstreamEvent::Audio;
        let delivery = match fate {
            Fate::Pass => Some(Delivery { frame, audio }),
            Fate::Change(frame) => Some(Delivery { frame, audio }),
            Fate::Withhold => None,
        };
        // What answers the client itself doesn't wait.
        let answer = matches!(event, UpstreamEvent::Updated(_) | UpstreamEvent::Error(_));
        if self.retiring.is_some() && current && !answer {
            self.behind.extend(delivery);
            return Vec::new();
        }
        delivery.into_iter().collect()
    }

    /// Learns from an event of the current leg that the client sees.
    fn note(&mut self, event: &UpstreamEvent, step: &mut Step<'_>) {
        match event {
            UpstreamEvent::Created(_) => self.greeted = true,
            UpstreamEvent::Updated(_) => {
                if let Some(settings) = self.script.granted() {
                    step.act(Action::Configure(settings.to_owned()));
                }
            }
            UpstreamEvent::Error(event_id) => self.script.refused(event_id.as_deref()),
            UpstreamEvent::Finished => self.finished |= self.retiring.is_none(),
            _ => {}
        }
    }

    /// A coming leg is greeted, configured, ready; its own events are hardly ever for the client.
    fn prepare(&mut self, fate: &Fate, frame: Frame, step: &mut Step<'_>) -> Vec<Delivery> {
        if let Some(leg) = &mut self.coming
            && leg.wants_settings()
            && let Some(settings) = self.script.accepted()
        {
            step.act(Action::Inject(leg.number, Frame::Text(settings.into())));
        }
        let mut delivered: Vec<Delivery> = Vec::new();
        if *fate == Fate::Pass && !self.greeted {
            self.greeted = true;
            delivered.push(Delivery { frame, audio: false });
        }
        self.take_over(step);
        delivered
    }

    /// The retiring leg's tail is complete.
    pub(super) fn retired(&mut self, step: &mut Step<'_>) -> Vec<Delivery> {
        if let Some((leg, _)) = self.retiring.take() {
            self.spend(&leg);
            step.act(Action::HangUp(leg.number));
        }
        let behind: Vec<Delivery> = self.behind.drain(..).collect();
        self.finished |= self.finishing && behind.iter().any(Delivery::is_last_word);
        behind
    }

    pub(super) fn spend(&mut self, leg: &Leg) {
        self.spent = added(self.spent, leg.tokens());
    }

    /// Everything before this position was answered for and delivered.
    pub fn finished_through(&mut self, manual: bool) -> u64 {
        let now = match (&self.restart, &self.retiring, &self.current) {
            (Some(restart), None, _) => self.source.ms(restart.position),
            (_, Some((leg, _)), _) => leg.segments.finished_ms(0),
            (None, None, Some(leg)) => leg.finished_ms(self.doubt_ms, manual),
            (None, None, None) => 0,
        };
        self.forgotten_ms = self.forgotten_ms.max(now);
        let position = self.position(self.forgotten_ms);
        // What is not kept any more can't be said again, answered for or not.
        if self.replaceable { position.max(self.source.start()) } else { position }
    }

    pub(super) fn position(&self, at_ms: u64) -> u64 {
        self.source.bytes(at_ms).min(self.source.end())
    }
}

fn added(left: Usage, right: Usage) -> Usage {
    Usage {
        input_tokens: left.input_tokens.saturating_add(right.input_tokens),
        output_tokens: left.output_tokens.saturating_add(right.output_tokens),
    }
}
