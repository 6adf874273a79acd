//! The simulator as a client meets it: over a socket.

use actix_codec::Framed;
use actix_http::ws::{Codec, Frame, Item, Message};
use awc::BoxedSocket;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;

use super::*;

const MODEL: &str = "realtime?model=qwen3.5-livetranslate-flash-realtime";

struct Client(Framed<BoxedSocket, Codec>);

impl Client {
    async fn dial(simulator: &Simulator, path: &str) -> Self {
        let url = format!("{}/{path}", simulator.websocket_base());
        let dialled = awc::Client::new().ws(url).bearer_auth("sk-test").max_frame_size(8 << 20).connect().await;
        Self(dialled.unwrap().1)
    }

    async fn send(&mut self, event: &Value) {
        self.0.send(Message::Text(event.to_string().into())).await.unwrap();
    }

    async fn speak(&mut self, ms: usize, level: i16) {
        let pcm: Vec<u8> = std::iter::repeat_n(level.to_le_bytes(), ms * 16).flatten().collect();
        self.send(&json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(pcm)})).await;
    }

    async fn finish(&mut self) {
        self.send(&json!({"type": "session.finish"})).await;
    }

    async fn ping(&mut self) {
        self.0.send(Message::Ping(Bytes::new())).await.unwrap();
    }

    async fn frame(&mut self) -> Option<Frame> {
        self.0.next().await.and_then(Result::ok)
    }

    async fn event(&mut self) -> Value {
        match self.frame().await {
            Some(Frame::Text(text)) => serde_json::from_slice(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Events up to the one of this type.
    async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Value| event["type"] != kind) {
            events.push(self.event().await);
        }
        events
    }

    /// Everything up to the connection's end.
    async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }
}

fn text(frame: &Frame) -> Option<&Bytes> {
    if let Frame::Text(text) = frame { Some(text) } else { None }
}

async fn start(faults: Value) -> Simulator {
    let faults = serde_json::from_value(faults).unwrap();
    Simulator::start(Options { faults, record_frames: true, ..Options::default() }).await.unwrap()
}

#[actix_web::test]
async fn a_session_is_created_at_once_and_stays_open_after_its_finish() {
    let simulator = start(json!({})).await;
    let mut client = Client::dial(&simulator, MODEL).await;
    assert_eq!(client.event().await["type"], "session.created");
    client.speak(3000, 4000).await;
    client.finish().await;
    let events = client.until("session.finished").await;
    assert_eq!(events.iter().filter(|event| event["type"] == "response.done").count(), 1);
    client.ping().await;
    assert!(matches!(client.frame().await, Some(Frame::Pong(_))));
    client.0.send(Message::Close(Some(actix_http::ws::CloseCode::Normal.into()))).await.unwrap();
    assert!(matches!(client.frame().await, Some(Frame::Close(Some(reason))) if u16::from(reason.code) == 1000));
    let record = simulator.sessions().pop().unwrap();
    assert_eq!((record.samples, record.audio_frames, record.pings), (48_000, 1, 1));
    assert_eq!((record.closed, record.closed_by_client, record.finished), (Some(1000), true, true));
    assert_eq!((record.events, record.frames.len()), (vec!["session.finish".to_owned()], 2));
    assert_eq!((record.api_key.as_str(), record.path.as_str()), ("sk-test", "/api-ws/v1/realtime"));
}

