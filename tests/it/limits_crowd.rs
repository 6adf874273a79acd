//! A crowd against one budget: it gets what the budget holds, to the last request, however many instances serve it.

use futures_util::future::join_all;
use livetranslate::config::Config;
use livetranslate::config::settings::Secret;
use serde_json::json;

use crate::support::app::{Backend, TestApp, on_both_stores_with};
use crate::support::caller::Caller;
use crate::support::redis::Redis;

const CROWD: usize = 64;
const REQUESTS: u32 = 1_000;

/// Everyone calls until the budget is used up; how many calls were answered.
async fn answered(apps: &[&TestApp]) -> u32 {
    let license = apps[0]
        .licensee_with(json!({
            "budgets": [{"unit": "requests", "limit": REQUESTS, "window": "1d"}],
            // None of these is reached: they are counted all the same.
            "rpm_limit": 1_000_000, "tpm_limit": 1_000_000_000, "max_parallel_requests": CROWD,
        }))
        .await;
    let calls = (0..CROWD).map(|number| {
        let caller = Caller::new(apps[number % apps.len()].url(), &license.token);
        async move {
            let mut answered = 0;
            loop {
                let answer = caller.post("/v1/chat/completions", &Caller::question("x")).await;
                match (answer.status, answer.code()) {
                    (200, _) => answered += 1,
                    (429, "insufficient_quota") => break answered,
                    other => panic!("{other:?} {}", answer.text),
                }
            }
        }
    });
    let answered = join_all(calls).await.into_iter().sum();
    for app in apps {
        app.calls_ended().await;
    }
    let usage = apps[0].operator().get("/admin/usage").await;
    assert_eq!(usage.body["totals"]["requests"], answered);
    answered
}

#[test]
fn sixty_four_callers_get_a_thousand_answers() {
    on_both_stores_with(|config| config.server.workers = 2, async |app| assert_eq!(answered(&[app]).await, REQUESTS));
}

#[test]
fn sixty_four_callers_get_a_thousand_answers_of_three_instances() {
    actix_web::rt::System::new().block_on(async {
        let redis = Redis::start();
        let shares = |config: &mut Config| {
            config.store.redis_url = Some(Secret::new(redis.url()));
            // However busy this machine is, nobody falls back.
            config.store.redis_timeout_ms = 20_000;
        };
        let first = TestApp::start(Backend::Postgres, shares).await;
        let (second, third) = (first.start_beside(shares).await, first.start_beside(shares).await);
        assert_eq!(answered(&[&first, &second, &third]).await, REQUESTS);
        third.stop().await;
        second.stop().await;
        first.stop().await;
    });
}
