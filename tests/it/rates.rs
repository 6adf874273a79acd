//! Rate limits over several instances on one Redis; Redis goes away and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use livetranslate::config::Config;
use livetranslate::config::settings::Secret;
use livetranslate::error::Error;
use livetranslate::license::Limits;
use livetranslate::metrics::Metrics;
use livetranslate::quota::rate::Subject;
use livetranslate::quota::rates::{Pass, Rates};
use livetranslate::quota::redis::Standing;
use livetranslate::quota::shared_rate::{LEASE, SharedRates};
use livetranslate::store::connection::{Location, Store};
use redis::Commands as _;
use serde_json::{Value, json};

use crate::support::app::{Backend, TestApp, on_sqlite};
use crate::support::caller::Caller;
use crate::support::ledger::execute;
use crate::support::operator::Operator;
use crate::support::redis::Redis;
use crate::support::tap::{COST, Tap};

const CHAT: &str = "/v1/chat/completions";
/// Instances ask for so long before they take Redis for away: this machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Three gateways on one SQLite and one Redis.
fn on_three(test: impl AsyncFn(&[TestApp], &Redis)) {
    actix_web::rt::System::new().block_on(three(|_| {}, test));
}

/// The same before a provider that waits for the test.
fn on_three_with_a_tap(test: impl AsyncFn(&[TestApp], &Tap)) {
    actix_web::rt::System::new().block_on(async {
        let tap = Tap::start().await;
        let asks_it = |config: &mut Config| config.upstream.dashscope_http_base_url = tap.url.clone();
        three(asks_it, async |apps, _| test(apps, &tap).await).await;
    });
}

async fn three(adjust: impl Fn(&mut Config), test: impl AsyncFn(&[TestApp], &Redis)) {
    let redis = Redis::start();
    let shares = |config: &mut Config| {
        config.store.redis_url = Some(Secret::new(redis.url()));
        config.store.redis_timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
        adjust(config);
    };
    let first = TestApp::start(Backend::Sqlite, shares).await;
    let (second, third) = (first.start_beside(shares).await, first.start_beside(shares).await);
    let mut apps = vec![first, second, third];
    test(&apps, &redis).await;
    while let Some(app) = apps.pop() {
        app.stop().await;
    }
}

async fn rates(redis: &Redis, lease: Duration) -> Rates {
    let metrics = Metrics::new("test").unwrap();
    let shared = SharedRates::start(&Secret::new(redis.url()), (PATIENCE, lease), metrics.clone()).await.unwrap();
    assert_eq!(shared.standing(), Standing::There);
    Rates::over_all(shared, metrics)
}

fn subject(id: &str, limits: Limits) -> Subject {
    Subject { id: id.to_owned(), limits }
}

async fn enter(rates: &Rates, subjects: &[Subject]) -> Result<Pass, Error> {
    rates.enter(subjects.to_vec(), Instant::now()).await.0
}

fn code(refused: &Result<Pass, Error>) -> &'static str {
    refused.as_ref().err().map_or("ok", |error| error.row().code)
}

async fn health(app: &TestApp) -> Value {
    app.operator().get("/health").await.body
}

