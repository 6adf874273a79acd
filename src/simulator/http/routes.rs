//! Every HTTP route of the stand-in, and those of its own: the ledger and the faults.

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use serde_json::json;

use super::chat;
use super::desk::Desk;
use super::faults::HttpFaults;

/// The largest body that is read.
const LARGEST: usize = 64 << 20;

/// Adds the routes; the desk must be among the app's data.
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(LARGEST))
        .route("/simulator/calls", web::get().to(calls))
        .route("/simulator/http-faults", web::post().to(faults));
    for base in ["/compatible-mode/v1", "/v1"] {
        config.route(&format!("{base}/chat/completions"), web::post().to(chat::completions));
    }
}

async fn calls(desk: Data<Desk>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"calls": desk.calls.records()}))
}

async fn faults(desk: Data<Desk>, body: Bytes) -> HttpResponse {
    match serde_json::from_slice::<HttpFaults>(&body) {
        Ok(faults) => HttpResponse::Accepted().json(json!({"queued": desk.queue(faults)})),
        Err(error) => {
            HttpResponse::BadRequest().json(json!({"code": "InvalidParameter", "message": error.to_string()}))
        }
    }
}
