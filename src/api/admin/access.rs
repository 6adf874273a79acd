//! Who may come in by the operator's door: whoever has ADMIN_KEY, from an address that has not guessed too often.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::lockout::{self, Lockout};
use crate::api::answer::RequestId;
use crate::api::guard;
use crate::api::refusal::Refusal;
use crate::config::settings::Secrets;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::license;

/// The operator, and what a change will be remembered by.
pub struct Operator {
    /// `operator`, or what tells a key that is going out of use.
    pub actor: &'static str,
    /// Where the request comes from, as trusted proxies say.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: String,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
}

impl FromRequest for Operator {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(admit(request).map_err(Refusal))
    }
}

fn admit(request: &HttpRequest) -> Result<Operator, Error> {
    let gateway = request.app_data::<Data<Gateway>>().ok_or_else(|| Error::internal("no gateway in the app data"))?;
    let lockout = request.app_data::<Data<Mutex<Lockout>>>();
    let lockout = lockout.ok_or_else(|| Error::internal("no lock-out in the app data"))?;
    let address = guard::client_address(request, &gateway.config);
    let now = Instant::now();
    // Whoever is shut out learns nothing, not even with the right key.
    if let Some(left) = known(lockout).remaining(address, now) {
        return Err(Error::RateLimited { retry_after_seconds: left.as_secs() + 1 });
    }
    let shown = Shown::by(request);
    let actor = match shown {
        Shown::Key(given) => actor(given, &gateway.config.secrets),
        Shown::Nothing | Shown::Unreadable => None,
    };
    let Some(actor) = actor else {
        if !matches!(shown, Shown::Nothing) {
            let key = if let Shown::Key(given) = shown { given } else { "" };
            note_failure(gateway, address, known(lockout).failed(address, key, now));
        }
        return Err(Error::InvalidApiKey);
    };
    known(lockout).succeeded(address);
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    Ok(Operator {
        actor,
        address,
        request_id,
        idempotency_key: condition(request, "Idempotency-Key")?,
        if_match: condition(request, "If-Match")?,
    })
}

fn known(lockout: &Mutex<Lockout>) -> MutexGuard<'_, Lockout> {
    lockout.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note_failure(gateway: &Gateway, address: IpAddr, locked: Option<Duration>) {
    let Some(span) = locked else { return };
    gateway.metrics.admin_lockouts.inc();
    let (who, seconds) = (lockout::origin(address), span.as_secs());
    log::warn!("{who} gave wrong admin keys too often: /admin is closed to it for {seconds} s");
}

/// What a request shows at the door.
enum Shown<'r> {
    /// No credential: probes and browsers do that, and can't guess so.
    Nothing,
    /// Several, one that is no bearer, or no text.
    Unreadable,
    /// A key, right or wrong.
    Key(&'r str),
}

impl<'r> Shown<'r> {
    fn by(request: &'r HttpRequest) -> Self {
        let mut headers = request.headers().get_all(header::AUTHORIZATION);
        match (headers.next(), headers.next()) {
            (None, _) => Self::Nothing,
            (Some(header), None) => header.to_str().map_or(Self::Unreadable, Self::of),
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }

    fn of(authorization: &'r str) -> Self {
        let (scheme, token) = authorization.trim().split_once(' ').unwrap_or((authorization.trim(), ""));
        match (scheme.eq_ignore_ascii_case("bearer"), token.trim()) {
            (true, "") => Self::Nothing,
            (true, token) => Self::Key(token),
            (false, _) if scheme.is_empty() => Self::Nothing,
            (false, _) => Self::Unreadable,
        }
    }
}

/// Whose key it is, if it is one.
fn actor(given: &str, secrets: &Secrets) -> Option<&'static str> {
    let keys = [(&secrets.admin_key_previous, "operator (previous key)"), (&secrets.admin_key, "operator")];
    // Every key is compared, so that time tells nothing.
    let known = keys.into_iter().fold(None, |known, (key, actor)| {
        let same = key.as_ref().is_some_and(|key| license::same_secret(given, key.expose()));
        if same { Some(actor) } else { known }
    });
    known.filter(|_| !given.is_empty())
}

/// A header on which the request depends: one that can't be read must not count as none.
fn condition(request: &HttpRequest, name: &str) -> Result<Option<String>, Error> {
    let Some(value) = request.headers().get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Error::field(name, format!("{name} has visible ASCII characters only")))?;
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;
    use actix_web::test::TestRequest;

    #[test]
    fn a_condition_that_cannot_be_read_is_refused() {
        let request = |value: &[u8]| TestRequest::default().insert_header(("if-match", value)).to_http_request();
        assert_eq!(condition(&request(b"\"1\""), "If-Match").unwrap().as_deref(), Some("\"1\""));
        assert_eq!(condition(&request(b"\xe9"), "If-Match").unwrap_err().param(), Some("If-Match"));
        assert_eq!(condition(&request(b"\xe9"), "Idempotency-Key").unwrap(), None);
    }

    #[test]
    fn reads_bearers() {
        let key = |authorization: &'static str| match Shown::of(authorization) {
            Shown::Key(key) => key,
            Shown::Nothing => "nothing",
            Shown::Unreadable => "unreadable",
        };
        for (authorization, shown) in [
            ("Bearer abc", "abc"),
            ("bearer  abc ", "abc"),
            ("Bearer", "nothing"),
            ("Bearer  ", "nothing"),
            ("", "nothing"),
            ("Basic abc", "unreadable"),
            ("abc", "unreadable"),
        ] {
            assert_eq!(key(authorization), shown, "{authorization}");
        }
    }

    #[test]
    fn a_key_going_out_of_use_is_told() {
        let key = |text: &str| Some(Secret::new(text));
        let secrets = Secrets { admin_key: key("new-key"), admin_key_previous: key("old-key"), ..Secrets::default() };
        assert_eq!(actor("new-key", &secrets), Some("operator"));
        assert_eq!(actor("old-key", &secrets), Some("operator (previous key)"));
        assert_eq!(actor("other", &secrets), None);
        assert_eq!(actor("", &Secrets { admin_key: key(""), ..Secrets::default() }), None);
    }
}
