//! Dials DashScope's WebSockets with the server's key, or with the caller's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_codec::Framed;
use awc::error::{ConnectError, SendRequestError, WsClientError};
use awc::http::{StatusCode, Version};
use awc::{BoxedSocket, Client};

use super::account::{Account, Kind, State};
use super::choice::Wanted;
use super::codec::Apart;
use super::limiter::DialLimiter;
use super::pool::Pool;
use super::tcp;
use crate::config::settings::{Secret, Upstream};
use crate::error::Error;
use crate::metrics::Metrics;

/// An open WebSocket to the provider.
pub type Socket = Framed<BoxedSocket, Apart>;

/// 4 MiB: audio deltas pass awc's default of 64 KiB with less than a second of 24 kHz audio.
const FRAME_LIMIT: usize = 4 << 20;

/// Which of the provider's WebSockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint<'a> {
    /// `/realtime?model=…`
    Realtime {
        /// A model id, already found sane.
        model: &'a str,
    },
    /// `/inference`
    Inference,
}

/// What of the caller's request goes along.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// The caller's own key.
    pub own_key: Option<Secret>,
    /// `X-DashScope-DataInspection`
    pub data_inspection: Option<String>,
}

impl Passed {
    /// Whether nothing of the caller's goes along.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.own_key.is_none() && self.data_inspection.is_none()
    }
}

/// One worker's dialer: awc's clients stay on their thread.
#[derive(Clone)]
pub struct Dashscope {
    client: Client,
    /// Where the settings' account is called, by HTTP and by WebSocket; a caller's own key goes there too.
    http_base: Arc<str>,
    websocket_base: Arc<str>,
    pool: Pool,
    limiter: DialLimiter,
    metrics: Metrics,
}

/// Accounts that are dialled for one leg at most.
const ACCOUNTS: usize = 3;

impl Dashscope {
    /// A dialer for the accounts of a pool. rustls' provider must be installed.
    #[must_use]
    pub fn new(settings: &Upstream, pool: Pool, limiter: DialLimiter, metrics: Metrics) -> Self {
        let timeout = Duration::from_millis(settings.dial_timeout_ms);
        Self {
            client: client(timeout),
            http_base: settings.dashscope_http_base_url.trim_end_matches('/').into(),
            websocket_base: settings.dashscope_websocket_base_url.trim_end_matches('/').into(),
            pool,
            limiter,
            metrics,
        }
    }

    async fn dial(&self, endpoint: Endpoint<'_>, passed: &Passed) -> Result<Socket, Undialled> {
        let opened = self.open(endpoint, passed).await;
        let outcome = opened.as_ref().map_or_else(|refused| refused.error.row().code, |_| "ok");
        self.metrics.upstream_dials.with_label_values(&[outcome]).inc();
        opened
    }

    async fn open(&self, endpoint: Endpoint<'_>, passed: &Passed) -> Result<Socket, Undialled> {
        if let Some(own_key) = &passed.own_key {
            return self.knock(endpoint, passed, &self.websocket_base, own_key).await;
        }
        let mut last = Undialled { error: Error::no_upstream(None), lasting: true };
        let accounts = self.accounts(endpoint);
        if accounts.is_empty() {
            log::warn!("no enabled DashScope account serves this session's model: set DASHSCOPE_API_KEY or add one");
        }
        for account in accounts {
            let base = self.websocket_base_of(&account.base_url);
            match self.knock(endpoint, passed, &base, &account.credential).await {
                Ok(socket) => return Ok(socket),
                Err(Undialled { error: error @ Error::Overloaded, lasting }) => {
                    return Err(Undialled { error, lasting });
                }
                Err(refused) => last = refused,
            }
        }
        Err(last)
    }

    /// Whom to dial, in turn: whom the pool would choose, then all others. Health is for choosing between accounts:
    /// where there is but one, a session's leg goes on trying it.
    fn accounts(&self, endpoint: Endpoint<'_>) -> Vec<Arc<Account>> {
        let model = match endpoint {
            Endpoint::Realtime { model } => Some(model),
            Endpoint::Inference => None,
        };
        let model_id = model.unwrap_or_default();
        let wanted = Wanted { kinds: &[Kind::Dashscope], model: model_id, sticky: None, caller: 0, tried: &[] };
        let first = self.pool.choose(&wanted, Instant::now()).ok().map(|pick| pick.account.clone());
        let able = |account: &Arc<Account>| account.kind == Kind::Dashscope && account.state == State::Enabled;
        let mut others: Vec<_> = self.pool.accounts().into_iter().filter(able).collect();
        let meant = |account: &Arc<Account>| model.is_none_or(|model| account.serves(model));
        if others.iter().any(meant) {
            others.retain(meant);
        } else {
            others.retain(|account| account.serves_anything());
        }
        others.sort_by_key(|account| account.priority);
        let first = first.filter(|first| others.iter().any(|other| other.id == first.id));
        others.retain(|other| first.as_ref().is_none_or(|first| first.id != other.id));
        first.into_iter().chain(others).take(ACCOUNTS).collect()
    }

