//! Is it up, is it ready, how is it doing: for load balancers, monitors and operators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};
use tokio::sync::Mutex;

use super::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::quota::redis::Standing;
use crate::store::connection::Store;
use crate::upstream::pool::AccountState;
use crate::wire::reports::{Alive, Health, HealthParts};

/// How long an answer of the store is good for: probes may be frequent, the store is asked rarely.
const FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the store whether it is there, one question at a time.
#[derive(Clone)]
pub struct Probe {
    store: Store,
    begun: Instant,
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Probe {
    /// A probe whose uptime starts now.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, begun: Instant::now(), last: Arc::default() }
    }

    async fn store_is_there(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((_, there)) = last.filter(|(at, _)| at.elapsed() < FRESH) {
            return there;
        }
        let there = matches!(tokio::time::timeout(PATIENCE, self.store.ping()).await, Ok(Ok(())));
        *last = Some((Instant::now(), there));
        there
    }
}

/// `GET /health`
pub async fn health(gateway: Data<Gateway>, probe: Data<Probe>) -> impl Responder {
    let there = probe.store_is_there().await;
    let away_since = gateway.quota.away().since();
    let full = gateway.quota.has_room().is_err();
    // Who is known is served for a while without the store.
    let serves = there || gateway.quota.away().is_bridged();
    let quota = gateway.quota.healthy() && away_since.is_none() && !full;
    let upstream = upstream(&gateway);
    let redis = redis(&gateway);
    let draining = gateway.draining();
    let word = |good: bool, bad: &'static str| if good { "ok" } else { bad };
    let status = match (serves, there && quota && upstream == "ok" && redis != "unavailable" && !draining) {
        (true, true) => "ok",
        (true, false) => "degraded",
        (false, _) => "unavailable",
    };
    let body = Health {
        status,
        timestamp: clock::now(),
        version: env!("CARGO_PKG_VERSION"),
        uptime: probe.begun.elapsed().as_secs(),
        components: HealthParts {
            database: if full { "disk full" } else { word(there && away_since.is_none(), "unavailable") },
            upstream,
            redis,
            quota: word(quota, "failing"),
        },
        database_away_since: away_since,
    };
    if serves {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "2")).json(body)
    }
}

/// Whether limits are shared between instances, if they are to be.
fn redis(gateway: &Gateway) -> &'static str {
    match gateway.rates.standing() {
        None => "unused",
        Some(Standing::There) => "ok",
        Some(Standing::Away | Standing::Unknown) => "unavailable",
    }
}

/// Whether calls find an account.
fn upstream(gateway: &Gateway) -> &'static str {
    let states = gateway.pool.states(Instant::now());
    // What only makes the pool prefer another account is no reason for a word.
    let refuses = |state: &AccountState| state.barred;
    match states.iter().all(refuses) {
        _ if states.is_empty() && gateway.config.upstream.allow_byok => "ok",
        _ if states.is_empty() => "unconfigured",
        true => "unavailable",
        false => "ok",
    }
}

/// `GET /healthz` and `/livez`: the process answers.
pub async fn alive() -> impl Responder {
    HttpResponse::Ok().json(Alive { ok: true })
}

/// `GET /readyz`: new sessions are welcome.
///
/// # Errors
/// `Draining`, `StorageUnavailable`.
pub async fn ready(gateway: Data<Gateway>, probe: Data<Probe>) -> Result<HttpResponse, Refusal> {
    if gateway.draining() {
        return Err(Error::Draining.into());
    }
    if !probe.store_is_there().await && !gateway.quota.away().is_bridged() {
        return Err(Error::storage("the readiness probe got no answer").into());
    }
    gateway.quota.has_room()?;
    Ok(HttpResponse::Ok().json(Alive { ok: true }))
}

/// `GET /metrics`
///
/// # Errors
/// `Internal`, a defect.
pub async fn metrics(gateway: Data<Gateway>) -> Result<HttpResponse, Refusal> {
    gateway.pool.measure(Instant::now());
    let text = gateway.metrics.text().map_err(Error::internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}
