//! What every answer carries: a request id, safe headers, our error bodies; and one log line.

use std::sync::Arc;
use std::time::Instant;

use actix_cors::CorsError;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, ALLOW, HeaderMap, HeaderName, HeaderValue, VARY};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, ResponseError as _};

use super::headers;
use super::refusal::{self, Refusal};
use crate::completion::api::Dialect;
use crate::completion::reply::error_body;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::quota::rate::{Reading, Readings};
use crate::quota::standing::Warning;

/// The header of a request's id, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells of a budget that is used beyond its soft limit.
const QUOTA_WARNING: HeaderName = HeaderName::from_static("x-quota-warning");

/// A request's id, in the request's extensions.
#[derive(Clone)]
pub struct RequestId(pub String);

/// The middleware around every route.
///
/// # Errors
/// None of its own: what handlers return becomes an answer here.
pub async fn finish(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let begun = Instant::now();
    let id = sane_id(&request).unwrap_or_else(ids::request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let gateway = request.app_data::<Data<Gateway>>().cloned();
    let mut answer = if holds_nul(&request) {
        let refusal = Refusal(Error::request("the address holds a NUL character (%00); leave it out"));
        let (request, _) = request.into_parts();
        ServiceResponse::from_err(refusal, request)
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    if let Some(fault) = fault(&answer) {
        if let Some(gateway) = &gateway {
            gateway.metrics.refusals.with_label_values(&[fault.row().code]).inc();
        }
        if let Some(cause) = fault.cause() {
            log::error!(request_id = id.as_str(), code = fault.row().code; "{fault}: {cause}");
        }
        let (head, _) = Refusal(fault.clone()).error_response().into_parts();
        // What the route, and the rules for pages of other sites, have said.
        let stays = |name: &HeaderName| name == ALLOW || name == VARY || name.as_str().starts_with("access-control-");
        let kept = answer.headers().iter().filter(|(name, _)| stays(name));
        let kept: Vec<(HeaderName, HeaderValue)> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let body = error_body(refusal::dialect(answer.request()), &fault, &id);
        answer = answer.into_response(head.set_body(BoxBody::new(body.to_string())));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        kept.into_iter().for_each(|(name, value)| answer.headers_mut().append(name, value));
    }
    dress(&mut answer, &id);
    let request = answer.request().clone();
    let config = gateway.as_ref().map(|gateway| &*gateway.config);
    headers::secure(answer.headers_mut(), &request, config);
    let status = answer.status();
    if let Some(gateway) = &gateway {
        gateway.metrics.responses.with_label_values(&[class(status)]).inc();
    }
    if log::log_enabled!(log::Level::Info) {
        // It is looked for among all routes.
        let route = answer.request().match_pattern().unwrap_or_else(|| "no route".to_owned());
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let method = answer.request().method();
        log::info!(request_id = id.as_str(), status = status.as_u16(), elapsed_ms = elapsed_ms; "{method} {route}");
    }
    Ok(answer)
}

/// Whether a path or query would be read with a NUL in it, which PostgreSQL takes in no text.
fn holds_nul(request: &ServiceRequest) -> bool {
    request.uri().path_and_query().is_some_and(|address| address.as_str().contains("%00"))
}

/// A client's own id, where it can stand in a log.
fn sane_id(request: &ServiceRequest) -> Option<String> {
    let id = request.headers().get(&REQUEST_ID)?.to_str().ok()?;
    let sane = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    (sane && (1..=128).contains(&id.len())).then(|| id.to_owned())
}

/// The error that an answer stands for, ours or one that actix made of the request.
fn fault(answer: &ServiceResponse) -> Option<Error> {
    let Some(error) = answer.response().error() else {
        // Nobody but actix names methods.
        let wrong_method = answer.status() == StatusCode::METHOD_NOT_ALLOWED && answer.headers().contains_key(ALLOW);
        return wrong_method.then_some(Error::MethodNotAllowed);
    };
    if let Some(refusal) = error.as_error::<Refusal>() {
        return Some(refusal.0.clone());
    }
    if let Some(error) = error.as_error::<CorsError>() {
        return Some(Error::request(format!("a page of another site asked: {error}")));
    }
    Some(match answer.status() {
        StatusCode::NOT_FOUND => Error::NotFound("this route".to_owned()),
        StatusCode::METHOD_NOT_ALLOWED => Error::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => {
            let limit = answer.request().app_data::<Data<Gateway>>();
            Error::TooLarge { limit: limit.map_or(0, |gateway| gateway.config.server.max_body_bytes) }
        }
        status if status.is_client_error() => Error::request("the request could not be read"),
        status => Error::internal(format!("answered {status}")),
    })
}

fn dress(answer: &mut ServiceResponse, id: &str) {
    let dialect = refusal::dialect(answer.request());
    let readings = answer.request().extensions().get::<Readings>().copied().unwrap_or_default();
    let warnings = answer.request().extensions().get::<Arc<[Warning]>>().cloned().unwrap_or_default();
    let headers = answer.headers_mut();
    for warning in &*warnings {
        if let Ok(value) = HeaderValue::from_str(&warning.to_string()) {
            headers.append(QUOTA_WARNING, value);
        }
    }
    tell(
        headers,
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
        readings.requests,
    );
    tell(
        headers,
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
        readings.tokens,
    );
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    if dialect == Dialect::Anthropic {
        // Where Anthropic's clients look for it.
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("request-id"), id);
        }
    }
}

/// Tells how a limit stands, if there is one: as OpenAI does, with a span such as `1.5s`.
fn tell(headers: &mut HeaderMap, names: [&'static str; 3], reading: Option<Reading>) {
    let Some(Reading { limit, remaining, reset }) = reading else { return };
    let reset = format!("{}s", reset.as_millis().div_ceil(10) as f64 / 100.0);
    for (name, value) in names.into_iter().zip([limit.to_string(), remaining.to_string(), reset]) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
