//! P13: PostgreSQL goes away for a minute under load.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::Plan;
use crate::client::MODEL;
use crate::crowd::{Crowd, Guests};
use crate::launch::Launch;
use crate::postgres::{Postgres, UNSAFE};
use crate::program;
use crate::proxy::{Mode, Proxy};
use crate::socket::{Refusal, Socket};
use crate::stage::{Scene, Stage};
use crate::table::Table;

/// Half of the absence is a network that swallows, the other half a host that refuses.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let Some(postgres) = Postgres::start(launch, &UNSAFE).await? else {
        table.skip("P13", "PostgreSQL is not installed");
        return Ok(());
    };
    let way = Proxy::start(postgres.address).await?;
    let stage = Stage::set(launch, Scene::default().with("DATABASE_URL", Postgres::url(way.address()))).await?;
    let admin = stage.gateway.address();
    let away = Duration::from_secs(if plan.short { 8 } else { 60 });
    let guests = Guests::new(plan.sessions.min(200), away.as_secs() / 2 + 6, plan.seed);
    let crowd = Crowd::invite(admin, stage.front.address(), &guests).await?;
    let license = program::issue(admin, &json!({"label": "newcomer"})).await?.1;
    let mut newcomers = Vec::new();
    let trouble = async {
        crowd.speaking(crowd.customers.len()).await;
        // Seen by this instance before its store went.
        newcomers.push(knock(&stage, &license).await);
        sleep(Duration::from_secs(2)).await;
        for mode in [Mode::HalfOpen, Mode::Reset] {
            way.set_all(mode);
            sleep(away / 4).await;
            newcomers.push(knock(&stage, &license).await);
            sleep(away / 4).await;
        }
        way.set_door(Mode::Open);
        Ok(())
    };
    crowd.speak(trouble).await?;
    let outcome = crowd.outcome(&stage, admin).await?;
    let what = format!("PostgreSQL away for {} s, {} sessions", away.as_secs(), guests.count);
    table.clean("P13", &what, &outcome.verdict);
    table.billed("P13", &outcome, 0);
    let told = newcomers.iter().map(|status| status.map_or_else(|| "none".to_owned(), |status| status.to_string()));
    let told: Vec<String> = told.collect();
    let right = newcomers.iter().all(|status| matches!(status, Some(101 | 503)));
    table.must("P13", "newcomers are served, or told 503; never 401", right, told.join(", "));
    stage.clear().await;
    Ok(())
}

/// What a new session is answered; nothing within ten seconds is none.
async fn knock(stage: &Stage<'_>, license: &str) -> Option<u16> {
    let path = format!("/v1/realtime?model={MODEL}");
    let dialling = Socket::dial(stage.gateway.address(), &path, license, false);
    match tokio::time::timeout(Duration::from_secs(10), dialling).await.ok()? {
        Ok(_) => Some(101),
        Err(Refusal::Status(status)) => Some(status),
        Err(Refusal::Unreachable) => None,
    }
}
