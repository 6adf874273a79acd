//! Translates speech over a gateway: one call from the first frame to the last caption.

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::captions::{Segment, Side};
use super::connection::{Connection, Incoming, Outgoing};
use super::dialect::Wish;
use super::event::{Event, Usage};
use super::failure::Failure;
use super::input::Input;
use super::server::Server;
use super::session::{Session, Stage, Step};
use crate::config::settings::Secret;

const FRAME_TIME: Duration = Duration::from_millis(100);
/// While it opens and after the last frame, a session without any event for so long is given up.
const NO_PROGRESS: Duration = Duration::from_secs(20);
/// How long the close frame behind an error is awaited: a sentence that began is let out first.
const LAST_WORDS: Duration = Duration::from_secs(12);
/// How long the server's goodbye is awaited.
const GOODBYE: Duration = Duration::from_secs(2);

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
}

/// What happens while it is translated, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<'a> {
    /// Audio begins to flow.
    Open,
    /// So many samples were sent in all, at 16 kHz.
    Sent(u64),
    /// One of a segment's captions changed; for good if it is final.
    Caption(&'a Segment, Side),
    /// So many samples of translated speech arrived, at 24 kHz.
    Audio(usize),
    /// The provider didn't like something; it goes on.
    Notice(&'a str),
}

/// What a translation brought, also one that ended early.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Speech and captions, in order.
    pub segments: Vec<Segment>,
    /// Translated speech, 24 kHz mono.
    pub audio: Vec<i16>,
    /// Samples sent, at 16 kHz.
    pub samples_sent: u64,
    /// Tokens that the provider reported.
    pub tokens: Usage,
    /// The provider's `sess_…`.
    pub provider_session: Option<String>,
    /// How it ended.
    pub ending: Ending,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All that was sent is translated.
    Finished,
    /// By an `error` event: its code and sentence, and the close code that followed.
    Error {
        /// The event's code, e.g. `insufficient_quota`.
        code: String,
        /// The event's sentence.
        message: String,
        /// The close code, e.g. 4029.
        close: Option<u16>,
    },
    /// The server closed without an error event.
    Closed {
        /// The close code.
        code: Option<u16>,
        /// The close frame's reason.
        reason: String,
    },
    /// The connection broke, or nothing came any more.
    Dropped(String),
    /// The speech could not be read to its end.
    Input(String),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => formatter.write_str("finished"),
            Self::Error { code, message, close } => {
                write!(formatter, "the gateway ended the session ({code}")?;
                close.map_or(Ok(()), |close| write!(formatter, ", close {close}"))?;
                write!(formatter, "): {message}")
            }
            Self::Closed { code: Some(code), reason } => {
                write!(formatter, "the gateway closed the connection ({code}) before the end {reason}")
            }
            Self::Closed { code: None, .. } => formatter.write_str("the gateway closed the connection before the end"),
            Self::Dropped(cause) => write!(formatter, "the connection was lost before the end: {cause}"),
            Self::Input(cause) => formatter.write_str(cause),
        }
    }
}

