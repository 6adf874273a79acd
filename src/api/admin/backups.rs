//! `/admin/backups`: make, list, show and delete the backups in this instance's DATA_DIR.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::access::Operator;
use super::body::Body;
use super::difference;
use super::keys::deleted;
use super::once::{self, Outcome};
use super::paging::{self, ListQuery};
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids;
use crate::store::accounting;
use crate::store::backups::{Backups, Kept};
use crate::store::page::Page;
use crate::wire::admin::PageView;
use crate::wire::backups::{BackupFields, BackupView};

/// `POST /admin/backups`: 201 with the backup when it is written; calls and sessions go on meanwhile. A repeat answers
/// 200 with the first one.
///
/// # Errors
/// `InvalidRequest` for a body that isn't empty; `Conflict` while another one is made, when the disk hasn't room, or
/// for an `Idempotency-Key` that came with another body; `StorageUnavailable`.
pub async fn create(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let BackupFields {} = body.read_or_default()?;
    let request = once::Request::new(&operator, "POST /admin/backups", &body, trail.now())?;
    if let Some(first) = request.earlier(&gateway.store).await? {
        let first = blocking(&gateway, move |backups| backups.find(&first)).await?;
        return Ok(HttpResponse::Ok().json(view(first.ok_or_else(gone)?)));
    }
    let (backups, id) = (backups(&gateway), ids::backup());
    let work = move |connection: &mut _| {
        let made = backups.make(connection, &id, trail.now().as_microsecond())?;
        let outcome = request.run(connection, id, |connection| {
            trail.leave(connection, "backup.create", &made.id, &difference::made(&view(made.clone())))
        });
        match outcome {
            Ok(Outcome::New) => {
                if let Err(error) = backups.prune() {
                    log::warn!("old backups could not be removed: {}", error.cause().unwrap_or_default());
                }
                Ok((true, made))
            }
            // The same request came twice at once.
            Ok(Outcome::Earlier(first)) => {
                backups.remove(&made.id)?;
                let first = backups.find(&first)?;
                first.map(|first| (false, first)).ok_or_else(gone)
            }
            Err(error) => {
                backups.remove(&made.id)?;
                Err(error)
            }
        }
    };
    let (new, kept) = gateway.store.run_to_the_end(work).await?;
    if !new {
        return Ok(HttpResponse::Ok().json(view(kept)));
    }
    let place = (header::LOCATION, format!("/admin/backups/{}", kept.id));
    Ok(HttpResponse::Created().insert_header(place).json(view(kept)))
}

/// `GET /admin/backups`: of the instance that answers.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn list(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query = ListQuery::read(request.query_string())?;
    let page = query.page()?;
    let others = [("status", &query.status), ("license_id", &query.license_id), ("subject", &query.subject)];
    if let Some((name, _)) = others.iter().find(|(_, given)| given.is_some()) {
        return Err(Error::field(name, "backups are listed by `limit, cursor, q, sort`").into());
    }
    let all = blocking(&gateway, |backups| backups.all()).await?;
    let found = cut(all, query.q.as_deref(), &page);
    let answer: PageView<BackupView> = paging::answer(found, &page, place, view);
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /admin/backups/{id}`.
///
/// # Errors
/// `NotFound`.
pub async fn show(_: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let kept = blocking(&gateway, move |backups| backups.find(&id)).await?;
    let kept = kept.ok_or_else(gone)?;
    Ok(HttpResponse::Ok().json(view(kept)))
}

/// `DELETE /admin/backups/{id}`: deleting it again answers the same.
///
/// # Errors
/// `NotFound` for what can't be a backup's id.
pub async fn delete(operator: Operator, gateway: Data<Gateway>, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let id = id.into_inner();
    if ids::backup_begun_ms(&id).is_none() {
        return Err(gone().into());
    }
    let (backups, subject) = (backups(&gateway), id.clone());
    let work = move |connection: &mut _| {
        accounting::transaction(connection, |connection| match backups.remove(&subject)? {
            None => Ok(()),
            Some(kept) => trail.leave(connection, "backup.delete", &subject, &difference::removed(&view(kept))),
        })
    };
    gateway.store.run(work).await?;
    Ok(deleted(&id))
}

fn gone() -> Error {
    Error::NotFound("this backup".to_owned())
}

fn backups(gateway: &Gateway) -> Backups {
    let settings = &gateway.config.store;
    Backups::new(&settings.data_dir, settings.disk_margin_bytes)
}

async fn blocking<T: Send + 'static>(
    gateway: &Gateway,
    work: impl FnOnce(&Backups) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let backups = backups(gateway);
    actix_web::web::block(move || work(&backups)).await.map_err(Error::internal)?
}

/// The rows of a page, and one more where there is one; `all` come the newest first.
fn cut(mut all: Vec<Kept>, text: Option<&str>, page: &Page) -> Vec<Kept> {
    if !page.newest_first {
        all.reverse();
    }
    let beyond = |kept: &Kept| {
        page.after.as_ref().is_none_or(|after| {
            let own = place(kept);
            if page.newest_first { own < *after } else { own > *after }
        })
    };
    let text = text.map(str::to_lowercase);
    all.retain(|kept| beyond(kept) && text.as_ref().is_none_or(|text| kept.id.contains(text)));
    all
}

fn place(kept: &Kept) -> (i64, String) {
    (kept.created_at_us, kept.id.clone())
}

fn view(kept: Kept) -> BackupView {
    BackupView { created_at: clock::at(kept.created_at_us), id: kept.id, bytes: kept.bytes, store: kept.store }
}
