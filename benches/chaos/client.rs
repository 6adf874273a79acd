//! The customers: each streams numbered audio in real time, keeps the extension's rules, and comes back when its
//! connection is lost. Hundreds share this thread.

use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livetranslate::simulator::numbered;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::dice::Dice;
use crate::socket::{Incoming, Refusal, Socket};
use crate::story::{Return, Step, Story};

/// The model asked for.
pub(crate) const MODEL: &str = "qwen3.5-livetranslate-flash-realtime";
/// Samples of a frame, and how long they last.
pub(crate) const FRAME: u64 = 1_600;
const FRAME_TIME: Duration = Duration::from_millis(100);
/// The silence after which the simulator ends a sentence.
pub(crate) const HANGOVER_MS: u64 = 400;
/// Frames wait here, not in the socket, beyond so many bytes.
const MOST_WAITING: usize = 128 * 1024;
const RECEIVED_EVERY: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How a customer behaves.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// The license's token.
    pub(crate) license: String,
    /// With the continuity extension.
    pub(crate) resumable: bool,
    /// Wants the translation spoken, too.
    pub(crate) spoken: bool,
    /// A connection that is silent for so long is given up; it is asked three times meanwhile.
    pub(crate) patience: Duration,
    /// Seeds its jitter.
    pub(crate) seed: u64,
}

/// How one socket ended.
enum End {
    Done,
    Lost,
    Moving,
}

/// A customer that runs, for whoever watches or disturbs it.
pub(crate) struct Customer {
    story: RefCell<Story>,
    manner: Manner,
    door: SocketAddr,
    /// The address that it speaks from now.
    local: Cell<Option<SocketAddr>>,
    /// When it began to speak.
    begun: Cell<Option<Instant>>,
    deaf: Cell<bool>,
    /// Its kernel takes little for it.
    narrow: Cell<bool>,
    /// Its network is away until then.
    offline: Cell<Option<Instant>>,
    /// Says nothing yet.
    silent: Cell<bool>,
    over: Cell<bool>,
}

impl Customer {
    /// A customer that will come in by this door.
    pub(crate) fn new(door: SocketAddr, story: Story, manner: Manner) -> Rc<Self> {
        Rc::new(Self {
            story: RefCell::new(story),
            manner,
            door,
            local: Cell::new(None),
            begun: Cell::new(None),
            deaf: Cell::new(false),
            narrow: Cell::new(false),
            offline: Cell::new(None),
            silent: Cell::new(false),
            over: Cell::new(false),
        })
    }

