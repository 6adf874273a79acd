//! P7: the upstream caps its connections' length; the gateway changes over before.

use std::io;

use livetranslate::simulator::faults::Faults;

use crate::Plan;
use crate::crowd::{Crowd, Guests, Outcome};
use crate::launch::Launch;
use crate::stage::{Scene, Stage};
use crate::table::{Table, share};

const CAP_MS: u64 = 10_000;
const ROLLOVER_SECONDS: u64 = 8;
/// Sentences between two rollovers, 2 s each.
const SENTENCES: u64 = ROLLOVER_SECONDS / 2;

/// The same sessions without a cap, then with one.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    const LONGEST_CALM: u64 = 30;
    let count = if plan.short { 10 } else { 50 };
    let sentences = plan.rollovers * SENTENCES + 1;
    let calm = run(plan, launch, (count, sentences.min(LONGEST_CALM)), Scene::default()).await?.0;
    let capped = Scene { faults: Faults { cap_ms: Some(CAP_MS), ..Faults::default() }, ..Scene::default() };
    let capped = capped.with("ROLLOVER_SECONDS", ROLLOVER_SECONDS.to_string());
    let (rolled, closes) = run(plan, launch, (count, sentences), capped).await?;
    table.clean("P7", "the same sessions without a cap", &calm.verdict);
    table.clean("P7", &format!("{count} sessions, {} rollovers each", plan.rollovers), &rolled.verdict);
    table.billed("P7", &rolled, 0);
    table.must("P7", "no customer was closed", closes == 0, format!("{closes} closes"));
    let least = u64::from(count) * (plan.rollovers + 1);
    let legs = rolled.verdict.legs;
    table.must("P7", "the rollovers took place", legs >= least, format!("{legs} legs, {least} expected at least"));
    let (before, after) = (share(&calm.captions_ms, 0.99), share(&rolled.captions_ms, 0.99));
    let added = before.zip(after).map(|(before, after)| after - before);
    table.at_most("P7", "delay added to final captions, p99", added, (300.0, "ms"));
    table.note(&format!("{:.0} ms without", before.unwrap_or(f64::NAN)));
    Ok(())
}

async fn run(plan: &Plan, launch: &Launch, size: (u32, u64), scene: Scene) -> io::Result<(Outcome, usize)> {
    let stage = Stage::set(launch, scene).await?;
    let admin = stage.gateway.address();
    let crowd = Crowd::invite(admin, stage.front.address(), &Guests::new(size.0, size.1, plan.seed)).await?;
    crowd.speak(std::future::ready(Ok(()))).await?;
    let outcome = crowd.outcome(&stage, admin).await?;
    let closes = crowd.customers.iter().map(|customer| customer.story().returns.len()).sum();
    stage.clear().await;
    Ok((outcome, closes))
}
