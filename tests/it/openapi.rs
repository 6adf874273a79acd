//! `/openapi.json`: says every route and error code that the code has, no others, and what is really answered.

use std::collections::{BTreeMap, BTreeSet};

use livetranslate::api::document::whole::Document;
use serde_json::{Value, json};

use crate::support::app::{TestApp, on_sqlite};
use crate::support::caller::Caller;
use crate::support::customer::MODEL;
use crate::support::operator::{Answer, Operator};
use crate::support::schema::{faults, resolved};

const ROUTES: &str = include_str!("../../src/api/routes.rs");
const ERRORS: &str = include_str!("../../src/error.rs");
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

fn document() -> Value {
    serde_json::from_slice(&Document::new().unwrap().0).unwrap()
}

/// Every `(method, path)` that the route table mounts.
fn mounted() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for resource in ROUTES.split("at(\"").skip(1) {
        let (path, routes) = resource.split_once('"').unwrap();
        // A parameter's pattern is none of the document's business.
        let path = path.replace(":.+}", "}");
        let before = found.len();
        for method in METHODS {
            if routes.contains(&format!(".route({method}()")) {
                found.insert((method.to_owned(), path.clone()));
            }
        }
        assert!(found.len() > before, "no method was read for {path}");
    }
    found
}

/// Every operation of the document, by method and path.
fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = METHODS.iter().filter_map(|method| Some((*method, item.get(method)?.clone())));
        methods.map(|(method, operation)| ((method.to_owned(), path.clone()), operation)).collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

#[test]
fn every_route_is_in_the_document_and_no_other() {
    let documented: BTreeSet<_> = operations(&document()).into_keys().collect();
    let mounted = mounted();
    let missing: Vec<_> = mounted.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&mounted).collect();
    assert!(missing.is_empty(), "src/api/document lacks {missing:?}");
    assert!(invented.is_empty(), "src/api/routes.rs lacks {invented:?}");
}

#[test]
fn every_error_code_has_its_status() {
    let rows = ERRORS.split("=> row(").skip(1).map(|row| {
        let (status, rest) = row.split_once(", \"").unwrap();
        (rest.split_once('"').unwrap().0.to_owned(), status.parse::<u16>().unwrap())
    });
    let table: BTreeMap<String, u16> = rows.collect();
    assert!(table.len() > 20, "{table:?}");
    let schema = &document()["components"]["schemas"]["ErrorCode"];
    let documented: BTreeMap<String, u16> = serde_json::from_value(schema["x-status"].clone()).unwrap();
    assert_eq!(documented, table);
    let listed: BTreeSet<String> = serde_json::from_value(schema["enum"].clone()).unwrap();
    assert_eq!(listed, documented.into_keys().collect());
}

#[test]
fn the_document_is_whole() {
    let document = document();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut names = BTreeSet::new();
    for (place, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{place:?}: its id is taken");
        assert!(operation["security"].is_array(), "{place:?}: who may come in?");
    }
    walk(&document, &mut |part| {
        if let Some(reference) = part.get("$ref") {
            let path = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(path).is_some(), "{path} does not exist");
        }
        if let (Some(schema), Some(example)) = (part.get("schema"), part.get("example")) {
            let faults = faults(&document, schema, example);
            assert!(faults.is_empty(), "{example}: {faults:?}");
        }
    });
}

/// The bounds of a license's and an account's numbers, as the document has them, are those that are kept to.
#[test]
fn numbers_end_where_the_document_says() {
    on_sqlite(async |app| {
        let (document, operator) = (document(), app.operator());
        for (name, list, base) in [
            ("LicenseFields", "licenses", json!({})),
            ("AccountFields", "accounts", json!({"kind": "dashscope", "credential": "sk-x"})),
        ] {
            let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
            let mut bounded = 0;
            for (field, schema) in fields {
                for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
                    let Some(edge) = schema[bound].as_i64() else { continue };
                    for (value, fits) in [(edge, true), (edge + beyond, false)] {
                        let mut body = base.clone();
                        if list == "accounts" {
                            body["name"] = format!("{field} {value}").into();
                        }
                        body[field] = value.into();
                        let answer = operator.post(&format!("/admin/{list}"), &body).await;
                        let status = if fits { 201 } else { 400 };
                        assert_eq!(answer.status, status, "{field}: {value}: {}", answer.text);
                        assert!(fits || answer.body["error"]["param"] == field.as_str(), "{}", answer.text);
                        bounded += 1;
                    }
                }
            }
            assert!(bounded >= 12, "{name} has few bounds");
        }
    });
}

