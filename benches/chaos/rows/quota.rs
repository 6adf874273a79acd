//! P11: two instances share a license: its budget is not passed, and its revocation acts on both.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::Plan;
use crate::client::{Customer, FRAME, Manner};
use crate::crowd::{milliseconds, used};
use crate::http;
use crate::launch::Launch;
use crate::postgres::{Postgres, UNSAFE};
use crate::program::{self, ADMIN_KEY};
use crate::stage::{Gateway, Scene, Stage};
use crate::story::Story;
use crate::table::{Table, share};

const SESSIONS: u32 = 20;
const BUDGET_SECONDS: u64 = 60;
const LIMIT: Duration = Duration::from_secs(60);

/// Spends a budget from two sides, then revokes another license.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let Some(postgres) = Postgres::start(launch, &UNSAFE).await? else {
        table.skip("P11", "PostgreSQL is not installed");
        return Ok(());
    };
    let url = Postgres::url(postgres.address);
    let stage = Stage::set(launch, Scene::default().with("DATABASE_URL", &url)).await?;
    let second = stage.second(&[("DATABASE_URL", url)]).await?;
    spend(plan, &stage, &second, table).await?;
    revoke(plan, &stage, &second, table).await?;
    second.kill();
    stage.clear().await;
    Ok(())
}

async fn spend(plan: &Plan, stage: &Stage<'_>, second: &Gateway, table: &mut Table) -> io::Result<()> {
    let admin = stage.gateway.address();
    let fields = json!({
        "label": "quota",
        "budgets": [{ "unit": "audio_seconds", "limit": BUDGET_SECONDS, "window": "lifetime" }],
    });
    let license = program::issue(admin, &fields).await?.1;
    let customers = come(plan, &[admin, second.address()], &license, 1);
    ended(&customers).await;
    sleep(Duration::from_secs(2)).await;
    let legs = stage.legs();
    let accepted: u64 = legs.iter().map(|leg| leg.samples).sum();
    let over = accepted.saturating_sub(BUDGET_SECONDS * 16_000);
    table.must(
        "P11",
        "the budget was spent",
        accepted + FRAME * u64::from(SESSIONS) >= BUDGET_SECONDS * 16_000,
        format!("{accepted} samples"),
    );
    let what = format!("{SESSIONS} sessions on two instances: over the budget, in all");
    table.never_beyond("P11", &what, over as f64 / 16.0, (100.0, "ms"));
    let billed = used(admin, &license).await.map_or(0, |(used, _)| used);
    table.bill("P11", billed.saturating_sub(accepted), accepted.saturating_sub(billed), 0);
    let codes = customers.iter().filter(|customer| customer.story().closed == Some(4029)).count();
    table.note(&format!("{codes} of {SESSIONS} closed with 4029"));
    Ok(())
}

async fn revoke(plan: &Plan, stage: &Stage<'_>, second: &Gateway, table: &mut Table) -> io::Result<()> {
    let admin = stage.gateway.address();
    let (id, license) = program::issue(admin, &json!({"label": "revoked"})).await?;
    let customers = come(plan, &[admin, second.address()], &license, 1_000);
    while customers.iter().any(|customer| customer.story().sent == 0 && !customer.is_over()) {
        sleep(Duration::from_millis(10)).await;
    }
    let begun = Instant::now();
    let answer = http::request(admin, &format!("POST /admin/licenses/{id}/revoke"), ADMIN_KEY, "").await?;
    let mut ends = Vec::new();
    while ends.len() < customers.len() && begun.elapsed() < LIMIT {
        let over = customers.iter().filter(|customer| customer.is_over()).count();
        ends.resize(over, milliseconds(begun.elapsed()));
        sleep(Duration::from_millis(5)).await;
    }
    let all = (ends.len() == customers.len()).then(|| share(&ends, 1.0)).flatten();
    table.must(
        "P11",
        "a revocation ends all sessions on both instances",
        all.is_some(),
        revocation(answer.status, &ends),
    );
    table.at_most("P11", "it acts within", all, (2_000.0, "ms"));
    Ok(())
}

fn revocation(status: u16, ends: &[f64]) -> String {
    format!("answered {status}, {} of {SESSIONS} ended", ends.len())
}

/// Customers of one license, in turn at these doors, who have much to say.
fn come(plan: &Plan, doors: &[SocketAddr], license: &str, first: u32) -> Vec<Rc<Customer>> {
    let doors = doors.iter().copied().cycle();
    let customers = (first..first + SESSIONS).zip(doors).map(|(stream, door)| {
        let manner = Manner {
            license: license.to_owned(),
            resumable: false,
            spoken: false,
            patience: Duration::from_secs(18),
            seed: plan.seed,
        };
        let customer = Customer::new(door, Story::new(stream, 60), manner);
        spawn_local(customer.clone().run());
        customer
    });
    customers.collect()
}

async fn ended(customers: &[Rc<Customer>]) {
    let begun = Instant::now();
    while customers.iter().any(|customer| !customer.is_over()) && begun.elapsed() < LIMIT {
        sleep(Duration::from_millis(20)).await;
    }
}
