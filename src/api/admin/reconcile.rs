//! `/admin/usage/reconcile`: budgets held against the ledger, and set to what it says.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::access::Operator;
use super::body::Body;
use super::paging::{self, ListQuery};
use super::trail::Trail;
use crate::api::refusal::Refusal;
use crate::api::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::quota::window;
use crate::store::backend::AnyConnection;
use crate::store::reconciliation::{self, Comparison, Wanted};
use crate::store::{accounting, announcements, licenses};
use crate::wire::admin::{PageView, UsageReset};

/// Budgets looked at in one go.
const AT_ONCE: i64 = 500;

/// Which budgets are compared.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileQuery {
    /// Rows at most; without it 50.
    #[schemars(with = "Option<i64>", range(min = 1, max = 500))]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Those of one license.
    license_id: Option<String>,
    /// Whether those that agree are shown too.
    #[schemars(extend("enum" = ["true", "false"]))]
    all: Option<String>,
}

/// A budget, beside what the ledger says since its period began. Audio in seconds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BudgetComparison")]
pub struct View {
    budget_id: String,
    license_id: String,
    /// Of a key's own budgets.
    #[serde(skip_serializing_if = "String::is_empty")]
    key_id: String,
    unit: String,
    window: String,
    period_start: Timestamp,
    used: f64,
    reserved: f64,
    ledger_used: f64,
    ledger_reserved: f64,
    /// What the budget says was used beyond what the ledger says.
    difference: f64,
    /// Likewise reserved.
    difference_reserved: f64,
}

/// What was set right.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reconciled {
    /// How many budgets.
    corrected: usize,
    /// What they said before; 500 at most.
    data: Vec<View>,
}

impl From<Comparison> for View {
    fn from(row: Comparison) -> Self {
        let ledger_used = row.used_by_ledger();
        let shown = |units: i64| if row.unit == "audio_seconds" { shown::seconds(units) } else { units as f64 };
        Self {
            period_start: clock::at(row.from_us),
            used: shown(row.used_units),
            reserved: shown(row.reserved_units),
            ledger_used: shown(ledger_used),
            ledger_reserved: shown(row.held_units),
            difference: shown(row.used_units - ledger_used),
            difference_reserved: shown(row.reserved_units - row.held_units),
            budget_id: row.id,
            license_id: row.license_id,
            key_id: row.key_id,
            unit: row.unit,
            window: row.window_span,
        }
    }
}

/// `GET`: the budgets that don't agree with the ledger, or with `all=true` every one; of one `license_id` where it is
/// given. Where a period began while sessions were live, what they used in the minute around it may belong to either
/// side: that is no difference.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub async fn show(_: Operator, gateway: Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let query: ReconcileQuery = paging::read(request.query_string())?;
    let all = match query.all.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::field("all", "all is `true` or `false`").into()),
    };
    let page = ListQuery { limit: query.limit, cursor: query.cursor, ..ListQuery::default() }.page()?;
    let after = page.after.clone().map(|(_, id)| id).unwrap_or_default();
    let (now, most) = (clock::now(), page.limit + 1);
    let wanted = Wanted { license_id: query.license_id, all, after, most, rolling: window::counting(now).into() };
    gateway.quota.calls_booked().await;
    let answer = gateway.store.run(move |connection| {
        let found = reconciliation::compare(connection, &wanted, now.as_microsecond())?;
        let answer: PageView<View> = paging::answer(found, &page, |row| (0, row.id.clone()), View::from);
        Ok(answer)
    });
    Ok(HttpResponse::Ok().json(answer.await?))
}

/// `POST`: sets the budgets of one license, or of all, to what the ledger says; answers with what they said before.
///
/// # Errors
/// `InvalidRequest` for a license that doesn't exist.
pub async fn settle(operator: Operator, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let trail = Trail::new(&gateway.config, &operator, clock::now());
    let UsageReset { license_id } = body.read_or_default()?;
    gateway.quota.calls_booked().await;
    let rolling = window::counting(trail.now()).into();
    let mut wanted = Wanted { license_id, most: AT_ONCE, rolling, ..Wanted::default() };
    if let Some(id) = wanted.license_id.clone() {
        let known = gateway.store.run(move |connection| Ok(licenses::find(connection, &id)?.is_some())).await?;
        if !known {
            return Err(Error::field("license_id", "license_id names no license").into());
        }
    }
    let (mut corrected, mut shown) = (0, Vec::new());
    loop {
        let asked = wanted.clone();
        let compare =
            move |connection: &mut _| reconciliation::compare(connection, &asked, clock::now().as_microsecond());
        let found = gateway.store.run(compare).await?;
        let Some(last) = found.last() else { break };
        wanted.after.clone_from(&last.id);
        let mut license_ids: Vec<String> = found.into_iter().map(|row| row.license_id).collect();
        license_ids.sort_unstable();
        license_ids.dedup();
        for license_id in license_ids {
            let (trail, id) = (trail.clone(), license_id.clone());
            let changes = gateway.store.run(move |connection| correct(connection, &trail, &id)).await?;
            gateway.quota.calls().doubt(&license_id);
            corrected += changes.len();
            let room = AT_ONCE as usize - shown.len();
            shown.extend(changes.into_iter().take(room).map(View::from));
        }
    }
    Ok(HttpResponse::Ok().json(Reconciled { corrected, data: shown }))
}

/// Sets one license's budgets, while nobody books anything.
fn correct(connection: &mut AnyConnection, trail: &Trail, license_id: &str) -> Result<Vec<Comparison>, Error> {
    accounting::transaction(connection, |connection| {
        accounting::lock_ledger(connection)?;
        let now = clock::now();
        let (rolling, now_us) = (window::counting(now), now.as_microsecond());
        let license = Some(license_id.to_owned());
        let wanted = Wanted { license_id: license, most: AT_ONCE, rolling: rolling.into(), ..Wanted::default() };
        let found = reconciliation::compare(connection, &wanted, now_us)?;
        if found.is_empty() {
            return Ok(found);
        }
        for row in &found {
            reconciliation::correct(connection, row, &rolling, now_us)?;
        }
        let change = |row: &Comparison| {
            json!({
                "budget_id": row.id,
                "used": [row.used_units, row.used_by_ledger()],
                "reserved": [row.reserved_units, row.held_units],
            })
        };
        let detail = json!({ "budgets": found.iter().map(change).collect::<Vec<_>>() });
        trail.leave(connection, "usage.reconcile", license_id, &detail)?;
        announcements::announce(connection)?;
        Ok(found)
    })
}
