//! The way to Redis: commands in order, many in one go. While it doesn't answer nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo as _, Pipeline, RedisError, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::config::settings::Secret;
use crate::error::Error;
use crate::metrics::Metrics;

/// Commands that wait at most.
const WAITING: usize = 16_384;
/// Commands in one go.
const AT_ONCE: usize = 512;
/// A connection is made and tried within this.
const OPENING: Duration = Duration::from_secs(1);
/// Between two tries to get a connection.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Where nobody asks for anything, how often is looked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether Redis is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was not tried yet.
    Unknown,
    /// It answers.
    There,
    /// It doesn't, or not in time.
    Away,
}

/// A connection to Redis that renews itself; cheap to clone, shared by all threads.
#[derive(Clone, Debug)]
pub struct Redis {
    asks: mpsc::Sender<Ask>,
    state: Arc<State>,
}

#[derive(Debug)]
struct Ask {
    command: Cmd,
    reply: Option<oneshot::Sender<Value>>,
}

struct State {
    standing: watch::Sender<Standing>,
    /// Who doesn't answer within this is away.
    patience: Duration,
    metrics: Metrics,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("State").field("standing", &*self.standing.borrow()).finish_non_exhaustive()
    }
}

/// What is said to a new connection before it is used.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// Each must be answered without an error.
    pub commands: Vec<Cmd>,
    /// The one of them that tells whether what is wanted works; also said where nobody asks for anything.
    pub probe: Cmd,
}

impl Redis {
    /// Connects in the background, and again whenever that is needed. Returns once it was tried.
    ///
    /// # Errors
    /// `InvalidRequest` for a URL that says nowhere to connect to.
    pub async fn start(url: &Secret, patience: Duration, greeting: Greeting, metrics: Metrics) -> Result<Self, Error> {
        let client = client(url)?;
        let (asks, queue) = mpsc::channel(WAITING);
        let (standing, mut tried) = watch::channel(Standing::Unknown);
        let state = Arc::new(State { standing, patience, metrics });
        tokio::spawn(keep(client, greeting, queue, state.clone()));
        let _tried = timeout(2 * OPENING, tried.changed()).await;
        Ok(Self { asks, state })
    }

    /// Whether it is there.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.state.standing.borrow()
    }

    /// Hears of each change of [`Redis::standing`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.state.standing.subscribe()
    }

    /// Asks; none when Redis is away. The first who waits in vain has waited for all.
    pub async fn ask(&self, command: Cmd) -> Option<Value> {
        if self.standing() != Standing::There {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask { command, reply: Some(reply) }).ok()?;
        match timeout(self.state.patience, answer).await {
            Ok(answered) => answered.ok(),
            Err(_) => {
                self.state.is_away("it did not answer in time");
                None
            }
        }
    }

    /// Says something that needs no answer: before whatever is asked next. Lost if Redis is away.
    pub fn tell(&self, command: Cmd) {
        if self.standing() == Standing::There {
            // Where there is no room for it, what it would have ended ends by itself.
            let _full = self.asks.try_send(Ask { command, reply: None });
        }
    }
}

impl State {
    fn is_there(&self) {
        let changes = self.standing.send_replace(Standing::There) != Standing::There;
        if changes {
            self.metrics.redis_up.with_label_values::<&str>(&[]).set(1);
            log::info!("rate limits are shared through Redis");
        }
    }

    fn is_away(&self, why: &str) {
        let changes = self.standing.send_replace(Standing::Away) != Standing::Away;
        if changes {
            self.metrics.redis_up.with_label_values::<&str>(&[]).set(0);
            log::warn!("Redis is away ({why}): every instance keeps rate limits by itself until it is back");
        }
    }
}

fn client(url: &Secret) -> Result<Client, Error> {
    // What is wrong with it is not said: it may hold a password.
    let fault = |_| Error::field("REDIS_URL", "REDIS_URL can't be read: write redis://[user:password@]host:port[/db]");
    let info = url.expose().into_connection_info().map_err(fault)?;
    Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))).map_err(fault)
}

