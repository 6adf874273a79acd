//! `/admin/accounts/{id}/…`: delete, test, drain, enable, disable.

use std::time::Duration;

use super::access::Operator;
use super::accounts::{locked, show_one, told};
use super::body::NoFields;
use super::difference;
use super::keys::deleted;
use super::trail::Trail;
use super::version;
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::store::accounting;
use crate::store::accounts::{self, StoredAccount};
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::upstream::account::State;
use crate::upstream::probe;
use crate::wire::accounts::{AccountTest, NotResealed, Resealed};
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

/// `DELETE /admin/accounts/{id}`: calls under way end by themselves. Deleting it again answers the same.
///
/// # Errors
/// `Conflict` for an account of the environment, `NotFound` for what can't be an account's id.
pub async fn delete(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let id = id.into_inner();
    if gateway.accounts.of_environment(&id).is_some() {
        let message =
            "this account comes from the environment: remove its API key there and start again, or disable it";
        return Err(Error::Conflict(message.to_owned()).into());
    }
    if !ids::is_account(&id) {
        return Err(Error::NotFound("this account".to_owned()).into());
    }
    let gone = id.clone();
    let work = move |connection: &mut _| {
        accounting::transaction(connection, |connection| {
            accounting::lock_ledger(connection)?;
            let Some(account) = accounts::find(connection, &gone)? else { return Ok(()) };
            accounts::delete(connection, &gone)?;
            announcements::announce_accounts(connection)?;
            trail.leave(connection, "account.delete", &gone, &difference::removed(&told(&account)))
        })
    };
    gateway.store.run(work).await?;
    gateway.accounts.changed().await;
    Ok(deleted(&id))
}

/// `POST …/drain`: no new calls; those under way end by themselves.
///
/// # Errors
/// `NotFound`.
pub async fn drain(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    switch(&operator, &gateway, id.into_inner(), (State::Draining, "account.drain")).await
}

/// `POST …/enable`.
///
/// # Errors
/// `NotFound`.
pub async fn enable(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    switch(&operator, &gateway, id.into_inner(), (State::Enabled, "account.enable")).await
}

/// `POST …/disable`.
///
/// # Errors
/// `NotFound`.
pub async fn disable(
    operator: Operator,
    gateway: Data<Gateway>,
    id: Path<String>,
    _: NoFields,
) -> Result<HttpResponse, Refusal> {
    switch(&operator, &gateway, id.into_inner(), (State::Disabled, "account.disable")).await
}

async fn switch(
    operator: &Operator,
    gateway: &Gateway,
    id: String,
    (state, action): (State, &'static str),
) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, operator, clock::now());
    let (wanted, known, expected) = (id.clone(), gateway.accounts.clone(), operator.if_match.clone());
    let work = move |connection: &mut _| {
        locked(connection, &known, &wanted, |connection, account| {
            version::require(expected.as_deref(), &version::of_account(&account))?;
            if account.state == state.word() {
                return Ok(());
            }
            let before = told(&account);
            let account = StoredAccount { state: state.word().to_owned(), updated_at: trail.now(), ..account };
            accounts::write(connection, &account)?;
            trail.leave(connection, action, &account.id, &difference::between(&before, &told(&account)))
        })
    };
    gateway.store.run(work).await?;
    gateway.accounts.changed().await;
    show_one(gateway, id).await
}

/// `POST /admin/accounts/reseal`: seals with ENCRYPTION_KEY what ENCRYPTION_KEY_PREVIOUS had sealed, account by
/// account: broken off it has done what it had done, and run again it goes on.
///
/// # Errors
/// `StorageUnavailable`.
pub async fn reseal(operator: Operator, gateway: Data<Gateway>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let mut done = Resealed::default();
    let rows = gateway.store.run(accounts::all).await?;
    for row in rows.into_iter().filter(|row| row.sealed_credential.is_some()) {
        let id = row.id.clone();
        let failed = match gateway.accounts.seal_anew(&row) {
            Ok(None) => {
                done.already += 1;
                continue;
            }
            Err(reason) => reason,
            Ok(Some(sealed)) => {
                let trail = trail.clone();
                if gateway.store.run(move |connection| replace(connection, row, sealed, &trail)).await? {
                    done.resealed += 1;
                    continue;
                }
                "it was changed meanwhile; run this again".to_owned()
            }
        };
        done.failed.push(NotResealed { id, reason: failed });
    }
    gateway.accounts.changed().await;
    Ok(HttpResponse::Ok().json(done))
}

/// False for an account that is not as it was read.
fn replace(connection: &mut AnyConnection, row: StoredAccount, sealed: String, trail: &Trail) -> Result<bool, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let before = row.sealed_credential.as_deref().unwrap_or_default();
        if !accounts::reseal(connection, &row.id, before, &sealed)? {
            return Ok(false);
        }
        announcements::announce_accounts(connection)?;
        let told_before = told(&row);
        let after = StoredAccount { sealed_credential: Some(sealed), ..row };
        trail.leave(connection, "account.reseal", &after.id, &difference::between(&told_before, &told(&after)))?;
        Ok(true)
    })
}

/// `POST …/test`: asks the provider for its models with the account's credential. An account that works is asked
/// again at once, whatever its calls came to before.
///
/// # Errors
/// `NotFound`.
pub async fn test(_: Operator, gateway: Data<Gateway>, id: Path<String>, _: NoFields) -> Result<HttpResponse, Refusal> {
    let account = gateway.accounts.fresh(&id).await?;
    let account = account.ok_or_else(|| Error::NotFound("this account".to_owned()))?;
    let found = probe::probe(&account).await;
    if found.ok {
        gateway.pool.forgive(&account.id);
    }
    Ok(HttpResponse::Ok().json(AccountTest {
        ok: found.ok,
        status: found.status,
        latency_ms: milliseconds(found.latency),
        message: found.message,
    }))
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
