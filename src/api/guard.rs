//! Who may come in: reads the caller's credential and asks the store, on every use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;

use super::refusal::Refusal;
use crate::clock;
use crate::config::Config;
use crate::config::settings::Secret;
use crate::credentials::Known;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::holder::Holder;
use crate::ids;
use crate::license::{self, ApiKey, License};
use crate::store::{continuity, keys, licenses, tickets};

/// The subprotocol under which a browser passes its credential.
const SUBPROTOCOL: &str = "openai-insecure-api-key.";

/// A caller whose license was found good; as an extractor, from a header.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The license, as the store has it now.
    pub license: License,
    /// The API key that was used, if not the license itself.
    pub key: Option<ApiKey>,
}

impl Caller {
    /// What license and key together allow.
    #[must_use]
    pub fn holder(&self) -> Holder<'_> {
        Holder { license: &self.license, key: self.key.as_ref() }
    }
}

impl From<Known> for Caller {
    fn from(known: Known) -> Self {
        let (license, key) = Arc::unwrap_or_clone(known);
        Self { license, key }
    }
}

impl FromRequest for Caller {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let credential = in_header(request.headers()).ok_or(Error::InvalidApiKey)?;
            Ok(admit(&request, credential).await?)
        })
    }
}

/// Who makes an HTTP call.
#[derive(Debug, Clone)]
pub enum CallCaller {
    /// A licensee, as the store has it or had it a moment ago.
    Licensed(Known),
    /// Somebody who brings a provider's key and nothing else.
    OwnKey(Secret),
}

impl FromRequest for CallCaller {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let gateway = gateway(&request)?;
            let credential = in_header(request.headers()).ok_or(Error::InvalidApiKey)?;
            if let Credential::Lasting(secret) = &credential {
                if gateway.config.upstream.allow_byok && is_providers(secret.expose()) {
                    return Ok(Self::OwnKey(secret.clone()));
                }
                if let Some(known) = gateway.credentials.fresh(secret.expose(), Instant::now())
                    && !Holder::of(&known).starts_with_first_use()
                    && still_opens(&known, secret)
                {
                    good_here(&request, gateway, Holder::of(&known))?;
                    return Ok(Self::Licensed(known));
                }
            }
            let Caller { license, key } = admit(&request, credential).await?;
            Ok(Self::Licensed(Arc::new((license, key))))
        })
    }
}

/// Whether a credential is a provider's, neither a key nor a license of ours.
fn is_providers(credential: &str) -> bool {
    credential.starts_with("sk-") && !credential.starts_with("sk-lt-")
}

/// A caller at a WebSocket: a header, the subprotocol pair, or a one-time ticket in the URL.
pub struct SocketCaller(pub Caller);

impl FromRequest for SocketCaller {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let headers = request.headers();
            let credential = in_header(headers).or_else(|| in_subprotocol(headers)).or_else(|| in_query(&request));
            let credential = credential.ok_or(Error::InvalidApiKey)?;
            Ok(Self(admit(&request, credential).await?))
        })
    }
}

/// What a caller shows.
enum Credential {
    /// A license's token, or an API key.
    Lasting(Secret),
    /// A ticket, good once.
    Ticket(Secret),
}

fn in_header(headers: &HeaderMap) -> Option<Credential> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, credential) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
    });
    let credential = bearer.or_else(|| text("x-api-key")).filter(|credential| !credential.is_empty())?;
    Some(Credential::Lasting(Secret::new(credential)))
}

fn in_subprotocol(headers: &HeaderMap) -> Option<Credential> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    let credential =
        offers.flat_map(|offers| offers.split(',')).find_map(|offer| offer.trim().strip_prefix(SUBPROTOCOL));
    credential.map(|credential| Credential::Lasting(Secret::new(credential)))
}

fn in_query(request: &HttpRequest) -> Option<Credential> {
    let ticket = query(request, "ticket")?;
    Some(Credential::Ticket(Secret::new(ticket)))
}

