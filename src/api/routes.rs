//! Every route in one list.

use actix_web::web::{self, ServiceConfig, delete, get, head, patch, post};
use actix_web::{HttpResponse, Resource};

use super::admin::{
    account_actions, accounts, audit, backups, key_actions, keys, license_actions, licenses, machines, plans,
    reconcile, sessions, stats, usage, usage_events,
};
use super::refusal::Refusal;
use super::{anthropic, health, jwks, license, models, native, openai, pages, realtime, seats, tasks, tickets};
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
    app.service(at("/health").route(get().to(health::health)).route(head().to(health::health)))
        .service(at("/healthz").route(get().to(health::alive)).route(head().to(health::alive)))
        .service(at("/livez").route(get().to(health::alive)).route(head().to(health::alive)))
        .service(at("/readyz").route(get().to(health::ready)).route(head().to(health::ready)));
    if door != Door::Admin {
        public(app);
    }
    if door != Door::Public {
        admin(app);
    }
    app.default_service(web::to(not_found));
}

fn public(app: &mut ServiceConfig) {
    app.service(at("/").route(get().to(pages::front)).route(head().to(pages::front)))
        .service(at("/static/front.css").route(get().to(pages::style)))
        .service(at("/static/front.js").route(get().to(pages::script)))
        .service(at("/static/icon.svg").route(get().to(pages::icon)))
        .service(at("/openapi.json").route(get().to(pages::openapi)))
        .service(at("/.well-known/jwks.json").route(get().to(jwks::show)))
        .service(at("/v1/license").route(get().to(license::show)))
        .service(at("/v1/licenses/validate").route(post().to(seats::validate)))
        .service(at("/v1/licenses/activate").route(post().to(seats::activate)))
        .service(at("/v1/licenses/deactivate").route(post().to(seats::deactivate)))
        .service(at("/v1/licenses/heartbeat").route(post().to(seats::heartbeat)))
        .service(at("/v1/realtime/sessions").route(post().to(tickets::create)))
        .service(at("/v1/realtime").route(get().to(realtime::realtime)))
        .service(at("/api-ws/v1/realtime").route(get().to(realtime::realtime)))
        .service(at("/api-ws/v1/inference").route(get().to(realtime::inference)));
    openai_calls(app);
    anthropic_calls(app);
    dashscope_calls(app);
    bases(app);
}

fn openai_calls(app: &mut ServiceConfig) {
    app.service(at("/v1/chat/completions").route(post().to(openai::chat)))
        .service(at("/v1/embeddings").route(post().to(openai::embeddings)))
        .service(at("/v1/responses").route(post().to(openai::responses)))
        .service(at("/v1/models").route(get().to(models::list)))
        .service(at("/v1/models/{id:.+}").route(get().to(models::show)))
        .service(at("/compatible-mode/v1/chat/completions").route(post().to(openai::chat)))
        .service(at("/compatible-mode/v1/embeddings").route(post().to(openai::embeddings)))
        .service(at("/compatible-mode/v1/responses").route(post().to(openai::responses)))
        .service(at("/compatible-mode/v1/models").route(get().to(models::list)))
        .service(at("/compatible-mode/v1/models/{id:.+}").route(get().to(models::show)));
}

fn anthropic_calls(app: &mut ServiceConfig) {
    app.service(at("/v1/messages").route(post().to(anthropic::messages)))
        .service(at("/v1/messages/count_tokens").route(post().to(anthropic::count_tokens)))
        .service(at("/apps/anthropic/v1/messages").route(post().to(anthropic::messages)))
        .service(at("/apps/anthropic/v1/messages/count_tokens").route(post().to(anthropic::count_tokens)))
        .service(at("/api/v1/messages").route(post().to(anthropic::messages)))
        .service(at("/api/v1/messages/count_tokens").route(post().to(anthropic::count_tokens)));
}

fn dashscope_calls(app: &mut ServiceConfig) {
    app.service(at("/api/v1/services/{path:.+}").route(post().to(native::service)))
        .service(at("/api/v1/tasks/{id}").route(get().to(tasks::task)))
        .service(at("/api/v1/tasks/{id}/cancel").route(post().to(tasks::cancel)));
}

/// Clients look whether the base that they were given is there.
fn bases(app: &mut ServiceConfig) {
    app.service(at("/v1").route(head().to(health::alive)))
        .service(at("/compatible-mode/v1").route(head().to(health::alive)))
        .service(at("/apps/anthropic").route(head().to(health::alive)))
        .service(at("/apps/anthropic/v1").route(head().to(health::alive)))
        .service(at("/api/v1").route(head().to(health::alive)));
}

