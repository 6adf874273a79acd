//! Tests of the guard: whose address counts, and where credentials are found.

use super::*;
use actix_web::test::TestRequest;

#[test]
fn only_trusted_proxies_speak_for_others() {
    let config = Config::defaults().unwrap();
    let address = |peer: &str, forwarded: &str| {
        let request = TestRequest::default()
            .peer_addr(peer.parse().unwrap())
            .insert_header(("x-forwarded-for", forwarded))
            .to_http_request();
        client_address(&request, &config).to_string()
    };
    assert_eq!(address("127.0.0.1:1", "203.0.113.7"), "203.0.113.7");
    assert_eq!(address("127.0.0.1:1", "9.9.9.9, 203.0.113.7, 127.0.0.2"), "203.0.113.7");
    assert_eq!(address("198.51.100.1:1", "203.0.113.7"), "198.51.100.1");
    assert_eq!(address("127.0.0.1:1", "nonsense"), "127.0.0.1");
}

#[test]
fn cloudflares_word_goes_before_nobody_elses() {
    let config = Config::defaults().unwrap();
    let address = |peer: &str, forwarded: Option<&str>| {
        let request =
            TestRequest::default().peer_addr(peer.parse().unwrap()).insert_header(("cf-connecting-ip", "203.0.113.7"));
        let request = match forwarded {
            Some(forwarded) => request.insert_header(("x-forwarded-for", forwarded)),
            None => request,
        };
        client_address(&request.to_http_request(), &config).to_string()
    };
    assert_eq!(address("127.0.0.1:1", None), "203.0.113.7");
    assert_eq!(address("127.0.0.1:1", Some("198.51.100.1")), "198.51.100.1", "the proxy's own word");
    assert_eq!(address("127.0.0.1:1", Some("nonsense")), "127.0.0.1");
    assert_eq!(address("198.51.100.1:1", None), "198.51.100.1", "no proxy of ours");
}

#[test]
fn credentials_are_found() {
    let found = |name: &'static str, value: &str| {
        let request = TestRequest::default().insert_header((name, value)).to_http_request();
        match in_header(request.headers()).or_else(|| in_subprotocol(request.headers())) {
            Some(Credential::Lasting(secret)) => Some(secret.expose().to_owned()),
            Some(Credential::Ticket(_)) | None => None,
        }
    };
    assert_eq!(found("authorization", "Bearer abc").as_deref(), Some("abc"));
    assert_eq!(found("authorization", "bearer  abc").as_deref(), Some("abc"));
    assert_eq!(found("x-api-key", "abc").as_deref(), Some("abc"));
    assert_eq!(found("sec-websocket-protocol", "realtime, openai-insecure-api-key.abc").as_deref(), Some("abc"));
    assert_eq!(found("authorization", "Basic abc"), None);
}