/// One parameter of the query string, decoded.
#[must_use]
pub fn query(request: &HttpRequest, name: &str) -> Option<String> {
    let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok()?;
    pairs.into_inner().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Whether a parameter of the query string is switched on.
#[must_use]
pub fn flag(request: &HttpRequest, name: &str) -> bool {
    query(request, name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

/// Checks the license, and the key, of a session that is resumed: its token is the credential. A session that lives
/// here (`session_id`) must not have ended on the store: it may have given way.
///
/// # Errors
/// What refuses them now; `SessionGone`.
pub async fn still_good(
    request: &HttpRequest,
    license_id: &str,
    key_id: Option<&str>,
    session_id: Option<&str>,
) -> Result<Caller, Error> {
    let gateway = gateway(request)?;
    let (license_id, key_id) = (license_id.to_owned(), key_id.map(str::to_owned));
    let lives_here = session_id.map(str::to_owned);
    let found = gateway.store.run(move |connection| {
        if let Some(session_id) = lives_here
            && continuity::standings(connection, &[session_id])?.iter().any(|standing| standing.status == "ended")
        {
            return Err(Error::SessionGone);
        }
        let key = match &key_id {
            Some(key_id) => keys::find(connection, key_id)?,
            None => None,
        };
        Ok(licenses::find(connection, &license_id)?.map(|license| Caller { license, key }))
    });
    let caller = found.await?.ok_or(Error::SessionGone)?;
    good_here(request, gateway, caller.holder())?;
    Ok(caller)
}

fn gateway(request: &HttpRequest) -> Result<&Data<Gateway>, Error> {
    request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in this app"))
}

/// Whether a caller's license and key may be used now, from where it calls.
fn good_here(request: &HttpRequest, gateway: &Gateway, holder: Holder<'_>) -> Result<(), Error> {
    holder.admit(clock::now())?;
    let allowed = holder.allows_address(client_address(request, &gateway.config));
    if allowed { Ok(()) } else { Err(Error::IpNotAllowed) }
}

/// Whose license or key a request shows in a header, and whether it may be used now.
///
/// # Errors
/// `InvalidApiKey` where it shows none that we know, `StorageUnavailable`.
pub async fn examine(request: &HttpRequest) -> Result<(Caller, Result<(), Error>), Error> {
    let gateway = gateway(request)?;
    let credential = in_header(request.headers()).ok_or(Error::InvalidApiKey)?;
    let caller = known(gateway, &credential).await?;
    match good_here(request, gateway, caller.holder()) {
        Ok(()) => Ok((enter(gateway, &credential, caller).await?, Ok(()))),
        Err(Error::InvalidApiKey) => Err(Error::InvalidApiKey),
        Err(refusal) => Ok((caller, Err(refusal))),
    }
}

async fn admit(request: &HttpRequest, credential: Credential) -> Result<Caller, Error> {
    let gateway = gateway(request)?;
    let caller = known(gateway, &credential).await?;
    good_here(request, gateway, caller.holder())?;
    enter(gateway, &credential, caller).await
}

async fn known(gateway: &Gateway, credential: &Credential) -> Result<Caller, Error> {
    match credential {
        Credential::Lasting(secret) => lasting(gateway, secret).await,
        Credential::Ticket(secret) => by_ticket(gateway, secret).await,
    }
}

/// Notes that a credential was found good; its first use sets clocks running.
async fn enter(gateway: &Gateway, credential: &Credential, mut caller: Caller) -> Result<Caller, Error> {
    if caller.holder().starts_with_first_use() {
        caller = started(gateway, caller).await?;
    }
    if let Credential::Lasting(secret) = credential {
        gateway.credentials.remember(secret.expose(), &caller.license, caller.key.as_ref(), Instant::now());
    }
    Ok(caller)
}

/// The first use sets the clocks of license and key running.
async fn started(gateway: &Gateway, caller: Caller) -> Result<Caller, Error> {
    let (license_id, key_id) = (caller.license.id, caller.key.map(|key| key.id));
    let now_us = clock::now().as_microsecond();
    let found = gateway.store.run(move |connection| {
        licenses::start_clock(connection, &license_id, now_us)?;
        let key = match &key_id {
            Some(key_id) => {
                keys::start_clock(connection, key_id, now_us)?;
                keys::find(connection, key_id)?
            }
            None => None,
        };
        Ok(licenses::find(connection, &license_id)?.map(|license| Caller { license, key }))
    });
    found.await?.ok_or(Error::InvalidApiKey)
}

/// Whether a key is still opened by what opened it a moment ago: a secret that was replaced lasts for a while only.
fn still_opens((_, key): &(License, Option<ApiKey>), secret: &Secret) -> bool {
    let replaced = key.as_ref().filter(|key| key.previous.is_some());
    replaced.is_none_or(|key| key.opens(secret.expose(), clock::now()))
}

/// By the store, or while it is away by what it said before.
async fn lasting(gateway: &Gateway, secret: &Secret) -> Result<Caller, Error> {
    let known = || {
        let recalled = gateway.credentials.recall(secret.expose());
        recalled.filter(|known| still_opens(known, secret)).map(Caller::from)
    };
    if let Some(known) = gateway.quota.away().since().and_then(|_| known()) {
        return Ok(known);
    }
    let found = match ids::public_id_of(secret.expose()) {
        Some(public_id) => by_key(gateway, secret, public_id.to_owned()).await,
        None => by_token(gateway, secret).await,
    };
    match found {
        Err(away @ Error::StorageUnavailable { .. }) => known().ok_or(away),
        Err(refusal) => {
            gateway.credentials.forget(secret.expose());
            Err(refusal)
        }
        Ok(caller) => {
            if caller.holder().admit(clock::now()).is_err() {
                gateway.credentials.forget(secret.expose());
            }
            Ok(caller)
        }
    }
}

async fn by_key(gateway: &Gateway, secret: &Secret, public_id: String) -> Result<Caller, Error> {
    let found = gateway.store.run(move |connection| keys::find_with_license(connection, &public_id)).await?;
    let (key, license) = found.ok_or(Error::InvalidApiKey)?;
    if !key.opens(secret.expose(), clock::now()) {
        return Err(Error::InvalidApiKey);
    }
    Ok(Caller { license, key: Some(key) })
}

async fn by_token(gateway: &Gateway, secret: &Secret) -> Result<Caller, Error> {
    let claims = gateway.signer.verify(secret.expose())?;
    let license = gateway.store.run(move |connection| licenses::find(connection, &claims.sub)).await?;
    let license = license.filter(|license| license.token_id == claims.jti).ok_or(Error::InvalidApiKey)?;
    Ok(Caller { license, key: None })
}

async fn by_ticket(gateway: &Gateway, secret: &Secret) -> Result<Caller, Error> {
    let (hash, now_us) = (license::key_hash(secret.expose()), clock::now().as_microsecond());
    let found = gateway.store.run(move |connection| {
        let Some((license_id, key_id)) = tickets::take(connection, &hash, now_us)? else { return Ok(None) };
        let key = match &key_id {
            Some(key_id) => keys::find(connection, key_id)?,
            None => None,
        };
        Ok(licenses::find(connection, &license_id)?.map(|license| Caller { license, key }))
    });
    found.await?.ok_or(Error::InvalidApiKey)
}

/// The client's address: the peer's, or what a trusted proxy says of it. From the right of
/// `X-Forwarded-For`, the first that is not a trusted proxy itself: each proxy adds to its right, so nothing that the
/// client wrote there counts. `CF-Connecting-IP` goes through proxies as the client wrote it, so it is believed only
/// where there is no `X-Forwarded-For` at all.
#[must_use]
pub fn client_address(request: &HttpRequest, config: &Config) -> IpAddr {
    let nowhere = IpAddr::from([0, 0, 0, 0]);
    let peer = request.peer_addr().map_or(nowhere, |peer| peer.ip().to_canonical());
    let trusted = |address: &IpAddr| config.server.trusted_proxies.iter().any(|network| network.contains(address));
    if !trusted(&peer) {
        return peer;
    }
    if !request.headers().contains_key("x-forwarded-for") {
        let named = request.headers().get("cf-connecting-ip").and_then(|value| value.to_str().ok());
        return named.and_then(|value| value.trim().parse::<IpAddr>().ok()).map_or(peer, |named| named.to_canonical());
    }
    let hops = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut address = peer;
    for hop in hops.into_iter().rev() {
        // Some proxies name the port too.
        let named = hop.parse::<IpAddr>().ok();
        let Some(parsed) = named.or_else(|| hop.parse::<SocketAddr>().ok().map(|peer| peer.ip())) else { break };
        address = parsed.to_canonical();
        if !trusted(&address) {
            break;
        }
    }
    address
}

/// Whether the peer is a proxy whose word counts.
#[must_use]
pub fn through_trusted_proxy(request: &HttpRequest, config: &Config) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    peer.is_some_and(|peer| config.server.trusted_proxies.iter().any(|network| network.contains(&peer)))
}

#[cfg(test)]
mod tests;