    /// Where an account's WebSockets are: beside its HTTP API, unless the settings say otherwise.
    fn websocket_base_of(&self, http_base: &str) -> String {
        if *http_base == *self.http_base {
            return self.websocket_base.to_string();
        }
        // `https://` becomes `wss://`, `http://` `ws://`.
        format!("{}/api-ws/v1", http_base.replacen("http", "ws", 1))
    }

    async fn knock(
        &self,
        endpoint: Endpoint<'_>,
        passed: &Passed,
        base_url: &str,
        key: &Secret,
    ) -> Result<Socket, Undialled> {
        self.limiter.turn().await.map_err(|error| Undialled { error, lasting: false })?;
        let url = match endpoint {
            Endpoint::Realtime { model } => format!("{base_url}/realtime?model={model}"),
            Endpoint::Inference => format!("{base_url}/inference"),
        };
        let mut request = self.client.ws(url).max_frame_size(FRAME_LIMIT).bearer_auth(key.expose());
        request = request.header("user-agent", concat!("livetranslate-central/", env!("CARGO_PKG_VERSION")));
        if let Some(inspection) = &passed.data_inspection {
            request = request.header("X-DashScope-DataInspection", inspection.as_str());
        }
        let (_, socket) =
            request.connect().await.map_err(|error| refused(&error, endpoint, passed.own_key.is_some()))?;
        Ok(socket.into_map_codec(Apart::new))
    }
}

/// Why no WebSocket was opened.
#[derive(Debug, Clone)]
pub struct Undialled {
    /// For the caller.
    pub error: Error,
    /// Another try would be answered alike.
    pub lasting: bool,
}

/// Only the status of a refused upgrade is known.
fn refused(error: &WsClientError, endpoint: Endpoint<'_>, own_key: bool) -> Undialled {
    let lasting = |error| Undialled { error, lasting: true };
    let passing = |error| Undialled { error, lasting: false };
    match error {
        WsClientError::InvalidResponseStatus(status) => match *status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if own_key => lasting(Error::InvalidApiKey),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                lasting(Error::upstream(format!("the provider refuses the operator's key ({status})")))
            }
            StatusCode::TOO_MANY_REQUESTS => passing(Error::upstream_limit(None)),
            StatusCode::NOT_FOUND => match endpoint {
                Endpoint::Realtime { model } => lasting(Error::ModelNotFound(model.to_owned())),
                Endpoint::Inference => lasting(Error::upstream("the provider has no task endpoint")),
            },
            StatusCode::BAD_REQUEST => lasting(Error::request("the translation provider refused the request")),
            status => passing(Error::upstream(format!("the upgrade was answered with {status}"))),
        },
        WsClientError::SendRequest(SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout)) => {
            passing(Error::UpstreamTimeout)
        }
        other => passing(Error::upstream(other)),
    }
}

/// Opens the connections of one session.
#[derive(Clone)]
pub struct Dialer {
    dashscope: Dashscope,
    /// A model id, already found sane; `None` for the task protocol.
    model: Option<Arc<str>>,
    passed: Passed,
}

impl Dialer {
    /// A dialer for one session; `model`: an id already found sane, `None` for the task protocol.
    #[must_use]
    pub fn new(dashscope: Dashscope, model: Option<&str>, passed: Passed) -> Self {
        Self { dashscope, model: model.map(Arc::from), passed }
    }

    /// Opens a WebSocket, when it is this dial's turn.
    ///
    /// # Errors
    /// `NoUpstreamAvailable` without a key, `Overloaded` when too many dial, `UpstreamUnavailable`, `UpstreamTimeout`,
    /// `UpstreamRateLimited`; with the caller's own key, `InvalidApiKey` where the provider refuses it.
    pub async fn dial(&self) -> Result<Socket, Undialled> {
        let endpoint = self.model.as_deref().map_or(Endpoint::Inference, |model| Endpoint::Realtime { model });
        self.dashscope.dial(endpoint, &self.passed).await
    }
}

/// Without awc's limit of 100 connections: a WebSocket keeps its permit for life.
fn client(timeout: Duration) -> Client {
    let connector = awc::Connector::new()
        .max_http_version(Version::HTTP_11)
        .connector(tcp::connector())
        .limit(0)
        .timeout(timeout)
        .handshake_timeout(timeout);
    Client::builder().connector(connector).timeout(timeout).no_default_headers().finish()
}