#[actix_web::test]
async fn refusals_are_worded_as_the_provider_does() {
    let simulator = Simulator::start(Options { api_key: Some("sk-right".to_owned()), ..Options::default() });
    let simulator = simulator.await.unwrap();
    let base = simulator.http_base();
    let call = async |path: &str, key: &str| {
        let url = format!("{base}/api-ws/v1/{path}");
        let mut answer = awc::Client::new().get(url).bearer_auth(key).send().await.unwrap();
        (answer.status().as_u16(), answer.body().await.unwrap())
    };
    let (status, body) = call(MODEL, "sk-wrong").await;
    assert_eq!((status, body.len()), (401, 114), "as long as the recorded one");
    assert!(body.starts_with(br#"{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":""#));
    assert_eq!(call("realtime", "sk-right").await.0, 400);
    assert_eq!(call("realtime?model=qwen-plus", "sk-right").await.0, 404);
    simulator.next_faults(Faults { refuse: Some(429), ..Faults::default() });
    simulator.next_faults(Faults { refuse: Some(503), ..Faults::default() });
    let (status, body) = call(MODEL, "sk-right").await;
    assert_eq!(status, 429);
    assert!(body.starts_with(br#"{"code":"Throttling.RateQuota""#));
    assert_eq!(call("inference", "sk-right").await.0, 503, "first in, first out");
    assert_eq!(simulator.sessions().len(), 0);
}

#[actix_web::test]
async fn close_codes_and_errors_come_on_demand() {
    let simulator = start(json!({"close": {"code": 1007, "reason": "Access denied", "after_events": 1}})).await;
    let mut client = Client::dial(&simulator, MODEL).await;
    client.event().await;
    let Some(Frame::Close(Some(reason))) = client.frame().await else { panic!() };
    assert_eq!((u16::from(reason.code), reason.description.as_deref()), (1007, Some("Access denied")));
    let fault = json!({"error": {"code": "InternalError", "message": "null", "close": {"code": 1011}}});
    simulator.next_faults(serde_json::from_value(fault).unwrap());
    let mut client = Client::dial(&simulator, MODEL).await;
    let events = client.until("error").await;
    assert_eq!(events.last().unwrap()["error"], json!({"code": "InternalError", "message": "null"}));
    assert!(matches!(client.frame().await, Some(Frame::Close(Some(reason))) if u16::from(reason.code) == 1011));
    assert_eq!(simulator.sessions()[1].closed, Some(1011));
}

#[actix_web::test]
async fn a_silent_upstream_answers_pings_alone() {
    let simulator = start(json!({"silence_after_ms": 0})).await;
    let mut client = Client::dial(&simulator, MODEL).await;
    assert_eq!(client.event().await["type"], "session.created");
    client.speak(1000, 4000).await;
    client.finish().await;
    client.ping().await;
    assert!(matches!(client.frame().await, Some(Frame::Pong(_))));
    assert_eq!(simulator.sessions()[0].samples, 16_000);
}

#[actix_web::test]
async fn a_half_open_or_unreading_upstream_answers_nothing() {
    for faults in [
        json!({"half_open_after_ms": 0, "cap_ms": 200}),
        json!({"slow_reads": {"stop_after_ms": 0}, "cap_ms": 200}),
        json!({"no_pong": true, "cap_ms": 200}),
    ] {
        let simulator = start(faults.clone()).await;
        let mut client = Client::dial(&simulator, MODEL).await;
        assert_eq!(client.event().await["type"], "session.created");
        client.ping().await;
        assert_eq!(client.rest().await, [], "{faults}");
        assert_eq!(simulator.sessions()[0].closed, Some(1006), "{faults}");
    }
}

#[actix_web::test]
async fn frames_are_huge_split_or_cut_on_demand() {
    let simulator = start(json!({})).await;
    let size: usize = 4 << 20;
    simulator.next_faults(Faults { huge_frames: Some(size), ..Faults::default() });
    let mut client = Client::dial(&simulator, MODEL).await;
    client.speak(1000, 4000).await;
    client.finish().await;
    let mut huge = 0;
    while let Some(Frame::Text(text)) = client.frame().await {
        huge += usize::from(text.len() == size - 10);
        let event: Value = serde_json::from_slice(&text).unwrap();
        if event["type"] == "session.finished" {
            break;
        }
    }
    assert_eq!(huge, 5, "response.created and four deltas");
    simulator.next_faults(Faults { fragment: Some(100), ..Faults::default() });
    let mut client = Client::dial(&simulator, MODEL).await;
    assert!(matches!(client.frame().await, Some(Frame::Continuation(Item::FirstText(part))) if part.len() == 100));
    simulator.next_faults(Faults { drop_mid_delta: true, ..Faults::default() });
    let mut client = Client::dial(&simulator, MODEL).await;
    client.speak(5000, 4000).await;
    let frames = client.rest().await;
    let texts: Vec<&Bytes> = frames.iter().filter_map(text).collect();
    assert_eq!(texts.len(), frames.len(), "no goodbye");
    let last: Value = serde_json::from_slice(texts.last().unwrap()).unwrap();
    assert_eq!(last["type"], "response.content_part.added", "nothing of the translation arrived whole");
}

#[actix_web::test]
async fn binary_frames_are_refused_where_text_is_due() {
    let simulator = start(json!({})).await;
    let mut client = Client::dial(&simulator, MODEL).await;
    client.event().await;
    client.0.send(Message::Binary(Bytes::from_static(&[0; 320]))).await.unwrap();
    assert_eq!(client.event().await["type"], "error");
    assert!(matches!(client.frame().await, Some(Frame::Close(Some(reason))) if u16::from(reason.code) == 1003));
}

#[actix_web::test]
async fn faults_are_queued_and_the_ledger_read_over_http() {
    let simulator = start(json!({})).await;
    let post = async |body: &'static str| {
        let url = format!("{}/simulator/faults", simulator.http_base());
        awc::Client::new().post(url).send_body(body).await.unwrap().status().as_u16()
    };
    assert_eq!(post(r#"{"close":{"code":1011}}"#).await, 202);
    assert_eq!(post(r#"{"sulk":1}"#).await, 400);
    let mut client = Client::dial(&simulator, MODEL).await;
    client.event().await;
    assert!(matches!(client.frame().await, Some(Frame::Close(Some(reason))) if u16::from(reason.code) == 1011));
    let url = format!("{}/simulator/sessions", simulator.http_base());
    let ledger: Value = awc::Client::new().get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(ledger["sessions"][0]["closed"], 1011);
    assert_eq!(ledger["sessions"][0]["api_key"], "***test");
    assert_eq!(ledger["sessions"][0]["model"], "qwen3.5-livetranslate-flash-realtime");
}

#[actix_web::test]
async fn the_task_protocol_takes_binary_audio() {
    let simulator = start(json!({})).await;
    let mut client = Client::dial(&simulator, "inference").await;
    let header = |action: &str| json!({"action": action, "task_id": "t1", "streaming": "duplex"});
    let payload = json!({"model": "gummy-realtime-v1", "input": {}, "parameters": {"format": "pcm"}});
    client.send(&json!({"header": header("run-task"), "payload": payload})).await;
    assert_eq!(client.event().await["header"]["event"], "task-started");
    client.0.send(Message::Binary(vec![9_u8; 32_000].into())).await.unwrap();
    client.send(&json!({"header": header("finish-task"), "payload": {"input": {}}})).await;
    let mut last = client.event().await;
    while last["header"]["event"] == "result-generated" {
        last = client.event().await;
    }
    assert_eq!((&last["header"]["event"], &last["payload"]["output"]), (&json!("task-finished"), &json!({})));
    let record = simulator.sessions().remove(0);
    assert_eq!((record.samples, record.model.as_str()), (16_000, "gummy-realtime-v1"));
    assert_eq!(record.events, ["run-task", "finish-task"]);
}

#[actix_web::test]
async fn stopping_cuts_every_connection() {
    let simulator = start(json!({})).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::dial(&simulator, MODEL).await);
    }
    simulator.stop().await;
    for client in &mut clients {
        assert!(client.rest().await.iter().all(|frame| text(frame).is_some()));
    }
}
