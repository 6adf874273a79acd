//! The operator's door from outside: who is shut out, what browsers are told, which listener has which routes.

use livetranslate::config::settings::Secret;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::{ADMIN_KEY, TestApp, on_both_stores_with, on_sqlite, on_sqlite_with};
use crate::support::operator::{Answer, Operator};

const ORIGIN: &str = "https://app.example";

/// `GET /admin/keys` with a bearer, as if from an address.
async fn knock(app: &TestApp, bearer: &str, address: &str) -> Answer {
    let guest = Operator::with_bearer(app.url(), bearer);
    guest.send("GET", "/admin/keys", &[("x-forwarded-for", address)], String::new()).await
}

#[test]
fn ten_wrong_keys_shut_an_address_out() {
    on_sqlite(async |app| {
        let (guesser, other) = ("203.0.113.7", "203.0.113.8");
        for _ in 0..30 {
            assert_eq!(knock(app, "", guesser).await.status, 401, "no credential is no guess");
        }
        for guess in 0..9 {
            assert_eq!(knock(app, &format!("guess-{guess}"), guesser).await.status, 401);
        }
        assert_eq!(knock(app, ADMIN_KEY, guesser).await.status, 200, "the right key clears the count");
        for guess in 0..10 {
            assert_eq!(knock(app, &format!("guess-{guess}"), guesser).await.status, 401);
        }
        for bearer in ["guess", "", ADMIN_KEY] {
            let shut = knock(app, bearer, guesser).await;
            assert_eq!((shut.status, shut.code()), (429, "rate_limit_exceeded"), "{}", shut.text);
            let wait: u64 = shut.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
        }
        assert_eq!(knock(app, ADMIN_KEY, other).await.status, 200);
        let network = "2001:db8:1:2::";
        for guess in 0..10 {
            assert_eq!(knock(app, &format!("guess-{guess}"), &format!("{network}{guess}")).await.status, 401);
        }
        assert_eq!(knock(app, ADMIN_KEY, &format!("{network}ffff")).await.status, 429, "a /64 is one address");
        let figures = app.operator().get("/metrics").await.text;
        assert!(figures.contains("\nlivetranslate_admin_lockouts_total 2\n"), "{figures}");
    });
}

/// The status that a request written by hand gets.
async fn by_hand(app: &TestApp, head: &[u8]) -> u16 {
    let mut socket = TcpStream::connect(app.url().trim_start_matches("http://")).await.unwrap();
    socket.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    // A header that is too long closes the connection while it is still being sent.
    let _cut = socket.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn odd_authorizations_are_refused_not_stumbled_over() {
    on_sqlite(async |app| {
        let head = |authorization: &[u8]| {
            let mut head = b"GET /admin/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".to_vec();
            head.extend_from_slice(authorization);
            head.extend_from_slice(b"\r\n");
            head
        };
        let right = format!("authorization: Bearer {ADMIN_KEY}\r\n");
        assert_eq!(by_hand(app, &head(right.as_bytes())).await, 200);
        let long = format!("authorization: Bearer {}\r\n", "x".repeat(60_000));
        for wrong in [
            b"authorization: Bearer \xff\xfe\x80\r\n".to_vec(),
            format!("{right}{right}").into_bytes(),
            format!("{right}authorization: Bearer other\r\n").into_bytes(),
            b"authorization:\r\n".to_vec(),
            b"authorization: Bearer\r\n".to_vec(),
            long.into_bytes(),
        ] {
            assert_eq!(by_hand(app, &head(&wrong)).await, 401);
        }
    });
}

#[test]
fn the_previous_key_opens_while_the_new_one_takes_over() {
    let both = |config: &mut livetranslate::config::Config| {
        config.secrets.admin_key_previous = config.secrets.admin_key.take();
        config.secrets.admin_key = Some(Secret::new("a-new-admin-key-for-tests"));
    };
    on_both_stores_with(both, async |app| {
        let old = Operator::with_bearer(app.url(), ADMIN_KEY);
        let new = Operator::with_bearer(app.url(), "a-new-admin-key-for-tests");
        for operator in [&old, &new] {
            assert_eq!(operator.post("/admin/licenses", &json!({"label": "a"})).await.status, 201);
        }
        let entries = new.get("/admin/audit?action=license.create&sort=created_at").await;
        let actor = |index: usize| entries.body["data"][index]["actor"].as_str().unwrap().to_owned();
        assert_eq!([actor(0), actor(1)], ["operator (previous key)", "operator"], "{}", entries.text);
    });
}

#[test]
fn every_answer_is_dressed() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let question = json!({"model": "qwen-plus", "messages": [{"role": "user", "content": "Hello"}]});
        let answers = [
            app.operator().get("/admin/keys").await,
            app.operator().get("/admin/nothing").await,
            app.operator().get("/health").await,
            app.operator().send("GET", "/", &[("accept", "text/html")], String::new()).await,
            alice.api().get("/v1/license").await,
            alice.api().post("/v1/chat/completions", &question).await,
        ];
        for answer in &answers {
            for (name, value) in
                [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
            {
                assert_eq!(answer.header(name), Some(value), "{}", answer.text);
            }
            assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
            assert_eq!(answer.header("strict-transport-security"), None, "not by TLS");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        let [keys, nothing, health, page, license, chat] = answers;
        for confidential in [keys, nothing, license] {
            assert_eq!(confidential.header("cache-control"), Some("no-store"));
        }
        assert_eq!((health.header("cache-control"), chat.status), (None, 200));
        assert_eq!(page.header("cache-control"), Some("no-cache"), "pages say it themselves");
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'"));
        let proxied = [("x-forwarded-proto", "https")];
        let by_tls = app.operator().send("GET", "/health", &proxied, String::new()).await;
        assert_eq!(by_tls.header("strict-transport-security"), Some("max-age=31536000"));
    });
}

