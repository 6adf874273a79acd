//! Puts the house together: opens the store, starts the actors, binds, and drains at the end.
//! The only file that knows everyone.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::rt::task::JoinHandle;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{App, HttpServer};
use jiff::SignedDuration;
use tokio::sync::Notify;

use crate::accounts::Accounts;
use crate::api::admin::lockout::Lockout;
use crate::api::answer;
use crate::api::bodies::Bodies;
use crate::api::catalogue::Catalogue;
use crate::api::cross_origin;
use crate::api::document::whole::Document;
use crate::api::entrance::Entrance;
use crate::api::health::Probe;
use crate::api::routes::{self, Door};
use crate::clock;
use crate::completion::call::Tools;
use crate::config::Config;
use crate::config::settings::Secret;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::metrics::Metrics;
use crate::quota::calls;
use crate::quota::heartbeat;
use crate::quota::instance::Instance;
use crate::quota::keeper::Quota;
use crate::quota::rates::Rates;
use crate::quota::replay;
use crate::quota::running::RunningCalls;
use crate::quota::shared_rate::{self, SharedRates};
use crate::quota::shelter::Shelter;
use crate::retention;
use crate::session::roster::Roster;
use crate::session::rounds::Rounds;
use crate::session::socket::ClientSocket;
use crate::signer::Signer;
use crate::store::announcements::{self, Listener};
use crate::store::connection::{Location, Store};
use crate::store::disk::{self, Disk};
use crate::store::journal::Journal;
use crate::store::migrate;
use crate::store::residence::Residence;
use crate::store::spool::Spool;
use crate::upstream::dashscope::Dashscope;
use crate::upstream::http::HttpCaller;
use crate::upstream::limiter::DialLimiter;
use crate::upstream::pool::Pool;

/// Left of the drain's deadline for connections that are not sessions.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// While draining, how often is looked whether everyone has left.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A gateway that serves.
pub struct Running {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    servers: Vec<ServerHandle>,
    gateway: Gateway,
    presence: Presence,
    disk_watch: JoinHandle<()>,
}

/// What makes this process one of the instances on a store, while it lives.
struct Presence {
    tasks: Vec<JoinHandle<()>>,
    store: Store,
    instance: Instance,
    _residence: Option<Residence>,
    _listener: Option<Listener>,
}

impl Presence {
    fn begin(
        gateway: &Gateway,
        ledger: Store,
        instance: Instance,
        (location, residence): (&Location, Option<Residence>),
    ) -> Result<Self, Error> {
        let announced = Arc::new(Notify::new());
        let wake = announced.clone();
        let listener = announcements::listen(location, move || wake.notify_one())?;
        let callers = (gateway.running.clone(), gateway.credentials.clone());
        let rounds = Rounds::new(gateway.store.clone(), gateway.roster.clone(), callers, instance.id.clone());
        let tasks = vec![
            actix_web::rt::spawn(rounds.make(announced)),
            actix_web::rt::spawn(gateway.running.clone().keep_time()),
            actix_web::rt::spawn(heartbeat::keep(ledger.clone(), instance.clone())),
            actix_web::rt::spawn(gateway.accounts.clone().keep_up()),
            actix_web::rt::spawn(retention::keep(gateway.store.clone(), gateway.config.clone())),
        ];
        Ok(Self { tasks, store: ledger, instance, _residence: residence, _listener: listener })
    }

    /// Goes away: with nothing left behind, others need not look after it.
    async fn end(self, settled: bool) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if settled {
            let forgotten = self.store.run(move |connection| heartbeat::end(connection, &self.instance));
            if let Err(error) = forgotten.await {
                log::warn!("this instance could not sign off: {}", error.cause().unwrap_or_default());
            }
        }
    }
}

