//! P4: the customer's network goes away for up to 30 s.

use std::io;
use std::time::Duration;

use crate::Plan;
use crate::crowd::{Crowd, Guests};
use crate::launch::Launch;
use crate::proxy::Mode;
use crate::schedule::{Kinds, Side, play, timetable};
use crate::stage::{Scene, Stage};
use crate::table::{Table, share};

const KINDS: &[(Side, Mode)] = &[(Side::Front, Mode::Cut), (Side::Front, Mode::Reset)];

/// Cuts every session's line once while it speaks.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let guests = Guests { spoken_each: 10, ..Guests::new(plan.sessions, if plan.short { 4 } else { 20 }, plan.seed) };
    let crowd = Crowd::invite(admin, stage.front.address(), &guests).await?;
    let longest = Duration::from_secs(if plan.short { 3 } else { 30 });
    let within = (Duration::from_secs(2), Duration::from_secs(if plan.short { 7 } else { 30 }));
    let kinds = Kinds { of: KINDS, most: 1, within, longest };
    let strokes = timetable(plan.seed, crowd.customers.len(), &kinds);
    crowd.speak(play(&stage, &crowd, &strokes)).await?;
    let outcome = crowd.outcome(&stage, admin).await?;
    let what = format!("{} customers cut off for up to {} s", plan.sessions, longest.as_secs());
    table.clean("P4", &what, &outcome.verdict);
    table.billed("P4", &outcome, 0);
    table.at_most("P4", "resumed after the dial, p99", share(&outcome.resumes_ms, 0.99), (50.0, "ms"));
    table.note(&format!("{} returns", outcome.resumes_ms.len()));
    stage.clear().await;
    Ok(())
}
