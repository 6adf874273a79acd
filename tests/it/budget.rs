//! A budget is used to its end, and not beyond, by however many speak at once.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::{TestApp, on_both_stores};
use crate::support::customer::Customer;

/// Speaks in frames of 100 ms until the gateway ends the session; returns the close code.
async fn speak_to_the_end(customer: &Customer) -> u16 {
    let Ok(call) = customer.dial_at("/v1/realtime?model=qwen3.5-livetranslate-flash-realtime").await else {
        return 429;
    };
    let (mut sink, mut stream) = call.split();
    let frame = crate::support::customer::append(100, 0);
    let speak = async {
        for _ in 0..700 {
            if sink.text(&frame).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let listen = stream.close_code();
    futures_util::pin_mut!(speak, listen);
    match futures_util::future::select(speak, listen).await {
        futures_util::future::Either::Left(((), listen)) => listen.await,
        futures_util::future::Either::Right((code, _)) => code,
    }
}

#[test]
fn two_hundred_sessions_share_sixty_seconds() {
    on_both_stores(async |app: &TestApp| {
        let alice = app.licensee(60.0).await;
        let codes = join_all((0..200).map(|_| speak_to_the_end(&alice))).await;
        app.settled().await;
        let seconds = app.upstream_samples() as f64 / 16_000.0;
        assert!((57.0..=60.1).contains(&seconds), "{seconds} s were accepted");
        assert!(codes.iter().all(|code| matches!(code, 4029 | 429)), "{codes:?}");
        assert!((alice.audio_used().await - seconds).abs() < 1e-9);
        assert_eq!(
            alice.refusal("/v1/realtime?model=qwen3.5-livetranslate-flash-realtime").await.code(),
            "insufficient_quota"
        );
    });
}

#[test]
fn the_last_request_of_a_budget_is_a_whole_session() {
    on_both_stores(async |app: &TestApp| {
        let budgets = json!([{ "unit": "requests", "limit": 3, "window": "lifetime" }]);
        let alice = app.licensee_with(json!({ "budgets": budgets })).await;
        let path = "/v1/realtime?model=qwen3.5-livetranslate-flash-realtime";
        let calls = join_all((0..20).map(|_| alice.dial_at(path))).await;
        let mut calls: Vec<_> = calls.into_iter().filter_map(Result::ok).collect();
        assert_eq!(calls.len(), 3, "as many sessions as the budget has requests");
        for call in &mut calls {
            call.until("session.created").await;
            call.audio(100, 0).await;
        }
        for call in calls {
            let events = call.finish().await;
            assert!(events.iter().all(|event| event["type"] != "error"), "{events:?}");
        }
        app.settled().await;
        assert_eq!(app.upstream_samples(), 3 * 1_600);
    });
}
