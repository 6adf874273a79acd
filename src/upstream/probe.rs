//! Asks a provider for its models with an account's credential, to see whether the account works.

use std::time::{Duration, Instant};

use awc::Client;
use awc::error::{ConnectError, SendRequestError};

use super::account::{ANTHROPIC_VERSION, Account, Kind};
use super::http::with_credential;

/// Whoever waits for the outcome is a person.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Whether the provider takes the credential.
    pub ok: bool,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// Until the answer, or until it was given up.
    pub latency: Duration,
    /// What that means, for the operator.
    pub message: &'static str,
}

/// Asks once, for 10 s at most. Redirects are not followed: the credential is for this address alone.
pub async fn probe(account: &Account) -> Finding {
    let begun = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, ask(account)).await.unwrap_or(Err(SendRequestError::Timeout));
    let latency = begun.elapsed();
    let (status, message) = match &answer {
        Ok(status) => (Some(*status), meaning(*status)),
        Err(SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout)) => {
            (None, "no answer within 10 s: check base_url, DNS and firewall")
        }
        Err(error) => {
            log::info!("the account `{}` could not be tested: {error}", account.name);
            (None, "no connection: check base_url, DNS and firewall")
        }
    };
    let ok = status.is_some_and(|status| (200..300).contains(&status));
    Finding { ok, status, latency, message }
}

async fn ask(account: &Account) -> Result<u16, SendRequestError> {
    let path = match account.kind {
        Kind::Dashscope => "/compatible-mode/v1/models",
        Kind::Anthropic | Kind::Openai => "/v1/models",
    };
    let connector = awc::Connector::new().timeout(PATIENCE).handshake_timeout(PATIENCE);
    let client = Client::builder().connector(connector).timeout(PATIENCE).disable_redirects().finish();
    let request = client.get(format!("{}{path}", account.base_url));
    let request = match account.kind {
        Kind::Dashscope | Kind::Openai => request,
        Kind::Anthropic => request.insert_header(("anthropic-version", ANTHROPIC_VERSION)),
    };
    let request = with_credential(request, account);
    let agent = concat!("livetranslate-central/", env!("CARGO_PKG_VERSION"));
    let answer = request.insert_header(("user-agent", agent)).send().await?;
    Ok(answer.status().as_u16())
}

fn meaning(status: u16) -> &'static str {
    match status {
        200..=299 => "the provider takes the credential",
        300..=399 => "the provider redirects to another address: set that as base_url",
        401 | 403 => "the provider refuses the credential: check credential, and that it belongs to base_url's region",
        402 => "the provider says that the account has no money left",
        404 | 405 => "there is no list of models at base_url: check it, without the API's own path (/v1, /api/v1)",
        429 => "the provider limits this account now: try again in a minute",
        500.. => "the provider is failing: try again later",
        _ => "the provider refuses the request: check kind and base_url",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_means_something() {
        for (status, part) in [
            (200, "takes the credential"),
            (302, "redirects"),
            (401, "refuses the credential"),
            (403, "refuses the credential"),
            (400, "refuses the request"),
            (404, "no list of models"),
            (429, "limits"),
            (503, "failing"),
        ] {
            assert!(meaning(status).contains(part), "{status}");
        }
    }
}
