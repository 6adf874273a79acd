//! One HTTP call from door to door: its faults, its key, its page in the ledger, its answer.

use std::time::Duration;

use actix_http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, rt};
use bytes::Bytes;
use serde_json::Value;

use super::body::{Body, Way, cut};
use super::calls::{CallPage, CallRecord, Usage};
use super::desk::Desk;
use super::faults::HttpFaults;
use super::refusal::{Api, Refusal};
use super::sse::{Frame, Frames};
use crate::simulator::connection::Cord;
use crate::{clock, ids};

/// A call that is being answered.
pub struct Call {
    /// Whose words it wants.
    pub api: Api,
    /// Its uuid, sent as `x-request-id`.
    pub id: String,
    /// What goes wrong with it.
    pub faults: HttpFaults,
    page: CallPage,
    cord: Option<Cord>,
    arrived_ms: i64,
}

/// An answer.
pub enum Reply {
    /// In one piece, with what it cost.
    Whole(Value, Usage),
    /// Event by event.
    Stream(Frames),
    /// An error event alone.
    Error(Refusal),
}

/// Answers a call: `answer` reads it and makes the reply.
pub async fn serve<F>(desk: &Desk, request: &HttpRequest, api: Api, answer: F) -> HttpResponse
where
    F: FnOnce(&Call) -> Result<Reply, Refusal>,
{
    let id = ids::request();
    let page = desk.calls.add(record(request, &id));
    let cord = request.conn_data::<Cord>().cloned();
    let call = Call { api, id, faults: desk.faults(), page, cord, arrived_ms: now_ms() };
    if call.faults.hang {
        std::future::pending::<()>().await;
    }
    if let Some(ms) = call.faults.first_delay_ms {
        rt::time::sleep(Duration::from_millis(ms)).await;
    }
    if call.faults.drop_before_headers {
        cut(call.cord.as_ref());
        // Nobody reads it: it ends the connection on this side.
        return HttpResponse::InternalServerError().force_close().finish();
    }
    if let Some(refusal) = call.refused(desk.api_key.as_deref()) {
        return call.refuse(&refusal);
    }
    match answer(&call) {
        Ok(reply) => call.reply(reply),
        // As recorded: what is wrong with the request itself is an event, where events were asked for.
        Err(refusal) if api == Api::Native && refusal.from_model() && call.page.record().stream => {
            call.reply(Reply::Error(refusal))
        }
        Err(refusal) => call.refuse(&refusal),
    }
}

impl Call {
    /// Notes whether events are asked for otherwise than by the body's `stream`.
    pub fn streams(&self, stream: bool) {
        self.page.record().stream = stream;
    }

    /// When it came, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.arrived_ms / 1000
    }

    /// Reads the body and judges its model.
    ///
    /// # Errors
    /// For what is no JSON object, and for models that don't exist.
    pub fn read(&self, body: &[u8]) -> Result<(Value, String), Refusal> {
        let asked = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
        let asked = asked.ok_or_else(|| Refusal::invalid("The request body is not a valid JSON object."))?;
        let model = asked.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut record = self.page.record();
        model.clone_into(&mut record.model);
        record.stream |= asked.get("stream").and_then(Value::as_bool).unwrap_or(false);
        drop(record);
        Refusal::of_model(self.api, &model)?;
        Ok((asked, model))
    }

    fn refused(&self, expected: Option<&str>) -> Option<Refusal> {
        // With a place in the stream, status and code word the error there.
        let asked = Refusal::asked(&self.faults).filter(|_| self.faults.error_after_chunks.is_none());
        asked.or_else(|| {
            let record = self.page.record();
            let right = !record.api_key.is_empty() && expected.is_none_or(|known| known == record.api_key);
            (!right).then(|| Refusal::of(401))
        })
    }

    fn reply(self, reply: Reply) -> HttpResponse {
        let streams = !matches!(reply, Reply::Whole(..));
        let mut head = self.head(StatusCode::OK);
        let kind = if streams { "text/event-stream;charset=utf-8" } else { "application/json" };
        head.insert_header((CONTENT_TYPE, kind));
        model_said(&mut head, !streams);
        let told = !self.faults.no_usage;
        let way = Way { faults: self.faults, api: self.api, id: self.id, page: self.page, cord: self.cord };
        head.body(match reply {
            Reply::Stream(frames) => Body::stream(frames, way),
            Reply::Error(refusal) => Body::error(&refusal, way),
            Reply::Whole(mut body, usage) => {
                if let Some(body) = body.as_object_mut().filter(|_| !told) {
                    body.remove("usage");
                }
                let told = body.get("usage").is_some();
                Body::whole(Frame { bytes: Bytes::from(body.to_string()), usage, told }, way)
            }
        })
    }

    fn refuse(&self, refusal: &Refusal) -> HttpResponse {
        let mut head = self.head(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        if refusal.from_model() {
            model_said(&mut head, false);
        }
        if let Some(seconds) = self.faults.retry_after {
            head.insert_header(("retry-after", seconds));
        }
        head.json(refusal.body(self.api, &self.id))
    }

    fn head(&self, status: StatusCode) -> HttpResponseBuilder {
        self.page.answered(status.as_u16());
        let now_ms = now_ms();
        let mut head = HttpResponse::build(status);
        head.insert_header(("x-request-id", self.id.as_str()))
            .insert_header(("req-arrive-time", self.arrived_ms))
            .insert_header(("req-cost-time", now_ms - self.arrived_ms))
            .insert_header(("resp-start-time", now_ms))
            .insert_header(("x-envoy-upstream-service-time", now_ms - self.arrived_ms))
            .insert_header(("server", "istio-envoy"))
            .insert_header(("vary", "Origin,Access-Control-Request-Method,Access-Control-Request-Headers"));
        head
    }
}

fn model_said(head: &mut HttpResponseBuilder, finished: bool) {
    head.insert_header(("x-dashscope-call-gateway", "true"))
        .insert_header(("x-dashscope-finished", if finished { "true" } else { "false" }))
        .insert_header(("x-dashscope-timeout", "3600"));
}

fn record(request: &HttpRequest, id: &str) -> CallRecord {
    let header = |name: &str| {
        let mut values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
        let first = values.next()?.to_owned();
        Some(values.fold(first, |joined, value| joined + "," + value))
    };
    CallRecord {
        id: id.to_owned(),
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        api_key: key(request).unwrap_or_default(),
        x_dashscope_workspace: header("x-dashscope-workspace"),
        data_inspection: header("x-dashscope-datainspection"),
        sse: header("x-dashscope-sse"),
        anthropic_version: header("anthropic-version"),
        anthropic_beta: header("anthropic-beta"),
        ..CallRecord::default()
    }
}

/// The key, as a bearer or in `x-api-key`.
fn key(request: &HttpRequest) -> Option<String> {
    let text = |name: &str| request.headers().get(name)?.to_str().ok();
    let bearer = || {
        let (scheme, key) = text(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    bearer().or_else(|| text("x-api-key")).map(str::to_owned)
}

fn now_ms() -> i64 {
    clock::now().as_millisecond()
}
