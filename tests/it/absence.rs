//! PostgreSQL goes away under live sessions, comes back, or doesn't: nothing is lost, and nobody is called a stranger.

use std::time::Duration;

use diesel::prelude::*;
use livetranslate::app::{self, Running};
use livetranslate::config::Config;
use livetranslate::config::settings::Secret;
use livetranslate::simulator::server::{Options, Simulator};
use livetranslate::store::announcements;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::schema::{budgets, cushions, licenses, sessions, usage_events};
use livetranslate::store::spool::Spool;
use serde_json::json;

use crate::support::app::{ADMIN_KEY, PROVIDER_KEY};
use crate::support::customer::{Call, Customer, MODEL};
use crate::support::operator::Operator;
use crate::support::postgres::Database;
use crate::support::proxy::{Proxy, Wire};

/// A gateway whose store is at the end of a wire.
struct Stage {
    running: Running,
    simulator: Simulator,
    wire: Proxy,
    folder: tempfile::TempDir,
    database: Database,
}

/// Where PostgreSQL listens, and the URL of `database` at another address.
fn through(url: &str, address: Option<std::net::SocketAddr>) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
    let there = address.map_or(host.to_owned(), |address| address.to_string());
    (host.to_owned(), format!("{scheme}://{user}@{there}/{path}"))
}

