//! Which models there are: what the accounts' providers say, asked rarely and by one at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use awc::http::Method;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::completion::call::Tools;
use crate::error::Error;
use crate::upstream::account::{ANTHROPIC_VERSION, Account, Kind, State};
use crate::upstream::http::Question;

/// The providers are asked this often at most.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// After some of them didn't answer.
const RETRY_AFTER: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(10);
/// No list is longer, bytes.
const LONGEST: usize = 8 << 20;
/// No model's name is longer, bytes.
const LONGEST_NAME: usize = 200;

/// Models by id, in OpenAI's form.
pub type Models = BTreeMap<String, Value>;

/// What the providers said last; cheap to clone, shared by all threads.
#[derive(Clone, Default)]
pub struct Catalogue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: Mutex<Option<(Instant, Known)>>,
    /// The last list of each account, by its id. Whoever holds them asks.
    lists: tokio::sync::Mutex<HashMap<String, Models>>,
}

/// What is known of all accounts.
#[derive(Clone)]
pub struct Known {
    /// What they serve.
    pub models: Arc<Models>,
    /// Whether each of them has said so at some time.
    pub complete: bool,
}

impl Catalogue {
    /// What the accounts serve. One that doesn't answer is believed what it said last.
    pub async fn known(&self, tools: &Tools) -> Known {
        if let Some(known) = self.last(Some(Instant::now())) {
            return known;
        }
        let mut lists = match (self.0.lists.try_lock(), self.last(None)) {
            (Ok(lists), _) => lists,
            // Somebody else is asking: what was known does until then.
            (Err(_), Some(known)) => return known,
            (Err(_), None) => self.0.lists.lock().await,
        };
        if let Some(known) = self.last(Some(Instant::now())) {
            return known;
        }
        let mut accounts = tools.pool.accounts();
        accounts.retain(|account| account.state == State::Enabled);
        let answers = join_all(accounts.iter().map(|account| ask(tools, account))).await;
        lists.retain(|id, _| accounts.iter().any(|account| account.id == *id));
        let all_answered = answers.iter().all(Result::is_ok);
        for (account, answer) in accounts.iter().zip(answers) {
            match answer {
                Ok(list) => drop(lists.insert(account.id.clone(), list)),
                Err(error) => log::warn!(account = account.name.as_str(); "an account does not list its models: {}",
                    error.cause().unwrap_or(error.row().code)),
            }
        }
        let mut models = Models::new();
        for account in &accounts {
            // What an account names one by one it has, whether it lists it or not.
            let named = account.models.iter().filter(|pattern| !pattern.contains('*'));
            models.extend(named.map(|id| (id.clone(), plain(id))));
            let listed = lists.get(&account.id).into_iter().flatten();
            let listed = listed.filter(|(id, _)| account.serves(id) || account.serves_anything());
            models.extend(listed.map(|(id, model)| (id.clone(), model.clone())));
        }
        let known = Known { models: Arc::new(models), complete: lists.len() == accounts.len() };
        let until = Instant::now() + if all_answered { KNOWN_FOR } else { RETRY_AFTER };
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, known.clone()));
        known
    }

    /// What is known; `now`: only if it still holds.
    fn last(&self, now: Option<Instant>) -> Option<Known> {
        let last = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(until, _)| now.is_none_or(|now| now < *until)).map(|(_, known)| known.clone())
    }
}

/// A model of which nothing but its id is known.
#[must_use]
pub fn plain(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 0, "owned_by": "system" })
}

#[derive(Deserialize)]
struct List {
    data: Vec<Value>,
}

/// What an account's provider lists.
///
/// # Errors
/// `UpstreamTimeout`, `UpstreamUnavailable`, `UpstreamRateLimited`; `InvalidApiKey` when it refuses the credential.
pub async fn ask(tools: &Tools, account: &Account) -> Result<Models, Error> {
    let body = fetch(tools, account).await?;
    let list: List = serde_json::from_slice(&body).map_err(|_| Error::upstream("its list of models is none"))?;
    Ok(list.data.iter().filter_map(form).collect())
}