    /// What it lived through so far.
    pub(crate) fn story(&self) -> Ref<'_, Story> {
        self.story.borrow()
    }

    /// Where its connection begins, while it has one.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    /// How it behaves.
    pub(crate) fn manner(&self) -> &Manner {
        &self.manner
    }

    /// Whether it is through, one way or the other.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// From now on it reads nothing, or reads again.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.deaf.set(deaf);
    }

    /// Its next socket takes little that isn't read.
    pub(crate) fn set_narrow(&self) {
        self.narrow.set(true);
    }

    /// It reaches nobody for so long; its connection of now is cut elsewhere.
    pub(crate) fn set_offline(&self, away: Duration) {
        self.offline.set(Some(Instant::now() + away));
    }

    /// From now on it says nothing, or what it has to say.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.set(silent);
    }

    /// Remembers what was done to it, for whoever looks into a loss.
    pub(crate) fn note(&self, what: String, struck: SocketAddr) {
        let at = self.begun.get().map_or(Duration::ZERO, |begun| begun.elapsed());
        let mut story = self.story.borrow_mut();
        story.blows.push((at, what));
        story.struck.push(struck);
    }

    /// When a sample was due to leave the microphone.
    pub(crate) fn due(&self, sample: u64) -> Option<Instant> {
        let frames = u32::try_from(sample.div_ceil(FRAME)).ok()?;
        self.begun.get().map(|begun| begun + FRAME_TIME * frames)
    }

    /// Speaks to the end, or until that is impossible.
    pub(crate) async fn run(self: Rc<Self>) {
        let failed = self.live().await.err();
        self.local.set(None);
        self.over.set(true);
        if let Some(why) = failed {
            self.story.borrow_mut().failed = Some(why);
        }
    }

    async fn live(&self) -> Result<(), String> {
        let mut dice = Dice::new(self.manner.seed, u64::from(self.story().stream));
        let (mut lost, mut attempt) = (None, 0);
        loop {
            let path = format!("/v1/realtime?{}", self.story().query(MODEL, self.manner.resumable));
            let bearer = if self.story().token.is_some() { "" } else { &self.manner.license };
            if let Some(until) = self.offline.take() {
                sleep_until(until).await;
            }
            let dialled = Instant::now();
            let end =
                match timeout(self.manner.patience, Socket::dial(self.door, &path, bearer, self.narrow.get())).await {
                    Ok(Ok(socket)) => {
                        let end = self.talk(socket, dialled, &mut lost).await;
                        attempt = if lost.is_none() { 0 } else { attempt };
                        end
                    }
                    Ok(Err(Refusal::Status(status))) if !matches!(status, 429 | 502..=504) => {
                        return Err(format!("refused with {status}"));
                    }
                    Ok(Err(Refusal::Status(_) | Refusal::Unreachable)) | Err(_) => End::Lost,
                };
            self.local.set(None);
            lost = lost.or(Some(Instant::now()));
            if matches!(end, End::Done) {
                return Ok(());
            }
            if let Some(why) = self.is_final(&end) {
                return Err(why);
            }
            self.story.borrow_mut().lose();
            if matches!(end, End::Lost) {
                let longest = LONGEST_BACKOFF.min(FIRST_BACKOFF * 2_u32.saturating_pow(attempt));
                sleep(dice.span(Duration::ZERO, longest)).await;
                attempt += 1;
            }
        }
    }

    /// Why this end of a socket is the session's, if it is.
    fn is_final(&self, end: &End) -> Option<String> {
        let story = self.story();
        let beginning = story.token.is_none() && story.sent == 0;
        let ended = matches!(end, End::Lost) && matches!(story.closed, Some(1008 | 4029));
        let goes_on = beginning || (story.token.is_some() && !ended);
        (!goes_on).then(|| format!("lost, closed with {:?} {:?}", story.closed, story.errors))
    }

    /// One socket, to its end.
    async fn talk(&self, mut socket: Socket, dialled: Instant, lost: &mut Option<Instant>) -> End {
        self.local.set(socket.local());
        let mut heard = Instant::now();
        let mut asked = heard;
        let (mut received, mut reported) = (self.story().seq, heard);
        // What came before may not be gone on with: wait for `gateway.resumed`.
        let mut welcome = self.story().token.is_none();
        let mut finish_said = false;
        loop {
            let now = Instant::now();
            if welcome && self.story().configured && !self.silent.get() {
                finish_said = self.speak(&mut socket, now, finish_said);
            }
            if now >= reported + RECEIVED_EVERY && self.story().seq > received && self.story().token.is_some() {
                (received, reported) = (self.story().seq, now);
                socket.say(json!({"type": "gateway.received", "seq": received}).to_string());
            }
            let third = self.manner.patience / 3;
            if now >= heard.max(asked) + third {
                asked = now;
                socket.ping(b"?");
            }
            socket.deaf = self.deaf.get();
            if now >= heard + self.manner.patience && !socket.deaf {
                return End::Lost;
            }
            let wake = self.wake(now).min(heard.max(asked) + third);
            let step = match socket.next(wake).await {
                None => continue,
                Some(Incoming::Alive) => Step::Nothing,
                Some(Incoming::Text(text)) => {
                    let step = self.story.borrow_mut().on(&text, Instant::now().into_std());
                    if !welcome && text.contains("\"gateway.resumed\"") {
                        welcome = true;
                        self.back(dialled, lost.take());
                    }
                    step
                }
                Some(Incoming::Closed(code)) => {
                    self.story.borrow_mut().closed = code;
                    return End::Lost;
                }
                Some(Incoming::Lost) => return End::Lost,
            };
            heard = Instant::now();
            match step {
                Step::Nothing => {}
                Step::Configure => socket.say(self.settings()),
                Step::Move => {
                    self.leave(socket).await;
                    return End::Moving;
                }
                Step::Done => {
                    socket.say(json!({"type": "gateway.received", "seq": self.story().seq}).to_string());
                    self.leave(socket).await;
                    return End::Done;
                }
            }
        }
    }

    fn back(&self, dialled: Instant, lost: Option<Instant>) {
        let mut story = self.story.borrow_mut();
        let new_epoch = story.epoch > 1 + story.returns.iter().filter(|back| back.new_epoch).count() as u64;
        let away = lost.map_or(Duration::ZERO, |lost| lost.elapsed());
        story.returns.push(Return { took: dialled.elapsed(), away, new_epoch });
    }

    /// Says all that is due, as far as it is taken; true once the end was said.
    fn speak(&self, socket: &mut Socket, now: Instant, finish_said: bool) -> bool {
        let begun = self.begun.get().unwrap_or(now);
        self.begun.set(Some(begun));
        let mut story = self.story.borrow_mut();
        let frames = now.duration_since(begun).as_millis() / FRAME_TIME.as_millis();
        let due = u64::try_from(frames).unwrap_or(u64::MAX).saturating_mul(FRAME).min(story.total);
        let mut pcm = Vec::new();
        while story.next < due && socket.waiting() < MOST_WAITING {
            let end = due.min((story.next / FRAME + 1) * FRAME);
            pcm.clear();
            numbered::write(story.stream, story.next, end - story.next, &mut pcm);
            let audio = STANDARD.encode(&pcm);
            socket.say(format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#));
            story.next = end;
            story.sent = story.sent.max(end);
        }
        if finish_said || story.next < story.total {
            return finish_said;
        }
        socket.say(r#"{"type":"session.finish"}"#.to_owned());
        true
    }

    /// When there is something to say next.
    fn wake(&self, now: Instant) -> Instant {
        let story = self.story();
        let due = self.due(story.next + 1).filter(|_| story.next < story.total);
        due.map_or(now + RECEIVED_EVERY, |due| due.max(now + Duration::from_millis(1)).min(now + RECEIVED_EVERY))
    }

    fn settings(&self) -> String {
        let modalities = if self.manner.spoken { json!(["text", "audio"]) } else { json!(["text"]) };
        json!({"type": "session.update", "session": {
            "modalities": modalities, "input_audio_format": "pcm", "translation": {"language": "en"},
            "turn_detection": {"type": "server_vad", "threshold": 0.2, "silence_duration_ms": HANGOVER_MS},
        }})
        .to_string()
    }

    /// Says goodbye and waits a little until it is heard.
    async fn leave(&self, mut socket: Socket) {
        socket.close();
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            match socket.next(until).await {
                None | Some(Incoming::Lost) => return,
                Some(Incoming::Closed(code)) => return self.story.borrow_mut().closed = code,
                Some(Incoming::Alive | Incoming::Text(_)) => {}
            }
        }
    }
}
