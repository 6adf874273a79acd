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

use super::frames::Frame;
use super::leg::{Fate, Leg, Opening};
use super::redial::Redial;
use super::rules::Rules;
use super::script::Script;
use super::segments::Rerun;
use super::source::Source;
use super::step::{Action, Step};
use crate::config::settings::UsageReport;
use crate::error::Error;
use crate::ids;
use crate::wire::continuity::GatewayEvent;
use crate::wire::leg::incomplete_response;
use crate::wire::realtime::{self, UpstreamEvent, Usage};

/// How long a leg that was asked for its end may take.
const TAIL: Duration = Duration::from_secs(10);
/// Heard again before a sentence that was cut.
const PAUSE_MS: u64 = 300;
/// A pause is looked for during this before the deadline at most.
const LONGEST_LEAD: Duration = Duration::from_secs(60);
/// Where nobody is heard, speech that seems unanswered may have begun so long ago.
const DOUBT_MS: u64 = 1_500;

/// What the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub frame: Frame,
    /// It is audio, and may be dropped for a slow client.
    pub audio: bool,
}

/// Where a lost leg's successor begins.
struct Restart {
    position: u64,
    reruns: Vec<Rerun>,
}

/// A session's legs.
pub struct Legs {
    usage: UsageReport,
    replaceable: bool,
    rollover_after: Duration,
    rollover_tokens: u64,
    /// The client's line, and what of it may be needed again.
    pub source: Source,
    script: Script,
    current: Option<Leg>,
    coming: Option<Leg>,
    retiring: Option<(Leg, Instant)>,
    /// What the current leg says while the retiring one's tail is awaited.
    behind: VecDeque<Delivery>,
    restart: Option<Restart>,
    /// The number of the leg that is being dialled.
    dialling: Option<u32>,
    redial: Redial,
    numbers: u32,
    greeted: bool,
    /// The client was told that a leg is being replaced.
    announced: bool,
    /// The provider is to say its last word: every leg that takes over is asked for it.
    pub finishing: bool,
    finished: bool,
    /// Tokens of legs that are gone.
    spent: Usage,
    /// Manual turns: the position up to which all was committed.
    committed: u64,
    doubt_ms: Option<u64>,
    forgotten_ms: u64,
    replaced_for_silence: bool,
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
        }
    }

    fn open(&mut self, now: Instant) -> Leg {
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
            (_, Kind::Settings | Kind::Finish) => {}
            (_, Kind::Audio | Kind::Commit | Kind::Other) => self.source.push(&frame, sent.bytes),
        }
        match sent.kind {
            Kind::Finish => self.finishing = true,
            Kind::Commit => {
                self.committed = self.source.end();
                leg.committed(self.source.ms(self.committed));
            }
            Kind::Audio => leg.sent(self.source.ms(self.source.end()), step.now),
            Kind::Settings | Kind::Other => {}
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

    /// Somebody seems to speak whom the provider doesn't hear; or that is settled.
    pub fn doubt(&mut self, unanswered: bool) {
        if unanswered {
            let at_ms = self.source.ms(self.source.end()).saturating_sub(DOUBT_MS);
            self.doubt_ms.get_or_insert(at_ms);
        }
    }

    /// Follows an event of the provider; returns what the client gets of it, in order.
    pub fn hear(&mut self, number: u32, frame: Frame, event: &UpstreamEvent, step: &mut Step<'_>) -> Vec<Delivery> {
        let Frame::Text(text) = &frame else { return vec![Delivery { frame, audio: false }] };
        self.replaced_for_silence = false;
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
        if coming {
            return self.prepare(fate, frame, step);
        }
        if retiring && *event == UpstreamEvent::Finished {
            return self.retired(step);
        }
        if current {
            self.doubt_ms = None;
            self.note(&fate, event, step);
        }
        let audio = *event == UpstreamEvent::Audio;
        let delivery = match fate {
            Fate::Pass => Some(Delivery { frame, audio }),
            Fate::Change(frame) => Some(Delivery { frame, audio }),
            Fate::Withhold => None,
        };
        if self.retiring.is_some() && current {
            self.behind.extend(delivery);
            return Vec::new();
        }
        delivery.into_iter().collect()
    }

    /// Learns from an event of the current leg that the client sees.
    fn note(&mut self, fate: &Fate, event: &UpstreamEvent, step: &mut Step<'_>) {
        if *fate == Fate::Withhold {
            return;
        }
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
    fn prepare(&mut self, fate: Fate, frame: Frame, step: &mut Step<'_>) -> Vec<Delivery> {
        if let Some(leg) = &mut self.coming
            && leg.wants_settings()
            && let Some(settings) = self.script.accepted()
        {
            step.act(Action::Inject(leg.number, Frame::Text(settings.into())));
        }
        let mut delivered: Vec<Delivery> = Vec::new();
        if fate == Fate::Pass && !self.greeted {
            self.greeted = true;
            delivered.push(Delivery { frame, audio: false });
        }
        self.take_over(step);
        delivered
    }

    /// The coming leg begins where the lost one's answers end, if one was lost.
    fn take_over(&mut self, step: &mut Step<'_>) {
        if self.current.is_some() || !self.coming.as_ref().is_some_and(Leg::ready) {
            return;
        }
        let Some(leg) = self.coming.take() else { return };
        let restart = self.restart.take().unwrap_or(Restart { position: self.source.end(), reruns: Vec::new() });
        let origin = self.source.boundary(restart.position);
        self.begin(leg, origin, restart.reruns, step);
        if std::mem::take(&mut self.announced) {
            step.act(Action::Notice(GatewayEvent::Reconnected));
        }
    }

    fn begin(&mut self, mut leg: Leg, origin: u64, reruns: Vec<Rerun>, step: &mut Step<'_>) {
        self.redial.succeeded();
        let number = leg.number;
        leg.begin(origin, self.source.ms(origin), reruns);
        for update in self.script.pending() {
            step.act(Action::Inject(number, Frame::Text(update.clone())));
        }
        for frame in self.source.from(origin) {
            step.act(Action::Inject(number, frame.clone()));
        }
        leg.sent(self.source.ms(self.source.end()), step.now);
        if self.committed > origin {
            leg.committed(self.source.ms(self.committed));
        }
        if self.finishing {
            step.act(Action::Inject(number, Frame::Text(realtime::finish_event(&ids::event()))));
        }
        self.current = Some(leg);
    }

    /// The retiring leg's tail is complete.
    fn retired(&mut self, step: &mut Step<'_>) -> Vec<Delivery> {
        if let Some((leg, _)) = self.retiring.take() {
            self.spend(&leg);
            step.act(Action::HangUp(leg.number));
        }
        let behind: Vec<Delivery> = self.behind.drain(..).collect();
        self.finished |= self.finishing && behind.iter().any(is_last_word);
        behind
    }

    fn spend(&mut self, leg: &Leg) {
        self.spent = added(self.spent, leg.tokens());
    }

    /// A leg broke off, or was closed by the provider. What the client gets of that; an error ends the session.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn lost(&mut self, number: u32, fatal: bool, step: &mut Step<'_>) -> Result<Vec<Delivery>, Error> {
        if self.coming.as_ref().is_some_and(|leg| leg.number == number) {
            let Some(leg) = self.coming.take() else { return Ok(Vec::new()) };
            step.act(Action::HangUp(number));
            if self.current.is_none() {
                self.redial.died(leg.opened_at, step.now)?;
                self.dial(step);
            }
            return Ok(Vec::new());
        }
        if self.retiring.as_ref().is_some_and(|(leg, _)| leg.number == number) {
            return self.tail_lost(step);
        }
        let Some(leg) = self.current.take_if(|leg| leg.number == number) else { return Ok(Vec::new()) };
        self.spend(&leg);
        step.act(Action::HangUp(number));
        if fatal {
            return Err(Error::upstream("the provider closed the connection for good"));
        }
        let died = self.redial.died(leg.opened_at, step.now);
        let mut cut = Vec::new();
        if self.retiring.is_some() {
            // The client has seen nothing of it yet.
            self.behind.clear();
            self.restart = Some(Restart { position: leg.origin, reruns: Vec::new() });
        } else {
            cut = cut_short(&leg);
            let position = self.position(leg.finished_ms(self.doubt_ms, self.manual(step)));
            self.restart = Some(Restart { position, reruns: leg.segments.reruns() });
        }
        died?;
        self.replace(step);
        Ok(cut)
    }

    /// A retiring leg broke off before its last word: its successor, of which the client has seen nothing, begins
    /// again where its answers end.
    fn tail_lost(&mut self, step: &mut Step<'_>) -> Result<Vec<Delivery>, Error> {
        let unanswered = self.retiring.as_ref().is_some_and(|(leg, _)| leg.segments.unanswered());
        if !unanswered {
            return Ok(self.retired(step));
        }
        let Some((leg, _)) = self.retiring.take() else { return Ok(Vec::new()) };
        self.spend(&leg);
        step.act(Action::HangUp(leg.number));
        if let Some(successor) = self.current.take() {
            self.spend(&successor);
            step.act(Action::HangUp(successor.number));
        }
        self.behind.clear();
        let position = self.position(leg.segments.finished_ms(0));
        self.restart = Some(Restart { position, reruns: leg.segments.reruns() });
        self.replace(step);
        Ok(cut_short(&leg))
    }

    fn replace(&mut self, step: &mut Step<'_>) {
        if !std::mem::replace(&mut self.announced, true) {
            step.act(Action::Notice(GatewayEvent::Reconnecting));
        }
        if self.coming.is_some() {
            self.take_over(step);
        } else {
            self.dial(step);
        }
    }

    fn dial(&mut self, step: &mut Step<'_>) {
        if self.dialling.is_none() {
            let number = self.numbers + 1;
            self.dialling = Some(number);
            step.act(Action::Dial(number, self.redial.within()));
        }
    }

    /// A dial was answered.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn dialled(
        &mut self,
        number: u32,
        answer: Result<(), (Error, bool)>,
        step: &mut Step<'_>,
    ) -> Result<(), Error> {
        if self.dialling.take_if(|dialling| *dialling == number).is_none() {
            step.act(Action::HangUp(number));
            return Ok(());
        }
        match answer {
            Ok(()) => {
                let leg = self.open(step.now);
                self.coming = Some(leg);
                self.take_over(step);
                Ok(())
            }
            Err((error, fatal)) => {
                let failed = self.redial.failed(error, fatal, step.now);
                if self.current.is_none() {
                    failed?;
                    self.numbers += 1;
                    self.dial(step);
                }
                Ok(())
            }
        }
    }

    /// The current leg is silent though it is spoken to; true the first time.
    pub fn replace_silent(&mut self) -> bool {
        !std::mem::replace(&mut self.replaced_for_silence, true)
    }

    /// Looks at the clock: what was answered for is forgotten, a leg near its cap is replaced.
    ///
    /// # Errors
    /// What is to end the session.
    pub fn tick(&mut self, step: &mut Step<'_>) -> Result<Vec<Delivery>, Error> {
        for leg in self.current.iter_mut().chain(self.coming.iter_mut()) {
            leg.tick(step.now);
        }
        self.take_over(step);
        if self.replaceable {
            let finished = self.finished_through(self.manual(step));
            self.source.forget(finished);
        }
        if self.retiring.as_ref().is_some_and(|(_, until)| step.now >= *until) {
            return self.tail_lost(step);
        }
        Ok(self.roll(step))
    }

    fn manual(&self, step: &Step<'_>) -> bool {
        step.manual
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
        self.position(self.forgotten_ms).max(self.source.start())
    }

    fn position(&self, at_ms: u64) -> u64 {
        self.source.bytes(at_ms).min(self.source.end())
    }

    /// Near its cap a leg is replaced by one that is ready: in a pause, or at the deadline, when the new leg hears the
    /// whole sentence again.
    pub fn roll(&mut self, step: &mut Step<'_>) -> Vec<Delivery> {
        let Some(leg) = self.current.as_ref().filter(|_| self.replaceable && !self.finishing) else {
            return Vec::new();
        };
        if self.retiring.is_some() {
            return Vec::new();
        }
        let (age, tokens) = (step.now.duration_since(leg.opened_at), leg.tokens().input_tokens);
        let lead = (self.rollover_after / 3).min(LONGEST_LEAD);
        if age < self.rollover_after.saturating_sub(lead) && tokens < self.rollover_tokens {
            return Vec::new();
        }
        if !self.coming.as_ref().is_some_and(Leg::ready) {
            if self.coming.is_none() {
                self.dial(step);
            }
            return Vec::new();
        }
        let late =
            age >= self.rollover_after || tokens >= self.rollover_tokens.saturating_add(self.rollover_tokens / 10);
        let pause_ms = if step.manual {
            (self.committed == self.source.end()).then(|| self.source.ms(self.committed))
        } else {
            // What was said since may be known to the old leg already; it is the new one's from its beginning.
            (!leg.segments.speaking()).then(|| leg.segments.quiet_since_ms())
        };
        let sentence_ms =
            || if step.manual { Some(self.source.ms(self.committed)) } else { leg.segments.speaking_since_ms() };
        match pause_ms.or_else(|| sentence_ms().filter(|_| late)) {
            Some(at_ms) => self.switch(at_ms, step),
            None => Vec::new(),
        }
    }

    /// The coming leg takes all speech that begins at this time or later; the current one is asked for its tail.
    fn switch(&mut self, at_ms: u64, step: &mut Step<'_>) -> Vec<Delivery> {
        let (Some(mut old), Some(new)) = (self.current.take(), self.coming.take()) else { return Vec::new() };
        let (cut, reruns) = old.end_at(at_ms);
        let origin = if reruns.is_empty() && cut.is_empty() {
            self.source.boundary_after(self.position(at_ms))
        } else {
            self.source.boundary(self.position(at_ms.saturating_sub(PAUSE_MS)))
        };
        step.act(Action::Inject(old.number, Frame::Text(realtime::finish_event(&ids::event()))));
        let delivered = ends(&cut);
        self.retiring = Some((old, step.now + TAIL));
        self.begin(new, origin, reruns, step);
        delivered
    }
}

