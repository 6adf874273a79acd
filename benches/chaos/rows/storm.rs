//! P16: everybody comes back at once, while others go on.

use std::io;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::Plan;
use crate::crowd::{Crowd, Guests, milliseconds};
use crate::launch::Launch;
use crate::proxy::Mode;
use crate::stage::{Scene, Stage};
use crate::table::{Table, share};

/// Four who are cut off for each that is not.
const CUT_OFF: u32 = 4;

/// Cuts the quiet ones off at one moment, while the others speak by a way of their own.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let untouched = Guests::new(plan.sessions, if plan.short { 6 } else { 15 }, plan.seed);
    let untouched = Crowd::invite(admin, admin, &untouched).await?;
    let returning = Guests { first: 100_000, ..Guests::new(CUT_OFF * plan.sessions, 1, plan.seed) };
    let returning = Crowd::invite(admin, stage.front.address(), &returning).await?;
    for customer in &returning.customers {
        customer.set_silent(true);
        spawn_local(customer.clone().run());
        sleep(Duration::from_millis(2)).await;
    }
    let half = Duration::from_secs(if plan.short { 4 } else { 12 });
    let (mut served_ms, mut parted, mut inside) = (None, Instant::now(), 0);
    let trouble = async {
        untouched.speaking(untouched.customers.len()).await;
        sleep(half).await;
        inside = returning.customers.iter().filter(|customer| customer.story().configured).count();
        parted = Instant::now();
        stage.front.lines().iter().for_each(|line| line.set(Mode::Reset));
        while parted.elapsed() < half {
            if returned(&returning) >= inside {
                served_ms = Some(milliseconds(parted.elapsed()));
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    untouched.speak(trouble).await?;
    table.at_most("P16", &format!("{inside} sessions cut off at once: all served"), served_ms, (2_000.0, "ms"));
    table.note(&format!("{} came back", returned(&returning)));
    let legs = stage.legs();
    let beset = share(&untouched.transits_ms(&legs, |at| at >= parted), 0.99);
    let quiet = share(&untouched.transits_ms(&legs, |at| at < parted), 0.99);
    let what = format!("delay downwards of the {} untouched then, p99", plan.sessions);
    table.at_most("P16", &what, beset, (5.0, "ms"));
    table.note(&format!("{:.2} ms before", quiet.unwrap_or(f64::NAN)));
    let outcome = untouched.outcome(&stage, admin).await?;
    table.clean("P16", "the untouched", &outcome.verdict);
    stage.clear().await;
    Ok(())
}

fn returned(crowd: &Crowd) -> usize {
    crowd.customers.iter().filter(|customer| !customer.story().returns.is_empty()).count()
}