async fn fetch(tools: &Tools, account: &Account) -> Result<Bytes, Error> {
    let deadline = Instant::now() + PATIENCE;
    let base = account.base_url.as_str();
    let url = match account.kind {
        Kind::Dashscope => format!("{base}/compatible-mode/v1/models"),
        Kind::Openai | Kind::Anthropic if base.ends_with("/v1") => format!("{base}/models"),
        Kind::Openai => format!("{base}/v1/models"),
        Kind::Anthropic => format!("{base}/v1/models?limit=1000"),
    };
    let headers = match account.kind {
        Kind::Anthropic => vec![("anthropic-version", ANTHROPIC_VERSION.to_owned())],
        Kind::Dashscope | Kind::Openai => Vec::new(),
    };
    let question = Question { method: Method::GET, url, headers, body: Bytes::new() };
    let mut answer = tools.http.ask(account, question, PATIENCE).await?;
    match answer.status {
        200 => {}
        401 | 403 => return Err(Error::InvalidApiKey),
        429 => return Err(Error::upstream_limit(answer.retry_after())),
        status => return Err(Error::upstream(format!("it answered {status}"))),
    }
    answer.whole(LONGEST, deadline).await
}

/// What may be shown of a provider's model: not who owns it, nor what else is said of it.
fn form(model: &Value) -> Option<(String, Value)> {
    let text = |name: &str| model.get(name).and_then(Value::as_str);
    let id = text("id").filter(|id| id.len() <= LONGEST_NAME && !id.chars().any(char::is_control))?;
    let mut form = plain(id);
    let at = text("created_at").and_then(|at| at.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second);
    let created = model.get("created").and_then(Value::as_u64).or_else(|| u64::try_from(at?).ok());
    if let (Some(created), Some(form)) = (created, form.get_mut("created")) {
        *form = created.into();
    }
    if let (Some(name), Some(form)) = (text("display_name"), form.as_object_mut()) {
        form.insert("display_name".to_owned(), name.into());
    }
    Some((id.to_owned(), form))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::config::settings::Secret;
    use crate::metrics::Metrics;
    use crate::upstream::account::Mode;
    use crate::upstream::http::HttpCaller;
    use crate::upstream::pool::Pool;

    #[test]
    fn a_providers_model_is_shown_without_what_is_the_operators() {
        let openai = json!({"id": "m", "object": "model", "created": 7, "owned_by": "org-secret", "parent": "x",
            "permission": [{"organization": "o"}]});
        let shown = json!({"id": "m", "object": "model", "created": 7, "owned_by": "system"});
        assert_eq!(form(&openai), Some(("m".to_owned(), shown)));
        let anthropic = json!({"type": "model", "id": "c", "display_name": "C", "created_at": "1970-01-01T00:01:00Z"});
        let shown = json!({"id": "c", "object": "model", "created": 60, "owned_by": "system", "display_name": "C"});
        assert_eq!(form(&anthropic), Some(("c".to_owned(), shown)));
        assert_eq!(form(&json!({"id": 5})), None);
        assert_eq!(form(&json!({"id": "a\nb"})), None);
    }
    /// A provider that answers with what it is told to.
    async fn provider(says: Rc<Cell<&'static str>>) -> Account {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _head = socket.read(&mut [0; 4_096]).await;
                let _gone = socket.write_all(says.get().as_bytes()).await;
            }
        });
        Account {
            id: base_url.clone(),
            name: "stub".to_owned(),
            kind: Kind::Openai,
            base_url,
            credential: Secret::new("sk-x"),
            mode: Mode::Compatible,
            models: Vec::new(),
            weight: 1,
            priority: 0,
            max_concurrency: None,
            state: State::Enabled,
        }
    }

    #[actix_web::test]
    async fn who_does_not_answer_is_believed_what_it_said_last() {
        const LIST: &str =
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 21\r\n\r\n{\"data\":[{\"id\":\"m\"}]}";
        const FAILURE: &str = "HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let says = [Rc::new(Cell::new(LIST)), Rc::new(Cell::new(FAILURE))];
        let pool = Pool::new(Metrics::new("test").unwrap());
        pool.replace(vec![provider(says[0].clone()).await, provider(says[1].clone()).await]);
        let http = HttpCaller::new(PATIENCE, false);
        let (tools, catalogue) = (Tools { http, pool, timeout: PATIENCE }, Catalogue::default());
        let names = |known: &Known| known.models.keys().cloned().collect::<Vec<_>>();
        let expire = || catalogue.0.known.lock().unwrap().as_mut().unwrap().0 = Instant::now();
        let known = catalogue.known(&tools).await;
        assert_eq!((names(&known), known.complete), (vec!["m".to_owned()], false));
        says[0].set(FAILURE);
        expire();
        assert_eq!(names(&catalogue.known(&tools).await), ["m"]);
        says[1].set(LIST);
        expire();
        assert!(catalogue.known(&tools).await.complete);
        tools.pool.replace(Vec::new());
        expire();
        assert!(catalogue.known(&tools).await.models.is_empty());
    }
}
