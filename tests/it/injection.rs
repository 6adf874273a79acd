//! Hostile text in every field, parameter, path and header of every route: nothing breaks, nothing is taken for more
//! than text, and what may be kept comes back as it was sent.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use livetranslate::api::document::whole::Document;
use serde_json::{Map, Value, json};

use crate::support::app::{ADMIN_KEY, TestApp, on_both_stores};
use crate::support::operator::{Answer, Operator};
use crate::support::schema::resolved;

/// What may stand in a label: databases, templates, shells and terminals read it otherwise.
const TEXTS: [&str; 30] = [
    "'; DROP TABLE licenses; --",
    "' OR '1'='1",
    "\" OR \"\"=\"",
    "1; DELETE FROM budgets; SELECT 1",
    "'||(SELECT secret_hash FROM api_keys)||'",
    "$$; SELECT pg_sleep(9); $$",
    "x') UNION SELECT 1,2,3 --",
    "/* */ -- # ;",
    "%",
    "_",
    "100 % of_it",
    "a\\b",
    "\\",
    "\\%",
    "'",
    "\"",
    "`",
    "?1 $1 :name @p",
    "{\"a\": [1, null]}",
    "\\u0000",
    "${jndi:ldap://x} {{7*7}} <%= 1 %>",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "%00 %0d%0a",
    "../../etc/passwd",
    "Ünïcödé ÄÖÜ ŁÓDŹ",
    "İstanbul ſ ß",
    "𝔘𝔫𝔦 🦀 \u{1f469}\u{200d}\u{1f4bb}",
    "\u{202e}evil\u{2066} \u{feff}",
    "NULL",
];
/// What may not: it must be refused, or be kept as it is.
const CONTROLS: [&str; 5] = ["a\r\nx-injected: 1", "\u{0}", "a\u{0}b", "\u{1b}[2J", "\u{7f}\u{85}"];
/// Paths and queries as nobody spells them.
const ADDRESSES: [&str; 9] = [
    "%00",
    "a%00b",
    "%ff%fe",
    "%0d%0ax-injected:%201",
    "..%2f..%2fhealth",
    "%2e%2e",
    "%252e%2500",
    "%c0%ae",
    "%ed%a0%80",
];

fn document() -> Value {
    serde_json::from_slice(&Document::new().unwrap().0).unwrap()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// No answer may look as if somebody else had written its head.
fn check(asked: &str, answer: &Answer) {
    assert!(answer.status < 500, "{asked}: {} {}", answer.status, answer.text);
    assert!(answer.header("x-injected").is_none(), "{asked}: {:?}", answer.headers);
    let id = answer.header("x-request-id").unwrap_or_default();
    let sane = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    assert!(sane && (1..=128).contains(&id.len()), "{asked}: the request's id is {id:?}");
}

#[test]
fn what_is_kept_comes_back_and_is_found() {
    on_both_stores(async |app| {
        let operator = app.operator();
        let mut labels = Vec::new();
        for text in TEXTS {
            let fields = json!({"label": text, "models": [text], "metadata": {text: {text: [text]}}});
            let made = operator.post("/admin/licenses", &fields).await;
            assert_eq!(made.status, 201, "{text:?}: {}", made.text);
            let id = made.body["id"].as_str().unwrap().to_owned();
            let shown = operator.get(&format!("/admin/licenses/{id}")).await.body;
            for (name, sent) in fields.as_object().unwrap() {
                assert_eq!(&shown[name], sent, "{text:?}");
            }
            let key = operator.post("/admin/keys", &json!({"license_id": id, "label": text})).await;
            assert_eq!((key.status, &key.body["label"]), (201, &json!(text)), "{}", key.text);
            let account =
                json!({"name": text, "kind": "openai", "credential": "sk-x", "base_url": "http://127.0.0.1:1"});
            let account = operator.post("/admin/accounts", &account).await;
            assert_eq!((account.status, &account.body["name"]), (201, &json!(text)), "{}", account.text);
            labels.push(text);
        }
        let entries = operator.get("/admin/audit?limit=500").await.body;
        let label = |entry: &Value| {
            let told = ["after", "detail"].iter().find_map(|part| entry[*part]["label"].as_str());
            told.map(str::to_owned)
        };
        let logged: Vec<String> = entries["data"].as_array().unwrap().iter().filter_map(label).collect();
        for text in TEXTS {
            assert_eq!(logged.iter().filter(|label| *label == text).count(), 2, "{text:?} is not in the log as sent");
            for (list, name) in [("licenses", "label"), ("keys", "label"), ("accounts", "name")] {
                let found = operator.get(&format!("/admin/{list}?limit=500&q={}", encoded(text))).await;
                check(list, &found);
                let found: BTreeSet<&str> =
                    found.body["data"].as_array().unwrap().iter().filter_map(|row| row[name].as_str()).collect();
                assert!(found.contains(text), "{list}: {text:?} is not found");
                let other = found.iter().find(|found| !found.to_lowercase().contains(&text.to_lowercase()));
                assert!(other.is_none() || text == "_", "{list}: {text:?} found {other:?}");
            }
        }
    });
}

#[test]
fn no_field_of_any_route_is_more_than_text() {
    on_both_stores(async |app| {
        let document = document();
        let customer = app.licensee_with(json!({})).await;
        let before = counted(&app.operator()).await;
        let (mut made, mut turn) = (0, 0);
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let caller = if path.starts_with("/admin/") { app.operator() } else { customer.api() };
                let places = Places::of(&document, operation);
                for place in places.all() {
                    // Every place gets some of the texts, every text comes to many places.
                    for _ in 0..4 {
                        turn += 1;
                        let text = TEXTS.iter().chain(&CONTROLS).nth(turn % (TEXTS.len() + CONTROLS.len())).unwrap();
                        let Some(answer) = places.send(&caller, (method, path), &place, text).await else { continue };
                        check(&format!("{method} {path} with {text:?} as {place:?}"), &answer);
                        if answer.status == 201 && counts(path) {
                            made += 1;
                        }
                    }
                }
            }
        }
        assert!(turn > 500, "few places were found");
        let after = counted(&app.operator()).await;
        assert!(made > 0 && after - before >= made, "{made} things were made, {before} became {after}");
        assert_eq!(app.operator().get("/admin/stats").await.status, 200);
    });
}

