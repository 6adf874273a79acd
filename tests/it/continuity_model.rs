//! A whole session on paper under random misfortune: client, relay and simulated providers in one thread, no clock
//! but ours. Whatever breaks, each sentence is captioned once and each sample is billed once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use livetranslate::config::Config;
use livetranslate::config::settings::{Protocol, UsageReport};
use livetranslate::error::Error;
use livetranslate::quota::tally::Ack;
use livetranslate::session::customer::Identity;
use livetranslate::session::frames::Frame;
use livetranslate::session::relay::{Past, Relay};
use livetranslate::session::rules::Rules;
use livetranslate::session::sides::{Pressure, Side};
use livetranslate::session::step::{Action, Event, LeaseView};
use livetranslate::simulator::dialect::Dialect;
use livetranslate::simulator::events::Output;
use livetranslate::simulator::session::Session;
use livetranslate::simulator::tuning::Tuning;
use livetranslate::wire::continuity::counts;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::customer::append;

/// A frame, milliseconds and samples.
const FRAME_MS: u64 = 100;
const FRAME_SAMPLES: u64 = 1_600;

/// How much goes wrong.
#[derive(Clone, Copy)]
struct Luck {
    legs_die: f64,
    client_drops: f64,
    gateway_dies: f64,
    rollover_seconds: u64,
}

/// What the client has and knows.
#[derive(Default)]
struct Client {
    there: bool,
    /// On its way to the client, lost when the connection is.
    wire: VecDeque<Value>,
    /// Frames sent.
    sent: u64,
    epoch: u64,
    seq: u64,
    acked: u64,
    events: Vec<(u64, Value)>,
    configured: bool,
    /// `gateway.resumed` is awaited: nothing is said before.
    resuming: bool,
    finished: bool,
}

struct World {
    rng: StdRng,
    luck: Luck,
    relay: Relay,
    now: Instant,
    legs: BTreeMap<u32, (Session, VecDeque<String>, Instant)>,
    dials: Vec<u32>,
    client: Client,
    speech: Vec<bool>,
    /// The durable side: the mark, the last point that is done, the settings.
    booked: u64,
    done: Ack,
    settings: Option<String>,
    ended: Option<String>,
    heard: u64,
    young: u32,
    /// A tenth of a second of silence, and of speech.
    frames_said: [Frame; 2],
}

fn rules(luck: Luck) -> Rules {
    Rules {
        protocol: Protocol::Livetranslate,
        usage: UsageReport::Cumulative,
        allowed_models: Vec::new(),
        config: Arc::new(Config::defaults().unwrap()),
        longest: None,
        ping_phase: Duration::ZERO,
        replaceable: true,
        rollover_after: Duration::from_secs(luck.rollover_seconds),
        rollover_tokens: u64::MAX,
        expires_at: None,
        key_expires_at: None,
    }
}

fn identity(epoch: u64) -> Identity {
    Identity { session_id: "gws_1".into(), token: "t".into(), epoch, window: Duration::from_secs(120) }
}

