//! Who may come in by the operator's door: whoever has ADMIN_KEY.

use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

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
    let secrets = &gateway.config.secrets;
    let given = bearer(text(request, &header::AUTHORIZATION).unwrap_or_default());
    let actor = actor(given, secrets).ok_or(Error::InvalidApiKey)?;
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    Ok(Operator {
        actor,
        address: guard::client_address(request, &gateway.config),
        request_id,
        idempotency_key: text(request, &header::HeaderName::from_static("idempotency-key")).map(str::to_owned),
        if_match: text(request, &header::IF_MATCH).map(str::to_owned),
    })
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

fn bearer(authorization: &str) -> &str {
    match authorization.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

fn text<'r>(request: &'r HttpRequest, name: &header::HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bearers() {
        assert_eq!(bearer("Bearer abc"), "abc");
        assert_eq!(bearer("bearer  abc "), "abc");
        assert_eq!(bearer("Basic abc"), "");
        assert_eq!(bearer("abc"), "");
    }
}
