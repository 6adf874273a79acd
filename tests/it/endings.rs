//! How live sessions end: by the operator's word, by their own frames, by the provider, by a shutdown.

use actix_http::ws::Message;
use livetranslate::simulator::faults::{CloseFault, Faults};
use livetranslate::simulator::ledger::SessionRecord;
use serde_json::json;

use crate::support::app::{Backend, TestApp, on_both_stores, on_sqlite, on_sqlite_with};
use crate::support::customer::Customer;

#[test]
fn the_operator_ends_sessions() {
    on_both_stores(async |app| {
        for (action, close, code) in [("suspend", 1008, "license_suspended"), ("revoke", 1008, "license_revoked")] {
            let alice = app.licensee(60.0).await;
            let mut call = alice.dial().await;
            call.until("session.created").await;
            call.audio(300, 0).await;
            app.operator().post(&format!("/admin/licenses/{}/{action}", alice.license_id), &json!({})).await;
            let ending = call.ending().await;
            assert_eq!((ending.code(), ending.error_code()), (close, code));
        }
        let alice = app.licensee(60.0).await;
        let mut call = alice.dial().await;
        let sessions = app.operator().get("/admin/sessions").await;
        let id = sessions.body["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{}", sessions.text)).to_owned();
        app.operator().send("DELETE", &format!("/admin/sessions/{id}"), &[], String::new()).await;
        assert_eq!(call.ending().await.error_code(), "session_ended");
    });
}

#[test]
fn a_license_expires_under_a_session() {
    on_both_stores(async |app| {
        let soon = livetranslate::clock::now() + jiff::SignedDuration::from_secs(2);
        let alice = app.licensee_with(json!({ "expires_at": soon })).await;
        let ending = alice.dial().await.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1008, "license_expired"));
        let bob = app.licensee_with(json!({ "max_session_seconds": 1 })).await;
        let ending = bob.dial().await.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1008, "session_expired"));
    });
}

#[test]
fn frames_that_break_the_rules() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let end_after = async |message: Message| {
            let mut call = alice.dial().await;
            call.until("session.created").await;
            call.send(message).await;
            let ending = call.ending().await;
            (ending.code(), ending.error_code().to_owned())
        };
        let binary = Message::Binary(vec![0_u8; 320].into());
        assert_eq!(end_after(binary).await, (1003, "invalid_request".into()));
        let oversize = Message::Text("a".repeat(5 << 20).into());
        assert_eq!(end_after(oversize).await, (1009, "request_too_large".into()));
        let mut call = alice.dial().await;
        call.until("session.created").await;
        call.fragments(&"a".repeat(5 << 20), 1 << 20).await;
        assert_eq!(call.ending().await.code(), 1009);
        let mut call = alice.dial().await;
        call.until("session.created").await;
        let bad = actix_http::ws::Item::FirstText(vec![0xff, 0xfe].into());
        call.send(Message::Continuation(bad)).await;
        call.send(Message::Continuation(actix_http::ws::Item::Last(Vec::new().into()))).await;
        assert_eq!(call.ending().await.code(), 1007);
    });
}

#[test]
fn frames_up_to_four_mebibytes_pass() {
    on_sqlite(async |app| {
        let alice = app.licensee(600.0).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        for size in [1_usize, 65_535, 65_536, 65_537, (4 << 20) - 64] {
            let audio = "A".repeat(size / 4 * 4);
            call.text(format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#)).await;
        }
        call.text(r#"{"type":"unknown.event"}"#).await;
        call.until("error").await;
        call.hang_up().await;
        app.settled().await;
        assert!((alice.audio_used().await - app.upstream_samples() as f64 / 16_000.0).abs() < 1e-4);
    });
}

#[test]
fn a_provider_that_breaks_off() {
    on_sqlite_with(
        |config| {
            config.realtime.ping_seconds = 1;
            config.realtime.dead_seconds = 3;
        },
        async |app| {
            let alice = app.licensee(60.0).await;
            let end_with = async |faults: Faults| {
                app.next_faults(faults);
                let path = "/v1/realtime?model=qwen3.5-livetranslate-flash-realtime&legs=1";
                let ending = alice.dial_at(path).await.unwrap().ending().await;
                (ending.code(), ending.error_code().to_owned())
            };
            let close =
                CloseFault { code: 1007, reason: "Access denied".into(), after_ms: Some(100), after_events: None };
            assert_eq!(end_with(Faults { close: Some(close), ..Faults::default() }).await, (1007, String::new()));
            let dropped = Faults { cap_ms: Some(100), ..Faults::default() };
            assert_eq!(end_with(dropped).await, (1011, "upstream_unavailable".into()));
            let half_open = Faults { half_open_after_ms: Some(50), ..Faults::default() };
            assert_eq!(end_with(half_open).await, (1011, "upstream_timeout".into()));
        },
    );
}

#[test]
fn a_drain_lets_the_sentence_out() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        actix_web::rt::System::new().block_on(async {
            let app = TestApp::start(backend, |_| {}).await;
            let (alice, bob) = (app.licensee(60.0).await, app.licensee(60.0).await);
            let (mut quiet, mut speaking) = (alice.dial().await, bob.dial().await);
            quiet.until("session.created").await;
            speaking.until("session.created").await;
            for _ in 0..15 {
                speaking.audio(100, 9_000).await;
            }
            speaking.until("response.created").await;
            let url = app.url();
            let stopping = actix_web::rt::spawn(app.stop());
            let ending = quiet.ending().await;
            assert_eq!((ending.code(), ending.error_code()), (1001, "draining"));
            assert_eq!(bob_refused(&url).await, 503);
            for _ in 0..15 {
                speaking.audio(100, 0).await;
            }
            let ending = speaking.ending().await;
            assert!(ending.events.iter().any(|event| event["type"] == "response.done"), "{:?}", ending.events);
            assert_eq!((ending.code(), ending.error_code()), (1001, "draining"));
            stopping.await.unwrap();
        });
    }
}

