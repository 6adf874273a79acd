//! P8: some customers stop reading; what they cost, and what their neighbours notice.

use std::io;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::Plan;
use crate::crowd::{Crowd, Guests};
use crate::launch::Launch;
use crate::resident::resident_kib;
use crate::stage::{Scene, Stage};
use crate::table::{Table, share};

/// What the contract lets a slow customer hold, KiB.
const HELD: f64 = 1_024.0;
/// What the extension keeps of a session beside that: its replay, and its audio of a minute.
const KEPT: f64 = 2_048.0 + 1_875.0;

/// Without the extension, then with it.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    beset(plan, launch, table, false).await?;
    beset(plan, launch, table, true).await
}

/// The settled half of the run, then a half in which one in ten is deaf.
async fn beset(plan: &Plan, launch: &Launch, table: &mut Table, resumable: bool) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let (admin, process) = (stage.gateway.address(), stage.gateway.process()?);
    // Shorter than the gateway's patience with the slow.
    let half = Duration::from_secs(if plan.short { 6 } else { 25 });
    let sentences = half.as_secs() + 3;
    let deaf = (plan.sessions / 10).max(1);
    // Straight to the gateway: a proxy's sockets would hold a good deal for the deaf.
    let neighbours = Guests::new(plan.sessions - deaf, sentences, plan.seed);
    let neighbours = Crowd::invite(admin, admin, &neighbours).await?;
    let sleepers = Guests { first: 100_000, spoken_each: 1, resumable, ..Guests::new(deaf, sentences, plan.seed) };
    let sleepers = Crowd::invite(admin, admin, &sleepers).await?;
    sleepers.customers.iter().for_each(|customer| customer.set_narrow());
    for customer in &sleepers.customers {
        spawn_local(customer.clone().run());
    }
    let (mut before, mut after, mut parted) = (0.0, 0.0, std::time::Instant::now());
    let trouble = async {
        neighbours.speaking(neighbours.customers.len()).await;
        sleep(half).await;
        (before, parted) = (resident_kib(process, "VmRSS")?, std::time::Instant::now());
        sleepers.customers.iter().for_each(|customer| customer.set_deaf(true));
        sleep(half).await;
        after = resident_kib(process, "VmRSS")?;
        Ok(())
    };
    neighbours.speak(trouble).await?;
    stage.gateway.check()?;
    let legs = stage.legs();
    let quiet = neighbours.transits_ms(&legs, |at| at < parted);
    let beset = neighbours.transits_ms(&legs, |at| at >= parted);
    let outcome = neighbours.outcome(&stage, admin).await?;
    let extension = if resumable { ", extension on" } else { "" };
    table.clean("P8", &format!("neighbours of {deaf} who stop reading{extension}"), &outcome.verdict);
    let each = (after - before) / f64::from(deaf);
    let most = if resumable { HELD + KEPT } else { HELD };
    table.at_most("P8", &format!("memory that each of the deaf costs{extension}"), Some(each), (most, "KiB"));
    let (quiet, beset) = (share(&quiet, 0.99), share(&beset, 0.99));
    let ratio = quiet.zip(beset).map(|(quiet, beset)| beset / quiet);
    table.at_most("P8", "neighbours' delay downwards, p99, against before", ratio, (1.1, ""));
    table.note(&format!("{:.2} ms before, {:.2} ms then", quiet.unwrap_or(f64::NAN), beset.unwrap_or(f64::NAN)));
    stage.clear().await;
    Ok(())
}
