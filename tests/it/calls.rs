//! Calls to models over HTTP, in every dialect: answered, metered, refused in the caller's own terms.

use livetranslate::simulator::http::faults::HttpFaults;
use serde_json::{Value, json};

use crate::support::app::{TestApp, on_both_stores, on_sqlite, on_sqlite_with};
use crate::support::caller::Caller;

async fn caller(app: &TestApp, fields: Value) -> Caller {
    Caller::new(app.url(), &app.licensee_with(fields).await.token)
}

/// Tokens of each kind and requests, as the operator sees them.
async fn booked(app: &TestApp) -> [i64; 5] {
    let usage = app.operator().get("/admin/usage").await;
    let total = |name: &str| usage.body["totals"][name].as_i64().unwrap_or_else(|| panic!("{:?}", usage.body));
    ["requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"].map(total)
}

/// The same, as the provider counted.
fn counted(app: &TestApp) -> [i64; 5] {
    let calls = app.simulator().calls();
    let served = calls.iter().filter(|call| call.status == 200);
    served.fold([0; 5], |sum, call| {
        let more = [1, call.prompt_tokens, call.cached_tokens, call.completion_tokens, call.reasoning_tokens];
        std::array::from_fn(|place| sum[place] + i64::try_from(more[place]).unwrap())
    })
}

#[test]
fn a_chat_is_answered_and_booked() {
    on_both_stores(async |app| {
        let alice = caller(app, json!({})).await;
        let answer = alice.post("/v1/chat/completions", &Caller::question("Good morning")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.body["object"], "chat.completion");
        assert!(answer.body["choices"][0]["message"]["content"].as_str().unwrap().contains("Good morning"));
        assert!(answer.header("x-request-id").is_some());
        let thinking = json!({"model": "qwen-plus", "enable_thinking": true,
            "messages": [{"role": "user", "content": "Think"}]});
        let answer = alice.post("/compatible-mode/v1/chat/completions", &thinking).await;
        assert!(answer.body["choices"][0]["message"]["reasoning_content"].is_string(), "{}", answer.text);
        assert_eq!(booked(app).await, counted(app));
        assert!(booked(app).await[4] > 0, "reasoning is booked");
    });
}