fn admin(app: &mut ServiceConfig) {
    app.service(at("/metrics").route(get().to(health::metrics)));
    admin_licenses(app);
    admin_keys(app);
    admin_plans(app);
    admin_accounts(app);
    app.service(at("/admin/usage").route(get().to(usage::report)))
        .service(at("/admin/usage/events").route(get().to(usage_events::list)))
        .service(at("/admin/usage/reset").route(post().to(usage::reset)))
        .service(at("/admin/usage/reconcile").route(get().to(reconcile::show)).route(post().to(reconcile::settle)))
        .service(at("/admin/sessions").route(get().to(sessions::list)))
        .service(at("/admin/sessions/{id}").route(delete().to(sessions::end)))
        .service(at("/admin/audit").route(get().to(audit::list)))
        .service(at("/admin/backups").route(post().to(backups::create)).route(get().to(backups::list)))
        .service(at("/admin/backups/{id}").route(get().to(backups::show)).route(delete().to(backups::delete)))
        .service(at("/admin/stats").route(get().to(stats::show)));
}

fn admin_licenses(app: &mut ServiceConfig) {
    app.service(at("/admin/licenses").route(post().to(licenses::create)).route(get().to(licenses::list)))
        .service(
            at("/admin/licenses/{id}")
                .route(get().to(licenses::show))
                .route(patch().to(licenses::change))
                .route(delete().to(license_actions::revoke)),
        )
        .service(at("/admin/licenses/{id}/suspend").route(post().to(license_actions::suspend)))
        .service(at("/admin/licenses/{id}/reinstate").route(post().to(license_actions::reinstate)))
        .service(at("/admin/licenses/{id}/revoke").route(post().to(license_actions::revoke)))
        .service(at("/admin/licenses/{id}/renew").route(post().to(license_actions::renew)))
        .service(at("/admin/licenses/{id}/token").route(post().to(license_actions::token)))
        .service(at("/admin/licenses/{id}/reset-usage").route(post().to(license_actions::reset_usage)))
        .service(at("/admin/licenses/{id}/machines").route(get().to(machines::list)))
        .service(at("/admin/licenses/{id}/machines/{fingerprint:.+}").route(delete().to(machines::delete)));
}

fn admin_keys(app: &mut ServiceConfig) {
    app.service(at("/admin/keys").route(post().to(keys::create)).route(get().to(keys::list)))
        .service(
            at("/admin/keys/{id}")
                .route(get().to(keys::show))
                .route(patch().to(keys::change))
                .route(delete().to(key_actions::delete)),
        )
        .service(at("/admin/keys/{id}/block").route(post().to(key_actions::block)))
        .service(at("/admin/keys/{id}/unblock").route(post().to(key_actions::unblock)))
        .service(at("/admin/keys/{id}/rotate").route(post().to(key_actions::rotate)))
        .service(at("/admin/keys/{id}/reset-usage").route(post().to(key_actions::reset_usage)));
}

fn admin_plans(app: &mut ServiceConfig) {
    app.service(at("/admin/plans").route(post().to(plans::create)).route(get().to(plans::list)))
        .service(
            at("/admin/plans/{id}")
                .route(get().to(plans::show))
                .route(patch().to(plans::change))
                .route(delete().to(plans::delete)),
        )
        .service(at("/admin/plans/{id}/apply").route(post().to(plans::apply)));
}

fn admin_accounts(app: &mut ServiceConfig) {
    app.service(at("/admin/accounts").route(post().to(accounts::create)).route(get().to(accounts::list)))
        .service(at("/admin/accounts/reseal").route(post().to(account_actions::reseal)))
        .service(
            at("/admin/accounts/{id}")
                .route(get().to(accounts::show))
                .route(patch().to(accounts::change))
                .route(delete().to(account_actions::delete)),
        )
        .service(at("/admin/accounts/{id}/test").route(post().to(account_actions::test)))
        .service(at("/admin/accounts/{id}/drain").route(post().to(account_actions::drain)))
        .service(at("/admin/accounts/{id}/enable").route(post().to(account_actions::enable)))
        .service(at("/admin/accounts/{id}/disable").route(post().to(account_actions::disable)));
}

/// A resource. Other methods get actix's 405, which names those that there are; `answer` gives it our form.
fn at(path: &str) -> Resource {
    web::resource(path)
}

async fn not_found() -> Result<HttpResponse, Refusal> {
    Err(Error::NotFound("this route".to_owned()).into())
}
