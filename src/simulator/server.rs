//! Binds the simulator to loopback: the WebSocket routes, the HTTP side, the ledgers and the faults over HTTP.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use actix_web_actors::ws;
use serde_json::json;

use super::connection::{Connection, Cord, Parts};
use super::dialect::Dialect;
use super::events::Output;
use super::faults::Faults;
use super::frames::Writer;
use super::handshake;
use super::http;
use super::http::calls::{CallRecord, CallTotals};
use super::http::desk::Desk;
use super::http::faults::HttpFaults;
use super::http::tasks::Tasks;
use super::ledger::{Ledger, Page, SessionRecord, locked};
use super::protocol::Protocol;
use super::tuning::Tuning;

/// The provider ends a connection after two hours.
const LONGEST_SECONDS: u64 = 120 * 60;

/// How long an idle connection is kept: longer than callers keep theirs.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How a simulator is set up. The default takes any key on any free port and makes no trouble.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// The only key that is right; `None`: every one.
    pub api_key: Option<String>,
    /// What goes wrong on each connection that has no faults of its own.
    pub faults: Faults,
    /// What goes wrong with each HTTP call that has no faults of its own.
    pub http_faults: HttpFaults,
    /// Keep every text frame of the clients in the ledger, for tests.
    pub record_frames: bool,
    /// How it hears and speaks, and how fast its timers run.
    pub tuning: Tuning,
}

/// A running simulator. It stops when dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    handle: ServerHandle,
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    ledger: Ledger,
    queue: Mutex<VecDeque<Faults>>,
}

impl Simulator {
    /// Binds and serves, on a thread of its own, within the current actix system.
    ///
    /// # Errors
    /// When the port can't be bound.
    #[expect(clippy::unused_async, reason = "tells that an actix system must be running")]
    pub async fn start(options: Options) -> io::Result<Self> {
        let port = options.port;
        let desk = Arc::new(Desk::new(options.api_key.clone(), options.http_faults.clone()));
        let shared = Arc::new(Shared { options, ledger: Ledger::default(), queue: Mutex::default() });
        let (data, desks) = (web::Data::from(shared.clone()), web::Data::from(desk.clone()));
        let tasks = web::Data::<Tasks>::default();
        let app = move || App::new().app_data(data.clone()).app_data(desks.clone()).app_data(tasks.clone());
        let server = HttpServer::new(move || app().configure(routes).configure(http::routes::routes))
            .on_connect(tie)
            .workers(1)
            .keep_alive(KEEP_ALIVE)
            // Or a caller who leaves would not be noticed before his answer begins.
            .h1_allow_half_closed(false)
            .disable_signals()
            // After the goodbyes the line is cut at once, or each close would take a second.
            .client_disconnect_timeout(Duration::ZERO)
            .shutdown_timeout(1)
            .bind((Ipv4Addr::LOCALHOST, port))?;
        let address = server.addrs().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = server.run();
        let handle = server.handle();
        rt::spawn(server);
        Ok(Self { address, handle, shared, desk })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to put in DASHSCOPE_WEBSOCKET_BASE_URL.
    #[must_use]
    pub fn websocket_base(&self) -> String {
        format!("ws://{}/api-ws/v1", self.address)
    }

    /// What to put in DASHSCOPE_HTTP_BASE_URL.
    #[must_use]
    pub fn http_base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The ledger: every connection so far, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.shared.ledger.sessions()
    }

    /// Every connection so far, oldest first, as it goes on.
    #[must_use]
    pub fn pages(&self) -> Vec<Page> {
        self.shared.ledger.pages()
    }

    /// Faults for the next connection that has none yet; first in, first out.
    pub fn next_faults(&self, faults: Faults) {
        locked(&self.shared.queue).push_back(faults);
    }