#[test]
fn a_stream_has_its_usage_booked_and_shown_only_on_demand() {
    on_both_stores(async |app| {
        let alice = caller(app, json!({})).await;
        let answer = alice.post("/v1/chat/completions", &Caller::streamed("one two three")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
        assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
        assert!(!answer.text.contains("prompt_tokens"), "nobody asked for usage");
        let mut asking = Caller::streamed("one two three");
        asking["stream_options"] = json!({"include_usage": true});
        let answer = alice.post("/v1/chat/completions", &asking).await;
        assert!(answer.text.contains("prompt_tokens"), "{}", answer.text);
        assert_eq!(booked(app).await, counted(app));
        assert_eq!(booked(app).await[0], 2);
    });
}

#[test]
fn every_dialect_is_served_and_booked() {
    on_both_stores(async |app| {
        let alice = caller(app, json!({})).await;
        let message =
            json!({"model": "qwen-plus", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi you"}]});
        let mut streamed = message.clone();
        streamed["stream"] = Value::from(true);
        for path in ["/v1/messages", "/apps/anthropic/v1/messages?beta=true", "/api/v1/messages"] {
            let answer = alice.post(path, &message).await;
            assert_eq!((answer.status, &answer.body["type"]), (200, &json!("message")), "{}", answer.text);
            let answer = alice.post(path, &streamed).await;
            assert!(answer.text.contains("event: message_stop"), "{}", answer.text);
        }
        let count = alice.post("/v1/messages/count_tokens", &message).await;
        assert!(count.body["input_tokens"].is_u64(), "{}", count.text);
        let native = json!({"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "Hi"}]},
            "parameters": {"result_format": "message", "incremental_output": true}});
        let generation = "/api/v1/services/aigc/text-generation/generation";
        let answer = alice.post(generation, &native).await;
        assert!(answer.body["output"]["choices"].is_array(), "{}", answer.text);
        let answer = alice.send("POST", generation, &[("X-DashScope-SSE", "enable")], &native).await;
        assert!(answer.text.starts_with("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"), "{}", answer.text);
        let embeddings = json!({"model": "text-embedding-v4", "input": ["a", "b"]});
        let answer = alice.post("/v1/embeddings", &embeddings).await;
        assert_eq!(answer.body["data"].as_array().map(Vec::len), Some(2), "{}", answer.text);
        for stream in [false, true] {
            let response = json!({"model": "qwen-plus", "input": "Hello there", "stream": stream});
            let answer = alice.post("/v1/responses", &response).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        let (mut booked, counted) = (booked(app).await, counted(app));
        booked[0] += 1;
        assert_eq!(booked, counted_without_tokens_of_the_count(app, counted), "all but count_tokens is booked");
    });
}

/// The provider's count without that of `count_tokens`, which costs nothing.
fn counted_without_tokens_of_the_count(app: &TestApp, mut counted: [i64; 5]) -> [i64; 5] {
    for call in app.simulator().calls().iter().filter(|call| call.path.ends_with("count_tokens")) {
        counted[1] -= i64::try_from(call.prompt_tokens).unwrap();
    }
    counted
}

#[test]
fn errors_come_in_the_callers_terms() {
    on_sqlite(async |app| {
        let nobody = Caller::new(app.url(), "no-such-license");
        let openai = nobody.post("/v1/chat/completions", &Caller::question("x")).await;
        assert_eq!((openai.status, openai.code()), (401, "invalid_api_key"));
        let anthropic = nobody.post("/v1/messages", &Caller::question("x")).await;
        assert_eq!(anthropic.body["error"]["type"], "authentication_error", "{}", anthropic.text);
        assert_eq!(anthropic.body["type"], "error");
        assert_eq!(anthropic.header("request-id"), anthropic.header("x-request-id"));
        let native = nobody.post("/api/v1/services/aigc/x", &Caller::question("x")).await;
        assert_eq!((native.status, &native.body["code"]), (401, &json!("invalid_api_key")), "{}", native.text);

        let alice = caller(app, json!({"models": ["qwen-plus"], "scopes": ["chat"]})).await;
        let refused = alice.post("/v1/chat/completions", &json!({"model": "qwen-max", "messages": []})).await;
        assert_eq!((refused.status, refused.code()), (403, "model_not_allowed"));
        let refused = alice.post("/v1/messages", &Caller::question("x")).await;
        assert_eq!((refused.status, &refused.body["error"]["type"]), (403, &json!("permission_error")));
        let refused = alice.post("/v1/chat/completions", &json!([])).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
        let wrong = alice.post("/v1/chat/completions", &json!({"model": "qwen-plus", "messages": "x"})).await;
        assert_eq!(wrong.status, 400, "the provider's own words: {}", wrong.text);
        assert_eq!(alice.get("/v1/chat/completions").await.status, 405);
        assert_eq!(alice.send("HEAD", "/apps/anthropic", &[], &Value::Null).await.status, 200);
    });
}

#[test]
fn what_concerns_our_account_stays_ours() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let faults = |status: Option<u16>, code: Option<&str>| HttpFaults {
            status,
            code: code.map(str::to_owned),
            ..HttpFaults::default()
        };
        for (fault, status, code) in [
            (faults(Some(403), None), 502, "upstream_unavailable"),
            (faults(Some(500), None), 502, "upstream_unavailable"),
            (faults(Some(429), None), 503, "upstream_rate_limited"),
        ] {
            app.simulator().next_http_faults(fault);
            let answer = alice.post("/v1/chat/completions", &Caller::question("x")).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text);
            assert!(!answer.text.contains("Access") && !answer.text.to_lowercase().contains("arrear"));
        }
    });
}

#[test]
fn a_stream_that_is_refused_costs_nothing() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let hot = json!({"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "x"}]},
            "parameters": {"temperature": 2.5}});
        let generation = "/api/v1/services/aigc/text-generation/generation";
        let refused = alice.send("POST", generation, &[("X-DashScope-SSE", "enable")], &hot).await;
        assert!(refused.text.starts_with("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"), "{}", refused.text);
        let native = json!({"mode": "native"}).to_string();
        app.operator().send("PATCH", "/admin/accounts/env-dashscope", &[], native).await;
        let mut hot = Caller::streamed("x");
        hot["temperature"] = json!(2.5);
        let refused = alice.post("/v1/chat/completions", &hot).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_parameter_error"), "{}", refused.text);
        assert_eq!(booked(app).await, [0; 5]);
    });
}