/// What a client's message is, for the legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `input_audio_buffer.append`, or a binary frame.
    Audio,
    /// `input_audio_buffer.commit`
    Commit,
    /// `session.update`
    Settings,
    /// `session.finish`
    Finish,
    /// Anything else.
    Other,
}

/// What goes upstream with a message.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// What it is.
    pub kind: Kind,
    /// Bytes of audio in it.
    pub bytes: u64,
    /// Samples that it adds to the session's mark.
    pub samples: u64,
}

/// The end of each response that the client saw begin.
fn cut_short(leg: &Leg) -> Vec<Delivery> {
    ends(leg.running())
}

fn ends(responses: &[String]) -> Vec<Delivery> {
    let end = |response: &String| Frame::Text(incomplete_response(&ids::event(), response));
    responses.iter().map(|response| Delivery { frame: end(response), audio: false }).collect()
}

fn is_last_word(delivery: &Delivery) -> bool {
    matches!(&delivery.frame, Frame::Text(text) if realtime::upstream_event(text) == UpstreamEvent::Finished)
}

fn added(left: Usage, right: Usage) -> Usage {
    Usage {
        input_tokens: left.input_tokens.saturating_add(right.input_tokens),
        output_tokens: left.output_tokens.saturating_add(right.output_tokens),
    }
}