impl World {
    fn new(seed: u64, luck: Luck) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut speech = vec![false; 5];
        while speech.len() < 500 {
            let (spoken, pause) = (rng.random_range(8..45), rng.random_range(13..35));
            speech.extend(std::iter::repeat_n(true, spoken));
            speech.extend(std::iter::repeat_n(false, pause));
        }
        let now = Instant::now();
        let mut world = Self {
            relay: Relay::new(rules(luck), Some(identity(1)), now),
            rng,
            luck,
            now,
            legs: BTreeMap::new(),
            dials: Vec::new(),
            client: Client::default(),
            speech,
            booked: 0,
            done: Ack::default(),
            settings: None,
            ended: None,
            heard: 0,
            young: 0,
            frames_said: [0, 8_000].map(|amplitude| Frame::Text(append(100, amplitude).into())),
        };
        world.open_leg(1);
        world.client.there = true;
        world.on(Event::ClientBack(0));
        world
    }

    fn open_leg(&mut self, number: u32) {
        let mut out = Vec::new();
        let model = "qwen3.5-livetranslate-flash-realtime";
        let session = Session::open(Dialect::G1ThreeFive, model, &Tuning::default(), &mut out);
        self.legs.insert(number, (session, texts(out), self.now));
    }

    fn on(&mut self, event: Event) {
        let mut actions = Vec::new();
        let lease = LeaseView {
            room: u64::MAX / 4,
            forwarded: self.booked,
            used_up: None,
            acknowledged: self.done.samples,
            client_takes: true,
        };
        self.relay.on(event, lease, self.now, &mut actions);
        for action in actions {
            self.act(action);
        }
        while let Some(frame) = self.relay.next_for_client() {
            self.down(frame);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ToUpstream(leg, frame, samples) => {
                self.booked += samples;
                self.up(leg, &frame);
            }
            Action::Inject(leg, frame) => self.up(leg, &frame),
            Action::ToClient(frame) => self.down(frame),
            Action::Notice(event) => self.down(Frame::Text(event.frame())),
            Action::Dial(leg, _) => self.dials.push(leg),
            Action::HangUp(leg) => drop(self.legs.remove(&leg)),
            Action::Configure(settings) => self.settings = Some(settings),
            Action::FinishThrough(ack) => self.done = ack,
            Action::Finish(reason) | Action::Release(reason) => self.ended = Some(reason.to_owned()),
            Action::CloseClient(code, reason) => self.ended = Some(format!("{code} {reason}")),
            Action::LastWord(frame) => self.down(frame),
            Action::Demand(_) => self.on(Event::Answered(Ok(()))),
            Action::Count(_)
            | Action::Drop(_)
            | Action::Tokens(_)
            | Action::Ping(_)
            | Action::CutClient
            | Action::Away(_)
            | Action::LeaveSeat => {}
        }
    }

    fn up(&mut self, leg: u32, frame: &Frame) {
        let Frame::Text(text) = frame else { panic!("{frame:?}") };
        let Some((session, waiting, _)) = self.legs.get_mut(&leg) else { return };
        let mut out = Vec::new();
        session.on_text(text, &mut out);
        waiting.extend(texts(out));
    }

    fn down(&mut self, frame: Frame) {
        let Frame::Text(text) = frame else { panic!("{frame:?}") };
        if self.client.there {
            self.client.wire.push_back(serde_json::from_str(&text).unwrap());
        }
    }

    /// A tenth of a second passes.
    fn step(&mut self, tenth: u64) {
        self.now += Duration::from_millis(FRAME_MS);
        if tenth.is_multiple_of(10) {
            self.relay.heard(Side::Client, self.now);
            let numbers: Vec<u32> = self.legs.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.relay.upstream_lives(number, self.now));
            self.on(Event::Tick(Pressure::default()));
            if self.client.there && !self.client.resuming {
                self.say(json!({"type": "gateway.received", "seq": self.client.seq}));
            }
        }
        self.misfortune();
        for leg in std::mem::take(&mut self.dials) {
            if self.rng.random_bool(0.2) {
                self.on(Event::Dialled(leg, Err((Error::UpstreamTimeout, false))));
            } else if self.rng.random_bool(0.5) {
                self.dials.push(leg);
            } else {
                self.open_leg(leg);
                self.on(Event::Dialled(leg, Ok(())));
            }
        }
        self.provider_speaks();
        self.client_reads();
        self.client_speaks();
    }

    fn misfortune(&mut self) {
        // Two that die young are endured, three are not.
        if self.rng.random_bool(self.luck.legs_die)
            && let Some((leg, opened)) =
                self.legs.iter().map(|(leg, (_, _, opened))| (*leg, *opened)).nth(self.rng.random_range(0..2))
            && (self.young == 0 || self.now.duration_since(opened) > Duration::from_secs(6))
        {
            self.young = u32::from(self.now.duration_since(opened) <= Duration::from_secs(6));
            self.legs.remove(&leg);
            self.on(Event::UpstreamGone(leg, None));
        }
        if self.client.there && self.rng.random_bool(self.luck.client_drops) {
            self.client.there = false;
            self.client.wire.clear();
            self.on(Event::ClientGone(false));
        }
        if self.rng.random_bool(self.luck.gateway_dies) {
            self.client.there = false;
            self.client.wire.clear();
            self.legs.clear();
            self.dials.clear();
            let past = Past { ack: self.done, settings: self.settings.clone(), age: Duration::ZERO };
            self.relay = Relay::resumed(rules(self.luck), identity(self.client.epoch + 1), past, self.now);
            self.open_leg(1);
        }
        if !self.client.there && self.ended.is_none() && self.rng.random_bool(0.1) {
            assert!(self.relay.takes_back(self.client.seq));
            self.client.there = true;
            self.client.resuming = true;
            self.on(Event::ClientBack(self.client.seq));
        }
    }

    fn provider_speaks(&mut self) {
        let numbers: Vec<u32> = self.legs.keys().copied().collect();
        for number in numbers {
            let count = self.rng.random_range(0..6);
            for _ in 0..count {
                let Some(text) = self.legs.get_mut(&number).and_then(|(_, waiting, _)| waiting.pop_front()) else {
                    break;
                };
                self.on(Event::Upstream(number, Frame::Text(text.into())));
            }
        }
    }

    fn client_reads(&mut self) {
        let count = self.rng.random_range(0..12);
        for _ in 0..count {
            let Some(event) = self.client.wire.pop_front() else { return };
            let kind = event["type"].as_str().unwrap().to_owned();
            if counts(&kind, event["event_id"].as_str().unwrap_or_default()) {
                self.client.seq += 1;
            }
            match kind.as_str() {
                "gateway.session" => self.client.epoch = 1,
                "gateway.resumed" => {
                    self.client.resuming = false;
                    self.client.epoch = event["epoch"].as_u64().unwrap();
                    self.client.seq = event["seq"].as_u64().unwrap();
                    let samples = event["samples"].as_u64().unwrap();
                    assert!(samples >= self.client.acked, "{samples} < {}", self.client.acked);
                    assert_eq!(samples % FRAME_SAMPLES, 0);
                    self.client.sent = samples / FRAME_SAMPLES;
                    if self.client.finished {
                        self.say(json!({"type": "session.finish"}));
                    }
                }
                "gateway.ack" => self.client.acked = event["samples"].as_u64().unwrap(),
                "session.updated" => self.client.configured = true,
                "error" => panic!("a client that does all right was told {event}"),
                "session.created" => {
                    let update = json!({"type": "session.update", "session": {"translation": {"language": "fr"}}});
                    self.say(update);
                }
                _ => {}
            }
            self.client.events.push((self.client.epoch, event));
        }
    }

    fn client_speaks(&mut self) {
        if self.client.resuming {
            return;
        }
        // Resent audio goes faster than life.
        for _ in 0..4 {
            if !self.client.there || !self.client.configured || self.client.sent >= self.heard.min(self.frames()) {
                break;
            }
            let loud = self.speech[usize::try_from(self.client.sent).unwrap()];
            self.client.sent += 1;
            let frame = self.frames_said[usize::from(loud)].clone();
            self.on(Event::Client(frame));
        }
        if self.client.configured {
            self.heard += 1;
        }
        let all = self.client.sent == self.frames() && self.client.there;
        if all && !self.client.finished {
            self.client.finished = true;
            self.say(json!({"type": "session.finish"}));
        }
    }

    fn frames(&self) -> u64 {
        self.speech.len() as u64
    }

    fn say(&mut self, event: Value) {
        self.on(Event::Client(Frame::Text(event.to_string().into())));
    }

    fn finished(&self) -> bool {
        self.client.events.iter().any(|(_, event)| event["type"] == "session.finished")
    }

    /// Runs to the last word.
    fn run(&mut self) {
        for tenth in 1..20_000 {
            self.step(tenth);
            assert_eq!(self.ended, None, "at {tenth}");
            if self.finished() {
                return;
            }
            if self.client.finished {
                // Let the last sentence out.
                self.luck = Luck { legs_die: 0.0, client_drops: 0.0, gateway_dies: 0.0, ..self.luck };
            }
        }
        panic!(
            "never finished: sent {} of {}, there {}, configured {}, legs {:?}, dials {:?}, last {}",
            self.client.sent,
            self.frames(),
            self.client.there,
            self.client.configured,
            self.legs.keys(),
            self.dials,
            self.client.events.last().unwrap().1["type"],
        );
    }

    /// When each stretch of speech began, milliseconds.
    fn sentences(&self) -> Vec<u64> {
        let starts = (1..self.speech.len()).filter(|&index| self.speech[index] && !self.speech[index - 1]);
        starts.map(|index| index as u64 * FRAME_MS).collect()
    }

    /// The captions that the client counts, by the beginning of the speech they are for: source and translation.
    fn captions(&self, epochs: impl Fn(u64) -> bool) -> (Vec<u64>, Vec<u64>) {
        let mut started: BTreeMap<String, u64> = BTreeMap::new();
        let (mut awaiting, mut responses) = (VecDeque::new(), BTreeMap::new());
        let (mut sources, mut translations) = (Vec::new(), Vec::new());
        for (_, event) in self.client.events.iter().filter(|(epoch, _)| epochs(*epoch)) {
            let id = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().unwrap() {
                "input_audio_buffer.speech_started" => {
                    let at = event["audio_start_ms"].as_u64().unwrap();
                    started.insert(id("item_id"), at);
                    awaiting.push_back(at);
                }
                "conversation.item.input_audio_transcription.completed" => sources.push(started[&id("item_id")]),
                "response.created" => {
                    let response = event["response"]["id"].as_str().unwrap().to_owned();
                    responses.insert(response, awaiting.pop_back().unwrap_or_default());
                }
                "response.audio_transcript.done" => translations.push(responses[&id("response_id")]),
                _ => {}
            }
        }
        (sources, translations)
    }

    /// Each sentence once: a caption belongs to the sentence that begins nearest to it.
    fn check(&self, name: &str, mut captions: Vec<u64>, seed: u64) {
        let sentences = self.sentences();
        let near = |at: u64| sentences.iter().copied().min_by_key(|start| start.abs_diff(at)).unwrap();
        captions = captions.into_iter().map(near).collect();
        captions.sort_unstable();
        assert_eq!(captions, sentences, "{name} of seed {seed}");
    }
}