#[test]
fn a_caller_who_leaves_is_booked_what_the_provider_reports() {
    on_both_stores(async |app| {
        let alice = caller(app, json!({})).await;
        app.simulator().next_http_faults(HttpFaults {
            words: Some(60),
            chunk_delay_ms: Some(5),
            ..HttpFaults::default()
        });
        let (status, came) = alice.leave_after("/v1/chat/completions", &Caller::streamed("go on"), 2).await;
        assert_eq!(status, 200, "{came:?}");
        app.calls_ended().await;
        assert_eq!(booked(app).await, counted(app));
        assert_eq!(counted(app)[3], 60);
    });
}

#[test]
fn a_budget_is_used_up_to_its_last_token() {
    on_both_stores(async |app| {
        let alice = caller(app, json!({"budgets": [{"unit": "requests", "limit": 3, "window": "1d"}]})).await;
        for _ in 0..3 {
            assert_eq!(alice.post("/v1/chat/completions", &Caller::question("x")).await.status, 200);
        }
        let refused = alice.post("/v1/chat/completions", &Caller::question("x")).await;
        assert_eq!((refused.status, refused.code()), (429, "insufficient_quota"), "{}", refused.text);
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        assert!(refused.body["error"]["resets_at"].is_string() && refused.header("retry-after").is_some());
        let bob = caller(app, json!({"budgets": [{"unit": "tokens", "limit": 100, "window": "lifetime"}]})).await;
        let mut answered = 0;
        let refused = loop {
            let answer = bob.post("/v1/chat/completions", &Caller::question("a b c")).await;
            match answer.status {
                200 => answered += 1,
                _ => break answer,
            }
        };
        assert_eq!(refused.code(), "insufficient_quota", "{}", refused.text);
        assert!(answered > 1, "a call is not refused because it might use more than is left");
        let license = bob.get("/v1/license").await;
        let budget = &license.body["budgets"][0];
        assert!(budget["used"].as_i64().unwrap() >= 100 && budget["reserved"] == 0, "{budget}");
        assert_eq!(booked(app).await, counted(app));
    });
}

#[test]
fn rates_are_limited_and_told() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({"rpm_limit": 2, "tpm_limit": 100_000})).await;
        let answer = alice.post("/v1/chat/completions", &Caller::question("x")).await;
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("1"));
        assert!(answer.header("x-ratelimit-reset-requests").unwrap().ends_with('s'));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("100000"));
        alice.post("/v1/chat/completions", &Caller::question("x")).await;
        let refused = alice.post("/v1/chat/completions", &Caller::question("x")).await;
        assert_eq!((refused.status, refused.code()), (429, "rate_limit_exceeded"));
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
        let bob = caller(app, json!({"max_parallel_requests": 1})).await;
        let slow = HttpFaults { first_delay_ms: Some(2_000), ..HttpFaults::default() };
        app.simulator().next_http_faults(slow);
        let (question, waits) = (Caller::question("x"), "/v1/chat/completions");
        let refused = async {
            while app.simulator().calls().len() < 3 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            bob.post(waits, &question).await
        };
        let (answered, refused) = futures_util::future::join(bob.post(waits, &question), refused).await;
        assert_eq!(answered.status, 200);
        assert_eq!((refused.status, refused.code()), (429, "concurrency_limit_exceeded"));
    });
}

#[test]
fn a_job_is_its_licenses_own() {
    on_both_stores(async |app| {
        let (alice, bob) = (caller(app, json!({})).await, caller(app, json!({})).await);
        let job = json!({"model": "wan-image", "input": {"prompt": "a cat"}});
        let path = "/api/v1/services/aigc/text2image/image-synthesis";
        let begun = alice.send("POST", path, &[("X-DashScope-Async", "enable")], &job).await;
        let id = begun.body["output"]["task_id"].as_str().unwrap_or_else(|| panic!("{}", begun.text));
        let path = format!("/api/v1/tasks/{id}");
        assert_eq!(alice.get(&path).await.body["output"]["task_id"], id);
        let refused = bob.get(&path).await;
        assert_eq!((refused.status, &refused.body["code"]), (404, &json!("not_found")));
    });
}

