//! A license holder's voice goes through the gateway, and every byte of it arrives.

use serde_json::json;

use crate::support::app::{on_both_stores, on_sqlite};

#[test]
fn a_session_from_end_to_end() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let mut call = alice.dial().await;
        assert_eq!(call.next_event().await["type"], "session.created");
        call.event(json!({ "type": "session.update", "session": { "modalities": ["text"] } })).await;
        call.until("session.updated").await;
        for _ in 0..20 {
            call.audio(100, 8_000).await;
        }
        for _ in 0..15 {
            call.audio(100, 0).await;
        }
        let done = call.until("response.done").await;
        assert!(done["response"]["usage"]["total_tokens"].as_u64().unwrap() > 0);
        call.finish().await;
        app.settled().await;
        assert_eq!(app.upstream_samples(), 35 * 1_600);
        assert!((alice.audio_used().await - 3.5).abs() < 1e-9);
    });
}

#[test]
fn frames_arrive_byte_for_byte() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        let odd = [
            r#"{"type":"unknown.event", "x" : 1.50, "é":"\u00e9"}"#,
            "not json at all",
            r#"{"type":"input_audio_buffer.append","audio":"!!! broken !!!"}"#,
        ];
        for text in odd {
            call.text(text).await;
        }
        call.fragments(r#"{"type":"unknown.event","long":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#, 7).await;
        for _ in 0..4 {
            call.until("error").await;
        }
        let frames = &app.upstream_sessions()[0].frames;
        assert_eq!(frames.iter().map(String::as_str).take(3).collect::<Vec<_>>(), odd);
        assert!(frames[3].contains("aaaaaaa"));
        call.hang_up().await;
    });
}
