//! `/admin/accounts`: add, list, show, change upstream accounts.

use std::collections::HashMap;
use std::time::Instant;

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::access::Operator;
use super::account_draft;
use super::body::Body;
use super::difference;
use super::licenses::no_store;
use super::once::{self, Outcome};
use super::paging::{self, ListQuery};
use super::trail::Trail;
use super::version;
use crate::accounts::{Accounts, MOST};
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::store::accounting;
use crate::store::accounts::{self, Filter, StoredAccount};
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::upstream::account::State;
use crate::upstream::pool::AccountState;
use crate::wire::accounts::{AccountFields, AccountLive, AccountView};
use crate::wire::admin::PageView;

/// `POST /admin/accounts`: 201 with the account, without its credential; a repeat answers 200.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `Conflict` for a name that is taken, without ENCRYPTION_KEY, when
/// there are too many, or for an `Idempotency-Key` that came with another body.
pub async fn create(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let fields: AccountFields = body.read()?;
    let id = ids::account();
    let (account, credential) = account_draft::account(&fields, &id, trail.now())?;
    let account = StoredAccount { sealed_credential: Some(gateway.accounts.seal(&id, &credential)?), ..account };
    let request = once::Request::new(&operator, "POST /admin/accounts", &body, trail.now())?;
    let outcome = request.make(&gateway.store, id.clone(), move |connection| {
        accounting::lock_ledger(connection)?;
        if accounts::count(connection)? >= MOST {
            return Err(Error::Conflict(format!("there are {MOST} accounts already; delete one first")));
        }
        refuse_taken(connection, &account)?;
        accounts::insert(connection, &account)?;
        announcements::announce_accounts(connection)?;
        trail.leave(connection, "account.create", &account.id, &difference::made(&told(&account)))
    });
    let id = match outcome.await? {
        Outcome::New => id,
        Outcome::Earlier(id) => return show_one(&gateway, id).await,
    };
    gateway.accounts.changed().await;
    let place = (header::LOCATION, format!("/admin/accounts/{id}"));
    let view = view_of(&gateway, id).await?;
    Ok(HttpResponse::Created().insert_header(no_store()).insert_header(place).json(view))
}