#[test]
fn models_are_listed_as_the_license_allows() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        let all = alice.get("/v1/models").await;
        let ids: Vec<&str> =
            all.body["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert!(ids.contains(&"qwen-plus"), "{ids:?}");
        assert_eq!(alice.get("/compatible-mode/v1/models/qwen-plus").await.body["object"], "model");
        let none = alice.get("/v1/models/no-such-model").await;
        assert_eq!((none.status, none.code()), (404, "model_not_found"));
        let bob = caller(app, json!({"models": ["qwen-plus"]})).await;
        assert_eq!(bob.get("/v1/models").await.body["data"].as_array().map(Vec::len), Some(1));
        let anthropic = bob.send("GET", "/v1/models", &[("anthropic-version", "2023-06-01")], &Value::Null).await;
        assert_eq!(anthropic.body["data"][0]["type"], "model", "{}", anthropic.text);
        assert_eq!(anthropic.header("request-id"), anthropic.header("x-request-id"));
        let version = [("anthropic-version", "2023-06-01")];
        let none = bob.send("GET", "/v1/models/no-such-model", &version, &Value::Null).await;
        assert_eq!((none.status, &none.body["error"]["type"]), (404, &json!("not_found_error")), "{}", none.text);
    });
}

#[test]
fn a_key_of_ones_own_is_metered_as_requests() {
    let byok = |config: &mut livetranslate::config::Config| config.upstream.allow_byok = true;
    on_sqlite_with(byok, async |app| {
        let alice = caller(app, json!({})).await;
        let own = [("X-DashScope-API-Key", crate::support::app::PROVIDER_KEY)];
        let answer = alice.send("POST", "/v1/chat/completions", &own, &Caller::question("x")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let bare = Caller::new(app.url(), crate::support::app::PROVIDER_KEY);
        assert_eq!(bare.post("/v1/chat/completions", &Caller::question("x")).await.status, 200);
        let wrong = Caller::new(app.url(), "sk-wrong");
        let refused = wrong.post("/v1/chat/completions", &Caller::question("x")).await;
        assert_eq!(refused.status, 401, "the provider's own word: {}", refused.text);
        assert!(refused.text.contains("Incorrect API key"));
        let [requests, input, _, output, _] = booked(app).await;
        assert_eq!((requests, input, output), (2, 0, 0));
    });
    on_sqlite(async |app| {
        let bare = Caller::new(app.url(), crate::support::app::PROVIDER_KEY);
        assert_eq!(bare.post("/v1/chat/completions", &Caller::question("x")).await.status, 401);
        let alice = caller(app, json!({})).await;
        let own = [("X-DashScope-API-Key", "sk-own")];
        assert_eq!(alice.send("POST", "/v1/chat/completions", &own, &Caller::question("x")).await.status, 400);
    });
}

#[test]
fn figures_tell_routes_accounts_and_tokens() {
    on_sqlite(async |app| {
        let alice = caller(app, json!({})).await;
        alice.post("/v1/chat/completions", &Caller::question("x")).await;
        alice.post("/v1/chat/completions", &Caller::streamed("x")).await;
        app.calls_ended().await;
        let figures = app.operator().get("/metrics").await.text;
        let [_, input, _, output, _] = counted(app);
        for line in [
            r#"livetranslate_calls_total{account="env-dashscope",class="2xx",route="chat"} 2"#.to_owned(),
            r#"livetranslate_call_seconds_count{route="chat"} 2"#.to_owned(),
            r#"livetranslate_call_overhead_seconds_count{route="chat"} 2"#.to_owned(),
            r#"livetranslate_call_first_byte_seconds_bucket{route="chat",le="+Inf"} 2"#.to_owned(),
            format!(r#"livetranslate_call_tokens_total{{kind="input"}} {input}"#),
            format!(r#"livetranslate_call_tokens_total{{kind="output"}} {output}"#),
            "livetranslate_calls_running 0".to_owned(),
            r#"livetranslate_account_outcomes_total{account="env-dashscope",outcome="served"} 2"#.to_owned(),
        ] {
            assert!(figures.contains(&line), "{line}\n{figures}");
        }
    });
}