/// What a browser asks before it lets a page of another site call.
async fn preflight(app: &TestApp, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    Operator::with_bearer(app.url(), "").send("OPTIONS", path, &headers, String::new()).await
}

#[test]
fn pages_of_other_sites_may_not_call() {
    on_sqlite(async |app| {
        for path in ["/v1/chat/completions", "/admin/keys"] {
            let asked = preflight(app, path, ORIGIN).await;
            assert_eq!((asked.status, asked.code()), (405, "method_not_allowed"), "{path}: {}", asked.text);
            assert!(asked.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{:?}", asked.headers);
        }
        let called = app.operator().send("GET", "/admin/keys", &[("origin", ORIGIN)], String::new()).await;
        assert!(called.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
    });
}

#[test]
fn pages_that_the_operator_names_may_call_the_customers_routes() {
    let named = |config: &mut livetranslate::config::Config| config.server.cors_origins = vec![ORIGIN.to_owned()];
    on_sqlite_with(named, async |app| {
        let asked = preflight(app, "/v1/chat/completions", ORIGIN).await;
        assert_eq!((asked.status, asked.header("access-control-allow-origin")), (200, Some(ORIGIN)), "{}", asked.text);
        assert_eq!(asked.header("access-control-allow-headers"), Some("authorization,content-type"));
        assert_eq!(asked.header("access-control-allow-credentials"), None);
        for (path, origin) in
            [("/v1/chat/completions", "https://evil.example"), ("/admin/keys", ORIGIN), ("/%61dmin/keys", ORIGIN)]
        {
            let asked = preflight(app, path, origin).await;
            assert_eq!((asked.status, asked.code()), (400, "invalid_request"), "{path}: {}", asked.text);
            assert_eq!(asked.header("access-control-allow-origin"), None, "{path}");
        }
        let alice = app.licensee(60.0).await;
        let from_page = async |path: &str, operator: &Operator| {
            operator.send("GET", path, &[("origin", ORIGIN)], String::new()).await
        };
        let called = from_page("/v1/license", &alice.api()).await;
        assert_eq!((called.status, called.header("access-control-allow-origin")), (200, Some(ORIGIN)));
        assert!(called.header("access-control-expose-headers").unwrap().contains("x-request-id"));
        let refused = from_page("/v1/license", &Operator::with_bearer(app.url(), "wrong")).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(ORIGIN)));
        let admin = from_page("/admin/keys", &app.operator()).await;
        assert_eq!((admin.status, admin.header("access-control-allow-origin")), (200, None));
    });
}

#[test]
fn each_listener_has_its_own_routes() {
    let apart = |config: &mut livetranslate::config::Config| {
        config.server.admin_listen = Some("127.0.0.1:0".to_owned());
    };
    on_sqlite_with(apart, async |app| {
        let (public, private) = (app.operator(), Operator::new(app.admin_url()));
        for path in ["/admin/keys", "/admin/audit", "/metrics"] {
            let hidden = public.get(path).await;
            assert_eq!((hidden.status, hidden.code()), (404, "not_found"), "{path}");
            assert_eq!(private.get(path).await.status, 200, "{path}");
        }
        for path in ["/", "/v1/license", "/v1/models", "/openapi.json", "/.well-known/jwks.json", "/v1/realtime"] {
            let hidden = private.get(path).await;
            assert_eq!((hidden.status, hidden.code()), (404, "not_found"), "{path}");
            assert_ne!(public.get(path).await.status, 404, "{path}");
        }
        for path in ["/health", "/healthz", "/livez", "/readyz"] {
            assert_eq!((public.get(path).await.status, private.get(path).await.status), (200, 200), "{path}");
        }
    });
}
