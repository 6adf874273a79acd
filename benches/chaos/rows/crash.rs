//! P5: `kill -9` of the gateway with all sessions speaking, and its restart.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::Plan;
use crate::crowd::{Crowd, Guests};
use crate::launch::Launch;
use crate::stage::{Scene, Stage};
use crate::table::{Table, share};

/// Kills the gateway once.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let (admin, door) = (stage.gateway.address(), stage.front.address());
    let crowd =
        Crowd::invite(admin, door, &Guests::new(plan.sessions, if plan.short { 5 } else { 10 }, plan.seed)).await?;
    let trouble = async {
        crowd.speaking(crowd.customers.len()).await;
        sleep(Duration::from_millis(3_500)).await;
        stage.gateway.kill();
        stage.gateway.restart(launch).await
    };
    crowd.speak(trouble).await?;
    let outcome = crowd.outcome(&stage, admin).await?;
    table.clean("P5", &format!("kill -9 with {} sessions", plan.sessions), &outcome.verdict);
    table.billed("P5", &outcome, 1);
    table.at_most("P5", "all back after the kill", share(&outcome.away_ms, 1.0), (3_000.0, "ms"));
    table.note(&format!("{} of {} came back", outcome.away_ms.len(), plan.sessions));
    stage.clear().await;
    Ok(())
}
