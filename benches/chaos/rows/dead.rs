//! P9: peers that are gone without a word, and an upstream that falls silent.

use std::io;
use std::time::{Duration, Instant};

use livetranslate::simulator::faults::Faults;
use livetranslate::simulator::ledger::SessionRecord as Leg;
use livetranslate::simulator::numbered;
use tokio::time::sleep;

use crate::Plan;
use crate::crowd::{Crowd, Guests};
use crate::judge::assign;
use crate::launch::Launch;
use crate::proxy::Mode;
use crate::stage::{Scene, Stage};
use crate::story::Story;
use crate::table::{Table, share};

const COUNT: u32 = 20;
const FOUND: (f64, &str) = (20.0, "s");

/// Three stages: a customer's line, the upstream's line, the upstream's voice.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    customers(plan, launch, table).await?;
    upstreams(plan, launch, table).await?;
    silence(plan, launch, table).await
}

/// Customers who vanish without the extension: their upstream ends when the gateway has noticed.
async fn customers(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let guests = Guests { resumable: false, ..Guests::new(COUNT, 60, plan.seed) };
    let crowd = Crowd::invite(admin, stage.front.address(), &guests).await?;
    let mut vanished = Instant::now();
    let trouble = async {
        crowd.speaking(crowd.customers.len()).await;
        sleep(Duration::from_secs(2)).await;
        vanished = Instant::now();
        stage.front.set_all(Mode::HalfOpen);
        sleep(Duration::from_secs(25)).await;
        Ok::<_, io::Error>(())
    };
    tokio::join!(crowd.all(), trouble).1?;
    let found = stage.legs().iter().map(|leg| found_after(leg.ended, vanished)).collect::<Vec<_>>();
    table.at_most("P9", "customer half open, found by the gateway, worst", share(&found, 1.0), FOUND);
    table.note(&format!("{} of {COUNT} found", found.iter().filter(|found| found.is_finite()).count()));
    stage.clear().await;
    Ok(())
}

/// Upstreams that vanish: the next connection tells when the gateway has noticed.
async fn upstreams(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let crowd = Crowd::invite(admin, stage.front.address(), &Guests::new(COUNT, 14, plan.seed)).await?;
    let mut vanished = Instant::now();
    let trouble = async {
        crowd.speaking(crowd.customers.len()).await;
        sleep(Duration::from_secs(2)).await;
        vanished = Instant::now();
        stage.back.lines().iter().for_each(|line| line.set(Mode::HalfOpen));
        Ok(())
    };
    crowd.speak(trouble).await?;
    let legs = stage.legs();
    let found = each_second(&crowd, &legs, |_, second| found_after(second.opened, vanished));
    let outcome = crowd.outcome(&stage, admin).await?;
    table.clean("P9", &format!("{COUNT} upstreams half open"), &outcome.verdict);
    table.at_most("P9", "upstream half open, replaced, worst", share(&found, 1.0), FOUND);
    table.note(&format!("{} of {COUNT} replaced", found.len()));
    stage.clear().await;
    Ok(())
}

/// Upstreams that take audio and say nothing: counted is the speech that went in until the next connection.
async fn silence(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    const SILENT_AFTER_MS: u64 = 3_000;
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    for _ in 0..COUNT {
        stage.simulator().next_faults(Faults { silence_after_ms: Some(SILENT_AFTER_MS), ..Faults::default() });
    }
    let crowd = Crowd::invite(admin, stage.front.address(), &Guests::new(COUNT, 16, plan.seed)).await?;
    crowd.speak(std::future::ready(Ok(()))).await?;
    let legs = stage.legs();
    let found = each_second(&crowd, &legs, |first, second| {
        let (Some(began), Some(replaced)) = (first.opened, second.opened) else { return f64::NAN };
        let stream = first.numbers.stream.unwrap_or_default();
        let silent_ms = u128::from(SILENT_AFTER_MS);
        let until_ms = replaced.duration_since(began).as_millis();
        let sample = |ms: u128| u64::try_from(ms).unwrap_or(0) * 16;
        let (from, until) = (sample(silent_ms), sample(until_ms));
        let spoken = numbered::sentences(stream, until + numbered::CYCLE);
        let spoken = spoken.map(|part| part.end.min(until).saturating_sub(part.start.max(from))).sum::<u64>();
        spoken as f64 / 16_000.0
    });
    let outcome = crowd.outcome(&stage, admin).await?;
    table.clean("P9", &format!("{COUNT} upstreams silent"), &outcome.verdict);
    table.at_most("P9", "upstream silent, replaced after so much speech, worst", share(&found, 1.0), (10.0, "s"));
    table.note(&format!("{} of {COUNT} replaced", found.len()));
    stage.clear().await;
    Ok(())
}

/// What each session's first two connections show.
fn each_second(crowd: &Crowd, legs: &[Leg], of: impl Fn(&Leg, &Leg) -> f64) -> Vec<f64> {
    let stories: Vec<_> = crowd.customers.iter().map(|customer| customer.story()).collect();
    let stories: Vec<&Story> = stories.iter().map(|story| &**story).collect();
    let assigned = assign(&stories, legs);
    assigned.iter().filter_map(|legs| Some(of(legs.first()?, legs.get(1)?))).collect()
}

/// Seconds; infinite where it never was.
fn found_after(at: Option<Instant>, begun: Instant) -> f64 {
    at.map_or(f64::INFINITY, |at| at.saturating_duration_since(begun).as_secs_f64())
}
