//! What the demo plays on: settings, the upstream (real or simulated), and a gateway in this process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::app::{self, Running};
use crate::cli::fault::Fault;
use crate::cli::screen;
use crate::config::Config;
use crate::config::settings::Secret;
use crate::config::sources::Sources;
use crate::logs;
use crate::simulator::server::{self, Simulator};

/// The simulator takes any key; the gateway wants one.
const SIMULATED_KEY: &str = "sk-simulator";
/// Names of settings that say how much is logged.
const LOG_LEVELS: [&str; 3] = ["RUST_LOG", "LOG_LEVEL", "LIVETRANSLATE__LOG__LEVEL"];

/// What the command line says about where the demo plays.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// A file of settings.
    pub(super) config: Option<PathBuf>,
    /// Beats the settings' DATA_DIR.
    pub(super) data_dir: Option<PathBuf>,
    /// Beats the settings' SERVER_PORT.
    pub(super) port: Option<u16>,
}

/// A gateway that runs, and what it needs.
pub(super) struct Stage {
    running: Running,
    simulator: Option<Simulator>,
    admin_key: Secret,
    data_dir: PathBuf,
}

impl Stage {
    /// Settles the settings and starts everything.
    pub(super) async fn set(place: Place) -> Result<Self, Fault> {
        let mut sources = Sources::of_process(place.config);
        if let Some(folder) = &place.data_dir {
            sources.environment.insert("DATA_DIR".to_owned(), folder.display().to_string());
        }
        if let Some(port) = place.port {
            sources.environment.insert("SERVER_PORT".to_owned(), port.to_string());
        }
        let loaded = Config::load(&sources)?;
        let mut config = loaded.config;
        config.server.admin_listen = None;
        if !LOG_LEVELS.iter().any(|name| sources.environment.contains_key(*name)) {
            "warn".clone_into(&mut config.log.level);
        }
        logs::start(&config.log).map_err(Fault::of("the log could not be opened"))?;
        loaded.notes.iter().for_each(|note| log::info!("{note}"));
        let simulator = simulated(&mut config).await?;
        config.server.port = free_port(&config.server.host, config.server.port);
        let admin_key = config.secrets.admin_key.clone();
        let admin_key = admin_key.ok_or_else(|| Fault::Config("ADMIN_KEY is not set".to_owned()))?;
        let data_dir = config.store.data_dir.clone();
        let running = app::start(config).await?;
        Ok(Self { running, simulator, admin_key, data_dir })
    }

    /// Where this machine reaches the gateway.
    pub(super) fn address(&self) -> SocketAddr {
        let address = self.running.address();
        let loopback = if address.is_ipv6() { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() };
        let host = if address.ip().is_unspecified() { loopback } else { address.ip() };
        SocketAddr::new(host, address.port())
    }

    /// The bearer of the admin API.
    pub(super) fn admin_key(&self) -> &Secret {
        &self.admin_key
    }

    /// Where state and results are kept.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What runs where, for the screen.
    pub(super) fn introduction(&self) -> String {
        let upstream = match &self.simulator {
            Some(simulator) => format!(
                "the built-in SIMULATOR at {}: captions are invented by it, not recognised.\n          \
                 Set DASHSCOPE_API_KEY to translate for real.",
                simulator.websocket_base()
            ),
            None => "DashScope, with DASHSCOPE_API_KEY; what is spoken is billed there.".to_owned(),
        };
        format!(
            "LiveTranslate Central {}\nGateway   http://{} (state in {})\nUpstream  {upstream}",
            env!("CARGO_PKG_VERSION"),
            self.address(),
            self.data_dir.display()
        )
    }

    /// What to think of the captions, once they are shown.
    pub(super) fn reminder(&self) -> &'static str {
        match self.simulator {
            Some(_) => {
                "Upstream  was the SIMULATOR: it invented these captions, the audio's length and the booking are real."
            }
            None => "Upstream  was DashScope.",
        }
    }

    /// Stops everything; false if some usage could not be written.
    pub(super) async fn clear(self) -> bool {
        let settled = self.running.stop().await;
        if let Some(simulator) = &self.simulator {
            simulator.stop().await;
        }
        settled
    }
}

/// Starts the simulator and makes it the upstream, unless there is a real account.
async fn simulated(config: &mut Config) -> Result<Option<Simulator>, Fault> {
    if config.upstream.dashscope_api_key.is_some() {
        return Ok(None);
    }
    let started = Simulator::start(server::Options::default()).await;
    let simulator = started.map_err(Fault::of("the simulator could not start"))?;
    config.upstream.dashscope_api_key = Some(Secret::new(SIMULATED_KEY));
    config.upstream.dashscope_websocket_base_url = simulator.websocket_base();
    config.upstream.dashscope_http_base_url = simulator.http_base();
    Ok(Some(simulator))
}

/// The port, or 0 (any) when it is busy. Whatever else is wrong with the address shows when it is bound.
fn free_port(host: &str, port: u16) -> u16 {
    match TcpListener::bind((host, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            screen::line(&format!("Port {port} is busy; another free one is taken."));
            0
        }
        Ok(_) | Err(_) => port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_not_insisted_on() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(free_port("127.0.0.1", port), 0);
        drop(taken);
        assert_eq!(free_port("127.0.0.1", port), port);
        assert_eq!(free_port("no such host", 1), 1);
    }
}
