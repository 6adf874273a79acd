//! What every answer tells browsers and caches: guess no types, frame nothing, pass no address on, keep no secrets.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::guard;
use crate::config::Config;

/// A year, as browsers want it to be taken seriously.
const TLS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Below these, answers hold what belongs to one caller.
const CONFIDENTIAL: [&str; 3] = ["/admin/", "/v1/license", "/v1/realtime/sessions"];

/// Adds them; what the answer says itself of framing and caching stays.
pub fn secure(headers: &mut HeaderMap, request: &HttpRequest, config: Option<&Config>) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let mut otherwise = |name: HeaderName, value: HeaderValue| {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    otherwise(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    otherwise(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    if CONFIDENTIAL.iter().any(|prefix| request.path().starts_with(prefix)) {
        otherwise(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if config.is_some_and(|config| has_tls(request, config)) {
        otherwise(header::STRICT_TRANSPORT_SECURITY, TLS_ALONE);
    }
}

/// Whether browsers reach this gateway by TLS: it has a public name, or a trusted proxy says so.
fn has_tls(request: &HttpRequest, config: &Config) -> bool {
    let named = || request.headers().get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https");
    config.server.domain.is_some() || named() && guard::through_trusted_proxy(request, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn dressed(config: &Config, request: TestRequest, own: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in own {
            headers.insert(name.parse().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        secure(&mut headers, &request.to_http_request(), Some(config));
        headers
    }

    #[test]
    fn what_an_answer_says_itself_stays() {
        let config = Config::defaults().unwrap();
        let own = [("content-security-policy", "default-src 'none'"), ("cache-control", "no-cache")];
        let headers = dressed(&config, TestRequest::with_uri("/admin/keys"), &own);
        assert_eq!(headers.get("content-security-policy").unwrap(), "default-src 'none'");
        assert_eq!(headers.get("cache-control").unwrap(), "no-cache");
        assert_eq!(headers.get("x-frame-options").unwrap(), "DENY");
    }

    #[test]
    fn what_belongs_to_one_caller_is_not_kept() {
        let config = Config::defaults().unwrap();
        let cached = |path: &str| dressed(&config, TestRequest::with_uri(path), &[]).get("cache-control").cloned();
        for path in ["/admin/keys", "/admin/nothing", "/v1/license", "/v1/licenses/validate", "/v1/realtime/sessions"] {
            assert_eq!(cached(path).unwrap(), "no-store", "{path}");
        }
        assert_eq!(cached("/v1/models"), None);
    }

    #[test]
    fn only_tls_is_told_to_stay_tls() {
        let mut config = Config::defaults().unwrap();
        let told = |config: &Config, peer: &str, proto: &str| {
            let request = TestRequest::default().peer_addr(peer.parse().unwrap());
            let headers = dressed(config, request.insert_header(("x-forwarded-proto", proto)), &[]);
            headers.contains_key("strict-transport-security")
        };
        assert!(told(&config, "127.0.0.1:1", "https"));
        assert!(!told(&config, "127.0.0.1:1", "http"));
        assert!(!told(&config, "198.51.100.1:1", "https"), "no proxy of ours");
        config.server.domain = Some("translate.example.com".to_owned());
        assert!(told(&config, "198.51.100.1:1", "http"));
    }
}
