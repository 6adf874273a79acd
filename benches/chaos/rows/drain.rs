//! P12: `SIGTERM` with all sessions speaking, and a second instance that new connections are led to.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::client::Customer;
use crate::crowd::{Crowd, Guests, milliseconds};
use crate::launch::Launch;
use crate::postgres::{Postgres, UNSAFE};
use crate::stage::{Scene, Stage};
use crate::table::Table;

const LIMIT: Duration = Duration::from_secs(60);

/// Moves everybody once.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let Some(postgres) = Postgres::start(launch, &UNSAFE).await? else {
        table.skip("P12", "PostgreSQL is not installed");
        return Ok(());
    };
    let url = Postgres::url(postgres.address);
    let stage = Stage::set(launch, Scene::default().with("DATABASE_URL", &url)).await?;
    let second = stage.second(&[("DATABASE_URL", url)]).await?;
    let guests = Guests::new(plan.sessions, if plan.short { 5 } else { 15 }, plan.seed);
    let crowd = Crowd::invite(second.address(), stage.front.address(), &guests).await?;
    let (moved_ms, ended) = (Cell::new(None), Cell::new(None));
    let trouble = async {
        crowd.speaking(crowd.customers.len()).await;
        sleep(Duration::from_secs(3)).await;
        stage.front.lead_to(second.address());
        let begun = Instant::now();
        let moving = async {
            while begun.elapsed() < LIMIT {
                if !crowd.customers.iter().any(|customer| has_stayed(customer)) {
                    moved_ms.set(Some(milliseconds(begun.elapsed())));
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let (status, ()) = tokio::join!(stage.gateway.terminate(), moving);
        ended.set(status?);
        Ok(())
    };
    crowd.speak(trouble).await?;
    let outcome = crowd.outcome(&stage, second.address()).await?;
    table.clean("P12", &format!("SIGTERM with {} sessions", plan.sessions), &outcome.verdict);
    table.billed("P12", &outcome, 0);
    table.at_most("P12", "all moved to the second instance", moved_ms.get(), (10_000.0, "ms"));
    table.note(&format!("{} of {} returned", outcome.away_ms.len(), plan.sessions));
    let note = ended
        .get()
        .map_or("it did not end".to_owned(), |(status, took)| format!("{status} after {:.1} s", took.as_secs_f64()));
    table.must("P12", "the first instance ended with 0", ended.get().is_some_and(|(status, _)| status.success()), note);
    second.kill();
    stage.clear().await;
    Ok(())
}

fn has_stayed(customer: &Customer) -> bool {
    customer.story().returns.is_empty() && !customer.is_over()
}
