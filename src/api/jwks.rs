//! `GET /.well-known/jwks.json`: the keys with which anyone can verify a license offline.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;

use crate::gateway::Gateway;

/// The public keys, current and previous.
pub async fn show(gateway: Data<Gateway>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "public, max-age=300")).json(gateway.signer.jwks())
}
