//! `livetranslate simulate`: a stand-in for DashScope on loopback, for tests and offline work.

use std::io::{self, Write as _};

use clap::Args;

use crate::simulator::faults::Faults;
use crate::simulator::http::faults::HttpFaults;
use crate::simulator::server::{Options, Simulator};
use crate::simulator::tuning::Tuning;

/// What the command takes.
#[derive(Debug, Clone, Args)]
pub struct Simulate {
    /// Port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 8900)]
    pub port: u16,
    /// The only API key to accept; without it any key is right.
    #[arg(long, env = "SIMULATOR_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Faults of every connection, as JSON: '{"cap_ms":5000,"no_pong":true}'. For the next connection alone,
    /// POST the same to /simulator/faults.
    #[arg(long, value_name = "JSON", value_parser = faults)]
    pub faults: Option<Faults>,
    /// Faults of every HTTP call, as JSON: '{"status":429,"retry_after":2,"percent":10}'. For the next call alone, POST the
    /// same to /simulator/http-faults.
    #[arg(long, value_name = "JSON", value_parser = http_faults)]
    pub http_faults: Option<HttpFaults>,
    /// How often faster than life the protocol's timers run (120 min, 60 s, 23 s).
    #[arg(long, default_value_t = 1.0)]
    pub pace: f64,
    /// Whether usage adds up over a session, whatever the model does.
    #[arg(long)]
    pub cumulative_usage: Option<bool>,
}

/// Runs until interrupted.
///
/// # Errors
/// When the port can't be bound, or standard output is closed.
pub async fn run(args: Simulate) -> io::Result<()> {
    let tuning = Tuning { pace: args.pace, cumulative_usage: args.cumulative_usage, ..Tuning::default() };
    let options = Options {
        port: args.port,
        api_key: args.api_key,
        faults: args.faults.unwrap_or_default(),
        http_faults: args.http_faults.unwrap_or_default(),
        record_frames: false,
        tuning,
    };
    let simulator = Simulator::start(options).await?;
    let mut out = io::stdout();
    writeln!(out, "The simulator stands in for DashScope; it recognises nothing and costs nothing.")?;
    writeln!(out, "  DASHSCOPE_WEBSOCKET_BASE_URL={}", simulator.websocket_base())?;
    writeln!(out, "  DASHSCOPE_HTTP_BASE_URL={}", simulator.http_base())?;
    writeln!(out, "  faults for the next connection:  POST {}/simulator/faults", simulator.http_base())?;
    writeln!(out, "  what was accepted:               GET  {}/simulator/sessions", simulator.http_base())?;
    writeln!(out, "  faults for the next HTTP call:   POST {}/simulator/http-faults", simulator.http_base())?;
    writeln!(out, "  what was asked over HTTP:        GET  {}/simulator/calls", simulator.http_base())?;
    out.flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

fn faults(text: &str) -> Result<Faults, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn http_faults(text: &str) -> Result<HttpFaults, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Simulate,
    }

    #[test]
    fn faults_are_read_from_json_and_named_when_wrong() {
        let args = Command::try_parse_from(["simulate", "--port", "0", "--faults", r#"{"cap_ms":5}"#]).unwrap().args;
        assert_eq!((args.port, args.faults.unwrap().cap_ms), (0, Some(5)));
        let error = Command::try_parse_from(["simulate", "--faults", r#"{"sulk":1}"#]).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("sulk"), "{error}");
        let args = Command::try_parse_from(["simulate", "--http-faults", r#"{"status":503}"#]).unwrap().args;
        assert_eq!(args.http_faults.unwrap().status, Some(503));
        let error = Command::try_parse_from(["simulate", "--http-faults", r#"{"sulk":1}"#]).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("sulk"), "{error}");
    }
}
