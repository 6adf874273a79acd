//! Every HTTP route of the stand-in, and those of its own: the ledger and the faults.

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use serde_json::json;

use super::desk::Desk;
use super::faults::HttpFaults;
use super::{chat, embeddings, messages, models, native, responses, tasks};

/// The largest body that is read.
const LARGEST: usize = 64 << 20;

/// Adds the routes; the desk must be among the app's data.
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(LARGEST))
        .route("/simulator/calls", web::get().to(calls))
        .route("/simulator/http-faults", web::post().to(faults));
    native_routes(config);
    for base in ["/compatible-mode/v1", "/v1"] {
        config
            .route(&format!("{base}/chat/completions"), web::post().to(chat::completions))
            .route(&format!("{base}/responses"), web::post().to(responses::responses))
            .route(&format!("{base}/embeddings"), web::post().to(embeddings::compatible))
            .route(&format!("{base}/models"), web::get().to(models::list))
            .route(&format!("{base}/models/{{id}}"), web::get().to(models::one));
    }
    for base in ["/apps/anthropic/v1", "/v1"] {
        config
            .route(&format!("{base}/messages"), web::post().to(messages::messages))
            .route(&format!("{base}/messages/count_tokens"), web::post().to(messages::count_tokens));
    }
}

fn native_routes(config: &mut ServiceConfig) {
    const SERVICES: &str = "/api/v1/services";
    config
        .route(&format!("{SERVICES}/aigc/text-generation/generation"), web::post().to(native::text))
        .route(&format!("{SERVICES}/aigc/multimodal-generation/generation"), web::post().to(native::multimodal))
        .route(&format!("{SERVICES}/embeddings/text-embedding/text-embedding"), web::post().to(embeddings::native))
        .route(&format!("{SERVICES}/{{service:.+}}"), web::post().to(tasks::begin))
        .route("/api/v1/tasks/{id}", web::get().to(tasks::poll))
        .route("/api/v1/models", web::get().to(models::native));
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
