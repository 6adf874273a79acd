//! Whether pages of other sites may call here from a browser: nobody's, unless CORS_ORIGINS names them, and never the
//! operator's routes.

use actix_cors::Cors;
use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;

/// What is open to pages: the customers' routes, as they are written; nothing else, however it is encoded.
const OPEN: [&str; 9] = [
    "/v1/",
    "/api/v1/",
    "/compatible-mode/v1/",
    "/apps/anthropic/v1/",
    "/health",
    "/livez",
    "/readyz",
    "/.well-known/jwks.json",
    "/openapi.json",
];
/// What a page's code may read of an answer, beside its body: our own headers are put on after these rules.
const SHOWN: [&str; 10] = [
    "x-request-id",
    "request-id",
    "retry-after",
    "x-should-retry",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];
/// How long a browser may rely on what it was told, seconds.
const MAX_AGE: usize = 600;

/// The rules for these origins (`*`: all). Credentials are headers that the page's own code sends: no cookies.
pub fn rules(origins: &[String]) -> Cors {
    let origins = origins.to_vec();
    Cors::default()
        .allowed_origin_fn(move |origin, request| admits(&origins, origin, request))
        .allowed_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_any_header()
        .expose_headers(SHOWN)
        .max_age(MAX_AGE)
}

fn admits(origins: &[String], origin: &HeaderValue, request: &RequestHead) -> bool {
    let known = |allowed: &String| allowed == "*" || allowed.as_bytes() == origin.as_bytes();
    let path = request.uri.path();
    OPEN.iter().any(|prefix| path.starts_with(prefix)) && origins.iter().any(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn only_named_origins_and_customers_routes() {
        let admitted = |origins: &[&str], path: &str| {
            let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
            let request = TestRequest::with_uri(path).to_srv_request();
            admits(&origins, &HeaderValue::from_static("https://app.example"), request.head())
        };
        assert!(admitted(&["https://app.example"], "/v1/chat/completions"));
        assert!(admitted(&["*"], "/api/v1/services/aigc"));
        assert!(!admitted(&["https://app.example.evil"], "/v1/chat/completions"));
        assert!(!admitted(&[], "/v1/chat/completions"));
        for path in ["/admin/keys", "/%61dmin/keys", "/metrics", "//admin/keys", "/"] {
            assert!(!admitted(&["*"], path), "{path}");
        }
    }
}