/// Starts a gateway in the current actix system.
///
/// # Errors
/// `StorageUnavailable` when the store can't be opened or migrated, `InvalidRequest` for settings that only
/// show as wrong here, `Conflict` when an address can't be bound.
pub async fn start(config: Config) -> Result<Running, Error> {
    // A second start in one process finds the provider installed: that is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let location = Location::parse(config.store.url.expose())?;
    let instance = Instance {
        id: ids::instance(),
        resume_window: resume_window(&config),
        grace_seconds: config.store.grace_seconds,
    };
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(Error::internal)?;
    let pool = Pool::new(metrics.clone());
    let (starting, settings, place, given) = (instance.clone(), config.clone(), location.clone(), pool.clone());
    let open = move || open_store(&place, &settings, &starting, given);
    let opened = actix_web::web::block(open).await.map_err(Error::internal)??;
    let Opened { store, ledger, residence, spool, journal, accounts } = opened;
    let disk = Disk::new(config.store.data_dir.clone(), config.store.disk_margin_bytes);
    let shelter = Shelter::new(spool, disk.clone());
    let missing = || Error::field("SECRET_KEY", "SECRET_KEY is not set");
    let secret_key: &Secret = config.secrets.secret_key.as_ref().ok_or_else(missing)?;
    let signer = Signer::new(secret_key, config.secrets.secret_key_previous.as_ref())?;
    let gateway = Gateway {
        signer: Arc::new(signer),
        quota: Quota::start_sheltered(ledger.clone(), instance.clone(), metrics.clone(), shelter),
        credentials: Credentials::default(),
        accounts,
        pool,
        roster: Roster::start(config.max_sessions(), config.continuity_memory(), metrics.clone()),
        rates: rates(&config, &metrics).await?,
        metrics,
        store,
        config: Arc::new(config),
        running: RunningCalls::default(),
        going_away: Arc::new(AtomicBool::new(false)),
    };
    gateway.quota.calls().keep_in(journal);
    let disk_watch = actix_web::rt::spawn(watch_disk(disk));
    let presence = Presence::begin(&gateway, ledger, instance, (&location, residence))?;
    let settings = &gateway.config.server;
    let separate = settings.admin_listen.clone();
    let door = if separate.is_some() { Door::Public } else { Door::Both };
    let (address, server) = serve(&gateway, (settings.host.as_str(), settings.port), door)?;
    let (mut servers, mut admin_address) = (vec![server.handle()], None);
    actix_web::rt::spawn(server);
    if let Some(listen) = separate {
        let listen: SocketAddr =
            listen.parse().map_err(|_| Error::field("ADMIN_LISTEN", "ADMIN_LISTEN must be address:port"))?;
        let (address, server) = serve(&gateway, (&listen.ip().to_string(), listen.port()), Door::Admin)?;
        log::info!("the admin API listens on http://{address}");
        admin_address = Some(address);
        servers.push(server.handle());
        actix_web::rt::spawn(server);
    }
    if gateway.pool.accounts().is_empty() {
        log::warn!("there is no upstream account: set DASHSCOPE_API_KEY or add one at /admin/accounts");
    }
    log::info!("LiveTranslate Central {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    Ok(Running { address, admin_address, servers, gateway, presence, disk_watch })
}

/// Limits that instances share, where there is a Redis for it: even one that can't be reached yet.
async fn rates(config: &Config, metrics: &Metrics) -> Result<Rates, Error> {
    let Some(url) = &config.store.redis_url else { return Ok(Rates::default()) };
    let patience = Duration::from_millis(config.store.redis_timeout_ms);
    let shared = SharedRates::start(url, (patience, shared_rate::LEASE), metrics.clone()).await?;
    Ok(Rates::over_all(shared, metrics.clone()))
}

fn resume_window(config: &Config) -> SignedDuration {
    const MOST: i64 = 30 * 86_400;
    SignedDuration::from_secs(i64::try_from(config.realtime.resume_window_seconds).map_or(MOST, |set| set.min(MOST)))
}

/// The store, the keeper's own way into it (logins can't keep usage from being written), DATA_DIR and the spool; the
/// upstream accounts that the store knows.
struct Opened {
    store: Store,
    ledger: Store,
    residence: Option<Residence>,
    spool: Option<Spool>,
    journal: Journal,
    accounts: Accounts,
}

fn open_store(location: &Location, config: &Config, instance: &Instance, pool: Pool) -> Result<Opened, Error> {
    const KEEPERS: u32 = 5;
    const KEEPERS_PATIENCE: Duration = Duration::from_secs(2);
    let store = wait_for(location)?;
    for name in store.run_blocking(migrate::run)? {
        log::info!("migrated the store: {name}");
    }
    let accounts = Accounts::load(config, store.clone(), pool)?;
    let data_dir = config.store.data_dir.as_path();
    let spools = data_dir.join("spool");
    replay_orphans(&store, &spools)?;
    let journals = data_dir.join("journal");
    let late = calls::book_orphans(&store, &journals, clock::now())?;
    if late > 0 {
        log::warn!("{late} calls in the journal of a process that is gone are booked");
    }
    let mut residence = Residence::claim(data_dir).unwrap_or_else(|error| {
        log::warn!("after a crash sessions are settled some seconds later: {}", error.cause().unwrap_or_default());
        None
    });
    let predecessor = residence.as_mut().and_then(|residence| residence.predecessor.take());
    store.run_blocking(|connection| heartbeat::begin(connection, instance, predecessor))?;
    if let Some(residence) = &mut residence {
        residence.enter(&instance.id)?;
    }
    let shared = matches!(location, Location::Postgres(_));
    let spool = if shared { Some(Spool::open(&spools, &instance.id)?) } else { None };
    let ledger = Store::open_with(location.clone(), KEEPERS, KEEPERS_PATIENCE)?;
    let journal = Journal::open(&journals, &instance.id)?;
    Ok(Opened { store, ledger, residence, spool, journal, accounts })
}

/// What processes that have ended kept here while the store was away is booked first: their sessions are settled next.
fn replay_orphans(store: &Store, folder: &Path) -> Result<(), Error> {
    for mut orphan in Spool::orphans(folder)? {
        let entries = orphan.entries()?;
        let entered = store.run_blocking(|connection| replay::replay(connection, &entries, clock::now()))?;
        if entered.moved > 0 {
            log::warn!("{} sessions' usage was kept here while the store was away; now it is booked", entered.moved);
        }
        if entered.left_out > 0 {
            log::error!(
                "{} sessions' licenses are not in the store; their usage is kept as *.unread",
                entered.left_out
            );
        }
        orphan.end(entered.left_out > 0);
    }
    Ok(())
}

/// A shared store may come later than its gateways: they wait for it.
fn wait_for(location: &Location) -> Result<Store, Error> {
    loop {
        match Store::open(location.clone()) {
            Err(error) if matches!(location, Location::Postgres(_)) => {
                log::error!("waiting for the store: {}", error.cause().unwrap_or_default());
            }
            opened => return opened,
        }
    }
}

async fn watch_disk(disk: Disk) {
    loop {
        let looking = disk.clone();
        let _looked = actix_web::web::block(move || looking.look()).await;
        tokio::time::sleep(disk::LOOK_EVERY).await;
    }
}

fn serve(gateway: &Gateway, (host, port): (&str, u16), door: Door) -> Result<(SocketAddr, Server), Error> {
    let settings = gateway.config.server.clone();
    let (shared, probe) = (Data::new(gateway.clone()), Data::new(Probe::new(gateway.store.clone())));
    let body_limit = settings.max_body_bytes;
    let upstream = &gateway.config.upstream;
    let limiter = DialLimiter::new(upstream.dials_per_second, upstream.dial_burst);
    let connect = Duration::from_millis(upstream.dial_timeout_ms);
    let timeout = Duration::from_millis(settings.request_timeout_ms);
    let catalogue = Data::new(Catalogue::default());
    let bodies = Data::new(Bodies::default());
    let lockout = Data::new(Mutex::new(Lockout::default()));
    let origins = settings.cors_origins.clone();
    let document = Data::new(Document::new()?);
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        set => set,
    };
    let server = HttpServer::new(move || {
        let dialer =
            Dashscope::new(&shared.config.upstream, shared.pool.clone(), limiter.clone(), shared.metrics.clone());
        let http = HttpCaller::new(connect, shared.config.upstream.http2);
        let tools = Tools { http, pool: shared.pool.clone(), timeout };
        App::new()
            .app_data(shared.clone())
            .app_data(Data::new(tools))
            .app_data(catalogue.clone())
            .app_data(bodies.clone())
            .app_data(document.clone())
            .app_data(probe.clone())
            .app_data(Data::new(dialer))
            .app_data(Data::new(Entrance::default()))
            .app_data(PayloadConfig::new(body_limit))
            .app_data(lockout.clone())
            .configure(|app| routes::mount(app, door))
            .wrap(Condition::new(!origins.is_empty(), cross_origin::rules(&origins)))
            .wrap(from_fn(answer::finish))
    })
    .disable_signals()
    .shutdown_timeout(LAST_ANSWERS.as_secs())
    .tcp_nodelay(true)
    .h1_allow_half_closed(false)
    .max_connections(settings.max_connections.div_ceil(workers))
    .workers(workers)
    .on_connect(ClientSocket::save);
    let cannot = |error: std::io::Error| {
        Error::Conflict(format!(
            "can't listen on {host}:{port}: {error}; set SERVER_HOST and SERVER_PORT to a free address"
        ))
    };
    let server = server.bind((host, port)).map_err(cannot)?;
    let address = server.addrs().first().copied().ok_or_else(|| Error::internal("no address was bound"))?;
    Ok((address, server.run()))
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin API listens, if it has a listener of its own.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Sessions whose usage is not settled yet.
    #[must_use]
    pub fn open_accounts(&self) -> usize {
        self.gateway.quota.open_accounts()
    }

    /// Calls that run, or are answered and not booked.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.gateway.quota.open_calls()
    }

    /// Sessions and calls whose usage is not settled yet.
    fn unfinished(&self) -> usize {
        self.gateway.quota.open_accounts() + self.gateway.quota.open_calls()
    }

    /// Sends everyone home and stops: not ready at once, no new sessions, live ones closed with 1001 after
    /// their sentence or at DRAIN_TIMEOUT_SECONDS, usage written. False if some usage could not be written.
    pub async fn stop(self) -> bool {
        let gateway = &self.gateway;
        let deadline = Instant::now() + Duration::from_secs(gateway.config.server.drain_timeout_seconds);
        gateway.going_away.store(true, Ordering::Release);
        gateway.roster.drain(deadline);
        log::info!("going away: {} sessions are live", gateway.metrics.sessions_live.get());
        while self.unfinished() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for server in &self.servers {
            server.stop(true).await;
        }
        // Sessions that were cut with their connections settle now, and those that still wait for a provider.
        gateway.quota.settle_all();
        let last_call = Instant::now() + LAST_ANSWERS;
        while self.unfinished() > 0 && Instant::now() < last_call {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.disk_watch.abort();
        let unsettled = gateway.quota.open_accounts();
        if unsettled > 0 {
            log::error!("{unsettled} sessions' last usage could not be written");
        }
        match gateway.quota.open_calls() {
            0 => gateway.quota.calls().end_journal(),
            open => log::warn!("{open} calls are not booked; those that were answered are in the journal"),
        }
        let settled = unsettled == 0 && gateway.quota.open_calls() == 0;
        self.presence.end(settled).await;
        settled
    }
}
