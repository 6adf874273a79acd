//! Translates speech over a gateway: one call from the first frame to the last caption, over as many connections
//! as it takes.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::announcement::Announcement;
use super::connection::{Connection, Door, Incoming};
use super::continuity::{Arrival, Continuity, Pace, Sending, Way};
use super::dialect::Wish;
use super::event::Event;
use super::failure::Failure;
use super::input::Input;
use super::outage::Outage;
use super::outcome::{Ending, Outcome, Update};
use super::parting::{Parting, Told};
use super::server::Server;
use super::session::{Session, Stage, Step};
use super::speech::Speech;
use crate::config::settings::Secret;

/// While it opens and after the last frame, a session without any event for so long is given up.
const NO_PROGRESS: Duration = Duration::from_secs(20);
/// How long the close frame behind an error is awaited: a sentence that began is let out first.
const LAST_WORDS: Duration = Duration::from_secs(12);
/// How long the server's goodbye is awaited.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often the gateway is told what arrived.
const RECEIPTS: Duration = Duration::from_secs(1);

/// Where and how to translate.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway.
    pub server: Server,
    /// A license or API key.
    pub license: Secret,
    /// The model's id.
    pub model: String,
    /// Languages, and whether speech is wanted.
    pub wish: Wish,
    /// As fast as the gateway accepts, instead of as fast as it is spoken.
    pub fast: bool,
    /// A lost connection is resumed.
    pub resume: bool,
}

/// Translates `input`; `watcher` hears what happens as it happens. Needs a `LocalSet` (an actix system has one).
///
/// # Errors
/// [`Failure`] when no session came about; a session that ends early is an [`Outcome`] that says so.
pub async fn translate(options: &Options, input: Input, watcher: impl FnMut(Update<'_>)) -> Result<Outcome, Failure> {
    let door = Door::New { model: &options.model, resumable: options.resume };
    let connection = Connection::dial(&options.server, &options.license, door).await?;
    let pace = Pace { fast: options.fast, live: input.samples().is_none() };
    let mut run = Run {
        options,
        speech: Speech::read(input, options.fast),
        session: Session::new(&options.model, options.wish.clone()),
        continuity: Continuity::new(options.resume, pace, now()),
        watcher,
        told: None,
        deadline: Instant::now() + NO_PROGRESS,
        outage: None,
        resumes: 0,
    };
    let ending = Box::pin(run.carry(connection)).await;
    Ok(Outcome {
        segments: run.session.segments().to_vec(),
        audio: run.session.take_audio(),
        samples_sent: run.continuity.sent(),
        tokens: run.session.tokens(),
        provider_session: run.session.provider_session().map(str::to_owned),
        resumes: run.resumes,
        samples_missing: run.continuity.missing(),
        ending,
    })
}

/// One translation while it runs.
struct Run<'a, W> {
    options: &'a Options,
    speech: Speech,
    session: Session,
    continuity: Continuity,
    watcher: W,
    /// The last error event, until something shows that it was not the end.
    told: Option<Told>,
    /// Something must have come until then, where something is due.
    deadline: Instant,
    outage: Option<Outage>,
    resumes: u32,
}

/// Why a connection is left.
enum Leave {
    /// The translation is over.
    End(Ending),
    /// The connection is.
    Parted(Parting),
    /// The gateway asked to.
    Move,
}