/// Whether what a route makes is counted.
fn counts(path: &str) -> bool {
    ["/admin/licenses", "/admin/keys", "/admin/accounts"].contains(&path)
}

/// Licenses, keys and accounts that there are.
async fn counted(operator: &Operator) -> usize {
    let mut all = 0;
    for list in ["licenses", "keys", "accounts"] {
        let mut cursor = String::new();
        loop {
            let page = operator.get(&format!("/admin/{list}?limit=500{cursor}")).await.body;
            all += page["data"].as_array().unwrap().len();
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    all
}

/// Where a route takes text.
struct Places {
    paths: Vec<String>,
    queries: Vec<String>,
    headers: Vec<String>,
    members: Vec<String>,
    example: Map<String, Value>,
}

#[derive(Debug)]
enum Place<'a> {
    Path(&'a str),
    Query(&'a str),
    Header(&'a str),
    Member(&'a str),
    /// A member's name.
    Name,
}

impl Places {
    fn of(document: &Value, operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let parameters: Vec<&Value> = parameters.map(|parameter| resolved(document, parameter)).collect();
        let named = |place: &str| {
            let these = parameters.iter().filter(|parameter| parameter["in"] == place);
            these.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let body = &operation["requestBody"]["content"]["application/json"];
        let members = members(document, &body["schema"]);
        let mut headers = named("header");
        headers.extend(["x-request-id", "x-forwarded-for", "accept", "if-match", "idempotency-key"].map(str::to_owned));
        // The handshake's are the protocol's own.
        headers.retain(|name| !["Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key"].contains(&name.as_str()));
        let example = body["example"].as_object().cloned().unwrap_or_default();
        Self { paths: named("path"), queries: named("query"), headers, members, example }
    }

    fn all(&self) -> Vec<Place<'_>> {
        let paths = self.paths.iter().map(|name| Place::Path(name));
        let queries = self.queries.iter().map(|name| Place::Query(name));
        let headers = self.headers.iter().map(|name| Place::Header(name));
        let members = self.members.iter().map(|name| Place::Member(name));
        let name = (!self.members.is_empty()).then_some(Place::Name);
        paths.chain(queries).chain(headers).chain(members).chain(name).collect()
    }

    /// Sends `text` in one place; `None` where it can't stand there at all.
    async fn send(
        &self,
        caller: &Operator,
        (method, path): (&str, &str),
        place: &Place<'_>,
        text: &str,
    ) -> Option<Answer> {
        let (mut path, mut headers, mut body) = (path.to_owned(), Vec::new(), self.example.clone());
        for name in &self.paths {
            let value =
                if matches!(place, Place::Path(hostile) if hostile == name) { encoded(text) } else { "x".into() };
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        match place {
            Place::Path(_) => {}
            Place::Query(name) => path = format!("{path}?{name}={}", encoded(text)),
            Place::Header(name) if text.chars().any(char::is_control) || text.starts_with(' ') => {
                assert!(!name.is_empty());
                return None;
            }
            Place::Header(name) => headers.push((*name, text)),
            Place::Member(name) => {
                body.insert((*name).to_owned(), text.into());
            }
            Place::Name => {
                body.insert(text.to_owned(), text.into());
            }
        }
        let body = if self.members.is_empty() { String::new() } else { Value::from(body).to_string() };
        Some(caller.send(&method.to_uppercase(), &path, &headers, body).await)
    }
}

/// The names of a body's members.
fn members(document: &Value, schema: &Value) -> Vec<String> {
    let schema = resolved(document, schema);
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let parts = ["allOf", "anyOf"].iter().flat_map(|name| schema[*name].as_array().into_iter().flatten());
    let mut all: Vec<String> = own.chain(parts.flat_map(|part| members(document, part))).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn no_address_is_read_as_another() {
    on_both_stores(async |app| {
        let customer = app.licensee_with(json!({})).await;
        for (path, item) in document()["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                for hostile in ADDRESSES {
                    let token = if path.starts_with("/admin") { ADMIN_KEY } else { &customer.token };
                    let asked = match path.split_once('{') {
                        Some((base, rest)) => format!("{base}{hostile}{}", rest.split_once('}').unwrap().1),
                        None => format!("{path}?q={hostile}&model={hostile}&resume={hostile}"),
                    };
                    let head = format!("{} {asked} HTTP/1.1\r\n", method.to_uppercase());
                    let answer = raw(app, format!("{head}host: x\r\nauthorization: Bearer {token}\r\n"), "{}").await;
                    assert!(!answer.to_lowercase().contains("\r\nx-injected"), "{asked}: {answer}");
                    let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
                    assert!(status < 500, "{method} {asked}: {answer}");
                    assert!(answer.contains("x-request-id: "), "{method} {asked}: {answer}");
                    assert!(!hostile.contains("%00") || status == 400, "{method} {asked}: {answer}");
                }
            }
        }
    });
}

#[test]
fn no_header_breaks_out_of_its_line() {
    on_both_stores(async |app| {
        let long = "x".repeat(20_000);
        let mut good = 0;
        let values: [&[u8]; 8] = [
            b"a\rx-injected: 1",
            b"a\nx-injected: 1",
            b"a\0b",
            b"\xff\xfe",
            "Ünïcödé".as_bytes(),
            b"\t\t",
            b"",
            long.as_bytes(),
        ];
        for name in [
            "authorization",
            "x-request-id",
            "idempotency-key",
            "if-match",
            "x-api-key",
            "accept",
            "host",
            "te",
            "authorization",
        ] {
            for value in values {
                let mut head = b"POST /admin/licenses HTTP/1.1\r\n".to_vec();
                if name != "host" {
                    head.extend(b"host: x\r\n");
                }
                head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
                if name != "authorization" {
                    head.extend(format!("authorization: Bearer {ADMIN_KEY}\r\n").bytes());
                }
                let answer = raw(app, head, "{}").await;
                assert!(!answer.to_lowercase().contains("\r\nx-injected"), "{name}: {answer}");
                let status: u16 = answer.split(' ').nth(1).unwrap_or("400").parse().unwrap();
                assert!(status < 500, "{name} {value:?}: {answer}");
                good += usize::from(status == 201);
            }
        }
        assert!(good > 8, "hardly one was read");
    });
}

/// Sends a head, and a body of its length, as they are.
async fn raw(app: &TestApp, head: impl Into<Vec<u8>>, body: &str) -> String {
    let address = app.url().replace("http://", "");
    let tail = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let sent = [head.into(), tail.into_bytes()].concat();
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(&sent).unwrap();
        let mut answer = Vec::new();
        // Whoever is refused while still sending may find the connection reset.
        let _cut_off = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    answer.await.unwrap()
}
