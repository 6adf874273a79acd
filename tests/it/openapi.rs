//! `/openapi.json`: says every route and error code that the code has, no others, and what is really answered.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::app::{TestApp, on_sqlite};
use crate::support::customer::MODEL;
use crate::support::operator::{Answer, Operator};
use crate::support::schema::faults;

const ROUTES: &str = include_str!("../../src/api/routes.rs");
const ERRORS: &str = include_str!("../../src/error.rs");
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(include_str!("../../static/openapi.json")).unwrap()
}

/// Every `(method, path)` that the route table mounts.
fn mounted() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for resource in ROUTES.split("at(\"").skip(1) {
        let (path, routes) = resource.split_once('"').unwrap();
        let before = found.len();
        for method in METHODS {
            if routes.contains(&format!(".route({method}()")) {
                found.insert((method.to_owned(), path.to_owned()));
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
    assert!(missing.is_empty(), "static/openapi.json lacks {missing:?}");
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
    let response = responses.get(&answer.status.to_string()).unwrap_or_else(|| {
        panic!("{method} {route} answered {}, which is not documented: {}", answer.status, answer.text)
    });
    let response = match response.get("$ref") {
        Some(path) => document.pointer(path.as_str().unwrap().trim_start_matches('#')).unwrap(),
        None => response,
    };
    for name in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
        let conditional = ["x-should-retry", "sec-websocket-protocol"].contains(&name.as_str());
        assert!(conditional || answer.header(name).is_some(), "{method} {route}: no header {name}");
    }
    let faults = faults(document, &response["content"]["application/json"]["schema"], &answer.body);
    assert!(faults.is_empty(), "{method} {route}: {faults:?} in {}", answer.text);
}

/// Somebody who calls routes as the document spells them and checks each answer against it.
struct Reader<'a> {
    document: &'a Value,
    caller: Operator,
    seen: BTreeSet<(String, String)>,
}

impl Reader<'_> {
    async fn call(&mut self, method: &str, route: &str, id: &str, body: Value) -> Value {
        let path = route.replace("{id}", id);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.caller.send(&method.to_uppercase(), &path, &[], body).await;
        let route = route.split('?').next().unwrap();
        self.seen.insert((method.to_owned(), route.to_owned()));
        check(self.document, method, route, &answer);
        answer.body
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
        let mut reader = Reader { document: &document, caller: app.operator(), seen: BTreeSet::new() };
        used(app, &mut reader).await;
        licenses(&mut reader).await;
        keys(&mut reader).await;
        accounts(&mut reader).await;
        for route in ["/", "/health", "/healthz", "/livez", "/readyz", "/.well-known/jwks.json", "/openapi.json"] {
            reader.call("get", route, "", Value::Null).await;
        }
        for route in ["/admin/audit", "/admin/stats", "/admin/usage/events", "/admin/usage?group_by=day,model,key"] {
            reader.call("get", route, "", Value::Null).await;
        }
        reader.call("post", "/admin/usage/reset", "", json!({})).await;
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
    let mut customer = Reader { document: reader.document, caller: alice.api(), seen: BTreeSet::new() };
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
