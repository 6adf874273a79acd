//! Every route in one list.

use actix_web::web::{self, ServiceConfig, delete, get, post};
use actix_web::{HttpResponse, Resource};

use super::refusal::Refusal;
use super::{health, pages, realtime};
use crate::error::Error;

/// Which routes a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// For customers alone; the admin routes have a listener of their own.
    Public,
    /// For the operator alone.
    Admin,
    /// Everything.
    Both,
}

/// Mounts the routes of a listener.
pub fn mount(app: &mut ServiceConfig, door: Door) {
    app.service(at("/health").route(get().to(health::health)))
        .service(at("/healthz").route(get().to(health::alive)))
        .service(at("/livez").route(get().to(health::alive)))
        .service(at("/readyz").route(get().to(health::ready)));
    if door != Door::Admin {
        public(app);
    }
    if door != Door::Public {
        admin(app);
    }
    app.default_service(web::to(not_found));
}

fn public(app: &mut ServiceConfig) {
    app.service(at("/").route(get().to(pages::front)))
        .service(at("/static/front.css").route(get().to(pages::style)))
        .service(at("/static/front.js").route(get().to(pages::script)))
        .service(at("/static/icon.svg").route(get().to(pages::icon)))
        .service(at("/v1/realtime").route(get().to(realtime::realtime)))
        .service(at("/api-ws/v1/realtime").route(get().to(realtime::realtime)))
        .service(at("/api-ws/v1/inference").route(get().to(realtime::inference)));
}

fn admin(app: &mut ServiceConfig) {
    app.service(at("/metrics").route(get().to(health::metrics)));
    let _ = (post, delete);
}

/// A resource that answers other methods in our form.
fn at(path: &str) -> Resource {
    web::resource(path).default_service(web::to(wrong_method))
}

async fn wrong_method() -> Result<HttpResponse, Refusal> {
    Err(Error::MethodNotAllowed.into())
}

async fn not_found() -> Result<HttpResponse, Refusal> {
    Err(Error::NotFound("this route".to_owned()).into())
}