#[test]
fn a_customer_who_takes_nothing_is_cut_off() {
    on_sqlite_with(
        |config| config.realtime.slow_client_seconds = 2,
        async |app| {
            app.next_faults(Faults { huge_frames: Some(4 << 20), ..Faults::default() });
            let alice = app.licensee(60.0).await;
            let mut call = alice.dial_at("/v1/realtime?model=qwen3.5-omni-plus-realtime").await.unwrap();
            call.until("session.created").await;
            // Thirty-two mebibytes come back: more than the sockets' own buffers, less than the simulator's.
            for _ in 0..20 {
                call.audio(100, 8_000).await;
            }
            for _ in 0..15 {
                call.audio(100, 0).await;
            }
            let (mut mouth, mut ear) = call.split();
            while mouth.text(r#"{"type":"session.update"}"#).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            assert_eq!(ear.close_code().await, 0, "the rest of it must not wait for him");
            app.settled().await;
            let ended = app.operator().get("/metrics").await.text;
            assert!(ended.contains(r#"livetranslate_sessions_ended_total{code="too_slow"} 1"#), "{ended}");
            assert!(output_tokens(app, &alice).await > 0, "what he was being told is booked");
        },
    );
}

#[test]
fn what_is_reported_to_a_customer_who_left_is_booked() {
    on_both_stores(async |app| {
        for model in ["qwen3.5-livetranslate-flash-realtime", "qwen3.5-omni-plus-realtime"] {
            let alice = app.licensee(60.0).await;
            let mut call = alice.dial_at(&format!("/v1/realtime?model={model}")).await.unwrap();
            for amplitude in [9_000; 20].into_iter().chain([0; 15]) {
                call.audio(100, amplitude).await;
            }
            call.until("response.created").await;
            drop(call);
            app.settled().await;
            assert!(output_tokens(app, &alice).await > 0, "{model}");
            let leg = last_closed(app).await;
            assert_eq!((leg.closed, leg.closed_by_client), (Some(1000), true), "the provider is told goodbye");
        }
    });
}

/// The provider's view of the last leg, once that is closed.
async fn last_closed(app: &TestApp) -> SessionRecord {
    loop {
        if let Some(leg) = app.upstream_sessions().pop().filter(|leg| leg.closed.is_some()) {
            return leg;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// What the ledger says that the provider said to a customer.
async fn output_tokens(app: &TestApp, customer: &Customer) -> i64 {
    let path = format!("/admin/usage/events?license_id={}", customer.license_id);
    let rows = app.operator().get(&path).await.body;
    rows["data"].as_array().unwrap().iter().map(|row| row["output_tokens"].as_i64().unwrap()).sum()
}

async fn bob_refused(url: &str) -> u16 {
    crate::support::operator::Operator::with_bearer(url.to_owned(), "").get("/readyz").await.status
}

#[test]
fn a_customer_who_does_not_read_is_cut() {
    on_sqlite_with(
        |config| config.realtime.slow_client_seconds = 1,
        async |app| {
            let (alice, bob) = (app.licensee(600.0).await, app.licensee(60.0).await);
            app.next_faults(Faults { huge_frames: Some(1 << 20), ..Faults::default() });
            let mut slow = alice.dial().await;
            slow.until("session.created").await;
            // Far more than the sockets' own buffers hold comes back for this.
            for _ in 0..120 {
                slow.audio(500, 9_000).await;
            }
            app.settled().await;
            let sessions = app.operator().get("/metrics").await.text;
            assert!(sessions.contains(r#"livetranslate_sessions_ended_total{code="too_slow"} 1"#), "{sessions}");
            let ending = slow.ending().await;
            assert!(ending.close.is_none() || ending.code() == 4008, "{:?}", ending.close);
            bob.dial().await.hang_up().await;
        },
    );
}