fn walk(part: &Value, visit: &mut impl FnMut(&Value)) {
    visit(part);
    match part {
        Value::Object(members) => members.values().for_each(|member| walk(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

/// Checks an answer against what the document says of this route and status.
fn check(document: &Value, method: &str, route: &str, answer: &Answer) {
    let operation = &document["paths"][route][method];
    let responses = operation["responses"].as_object().unwrap();
    let (status, class) = (answer.status.to_string(), format!("{}XX", answer.status / 100));
    let response = responses
        .get(&status)
        .or_else(|| responses.get(&class))
        .unwrap_or_else(|| panic!("{method} {route} answered {status}, which is not documented: {}", answer.text));
    let response = resolved(document, response);
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let conditional = resolved(document, header)["required"] == false;
        assert!(conditional || answer.header(name).is_some(), "{method} {route} {status}: no header {name}");
    }
    let media = answer.header("content-type").unwrap_or_default().split(';').next().unwrap();
    let content = &response["content"][media];
    assert_eq!(content.is_null(), answer.text.is_empty(), "{method} {route} {status}: {media} is not as documented");
    let events = answer.text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    let found: Vec<String> = match media {
        "text/event-stream" => events
            .filter(|data| *data != "[DONE]")
            .flat_map(|data| faults(document, &content["x-event"], &serde_json::from_str(data).unwrap()))
            .collect(),
        _ => faults(document, &content["schema"], &answer.body),
    };
    assert!(found.is_empty(), "{method} {route} {status}: {found:?} in {}", answer.text);
}

/// Somebody who calls routes as the document spells them and checks each answer against it.
struct Reader<'a> {
    document: &'a Value,
    caller: Operator,
    seen: BTreeSet<(String, String)>,
}

impl<'a> Reader<'a> {
    fn new(document: &'a Value, caller: Operator) -> Self {
        Self { document, caller, seen: BTreeSet::new() }
    }

    async fn call(&mut self, method: &str, route: &str, id: &str, body: Value) -> Value {
        self.send((method, route, id), &[], body).await.body
    }

    /// The same with headers; `id` stands for what the route has in braces.
    async fn send(&mut self, called: (&str, &str, &str), headers: &[(&str, &str)], body: Value) -> Answer {
        let (method, route, id) = called;
        let path = match route.split_once('{') {
            Some((base, rest)) => format!("{base}{id}{}", rest.split_once('}').unwrap().1),
            None => route.to_owned(),
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.caller.send(&method.to_uppercase(), &path, headers, body).await;
        let route = route.split('?').next().unwrap();
        self.seen.insert((method.to_owned(), route.to_owned()));
        check(self.document, method, route, &answer);
        answer
    }

    /// A call that the gateway itself refuses: exactly as this schema says.
    async fn refused(&mut self, called: (&str, &str, &str), body: Value, status: u16, schema: &str) {
        let answer = self.send(called, &[], body).await;
        let schema = &self.document["components"]["schemas"][schema];
        let faults = faults(self.document, schema, &answer.body);
        assert!(answer.status == status && faults.is_empty(), "{called:?}: {faults:?} in {status} {}", answer.text);
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

#[test]
fn the_gateway_answers_as_documented() {
    on_sqlite(async |app| {
        let document = document();
        let served = Operator::with_bearer(app.url(), "").get("/openapi.json").await;
        assert_eq!((served.header("content-type"), &served.body), (Some("application/json"), &document));
        let mut reader = Reader::new(&document, app.operator());
        used(app, &mut reader).await;
        model_calls(app, &mut reader).await;
        jobs(app, &mut reader).await;
        models(app, &mut reader).await;
        licenses(&mut reader).await;
        keys(&mut reader).await;
        accounts(&mut reader).await;
        for route in ["/", "/health", "/healthz", "/livez", "/readyz", "/.well-known/jwks.json", "/openapi.json"] {
            reader.call("get", route, "", Value::Null).await;
        }
        for (method, route) in operations(&document).into_keys().filter(|(method, _)| method == "head") {
            reader.call(&method, &route, "", Value::Null).await;
        }
        for route in ["/admin/audit", "/admin/stats", "/admin/usage/events", "/admin/usage?group_by=day,model,key"] {
            reader.call("get", route, "", Value::Null).await;
        }
        reader.call("post", "/admin/usage/reset", "", json!({})).await;
        reader.call("get", "/admin/usage/reconcile?all=true", "", Value::Null).await;
        reader.call("post", "/admin/usage/reconcile", "", json!({})).await;
        reader.call("post", "/admin/accounts/reseal", "", Value::Null).await;
        backups(&mut reader).await;
        plans(&mut reader).await;
        seats(app, &mut reader).await;
        let json_routes = operations(&document).into_iter().filter(|(_, operation)| {
            let success = &operation["responses"].as_object().unwrap().iter().next().unwrap().1;
            success.get("$ref").is_some() || success["content"].get("application/json").is_some()
        });
        let called = std::mem::take(&mut reader.seen);
        let skipped: Vec<_> = json_routes.map(|(place, _)| place).filter(|place| !called.contains(place)).collect();
        assert!(skipped.is_empty(), "call these here too: {skipped:?}");
    });
}

/// A customer's calls, a live session among them.
async fn used(app: &TestApp, reader: &mut Reader<'_>) {
    let alice = app.licensee(60.0).await;
    let mut customer = Reader::new(reader.document, alice.api());
    customer.call("get", "/v1/license", "", Value::Null).await;
    customer.call("post", "/v1/realtime/sessions", "", json!({ "model": MODEL })).await;
    customer.call("post", "/v1/realtime/sessions", "", json!({ "model": "gpt-5" })).await;
    customer.call("post", "/v1/realtime/sessions", "", json!({ "colour": "red" })).await;
    reader.seen.append(&mut customer.seen);
    let mut call = alice.dial().await;
    call.until("session.created").await;
    let live = reader.call("get", "/admin/sessions", "", Value::Null).await;
    reader.call("delete", "/admin/sessions/{id}", &text(&live["data"][0], "id"), Value::Null).await;
    call.ending().await;
    app.settled().await;
    reader.call("delete", "/admin/sessions/{id}", "gws_none", Value::Null).await;
    let poor = app.licensee_with(json!({"budgets": [{"unit": "requests", "limit": 1}]})).await;
    poor.dial().await.hang_up().await;
    app.settled().await;
    for route in ["/v1/realtime", "/api-ws/v1/realtime", "/api-ws/v1/inference"] {
        check(reader.document, "get", route, &poor.refusal(&format!("{route}?model={MODEL}")).await);
    }
    check(reader.document, "get", "/v1/realtime", &alice.refusal("/v1/realtime?model=gpt-5").await);
    check(reader.document, "get", "/v1/realtime", &alice.refusal("/v1/realtime").await);
}

/// Calls to models in every dialect, under each of their paths.
async fn model_calls(app: &TestApp, reader: &mut Reader<'_>) {
    let limits = json!({"rpm_limit": 1_000, "tpm_limit": 1_000_000});
    let mut alice = Reader::new(reader.document, app.licensee_with(limits).await.api());
    let mut nobody = Reader::new(reader.document, Operator::with_bearer(app.url(), "no-such-license"));
    let chat = Caller::question("Hi");
    let embeddings = json!({"model": "text-embedding-v4", "input": ["a", "b"]});
    let response = json!({"model": "qwen-plus", "input": "Hi"});
    let message = json!({"model": "qwen-plus", "max_tokens": 9, "messages": chat["messages"]});
    let native = json!({"model": "qwen-plus", "input": {"messages": chat["messages"]}});
    for (route, body, error) in [
        ("/v1/chat/completions", &chat, "Error"),
        ("/v1/embeddings", &embeddings, "Error"),
        ("/v1/responses", &response, "Error"),
        ("/compatible-mode/v1/chat/completions", &chat, "Error"),
        ("/compatible-mode/v1/embeddings", &embeddings, "Error"),
        ("/compatible-mode/v1/responses", &response, "Error"),
        ("/v1/messages", &message, "AnthropicError"),
        ("/v1/messages/count_tokens", &message, "AnthropicError"),
        ("/apps/anthropic/v1/messages", &message, "AnthropicError"),
        ("/apps/anthropic/v1/messages/count_tokens", &message, "AnthropicError"),
        ("/api/v1/messages", &message, "AnthropicError"),
        ("/api/v1/messages/count_tokens", &message, "AnthropicError"),
        ("/api/v1/services/{path}", &native, "DashscopeError"),
    ] {
        let called = ("post", route, "aigc/text-generation/generation");
        let answer = alice.send(called, &[], body.clone()).await;
        assert_eq!(answer.status, 200, "{route}: {}", answer.text);
        assert!(answer.header("x-ratelimit-reset-tokens").is_some(), "{route}: {:?}", answer.headers);
        let success = resolved(reader.document, &reader.document["paths"][route]["post"]["responses"]["200"]);
        if success["content"]["text/event-stream"].is_object() {
            let mut asking = body.clone();
            asking["stream"] = Value::from(true);
            let stream = alice.send(called, &[("x-dashscope-sse", "enable")], asking).await;
            assert!(stream.text.contains("data:"), "{route}: {}", stream.text);
        }
        let mut unknown = body.clone();
        unknown["model"] = json!("unknown-model");
        assert_eq!(alice.send(called, &[], unknown).await.status, 404, "in the provider's words");
        alice.refused(called, json!([]), 400, error).await;
        nobody.refused(called, body.clone(), 401, error).await;
        let mut bob = Reader::new(reader.document, app.licensee_with(json!({"rpm_limit": 1})).await.api());
        bob.send(called, &[], body.clone()).await;
        bob.refused(called, body.clone(), 429, error).await;
    }
    reader.seen.append(&mut alice.seen);
}

/// DashScope's jobs.
async fn jobs(app: &TestApp, reader: &mut Reader<'_>) {
    let mut alice = Reader::new(reader.document, app.licensee(60.0).await.api());
    let job = json!({"model": "wan-image", "input": {"prompt": "a cat"}});
    let called = ("post", "/api/v1/services/{path}", "aigc/text2image/image-synthesis");
    let begun = alice.send(called, &[("x-dashscope-async", "enable")], job).await;
    let id = text(&begun.body["output"], "task_id");
    for _ in 0..2 {
        alice.call("get", "/api/v1/tasks/{id}", &id, Value::Null).await;
    }
    for (method, route) in [("get", "/api/v1/tasks/{id}"), ("post", "/api/v1/tasks/{id}/cancel")] {
        alice.refused((method, route, "no-such-job"), Value::Null, 404, "DashscopeError").await;
    }
    reader.seen.append(&mut alice.seen);
}

/// What can be asked, as each protocol's clients read it.
async fn models(app: &TestApp, reader: &mut Reader<'_>) {
    let mut alice = Reader::new(reader.document, app.licensee(60.0).await.api());
    let mut nobody = Reader::new(reader.document, Operator::with_bearer(app.url(), ""));
    for base in ["/v1", "/compatible-mode/v1"] {
        let (list, one) = (&format!("{base}/models"), &format!("{base}/models/{{id}}"));
        for headers in [&[][..], &[("anthropic-version", "2023-06-01")]] {
            alice.send(("get", list, ""), headers, Value::Null).await;
            alice.send(("get", one, "qwen-plus"), headers, Value::Null).await;
        }
        alice.refused(("get", one, "unknown-model"), Value::Null, 404, "Error").await;
        nobody.refused(("get", list, ""), Value::Null, 401, "Error").await;
    }
    reader.seen.append(&mut alice.seen);
}

async fn licenses(reader: &mut Reader<'_>) {
    let fields = json!({"label": "Ada", "max_sessions": 2, "metadata": {"x": 1}, "expires_after_first_use": 60,
        "budgets": [{"unit": "audio_seconds", "limit": 0.5, "window": "1d"}, {"unit": "tokens", "limit": 5}]});
    let id = text(&reader.call("post", "/admin/licenses", "", fields).await, "id");
    reader.call("post", "/admin/licenses", "", json!({"colour": "red"})).await;
    reader.call("get", "/admin/licenses?limit=1", "", Value::Null).await;
    reader.call("get", "/admin/licenses/{id}", &id, Value::Null).await;
    reader.call("get", "/admin/licenses/{id}", "lic_none", Value::Null).await;
    reader.call("patch", "/admin/licenses/{id}", &id, json!({"label": null})).await;
    for action in ["suspend", "reinstate", "renew", "token", "reset-usage", "revoke", "renew"] {
        reader.call("post", &format!("/admin/licenses/{{id}}/{action}"), &id, Value::Null).await;
    }
    reader.call("delete", "/admin/licenses/{id}", &id, Value::Null).await;
}

async fn plans(reader: &mut Reader<'_>) {
    reader.call("post", "/admin/plans", "", json!({"id": "team", "max_sessions": 5})).await;
    reader.call("get", "/admin/plans", "", Value::Null).await;
    reader.call("get", "/admin/plans/{id}", "trial", Value::Null).await;
    reader.call("patch", "/admin/plans/{id}", "team", json!({"valid_days": 30})).await;
    reader.call("post", "/admin/plans/{id}/apply", "team", Value::Null).await;
    reader.call("delete", "/admin/plans/{id}", "team", Value::Null).await;
}

async fn seats(app: &TestApp, reader: &mut Reader<'_>) {
    let alice = app.licensee_with(json!({"max_machines": 1})).await;
    let mut customer = Reader::new(reader.document, alice.api());
    for (action, machine) in [("activate", "a"), ("activate", "b"), ("validate", "a"), ("heartbeat", "a")] {
        customer.call("post", &format!("/v1/licenses/{action}"), "", json!({ "fingerprint": machine })).await;
    }
    reader.call("get", "/admin/licenses/{id}/machines", &alice.license_id, Value::Null).await;
    customer.call("post", "/v1/licenses/deactivate", "", json!({"fingerprint": "a"})).await;
    let machine = format!("/admin/licenses/{}/machines/a", alice.license_id);
    let freed = reader.caller.send("DELETE", &machine, &[], String::new()).await;
    let route = ("delete".to_owned(), "/admin/licenses/{id}/machines/{fingerprint}".to_owned());
    check(reader.document, &route.0, &route.1, &freed);
    reader.seen.insert(route);
    reader.seen.append(&mut customer.seen);
}

async fn backups(reader: &mut Reader<'_>) {
    let id = text(&reader.call("post", "/admin/backups", "", Value::Null).await, "id");
    reader.call("get", "/admin/backups", "", Value::Null).await;
    for method in ["get", "delete", "get", "delete"] {
        reader.call(method, "/admin/backups/{id}", &id, Value::Null).await;
    }
}

async fn keys(reader: &mut Reader<'_>) {
    let made = reader.call("post", "/admin/keys", "", json!({"label": "shop"})).await;
    let shared = json!({"license_id": made["license_id"], "label": "till"});
    reader.call("post", "/admin/keys", "", shared).await;
    let id = text(&made, "id");
    reader.call("get", "/admin/keys", "", Value::Null).await;
    reader.call("get", "/admin/keys/{id}", &id, Value::Null).await;
    reader.call("patch", "/admin/keys/{id}", &id, json!({"label": "shop 2"})).await;
    for action in ["block", "unblock", "rotate", "reset-usage"] {
        reader.call("post", &format!("/admin/keys/{{id}}/{action}"), &id, Value::Null).await;
    }
    reader.call("delete", "/admin/keys/{id}", &id, Value::Null).await;
    reader.call("post", "/admin/keys/{id}/block", &id, Value::Null).await;
}

async fn accounts(reader: &mut Reader<'_>) {
    let fields = json!({"name": "main", "kind": "openai", "credential": "sk-x", "base_url": "http://127.0.0.1:1/v1",
        "models": ["gpt-*"], "weight": 2, "priority": 1, "max_concurrency": 3});
    let id = text(&reader.call("post", "/admin/accounts", "", fields.clone()).await, "id");
    reader.call("post", "/admin/accounts", "", fields).await;
    reader.call("post", "/admin/accounts", "", json!({"colour": "red"})).await;
    reader.call("get", "/admin/accounts", "", Value::Null).await;
    reader.call("get", "/admin/accounts/{id}", &id, Value::Null).await;
    reader.call("get", "/admin/accounts/{id}", "acc_none", Value::Null).await;
    reader.call("patch", "/admin/accounts/{id}", &id, json!({"weight": null})).await;
    reader.call("patch", "/admin/accounts/{id}", "env-dashscope", json!({"credential": "sk-y"})).await;
    for action in ["test", "drain", "disable", "enable"] {
        reader.call("post", &format!("/admin/accounts/{{id}}/{action}"), &id, Value::Null).await;
    }
    reader.call("delete", "/admin/accounts/{id}", &id, Value::Null).await;
    reader.call("delete", "/admin/accounts/{id}", "env-dashscope", Value::Null).await;
    reader.call("post", "/admin/accounts/{id}/test", &id, Value::Null).await;
}
