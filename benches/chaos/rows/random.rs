//! P10: random faults on both sides of the gateway, without and with `kill -9`; billed against accepted.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::Plan;
use crate::crowd::{Crowd, Guests};
use crate::dice::Dice;
use crate::judge::Verdict;
use crate::launch::Launch;
use crate::proxy::Mode;
use crate::schedule::{Kinds, Side, play, timetable};
use crate::stage::{Scene, Stage};
use crate::table::Table;

const KINDS: &[(Side, Mode)] = &[
    (Side::Front, Mode::Cut),
    (Side::Front, Mode::Reset),
    (Side::Front, Mode::Stalled),
    (Side::Front, Mode::HalfOpen),
    (Side::Back, Mode::Cut),
    (Side::Back, Mode::Reset),
    (Side::Back, Mode::Stalled),
    (Side::Back, Mode::HalfOpen),
];
/// Schedules that are played at the same time, each by a session of its own.
const TOGETHER: u32 = 250;
/// The same with a kill: each stage has one.
const KILLED_TOGETHER: u32 = 50;

/// Sums over stages.
#[derive(Default)]
struct Sum {
    verdict: Verdict,
    overbilled: u64,
    unbilled: u64,
}

/// Plays all schedules, many at a time.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let peaceful = play_all(plan, launch, plan.schedules, false).await?;
    table.clean("P10", &format!("{} random schedules", plan.schedules), &peaceful.verdict);
    table.bill("P10", peaceful.overbilled, peaceful.unbilled, 0);
    let killed = play_all(plan, launch, plan.kills, true).await?;
    table.clean("P10", &format!("{} random schedules with kill -9", plan.kills), &killed.verdict);
    table.bill("P10", killed.overbilled, killed.unbilled, 1);
    Ok(())
}

async fn play_all(plan: &Plan, launch: &Launch, schedules: u32, kill: bool) -> io::Result<Sum> {
    let (mut sum, mut played) = (Sum::default(), 0);
    while played < schedules {
        let count = (schedules - played).min(if kill { KILLED_TOGETHER } else { TOGETHER });
        // A schedule's own number seeds it, so that one stage's faults are not the next one's.
        let seed = plan.seed ^ (u64::from(played) << 32) ^ (u64::from(kill) << 63);
        play_some(plan, launch, (count, seed, kill), &mut sum).await?;
        played += count;
    }
    Ok(sum)
}

async fn play_some(plan: &Plan, launch: &Launch, some: (u32, u64, bool), sum: &mut Sum) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(6);
    let (count, seed, kill) = some;
    // Faster than usual at finding dead lines, so that a schedule has time for more.
    let scene = Scene::default().with("LIVETRANSLATE__REALTIME__PING_SECONDS", "2");
    let scene = scene.with("LIVETRANSLATE__REALTIME__DEAD_SECONDS", "5");
    let stage = Stage::set(launch, scene).await?;
    let (admin, door) = (stage.gateway.address(), stage.front.address());
    let sentences = if plan.short { 4 } else { 10 };
    let guests = Guests { spoken_each: 5, patience: PATIENCE, ..Guests::new(count, sentences, seed) };
    let crowd = Crowd::invite(admin, door, &guests).await?;
    let last = Duration::from_secs(2 * sentences - 1);
    let longest = Duration::from_secs(if plan.short { 2 } else { 8 });
    let kinds = Kinds { of: KINDS, most: 3, within: (Duration::from_secs(1), last), longest };
    let strokes = timetable(seed, crowd.customers.len(), &kinds);
    let killing = async {
        if !kill {
            return Ok(());
        }
        sleep(Dice::new(seed, 77).span(Duration::from_secs(2), last)).await;
        stage.gateway.kill();
        stage.gateway.restart(launch).await
    };
    let trouble = async { tokio::try_join!(play(&stage, &crowd, &strokes), killing).map(drop) };
    crowd.speak(trouble).await?;
    stage.gateway.check()?;
    let outcome = crowd.outcome(&stage, admin).await?;
    println!("  {count} schedules, seed {seed}: {}", outcome.verdict.describe());
    sum.verdict += &outcome.verdict;
    sum.overbilled = sum.overbilled.max(outcome.overbilled);
    sum.unbilled = sum.unbilled.max(outcome.unbilled);
    stage.clear().await;
    Ok(())
}
