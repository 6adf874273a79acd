//! The real gateway on a free port, with a store of its own and the simulator behind it.

use std::rc::Rc;

use livetranslate::app::{self, Running};
use livetranslate::config::Config;
use livetranslate::config::settings::Secret;
use livetranslate::simulator::faults::Faults;
use livetranslate::simulator::ledger::SessionRecord;
use livetranslate::simulator::server::{Options, Simulator};
use tempfile::TempDir;

use super::customer::Customer;
use super::operator::Operator;
use super::postgres::Database;

/// The admin key of every test gateway.
pub(crate) const ADMIN_KEY: &str = "an-admin-key-for-tests";
/// The encryption key of every test gateway.
pub(crate) const ENCRYPTION_KEY: &str = "an-encryption-key-of-32-letters.";
/// The key that the simulator wants.
pub(crate) const PROVIDER_KEY: &str = "sk-provider-key-for-tests";

/// Which store a gateway runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A database on TEST_DATABASE_URL.
    Postgres,
}

/// A gateway, its simulator and its store.
pub(crate) struct TestApp {
    running: Running,
    simulator: Rc<Simulator>,
    folder: TempDir,
    url: String,
    database: Option<Rc<Database>>,
}

/// Runs a test on SQLite, then on PostgreSQL.
pub(crate) fn on_both_stores(test: impl AsyncFn(&TestApp)) {
    on_both_stores_with(|_| {}, test);
}

/// The same with other settings.
pub(crate) fn on_both_stores_with(adjust: impl Fn(&mut Config), test: impl AsyncFn(&TestApp)) {
    let (adjust, test) = (&adjust, &test);
    for backend in [Backend::Sqlite, Backend::Postgres] {
        on(backend, adjust, test);
    }
}

/// Runs a test that doesn't touch what differs between stores, on SQLite.
pub(crate) fn on_sqlite(test: impl AsyncFn(&TestApp)) {
    on(Backend::Sqlite, |_| {}, &test);
}

/// The same with other settings.
pub(crate) fn on_sqlite_with(adjust: impl Fn(&mut Config), test: impl AsyncFn(&TestApp)) {
    on(Backend::Sqlite, adjust, &test);
}

/// Runs a test on PostgreSQL alone.
pub(crate) fn on_postgres(test: impl AsyncFn(&TestApp)) {
    on(Backend::Postgres, |_| {}, &test);
}

fn on(backend: Backend, adjust: impl Fn(&mut Config), test: &impl AsyncFn(&TestApp)) {
    actix_web::rt::System::new().block_on(async {
        let app = TestApp::start(backend, adjust).await;
        test(&app).await;
        app.stop().await;
    });
}

impl TestApp {
    /// Starts everything; `adjust` changes settings first.
    pub(crate) async fn start(backend: Backend, adjust: impl Fn(&mut Config)) -> Self {
        let options = Options { api_key: Some(PROVIDER_KEY.to_owned()), record_frames: true, ..Options::default() };
        let simulator = Rc::new(Simulator::start(options).await.unwrap());
        let database = matches!(backend, Backend::Postgres).then(|| Rc::new(Database::fresh()));
        let folder = tempfile::tempdir().unwrap();
        let url = match &database {
            Some(database) => database.url.clone(),
            None => folder.path().join("central.db").to_string_lossy().into_owned(),
        };
        let running = Self::run(&simulator, &folder, &url, adjust).await;
        Self { running, simulator, folder, url, database }
    }

    /// Another instance on the same store, with the same simulator behind it; stop it first.
    pub(crate) async fn start_beside(&self, adjust: impl Fn(&mut Config)) -> Self {
        let (folder, simulator) = (tempfile::tempdir().unwrap(), self.simulator.clone());
        let running = Self::run(&simulator, &folder, &self.url, adjust).await;
        Self { running, simulator, folder, url: self.url.clone(), database: self.database.clone() }
    }

    async fn run(simulator: &Simulator, folder: &TempDir, url: &str, adjust: impl Fn(&mut Config)) -> Running {
        let mut config = Config::defaults().unwrap();
        config.server.port = 0;
        config.server.workers = 1;
        config.server.drain_timeout_seconds = 8;
        config.store.url = Secret::new(url);
        config.store.data_dir = folder.path().join("data");
        config.secrets.secret_key = Some(Secret::new("a-secret-key-for-tests-0123456789abcdef"));
        config.secrets.admin_key = Some(Secret::new(ADMIN_KEY));
        config.secrets.encryption_key = Some(Secret::new(ENCRYPTION_KEY));
        config.upstream.dashscope_api_key = Some(Secret::new(PROVIDER_KEY));
        config.upstream.dashscope_websocket_base_url = simulator.websocket_base();
        config.upstream.dashscope_http_base_url = simulator.http_base();
        adjust(&mut config);
        app::start(config).await.unwrap()
    }

    /// Sends everyone home; every account must be settled.
    pub(crate) async fn stop(self) {
        assert!(self.running.stop().await, "some usage was not written");
        if let Some(simulator) = Rc::into_inner(self.simulator) {
            simulator.stop().await;
        }
    }

    /// Waits until every session's usage is written.
    pub(crate) async fn settled(&self) {
        while self.running.open_accounts() > 0 {
            actix_web::rt::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Waits until every call has ended and is booked.
    pub(crate) async fn calls_ended(&self) {
        while self.running.open_calls() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// `http://…` of the gateway.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.running.address())
    }

    /// `http://…` of the admin API's own listener.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.running.admin_address().unwrap())
    }

    /// DATABASE_URL of its store.
    pub(crate) fn store_url(&self) -> &str {
        &self.url
    }

    /// A folder that is gone after the test.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// What the simulator accepted, per connection.
    pub(crate) fn upstream_sessions(&self) -> Vec<SessionRecord> {
        self.simulator.sessions()
    }

    /// Samples that the simulator accepted in all.
    pub(crate) fn upstream_samples(&self) -> u64 {
        self.upstream_sessions().iter().map(|session| session.samples).sum()
    }

    /// The next connection at the simulator misbehaves so.
    pub(crate) fn next_faults(&self, faults: Faults) {
        self.simulator.next_faults(faults);
    }

    /// The provider's stand-in.
    pub(crate) fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Whoever holds the admin key.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(self.url())
    }

    /// A customer of another instance, as this one's.
    pub(crate) fn customer(&self, of_another: &Customer) -> Customer {
        Customer::new(self.url(), &of_another.license_id, &of_another.token)
    }

    /// A customer with a license over so many seconds of audio.
    pub(crate) async fn licensee(&self, audio_seconds: f64) -> Customer {
        let budgets = serde_json::json!([{ "unit": "audio_seconds", "limit": audio_seconds, "window": "lifetime" }]);
        self.licensee_with(serde_json::json!({ "budgets": budgets })).await
    }

    /// A customer with a license of these fields.
    pub(crate) async fn licensee_with(&self, fields: serde_json::Value) -> Customer {
        let license = self.operator().post("/admin/licenses", &fields).await;
        assert_eq!(license.status, 201, "{:?}", license.body);
        Customer::new(self.url(), license.body["id"].as_str().unwrap(), license.body["token"].as_str().unwrap())
    }
}