    /// Every HTTP call so far, oldest first; the latest 200,000.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.desk.calls.records()
    }

    /// Sums over every HTTP call so far.
    #[must_use]
    pub fn call_totals(&self) -> CallTotals {
        self.desk.calls.totals()
    }

    /// Faults for the next HTTP call that has none yet; first in, first out.
    pub fn next_http_faults(&self, faults: HttpFaults) {
        self.desk.queue(faults);
    }

    /// Cuts all connections and frees the port.
    pub async fn stop(&self) {
        self.handle.stop(false).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // The command is sent at once; only its completion would have to be awaited.
        drop(self.handle.stop(false));
    }
}

/// Keeps a handle on the socket beside the connection, so that a fault can cut it.
fn tie(io: &dyn Any, extensions: &mut Extensions) {
    let socket = io.downcast_ref::<TcpStream>().map(socket2::SockRef::from);
    if let Some(socket) = socket {
        // Small events shall not wait for each other.
        socket.set_tcp_nodelay(true).unwrap_or_default();
        if let Ok(copy) = socket.try_clone() {
            extensions.insert(Cord(Rc::new(copy)));
        }
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/api-ws/v1/realtime", web::get().to(realtime))
        .route("/api-ws/v1/inference", web::get().to(inference))
        .route("/simulator/sessions", web::get().to(sessions))
        .route("/simulator/faults", web::post().to(faults))
        .default_service(web::to(nothing));
}

async fn nothing() -> HttpResponse {
    HttpResponse::NotFound().json(json!({"code": "NotFound", "message": "No such route in the simulator."}))
}

async fn sessions(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"sessions": shared.ledger.sessions()}))
}

async fn faults(shared: web::Data<Shared>, body: web::Bytes) -> HttpResponse {
    match serde_json::from_slice::<Faults>(&body) {
        Ok(faults) => {
            locked(&shared.queue).push_back(faults);
            HttpResponse::Accepted().json(json!({"queued": locked(&shared.queue).len()}))
        }
        Err(error) => {
            HttpResponse::BadRequest().json(json!({"code": "InvalidParameter", "message": error.to_string()}))
        }
    }
}

async fn realtime(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let model = handshake::model(request.query_string()).unwrap_or_default().to_owned();
    let speak = |tuning: &Tuning, out: &mut Vec<_>| match Dialect::of(&model) {
        Some(dialect) => Ok(Protocol::realtime(dialect, &model, tuning, out)),
        None if model.is_empty() => Err(400),
        None => Err(404),
    };
    upgrade(&shared, &request, payload, &model, speak).await
}

async fn inference(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    upgrade(&shared, &request, payload, "", |tuning, _| Ok(Protocol::task(tuning))).await
}

/// Judges the handshake and starts the connection's task.
async fn upgrade<F>(
    shared: &Shared,
    request: &HttpRequest,
    payload: web::Payload,
    model: &str,
    speak: F,
) -> Result<HttpResponse, actix_web::Error>
where
    F: FnOnce(&Tuning, &mut Vec<Output>) -> Result<Protocol, u16>,
{
    let faults = locked(&shared.queue).pop_front().unwrap_or_else(|| shared.options.faults.clone());
    if let Some(delay_ms) = faults.handshake_delay_ms {
        rt::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    if let Some(status) = faults.refuse {
        return Ok(handshake::refusal(status));
    }
    let Some(api_key) = handshake::bearer(request, shared.options.api_key.as_deref()) else {
        return Ok(handshake::refusal(401));
    };
    let mut out = Vec::new();
    let protocol = match speak(&shared.options.tuning, &mut out) {
        Ok(protocol) => protocol,
        Err(status) => return Ok(handshake::refusal(status)),
    };
    let mut response = ws::handshake(request)?;
    let (writer, body) = Writer::new();
    let mut record = SessionRecord::new(request.path(), model, api_key);
    record.peer = request.peer_addr();
    let parts = Parts {
        protocol,
        faults,
        longest_ms: shared.options.tuning.timer_ms(LONGEST_SECONDS),
        page: shared.ledger.add(record),
        record_frames: shared.options.record_frames,
        numbered: shared.options.tuning.numbered,
        writer,
        cord: request.conn_data::<Cord>().cloned(),
    };
    rt::spawn(Connection::new(parts, out).run(payload));
    Ok(response.streaming(body))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