/// Translates `input`; `watcher` hears what happens as it happens. Needs a `LocalSet` (an actix system has one).
///
/// # Errors
/// [`Failure`] when no session came about; a session that ends early is an [`Outcome`] that says so.
pub async fn translate(
    options: &Options,
    input: Input,
    mut watcher: impl FnMut(Update<'_>),
) -> Result<Outcome, Failure> {
    let mut connection = Connection::dial(&options.server, &options.license, &options.model).await?;
    let mut session = Session::new(&options.model, options.wish.clone());
    let (sending, sent) = watch::channel(0);
    let ending = match open(&mut connection, &mut session, &mut watcher).await {
        Some(ending) => ending,
        None => {
            let speech = speak(connection.outgoing(), input, options.fast, &sending);
            listen(&mut connection, &mut session, speech, sent, &mut watcher).await
        }
    };
    let ending = farewell(ending, &mut connection, &mut session, &mut watcher).await;
    Ok(Outcome {
        segments: session.segments().to_vec(),
        audio: session.take_audio(),
        samples_sent: *sending.borrow(),
        tokens: session.tokens(),
        provider_session: session.provider_session().map(str::to_owned),
        ending,
    })
}

/// Waits until audio may flow.
async fn open(
    connection: &mut Connection,
    session: &mut Session,
    watcher: &mut impl FnMut(Update<'_>),
) -> Option<Ending> {
    while session.stage() != Stage::Open {
        let Ok(incoming) = timeout(NO_PROGRESS, connection.next()).await else {
            return Some(Ending::Dropped("the gateway did not open the session within 20 s".to_owned()));
        };
        match taken(incoming, session, watcher) {
            Next::Wait => {}
            Next::Send(event) => drop(connection.outgoing().text(event).await),
            Next::End(ending) => return Some(ending),
        }
    }
    watcher(Update::Open);
    None
}

/// Speaks and listens at once; after the last frame, listens on until all is translated.
async fn listen(
    connection: &mut Connection,
    session: &mut Session,
    speech: impl Future<Output = Result<(), Failure>>,
    mut sent: watch::Receiver<u64>,
    watcher: &mut impl FnMut(Update<'_>),
) -> Ending {
    let mut speech = pin!(speech);
    let mut speaking = true;
    let mut deadline = Instant::now();
    loop {
        let incoming = tokio::select! {
            Ok(()) = sent.changed() => {
                watcher(Update::Sent(*sent.borrow_and_update()));
                continue;
            }
            spoken = &mut speech, if speaking => {
                speaking = false;
                deadline = Instant::now() + NO_PROGRESS;
                match spoken {
                    Ok(()) => continue,
                    Err(failure) => return Ending::Input(failure.to_string()),
                }
            }
            incoming = connection.next() => incoming,
            () = sleep_until(deadline), if !speaking => {
                return Ending::Dropped("the rest of the translation did not come within 20 s".to_owned());
            }
        };
        deadline = Instant::now() + NO_PROGRESS;
        match taken(incoming, session, watcher) {
            Next::Wait => {}
            Next::Send(event) => drop(connection.outgoing().text(event).await),
            Next::End(Ending::Finished) if speaking => {
                return Ending::Dropped("the session was finished before all was sent".to_owned());
            }
            Next::End(ending) => return ending,
        }
    }
}

/// Sends all speech and `session.finish`.
async fn speak(outgoing: Outgoing, mut input: Input, fast: bool, sent: &watch::Sender<u64>) -> Result<(), Failure> {
    let mut due = Instant::now();
    while let Some(frame) = input.frame().await? {
        if !fast {
            sleep_until(due).await;
            // After a pause, of a live source or of the network, speech is not hurried.
            due = (due + FRAME_TIME).max(Instant::now());
        }
        let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let audio = BASE64_STANDARD.encode(bytes);
        if !outgoing.text(format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#)).await {
            // The listener learns why.
            return Ok(());
        }
        sent.send_modify(|samples| *samples += frame.len() as u64);
    }
    outgoing.text(r#"{"type":"session.finish"}"#.to_owned()).await;
    Ok(())
}

/// Takes leave, and listens to what still comes: captions and the close code behind an error; behind
/// `session.finished` an error, when the gateway had stopped taking audio before the speech's end.
async fn farewell(
    mut ending: Ending,
    connection: &mut Connection,
    session: &mut Session,
    watcher: &mut impl FnMut(Update<'_>),
) -> Ending {
    let patience = match ending {
        Ending::Dropped(_) => return ending,
        Ending::Error { .. } => LAST_WORDS,
        Ending::Finished | Ending::Closed { .. } | Ending::Input(_) => GOODBYE,
    };
    let deadline = Instant::now() + patience;
    // Whoever announced an error closes himself.
    if patience == GOODBYE && timeout_at(deadline, connection.goodbye()).await.is_err() {
        return ending;
    }
    while let Ok(incoming) = timeout_at(deadline, connection.next()).await {
        let closed = match &incoming {
            Incoming::Text(_) => None,
            Incoming::Closed(code, _) => Some(*code),
            Incoming::Lost(_) => return ending,
        };
        if let Some(code) = closed {
            if let Ending::Error { close, .. } = &mut ending {
                *close = code;
            }
            return ending;
        }
        if let Next::End(late @ Ending::Error { .. }) = taken(incoming, session, watcher)
            && ending == Ending::Finished
        {
            ending = late;
        }
    }
    ending
}

enum Next {
    Wait,
    Send(String),
    End(Ending),
}

/// Takes what came in and shows it.
fn taken(incoming: Incoming, session: &mut Session, watcher: &mut impl FnMut(Update<'_>)) -> Next {
    let text = match incoming {
        Incoming::Text(text) => text,
        Incoming::Closed(code, reason) => return Next::End(Ending::Closed { code, reason }),
        Incoming::Lost(cause) => return Next::End(Ending::Dropped(cause)),
    };
    match session.on(Event::read(&text)) {
        Step::Wait | Step::Begin => {}
        Step::Send(event) => return Next::Send(event.to_string()),
        Step::Finished => return Next::End(Ending::Finished),
        Step::Failed(code, message) => return Next::End(Ending::Error { code, message, close: None }),
        Step::Audio(samples) => watcher(Update::Audio(samples)),
        Step::Notice(message) => watcher(Update::Notice(&message)),
        Step::Caption(index, side) => {
            if let Some(segment) = session.segments().get(index) {
                watcher(Update::Caption(segment, side));
            }
        }
    }
    Next::Wait
}