/// Whether a Redis answers there; else why not.
///
/// # Errors
/// For people.
pub fn try_once(url: &Secret, patience: Duration) -> Result<(), String> {
    let client = client(url).map_err(|error| error.to_string())?;
    let mut connection = client.get_connection_with_timeout(patience).map_err(|error| error.to_string())?;
    connection.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    redis::cmd("PING").exec(&mut connection).map_err(|error| error.to_string())
}

/// Until nobody can ask any more.
async fn keep(client: Client, greeting: Greeting, mut asks: mpsc::Receiver<Ask>, state: Arc<State>) {
    loop {
        let opened = timeout(OPENING, open(&client, &greeting)).await;
        let ended = match opened {
            Ok(Ok(connection)) => {
                state.is_there();
                serve(connection, &greeting.probe, &mut asks, &state).await
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it did not answer in time".to_owned()),
        };
        let Some(why) = ended else { return };
        state.is_away(&why);
        // Whoever asked meanwhile need not wait.
        while asks.try_recv().is_ok() {}
        if asks.is_closed() {
            return;
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn open(client: &Client, greeting: &Greeting) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    for command in greeting.commands.iter().chain([&greeting.probe]) {
        command.exec_async(&mut connection).await?;
    }
    Ok(connection)
}

/// Until it fails, which is told, or nobody can ask any more.
async fn serve(
    mut connection: MultiplexedConnection,
    probe: &Cmd,
    asks: &mut mpsc::Receiver<Ask>,
    state: &State,
) -> Option<String> {
    let mut standing = state.standing.subscribe();
    let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            count = asks.recv_many(&mut batch, AT_ONCE) => {
                if count == 0 {
                    return None;
                }
            }
            _ = looks.tick() => batch.push(Ask { command: probe.clone(), reply: None }),
            _ = standing.changed() => return Some("it did not answer in time".to_owned()),
        }
        match timeout(state.patience, send(&mut connection, batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Some(why),
            Err(_) => return Some("it did not answer in time".to_owned()),
        }
    }
}

async fn send(connection: &mut MultiplexedConnection, batch: Vec<Ask>) -> Result<(), String> {
    let (mut pipeline, mut replies) = (Pipeline::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for Ask { command, reply } in batch {
        // Whoever waits no more would not know what became of it.
        if reply.as_ref().is_none_or(|reply| !reply.is_closed()) {
            pipeline.add_command(command);
            replies.push(reply);
        }
    }
    if replies.is_empty() {
        return Ok(());
    }
    let answers = connection.send_packed_commands(&pipeline, 0, replies.len()).await;
    let mut fault = None;
    for (reply, answer) in replies.into_iter().zip(answers.map_err(|error| error.to_string())?) {
        match (answer, reply) {
            (Value::ServerError(error), _) => fault = Some(RedisError::from(error).to_string()),
            (answer, Some(reply)) => drop(reply.send(answer)),
            (_, None) => {}
        }
    }
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_holds_is_not_said() {
        for url in ["redis://:p4ssword@", "redis://:p4ssword@host:port", "rediss://u:p4ssword@h:1/x"] {
            let error = client(&Secret::new(url)).unwrap_err();
            assert!(error.param() == Some("REDIS_URL") && !error.to_string().contains("p4ss"), "{url}: {error}");
        }
        assert!(client(&Secret::new("rediss://user:p4ssword@host:6380/2")).is_ok());
        let nobody = try_once(&Secret::new("redis://:p4ssword@127.0.0.1:1"), Duration::from_secs(5)).unwrap_err();
        assert!(!nobody.contains("p4ss"), "{nobody}");
    }

    #[test]
    fn who_does_not_speak_tls_is_no_redis() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rediss://:p4ssword@{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let why = try_once(&Secret::new(url), Duration::from_secs(5)).unwrap_err();
        assert!(!why.contains("p4ss"), "{why}");
        server.join().unwrap();
    }
}