impl Stage {
    async fn start(grace_seconds: u64) -> Self {
        let options = Options { api_key: Some(PROVIDER_KEY.to_owned()), record_frames: true, ..Options::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let database = Database::fresh();
        let wire = Proxy::start(&through(&database.url, None).0).await;
        let mut config = Config::defaults().unwrap();
        config.server.port = 0;
        config.server.workers = 1;
        config.server.drain_timeout_seconds = 8;
        config.store.url = Secret::new(through(&database.url, Some(wire.address)).1);
        config.store.data_dir = folder.path().to_owned();
        config.store.grace_seconds = grace_seconds;
        config.secrets.secret_key = Some(Secret::new("a-secret-key-for-tests-0123456789abcdef"));
        config.secrets.admin_key = Some(Secret::new(ADMIN_KEY));
        config.upstream.dashscope_api_key = Some(Secret::new(PROVIDER_KEY));
        config.upstream.dashscope_websocket_base_url = simulator.websocket_base();
        let running = app::start(config).await.unwrap();
        Self { running, simulator, wire, folder, database }
    }

    fn url(&self) -> String {
        format!("http://{}", self.running.address())
    }

    fn operator(&self) -> Operator {
        Operator::with_bearer(self.url(), ADMIN_KEY)
    }

    async fn licensee(&self, fields: serde_json::Value) -> Customer {
        let license = self.operator().post("/admin/licenses", &fields).await.body;
        Customer::new(self.url(), license["id"].as_str().unwrap(), license["token"].as_str().unwrap())
    }

    async fn limited(&self, seconds: u64) -> Customer {
        self.licensee(json!({ "budgets": [{ "unit": "audio_seconds", "limit": seconds, "window": "lifetime" }] })).await
    }

    fn upstream_samples(&self) -> i64 {
        self.simulator.sessions().iter().map(|session| session.samples as i64).sum()
    }

    /// What the store has, by the direct way.
    fn stored(&self) -> Stored {
        Stored::read(&self.database)
    }

    /// Waits until `/health` says this of the database.
    async fn until_database(&self, word: &str) {
        loop {
            let health = self.operator().get("/health").await.body;
            let seen = health["components"]["database"] == word;
            if seen && health["database_away_since"].is_null() == (word == "ok") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_settled(&self) {
        while self.running.open_accounts() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        assert!(self.running.stop().await);
        self.simulator.stop().await;
    }
}

/// The books, in sum.
#[derive(Debug, PartialEq)]
struct Stored {
    used: i64,
    reserved: i64,
    recorded: i64,
    live: i64,
    cushions: i64,
}

impl Stored {
    fn read(database: &Database) -> Self {
        let store = Store::open_with(Location::Postgres(database.url.clone()), 1, Duration::from_secs(10)).unwrap();
        let read = store.run_blocking(|c| {
            let amounts: Vec<(i64, i64)> =
                budgets::table.select((budgets::used_units, budgets::reserved_units)).load(c)?;
            let recorded: Vec<i64> = usage_events::table.select(usage_events::samples).load(c)?;
            Ok(Self {
                used: amounts.iter().map(|(used, _)| used).sum(),
                reserved: amounts.iter().map(|(_, reserved)| reserved).sum(),
                recorded: recorded.iter().sum(),
                live: sessions::table.filter(sessions::status.eq("live")).count().get_result(c)?,
                cushions: cushions::table.count().get_result(c)?,
            })
        });
        read.unwrap()
    }
}

/// So many frames of a tenth of a second, as fast as they are taken.
async fn speak(call: &mut Call, frames: usize) {
    for _ in 0..frames {
        call.audio(100, 0).await;
    }
}

fn on_stage(grace_seconds: u64, test: impl AsyncFnOnce(Stage)) {
    actix_web::rt::System::new().block_on(async {
        test(Stage::start(grace_seconds).await).await;
    });
}

async fn the_store_goes_and_comes(stage: Stage, gone: Wire) {
    let path = format!("/v1/realtime?model={MODEL}");
    let alice = stage.limited(3_600).await;
    let bob = stage.limited(3_600).await;
    let carol = stage.licensee(json!({})).await;
    carol.dial().await.finish().await;
    let key = stage.operator().post("/admin/keys", &json!({ "label": "never used before" })).await.body;
    let dora = Customer::new(stage.url(), "", key["key"].as_str().unwrap());
    assert_eq!(bob.api().get("/v1/license").await.status, 200);
    let mut call = alice.dial().await;
    call.until("session.created").await;
    speak(&mut call, 10).await;
    while stage.stored().cushions == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.wire.set(gone);
    // Far more than a lease: twenty seconds.
    speak(&mut call, 200).await;
    while stage.upstream_samples() < 210 * 1_600 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.until_database("unavailable").await;
    let health = stage.operator().get("/health").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")), "{}", health.text);
    // Who is known comes in: with something kept for him, or without a budget.
    let mut second = alice.dial().await;
    speak(&mut second, 20).await;
    let mut third = carol.dial().await;
    speak(&mut third, 20).await;
    for stranger in [bob.refusal(&path).await, dora.refusal(&path).await] {
        assert_eq!((stranger.status, stranger.code()), (503, "storage_unavailable"), "{}", stranger.text);
    }
    second.finish().await;
    speak(&mut call, 20).await;
    stage.wire.set(Wire::Whole);
    stage.until_database("ok").await;
    speak(&mut call, 20).await;
    call.finish().await;
    third.finish().await;
    stage.until_settled().await;
    let accepted = stage.upstream_samples();
    assert_eq!(accepted, 290 * 1_600);
    let (carols, stored) = (20 * 1_600, stage.stored());
    let expected = Stored { used: accepted - carols, reserved: 0, recorded: accepted, live: 0, cushions: 0 };
    assert_eq!(stored, expected);
    stage.stop().await;
}

#[test]
fn a_cut_store_costs_nothing() {
    on_stage(300, async |stage| the_store_goes_and_comes(stage, Wire::Cut).await);
}

#[test]
fn a_silent_store_costs_nothing() {
    on_stage(300, async |stage| the_store_goes_and_comes(stage, Wire::Dead).await);
}

#[test]
fn after_the_grace_sessions_end_and_new_ones_are_refused() {
    on_stage(1, async |stage| {
        let alice = stage.limited(3_600).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        speak(&mut call, 10).await;
        while stage.stored().used < 16_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stage.wire.set(Wire::Cut);
        speak(&mut call, 300).await;
        let ending = call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1013, "storage_unavailable"));
        let refusal = alice.refusal(&format!("/v1/realtime?model={MODEL}")).await;
        assert_eq!((refusal.status, refusal.code()), (503, "storage_unavailable"));
        let health = stage.operator().get("/health").await;
        assert_eq!((health.status, &health.body["status"]), (503, &json!("unavailable")));
        stage.wire.set(Wire::Whole);
        stage.until_settled().await;
        let accepted = stage.upstream_samples();
        stage.until_database("ok").await;
        while stage.stored().used < accepted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(stage.stored().used, accepted);
        stage.stop().await;
    });
}

#[test]
fn what_was_spooled_is_booked_by_the_next_process() {
    on_stage(300, async |stage| {
        let alice = stage.limited(3_600).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        speak(&mut call, 10).await;
        stage.wire.set(Wire::Cut);
        speak(&mut call, 100).await;
        while stage.upstream_samples() < 110 * 1_600 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        call.finish().await;
        // The end is in the spool: nobody waits for the store.
        stage.until_settled().await;
        assert!(stage.stored().used < 110 * 1_600);
        // Another process would find the file and, without its owner, enter it: so does a copy of it here.
        let (spools, copy) = (stage.folder.path().join("spool"), tempfile::tempdir().unwrap());
        for entry in std::fs::read_dir(&spools).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let mut orphan = Spool::orphans(copy.path()).unwrap().pop().unwrap();
        let entries = orphan.entries().unwrap();
        let direct = Store::open(Location::Postgres(stage.database.url.clone())).unwrap();
        for moved in [1, 0] {
            let replay = |c: &mut _| livetranslate::quota::replay::replay(c, &entries, livetranslate::clock::now());
            assert_eq!(direct.run_blocking(replay).unwrap().moved, moved);
            let stored = stage.stored();
            assert_eq!((stored.used, stored.recorded, stored.live), (110 * 1_600, 110 * 1_600, 0));
        }
        stage.wire.set(Wire::Whole);
        stage.until_database("ok").await;
        while stage.stored().reserved > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stored = stage.stored();
        assert_eq!((stored.used, stored.recorded), (110 * 1_600, 110 * 1_600), "nothing is booked twice");
        stage.stop().await;
    });
}

#[test]
fn who_was_revoked_elsewhere_stays_outside_during_the_absence() {
    on_stage(300, async |stage| {
        let (alice, bob) = (stage.licensee(json!({})).await, stage.licensee(json!({})).await);
        let mut call = bob.dial().await;
        call.until("session.created").await;
        call.finish().await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        // As another instance does it.
        let direct = Store::open(Location::parse(&stage.database.url).unwrap()).unwrap();
        let revoke = |connection: &mut AnyConnection| {
            let license = licenses::table.find(&alice.license_id);
            diesel::update(license).set(licenses::status.eq("revoked")).execute(connection)?;
            announcements::announce(connection)
        };
        direct.run_blocking(revoke).unwrap();
        // It is heard of.
        assert_eq!(call.ending().await.code(), 1008);
        stage.until_settled().await;
        stage.wire.set(Wire::Cut);
        stage.until_database("unavailable").await;
        let path = format!("/v1/realtime?model={MODEL}");
        assert_eq!(alice.dial_at(&path).await.err(), Some(503));
        let mut call = bob.dial().await;
        call.until("session.created").await;
        call.finish().await;
        stage.wire.set(Wire::Whole);
        stage.until_database("ok").await;
        stage.until_settled().await;
        stage.stop().await;
    });
}
