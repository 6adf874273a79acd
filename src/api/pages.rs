//! What a person or a program gets at `/`, and the pages' files. All are compiled in.

use actix_web::body::MessageBody;
use actix_web::http::header::{self, ACCEPT};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, Responder};

use super::document::whole::Document;
use crate::wire::reports::Front;

/// No script or style but our own, no framing, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where to go from here.
const LINKS: [(&str, &str); 11] = [
    ("health", "/health"),
    ("realtime", "/v1/realtime"),
    ("chat", "/v1/chat/completions"),
    ("responses", "/v1/responses"),
    ("embeddings", "/v1/embeddings"),
    ("messages", "/v1/messages"),
    ("services", "/api/v1/services"),
    ("models", "/v1/models"),
    ("license", "/v1/license"),
    ("jwks", "/.well-known/jwks.json"),
    ("openapi", "/openapi.json"),
];

/// `GET /`: JSON for programs, the front page for browsers.
pub async fn front(request: HttpRequest) -> impl Responder {
    let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        return page("text/html; charset=utf-8", include_str!("../../static/index.html"));
    }
    HttpResponse::Ok().insert_header((header::VARY, "accept")).json(Front {
        service: "livetranslate-central",
        version: env!("CARGO_PKG_VERSION"),
        links: LINKS.into_iter().collect(),
    })
}

/// `GET /static/front.css`
pub async fn style() -> impl Responder {
    page("text/css; charset=utf-8", include_str!("../../static/front.css"))
}

/// `GET /static/icon.svg`
pub async fn icon() -> impl Responder {
    page("image/svg+xml", include_str!("../../static/icon.svg"))
}

/// `GET /static/front.js`
pub async fn script() -> impl Responder {
    page("text/javascript; charset=utf-8", include_str!("../../static/front.js"))
}

/// `GET /openapi.json`: every route, for programs.
pub async fn openapi(document: Data<Document>) -> impl Responder {
    page("application/json", document.0.clone())
}

fn page(kind: &'static str, text: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::VARY, "accept"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(text)
}
