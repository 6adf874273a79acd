//! `livetranslate health`: whether a gateway is ready; what a container's health check runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::fault::Fault;
use super::screen;
use crate::client::failure::Failure;
use crate::client::http::Http;
use crate::client::server::Server;
use crate::config::Config;
use crate::config::settings;
use crate::config::sources::Sources;

const TIMEOUT: Duration = Duration::from_secs(5);

/// What the command takes.
#[derive(Debug, Args)]
pub struct Health {
    /// The gateway's address; without it, where the settings say that it listens
    #[arg(long)]
    url: Option<String>,
}

/// Asks `/readyz` once.
///
/// # Errors
/// Whatever keeps the gateway from being ready, as far as it can be told.
pub async fn run(health: &Health, config: Option<PathBuf>) -> Result<(), Fault> {
    let url = match &health.url {
        Some(url) => url.clone(),
        None => own_address(&Config::read(&Sources::of_process(config))?.config.server),
    };
    let server = Server::parse(&url)?;
    match Http::new(server.clone(), None, TIMEOUT).get("/readyz").await {
        Ok(_) => {
            screen::line(&format!("{server} is ready"));
            Ok(())
        }
        Err(failure @ Failure::Unreachable { .. }) => Err(failure.into()),
        Err(failure) => Err(Fault::Failed(format!("{server} is not ready: {failure}"))),
    }
}

/// Where this machine reaches a gateway with these settings.
pub(super) fn own_address(server: &settings::Server) -> String {
    let host = match server.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" | "[::]" => "[::1]".to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("http://{host}:{}", server.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_on_every_address_is_asked_on_loopback() {
        let mut server = Config::defaults().unwrap().server;
        for (host, address) in
            [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("10.0.0.7", "http://10.0.0.7:8000")]
        {
            server.host = host.to_owned();
            assert_eq!(own_address(&server), address);
        }
    }
}