async fn figure(app: &TestApp, name: &str) -> Option<f64> {
    let text = Operator::new(app.url()).get("/metrics").await.text;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn requests_a_minute_are_counted_over_all_instances() {
    on_three(async |apps, redis| {
        const LIMIT: u64 = 60;
        let license = apps[0].licensee_with(json!({"rpm_limit": 1_000, "max_parallel_requests": 100})).await;
        let key = apps[0].operator().post("/admin/keys", &json!({"license_id": license.license_id})).await;
        assert_eq!(key.status, 201, "{}", key.text);
        let store = Store::open(Location::parse(apps[0].store_url()).unwrap()).unwrap();
        execute(&store, &format!("UPDATE api_keys SET narrowing = '{{\"rpm_limit\": {LIMIT}}}'"));
        let secret = key.body["key"].as_str().unwrap();
        let callers: Vec<Caller> = apps.iter().map(|app| Caller::new(app.url(), secret)).collect();
        let begun = Instant::now();
        let calls = (0..24).map(|number: usize| {
            let caller = &callers[number % callers.len()];
            async move {
                let mut answered = 0;
                loop {
                    let answer = caller.post(CHAT, &Caller::question("x")).await;
                    let left: u64 = answer.header("x-ratelimit-remaining-requests").unwrap().parse().unwrap();
                    match (answer.status, answer.code()) {
                        (200, _) => {
                            assert!(left < LIMIT, "{left}");
                            answered += 1;
                        }
                        (429, "rate_limit_exceeded") => {
                            assert_eq!((left, answer.header("x-ratelimit-limit-requests")), (0, Some("60")));
                            assert!(answer.header("retry-after").is_some());
                            break answered;
                        }
                        other => panic!("{other:?} {}", answer.text),
                    }
                }
            }
        });
        let answered: u64 = join_all(calls).await.into_iter().sum();
        // One a second comes back meanwhile.
        let most = LIMIT + begun.elapsed().as_secs();
        assert!((LIMIT..=most).contains(&answered), "{answered} of {LIMIT} to {most}");
        for app in apps {
            assert_eq!(figure(app, "livetranslate_rate_fallbacks_total").await, Some(0.0));
            assert_eq!(figure(app, "livetranslate_redis_up").await, Some(1.0));
            assert_eq!(health(app).await["components"]["redis"], "ok");
        }
        let mut connection = redis.connection();
        for name in connection.keys::<_, Vec<String>>("*").unwrap() {
            assert!(name.starts_with("livetranslate:"), "{name}");
            let milliseconds: i64 = connection.pttl(&name).unwrap();
            assert!((1..=90_000).contains(&milliseconds), "{name} stays for {milliseconds} ms");
        }
    });
}

#[test]
fn calls_at_once_are_counted_over_all_instances() {
    on_three_with_a_tap(async |apps, tap| {
        let license = apps[0].licensee_with(json!({"max_parallel_requests": 2})).await;
        let callers: Vec<Caller> = apps.iter().map(|app| Caller::new(app.url(), &license.token)).collect();
        let mut streams = Vec::new();
        for caller in callers.iter().take(2) {
            streams.push(caller.open(CHAT, &Caller::streamed("x")).await);
        }
        for caller in &callers {
            let refused = caller.post(CHAT, &Caller::question("x")).await;
            assert_eq!((refused.status, refused.code()), (429, "concurrency_limit_exceeded"));
            assert!(refused.header("retry-after").is_some());
        }
        tap.finish();
        for stream in streams {
            let (said, whole) = stream.rest().await;
            assert!(whole && said.ends_with("data: [DONE]\n\n"), "{said}");
        }
        // Whoever has read an answer to its end may ask again at once, wherever.
        for caller in callers.iter().cycle().take(12) {
            let answer = caller.post(CHAT, &Caller::question("x")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    });
}

#[test]
fn tokens_are_settled_over_all_instances() {
    on_three_with_a_tap(async |apps, tap| {
        tap.finish();
        let license = apps[0].licensee_with(json!({"tpm_limit": 10_000})).await;
        let mut question = Caller::question("x");
        question["max_tokens"] = json!(9_000);
        for app in apps {
            let answer = Caller::new(app.url(), &license.token).post(CHAT, &question).await;
            // What was set aside and not used is there for the next, at another instance.
            assert_eq!(answer.status, 200, "{}", answer.text);
            let left: u64 = answer.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
            assert!((9_900..10_000).contains(&left), "{left}");
        }
        // What an answer used beyond a minute's worth is owed everywhere.
        let license = apps[0].licensee_with(json!({"tpm_limit": COST.0 + COST.1 - 8})).await;
        for (app, status) in apps.iter().zip([200, 429, 429]) {
            let answer = Caller::new(app.url(), &license.token).post(CHAT, &Caller::question("x")).await;
            assert_eq!(answer.status, status, "{}", answer.text);
        }
    });
}

#[test]
fn a_license_and_its_key_take_together_or_not_at_all() {
    actix_web::rt::System::new().block_on(async {
        let redis = Redis::start();
        let (one, other) = (rates(&redis, LEASE).await, rates(&redis, LEASE).await);
        let license =
            subject("lic", Limits { rpm_limit: Some(5), max_parallel_requests: Some(3), ..Limits::default() });
        let key = subject("key", Limits { rpm_limit: Some(2), tpm_limit: Some(50), ..Limits::default() });
        let both = [license.clone(), key];
        let mut passes = vec![enter(&one, &both).await.unwrap(), enter(&other, &both).await.unwrap()];
        // The key is refused: the license keeps its last request but two, and its place.
        assert_eq!(code(&enter(&one, &both).await), "rate_limit_exceeded");
        let (last, readings) = other.enter(vec![license.clone()], Instant::now()).await;
        assert_eq!(readings.requests.map(|reading| (reading.limit, reading.remaining)), Some((5, 2)));
        passes.push(last.unwrap());
        assert_eq!(code(&enter(&one, std::slice::from_ref(&license)).await), "concurrency_limit_exceeded");
        // What one instance owes, the other must wait for.
        passes[0].set_aside(40, Instant::now()).await.unwrap();
        let refused = passes[1].set_aside(40, Instant::now()).await.unwrap_err();
        assert!(matches!(refused, Error::RateLimited { retry_after_seconds: 34..=36 }), "{refused:?}");
        passes[0].used(10);
        passes[1].set_aside(40, Instant::now()).await.unwrap();
        assert_eq!(passes[1].readings(Instant::now()).tokens.map(|reading| reading.remaining), Some(0));
        // Dropped, it gives back what it set aside, and its place.
        passes.remove(1);
        passes[0].set_aside(39, Instant::now()).await.unwrap();
        enter(&one, std::slice::from_ref(&license)).await.unwrap();
        drop(passes);
        // Without a limit nobody is asked.
        redis.stop();
        enter(&one, &[]).await.unwrap();
        assert_eq!(one.standing(), Some(Standing::There), "nothing was noticed yet");
    });
}

#[test]
fn the_calls_of_a_killed_instance_end_by_themselves() {
    const SHORT: Duration = Duration::from_millis(400);
    let redis = Redis::start();
    let parallel = [subject("lic", Limits { max_parallel_requests: Some(1), ..Limits::default() })];
    // An instance that is killed says nothing more: its runtime ends with its calls running.
    let dead = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    dead.block_on(async {
        let pass = enter(&rates(&redis, SHORT).await, &parallel).await.unwrap();
        let ends = |redis: &Redis| redis.connection().zscore::<_, _, f64>("livetranslate:calls:{lic}:lic", call(redis));
        let first: f64 = ends(&redis).unwrap();
        // While it lives its call goes on.
        while ends(&redis).unwrap() == first {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::mem::forget(pass);
    });
    drop(dead);
    actix_web::rt::System::new().block_on(async {
        let rates = rates(&redis, SHORT).await;
        let _pass = loop {
            match enter(&rates, &parallel).await {
                Ok(pass) => break pass,
                refused => assert_eq!(code(&refused), "concurrency_limit_exceeded"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(code(&enter(&rates, &parallel).await), "concurrency_limit_exceeded");
    });
}

/// The one call that runs.
fn call(redis: &Redis) -> String {
    let calls: Vec<String> = redis.connection().zrange("livetranslate:calls:{lic}:lic", 0, -1).unwrap();
    calls.into_iter().next().unwrap()
}

#[test]
fn without_redis_each_instance_goes_on_by_itself() {
    actix_web::rt::System::new().block_on(async {
        let redis = Redis::start();
        let tap = Tap::start().await;
        let shares = |config: &mut Config| {
            config.store.redis_url = Some(Secret::new(redis.url()));
            config.store.redis_timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
            config.upstream.dashscope_http_base_url = tap.url.clone();
        };
        let first = TestApp::start(Backend::Sqlite, shares).await;
        let second = first.start_beside(shares).await;
        let license = first.licensee_with(json!({"max_parallel_requests": 1, "rpm_limit": 1_000})).await;
        let (here, there) = (Caller::new(first.url(), &license.token), Caller::new(second.url(), &license.token));
        let stream = here.open(CHAT, &Caller::streamed("x")).await;
        assert_eq!(there.post(CHAT, &Caller::question("x")).await.code(), "concurrency_limit_exceeded");
        redis.stop();
        for app in [&first, &second] {
            until(app, "unavailable").await;
            let health = app.operator().get("/health").await;
            assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")));
            assert_eq!(figure(app, "livetranslate_redis_up").await, Some(0.0));
        }
        // What this instance let in counts here; what the other did is not known.
        assert_eq!(here.post(CHAT, &Caller::question("x")).await.code(), "concurrency_limit_exceeded");
        let other = there.open(CHAT, &Caller::streamed("x")).await;
        assert_eq!(there.post(CHAT, &Caller::question("x")).await.code(), "concurrency_limit_exceeded");
        assert_eq!(figure(&first, "livetranslate_rate_fallbacks_total").await, Some(1.0));
        assert_eq!(figure(&second, "livetranslate_rate_fallbacks_total").await, Some(2.0));
        redis.start_again();
        for app in [&first, &second] {
            until(app, "ok").await;
            assert_eq!(health(app).await["status"], "ok");
        }
        // Redis has forgotten all; it is told again of what Redis itself had let in.
        while redis.connection().keys::<_, Vec<String>>("livetranslate:calls:*").unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(there.post(CHAT, &Caller::question("x")).await.code(), "concurrency_limit_exceeded");
        tap.finish();
        for stream in [stream, other] {
            assert!(stream.rest().await.1);
        }
        assert_eq!(there.post(CHAT, &Caller::question("x")).await.status, 200);
        assert_eq!(figure(&second, "livetranslate_rate_fallbacks_total").await, Some(2.0));
        second.stop().await;
        first.stop().await;
    });
}

#[test]
fn who_waits_for_a_slow_redis_has_waited_for_all() {
    const SHORT: Duration = Duration::from_secs(2);
    actix_web::rt::System::new().block_on(async {
        let (redis, metrics) = (Redis::start(), Metrics::new("test").unwrap());
        let shared = SharedRates::start(&Secret::new(redis.url()), (SHORT, LEASE), metrics.clone()).await.unwrap();
        let rates = Rates::over_all(shared, metrics.clone());
        let limited = [subject("lic", Limits { rpm_limit: Some(10_000), ..Limits::default() })];
        redis.freeze();
        let calls = join_all((0..100).map(|_| enter(&rates, &limited)));
        // Each for itself, the second hundred would take three minutes.
        let all = async {
            assert!(calls.await.iter().all(Result::is_ok));
            for _ in 0..100 {
                enter(&rates, &limited).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        assert_eq!((rates.standing(), metrics.rate_fallbacks.get()), (Some(Standing::Away), 200));
        redis.thaw();
        while rates.standing() != Some(Standing::There) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What was on its way was taken; of the second hundred it was not told.
        let readings = rates.enter(limited.to_vec(), Instant::now()).await.1;
        assert!(readings.requests.is_some_and(|reading| reading.remaining >= 9_899), "{readings:?}");
    });
}

#[test]
fn calls_that_ended_while_redis_was_away_take_no_place() {
    actix_web::rt::System::new().block_on(async {
        let redis = Redis::start();
        // By itself none of them ends while this test runs.
        let rates = rates(&redis, Duration::from_secs(3_600)).await;
        let parallel = [subject("lic", Limits { max_parallel_requests: Some(2), ..Limits::default() })];
        let pass = enter(&rates, &parallel).await.unwrap();
        let _goes_on = enter(&rates, &parallel).await.unwrap();
        redis.freeze();
        while rates.standing() != Some(Standing::Away) {
            drop(enter(&rates, &parallel).await);
        }
        drop(pass);
        redis.thaw();
        let one_is_left = async {
            while redis.connection().zcard::<_, u64>("livetranslate:calls:{lic}:lic").unwrap() != 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), one_is_left).await.unwrap();
    });
}

#[test]
fn a_redis_that_was_never_there_keeps_nobody_waiting() {
    actix_web::rt::System::new().block_on(async {
        let redis = Redis::start();
        redis.stop();
        let url = redis.url().replace("redis://", "redis://:a-pass-word@");
        let app = TestApp::start(Backend::Sqlite, |config| config.store.redis_url = Some(Secret::new(&url))).await;
        assert_eq!(health(&app).await["components"]["redis"], "unavailable");
        let license = app.licensee_with(json!({"rpm_limit": 2})).await;
        let alice = Caller::new(app.url(), &license.token);
        let mut codes = Vec::new();
        for _ in 0..3 {
            codes.push(alice.post(CHAT, &Caller::question("x")).await.status);
        }
        assert_eq!(codes, [200, 200, 429]);
        app.stop().await;
    });
    on_sqlite(async |app| {
        assert_eq!(health(app).await["components"]["redis"], "unused");
        assert_eq!(figure(app, "livetranslate_redis_up").await, None);
    });
}

/// Waits until an instance says so of Redis.
async fn until(app: &TestApp, word: &str) {
    while health(app).await["components"]["redis"] != word {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