/// `GET /admin/accounts`.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let page = query.page()?;
    if query.subject.is_some() || query.license_id.is_some() {
        return Err(Error::request("accounts are listed by `limit, cursor, q, status, sort`").into());
    }
    let state = match query.status.as_deref().map(State::read) {
        None => None,
        Some(Some(state)) => Some(state.word()),
        Some(None) => return Err(Error::field("status", "status is enabled, draining or disabled").into()),
    };
    let filter = Filter { text: query.q, state, environment: gateway.accounts.environment_ids() };
    let (asked, live) = (page.clone(), live(&gateway));
    let found = gateway.store.run(move |connection| accounts::list(connection, &filter, &asked)).await?;
    let place = |account: &StoredAccount| (account.created_at.as_microsecond(), account.id.clone());
    let answer: PageView<AccountView> =
        paging::answer(found, &page, place, |account| view(account, &gateway.accounts, &live));
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /admin/accounts/{id}`.
///
/// # Errors
/// `NotFound`.
pub async fn show(_: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    show_one(&gateway, id.into_inner()).await
}

/// `PATCH /admin/accounts/{id}`: a merge patch.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `NotFound`; `Conflict` for a name that is taken, another kind, and
/// what the environment says of its own accounts.
pub async fn change(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let fields: AccountFields = body.read()?;
    let id = id.into_inner();
    let (wanted, known) = (id.clone(), gateway.accounts.clone());
    let work = move |connection: &mut _| {
        locked(connection, &known, &wanted, |connection, account| {
            version::require(operator.if_match.as_deref(), &version::of_account(&account))?;
            if let Some(own) = known.of_environment(&account.id) {
                account_draft::refuse_environments(&fields, own)?;
            }
            let before = told(&account);
            let (mut account, credential) = account_draft::changed(&fields, account, trail.now())?;
            if let Some(credential) = credential {
                account.sealed_credential = Some(known.seal(&account.id, &credential)?);
            }
            refuse_taken(connection, &account)?;
            accounts::write(connection, &account)?;
            trail.leave(connection, "account.change", &account.id, &difference::between(&before, &told(&account)))
        })
    };
    gateway.store.run(work).await?;
    gateway.accounts.changed().await;
    show_one(&gateway, id).await
}

/// Runs `work` on the account as it stands, with nobody else changing it; every instance is told.
///
/// # Errors
/// `NotFound`, and what `work` returns.
pub fn locked(
    connection: &mut AnyConnection,
    known: &Accounts,
    id: &str,
    work: impl FnOnce(&mut AnyConnection, StoredAccount) -> Result<(), Error>,
) -> Result<(), Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let account = load(connection, known, id)?;
        work(connection, account)?;
        announcements::announce_accounts(connection)
    })
}

/// 200 with the account.
///
/// # Errors
/// `NotFound`.
pub async fn show_one(gateway: &Gateway, id: String) -> Result<HttpResponse, Refusal> {
    let view = view_of(gateway, id).await?;
    let tag = version::etag(&version::of_time(view.updated_at.as_microsecond()));
    Ok(HttpResponse::Ok().insert_header(tag).json(view))
}

async fn view_of(gateway: &Gateway, id: String) -> Result<AccountView, Error> {
    let known = gateway.accounts.clone();
    let account = gateway.store.run(move |connection| load(connection, &known, &id)).await?;
    Ok(view(account, &gateway.accounts, &live(gateway)))
}

/// The account with this id, unless an earlier environment left it.
fn load(connection: &mut AnyConnection, known: &Accounts, id: &str) -> Result<StoredAccount, Error> {
    let there = |account: &StoredAccount| account.sealed_credential.is_some() || known.of_environment(id).is_some();
    let found = accounts::find(connection, id)?.filter(there);
    found.ok_or_else(|| Error::NotFound("this account".to_owned()))
}

fn refuse_taken(connection: &mut AnyConnection, account: &StoredAccount) -> Result<(), Error> {
    if accounts::name_is_taken(connection, &account.name, &account.id)? {
        return Err(Error::Conflict(format!("there is another account named `{}`", account.name)));
    }
    Ok(())
}

fn live(gateway: &Gateway) -> HashMap<String, AccountState> {
    gateway.pool.states(Instant::now()).into_iter().map(|state| (state.id.clone(), state)).collect()
}

fn view(account: StoredAccount, known: &Accounts, live: &HashMap<String, AccountState>) -> AccountView {
    let own = known.of_environment(&account.id);
    let live = live.get(&account.id).map(|state| AccountLive {
        in_flight: state.in_flight,
        healthy: state.healthy,
        cooling_seconds: state.cooling_seconds,
        cooling_models: state.cooling_models,
        breaker: state.breaker,
        last_failure: state.last_failure,
        served: state.served,
        failed: state.failed,
    });
    AccountView {
        source: if own.is_some() { "environment" } else { "stored" },
        base_url: own.map_or(account.base_url, |own| own.base_url.clone()),
        credential_set: true,
        id: account.id,
        name: account.name,
        kind: account.kind,
        mode: account.mode,
        models: account.models,
        weight: account.weight,
        priority: account.priority,
        max_concurrency: account.max_concurrency,
        state: account.state,
        created_at: account.created_at,
        updated_at: account.updated_at,
        live,
    }
}

/// What the audit log may be told of an account; of its credential it keeps only that it changed.
#[must_use]
pub fn told(account: &StoredAccount) -> Value {
    json!({
        "id": account.id, "name": account.name, "kind": account.kind, "mode": account.mode,
        "base_url": account.base_url, "credential": account.sealed_credential, "models": account.models,
        "weight": account.weight, "priority": account.priority, "max_concurrency": account.max_concurrency,
        "state": account.state,
    })
}