fn texts(out: Vec<Output>) -> VecDeque<String> {
    let text = |output| match output {
        Output::Event { text, .. } => text,
        Output::Close { code, reason } => panic!("{code} {reason}"),
    };
    out.into_iter().map(text).collect()
}

fn each_sentence_once(seeds: std::ops::Range<u64>, luck: Luck) {
    for seed in seeds {
        let mut world = World::new(seed, luck);
        world.run();
        let (sources, _) = world.captions(|_| true);
        world.check("sources", sources, seed);
        let translations =
            world.client.events.iter().filter(|(_, event)| event["type"] == "response.audio_transcript.done");
        assert_eq!(translations.count(), world.sentences().len(), "translations of seed {seed}");
        assert_eq!(world.booked, world.frames() * FRAME_SAMPLES, "seed {seed}");
    }
}

const CALM: Luck = Luck { legs_die: 0.0, client_drops: 0.0, gateway_dies: 0.0, rollover_seconds: 1_500 };

#[test]
fn calm() {
    each_sentence_once(0..5, CALM);
}

#[test]
fn customers_drop_and_come_back() {
    each_sentence_once(0..40, Luck { client_drops: 0.02, ..CALM });
}

#[test]
fn legs_die_and_are_replaced() {
    each_sentence_once(0..60, Luck { legs_die: 0.008, ..CALM });
}

#[test]
fn legs_are_rolled_over() {
    each_sentence_once(0..40, Luck { rollover_seconds: 8, ..CALM });
}

#[test]
fn everything_at_once() {
    each_sentence_once(0..100, Luck { legs_die: 0.005, client_drops: 0.01, gateway_dies: 0.0, rollover_seconds: 9 });
}

#[test]
fn nothing_spoken_is_lost_when_the_gateway_dies() {
    for seed in 0..60 {
        let luck = Luck { legs_die: 0.003, client_drops: 0.005, gateway_dies: 0.004, rollover_seconds: 20 };
        let mut world = World::new(seed, luck);
        world.run();
        let (sources, _) = world.captions(|_| true);
        let sentences = world.sentences();
        for start in sentences {
            assert!(sources.iter().any(|at| at.abs_diff(start) <= 700), "seed {seed}: {start} in {sources:?}");
        }
        assert_eq!(world.booked, world.frames() * FRAME_SAMPLES, "seed {seed}: billed once, however often it was sent");
    }
}