impl<W: FnMut(Update<'_>)> Run<'_, W> {
    /// Goes on over one connection after the other.
    async fn carry(&mut self, mut connection: Connection) -> Ending {
        loop {
            let parting = match self.converse(&mut connection).await {
                Leave::End(ending) => return self.farewell(ending, &mut connection).await,
                Leave::Parted(parting) => {
                    drop(connection);
                    parting
                }
                Leave::Move => {
                    connection.leave();
                    Parting::Lost("the gateway instance goes away".to_owned())
                }
            };
            connection = match self.come_back(parting).await {
                Ok(connection) => connection,
                Err(ending) => return ending,
            };
        }
    }

    /// Speaks and listens at once, until this connection or the translation ends.
    async fn converse(&mut self, connection: &mut Connection) -> Leave {
        let outgoing = connection.outgoing();
        let mut receipts = interval(RECEIPTS);
        receipts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.deadline = Instant::now() + NO_PROGRESS;
        loop {
            let left = tokio::select! {
                frame = self.speech.next(), if self.continuity.takes_speech(now()) => self.hear(frame),
                Some(slot) = outgoing.ready(), if self.continuity.has_next() => {
                    if let Some(sending) = self.continuity.next_sending() {
                        slot.text(self.frame(sending));
                    }
                    None
                }
                incoming = connection.next() => match incoming {
                    Incoming::Text(text) => self.take(&text),
                    Incoming::Over(parting) => Some(Leave::Parted(parting)),
                },
                _ = receipts.tick() => {
                    self.continuity.tick();
                    None
                }
                () = sleep_until(self.deadline), if self.is_waiting() => Some(self.waited_in_vain()),
            };
            if let Some(left) = left {
                return left;
            }
        }
    }

    /// Takes a frame of speech.
    fn hear(&mut self, frame: Option<Result<Vec<i16>, Failure>>) -> Option<Leave> {
        let frame = match frame.transpose() {
            Ok(frame) => frame,
            Err(failure) => return Some(Leave::End(Ending::Input(failure.to_string()))),
        };
        if self.continuity.speech(frame.as_deref()) {
            (self.watcher)(Update::Forgetting);
        }
        None
    }

    /// What is sent, as text.
    fn frame(&mut self, sending: Sending) -> String {
        match sending {
            Sending::Event(event) => event.to_string(),
            Sending::Received(seq) => json!({"type": "gateway.received", "seq": seq}).to_string(),
            Sending::Finish => {
                self.deadline = Instant::now() + NO_PROGRESS;
                json!({"type": "session.finish"}).to_string()
            }
            Sending::Audio(samples) => {
                (self.watcher)(Update::Sent(self.continuity.sent()));
                let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                format!(r#"{{"type":"input_audio_buffer.append","audio":"{}"}}"#, BASE64_STANDARD.encode(bytes))
            }
        }
    }

    /// Takes an event.
    fn take(&mut self, text: &str) -> Option<Leave> {
        if !self.told.as_ref().is_some_and(|told| told.ends) {
            self.deadline = Instant::now() + NO_PROGRESS;
        }
        if let Some(announcement) = Announcement::read(text).filter(|_| self.options.resume) {
            return self.announced(&announcement);
        }
        match self.continuity.count(text) {
            Arrival::New => {}
            Arrival::Known => return None,
            Arrival::TooEarly => {
                return Some(Leave::Parted(Parting::Lost("the gateway did not tell where to go on".to_owned())));
            }
        }
        let mut event = Event::read(text);
        if let Event::SpeechStarted { at_ms, .. } | Event::SpeechStopped { at_ms, .. } = &mut event {
            *at_ms = self.continuity.place_ms(*at_ms);
        }
        if !matches!(event, Event::Error { .. }) {
            self.told.take_if(|told| !told.ends);
        }
        self.step(event)
    }

    /// Lets the session take an event, and does what it says.
    fn step(&mut self, event: Event) -> Option<Leave> {
        match self.session.on(event) {
            Step::Wait => {}
            Step::Begin => {
                self.continuity.opened(now());
                (self.watcher)(Update::Open);
            }
            Step::Send(event) => self.continuity.queue(event),
            // The close behind the error says more.
            Step::Finished if self.told.is_some() => {}
            Step::Finished if self.continuity.all_sent() => return Some(Leave::End(Ending::Finished)),
            Step::Finished => {
                let early = "the session was finished before all was sent".to_owned();
                return Some(Leave::End(Ending::Dropped(early)));
            }
            Step::Failed(told) => {
                if told.ends {
                    self.continuity.leave();
                    self.deadline = Instant::now() + LAST_WORDS;
                }
                self.told = Some(told);
            }
            Step::Audio(samples) => (self.watcher)(Update::Audio(samples)),
            Step::Notice(message) => (self.watcher)(Update::Notice(&message)),
            Step::Caption(index, side) => {
                if let Some(segment) = self.session.segments().get(index) {
                    (self.watcher)(Update::Caption(segment, side));
                }
            }
        }
        None
    }

    /// Takes what the gateway says of itself.
    fn announced(&mut self, announcement: &Announcement) -> Option<Leave> {
        match announcement {
            Announcement::Session { resume_token, window_ms, epoch } => {
                self.continuity.granted(resume_token.clone(), *window_ms, *epoch);
                if self.outage.is_some() {
                    self.stands_again(0);
                }
            }
            Announcement::Resumed { epoch, samples, seq } => {
                let is_open = self.session.stage() >= Stage::Open;
                let found = self.continuity.resumed((*epoch, *samples, *seq), is_open, now());
                if let Some(update) = self.session.resumed(found.forgotten) {
                    self.continuity.queue(update);
                }
                self.stands_again(found.missing);
            }
            Announcement::Ack { samples } => self.continuity.acknowledged(*samples, now()),
            Announcement::Gap { to_seq, .. } => self.continuity.skip_to(*to_seq),
            Announcement::Reconnecting => self.session.leg_lost(),
            Announcement::Reconnected | Announcement::Quota { .. } | Announcement::Degraded { .. } => {}
            Announcement::GoingAway { .. } => {
                (self.watcher)(Update::Announced(announcement));
                return Some(Leave::Move);
            }
        }
        (self.watcher)(Update::Announced(announcement));
        None
    }

    fn stands_again(&mut self, missing: u64) {
        self.resumes += 1;
        // An error before was not the end.
        self.told = None;
        let after = self.outage.as_mut().map(|outage| outage.resumed(now())).unwrap_or_default();
        (self.watcher)(Update::Resumed { after, missing });
    }

    /// Whether the gateway owes an event.
    fn is_waiting(&self) -> bool {
        let opening = self.session.stage() < Stage::Open;
        let leaving = self.told.as_ref().is_some_and(|told| told.ends);
        opening || leaving || self.continuity.is_resuming() || self.continuity.all_sent()
    }

    fn waited_in_vain(&mut self) -> Leave {
        let silence = |what: &str| Parting::Lost(format!("{what} within 20 s"));
        let opening = self.session.stage() < Stage::Open;
        if self.continuity.is_resuming() {
            return Leave::Parted(silence("the gateway did not resume the session"));
        }
        let parting = silence(if opening {
            "the gateway did not open the session"
        } else {
            "the rest of the translation did not come"
        });
        Leave::End(Ending::of(parting, self.told.take()))
    }

    /// Comes back after a loss, if that makes sense and as long as it does. Speech is heard meanwhile.
    async fn come_back(&mut self, parting: Parting) -> Result<Connection, Ending> {
        if !parting.may_resume(self.told.as_ref()) {
            return Err(Ending::of(parting, self.told.take()));
        }
        let Some((way, window)) = self.continuity.lost() else {
            return Err(Ending::of(parting, self.told.take()));
        };
        (self.watcher)(Update::Lost(&parting.to_string()));
        let progress = self.continuity.take_progress();
        let earlier = self.outage.map(|outage| outage.again(now(), window, progress));
        let mut outage = earlier.unwrap_or_else(|| Outage::new(now(), window));
        let mut cause = parting.to_string();
        while let Some(at) = outage.next_try(now(), rand::random()) {
            self.outage = Some(outage);
            self.meanwhile(sleep_until(at.into())).await?;
            let options = self.options;
            let door = match &way {
                Way::Anew => Door::New { model: &options.model, resumable: true },
                Way::Resume { token, last_seq } => Door::Resume { token, last_seq: *last_seq },
            };
            match self.meanwhile(Connection::dial(&options.server, &options.license, door)).await? {
                Ok(connection) => {
                    self.continuity.connected();
                    return Ok(connection);
                }
                Err(failure) if failure.may_pass() => cause = failure.to_string(),
                Err(failure) => return Err(Ending::Dropped(format!("it could not be resumed: {failure}"))),
            }
        }
        Err(Ending::Dropped(format!("it could not be resumed within {} s: {cause}", window.as_secs())))
    }

    /// Does `work` while speech goes on.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Ending> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                frame = self.speech.next(), if self.continuity.takes_speech(now()) => {
                    if let Some(Leave::End(ending)) = self.hear(frame) {
                        return Err(ending);
                    }
                }
            }
        }
    }

    /// Takes leave, and listens to what still comes: captions, and behind `session.finished` an error, when the
    /// gateway had stopped taking audio before the speech's end.
    async fn farewell(&mut self, ending: Ending, connection: &mut Connection) -> Ending {
        let until = Instant::now() + GOODBYE;
        if matches!(ending, Ending::Error { .. }) || timeout_at(until, connection.goodbye()).await.is_err() {
            return ending;
        }
        let mut parting = Parting::Lost(String::new());
        while let Ok(incoming) = timeout_at(until, connection.next()).await {
            match incoming {
                Incoming::Text(text) => drop(self.take(&text)),
                Incoming::Over(over) => {
                    parting = over;
                    break;
                }
            }
        }
        match self.told.take() {
            Some(told) if matches!(ending, Ending::Finished | Ending::Dropped(_)) => Ending::of(parting, Some(told)),
            Some(_) | None => ending,
        }
    }
}

/// The clock of what is pure.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
