//! S3: how many sessions one core holds, and that those beyond MAX_SESSIONS are refused at no one's cost.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use crate::Plan;
use crate::gateway;
use crate::launch::Launch;
use crate::load::{Figures, Fleet, Refusal};
use crate::speed::line;
use crate::table::Better::{Less, More};
use crate::table::{Row, Table};
use crate::target::Target;
use crate::upstream::Upstream;

const HELD: Row = Row {
    id: "S3",
    what: "sessions on one core, added p99 < 5 ms",
    unit: "",
    better: More,
    must: 1_800.0,
    goal: 3_000.0,
};
const REFUSING: Row =
    Row { id: "S3", what: "p99 that refusals at the cap add", unit: "ms", better: Less, must: 5.0, goal: 1.0 };
/// The round trip's p99 that a session may be given by the proxy.
const ADDED_P99_US: f64 = 5_000.0;
/// A step that fails is tried again: the machine may have had something else to do.
const TRIES: usize = 2;

/// Climbs the steps, then knocks at a full gateway.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    if !plan.steps.is_empty() {
        climb(plan, launch, upstream, table).await?;
    }
    refuse(plan, launch, upstream, table).await
}

async fn climb(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    let highest = plan.steps.iter().copied().max().unwrap_or_default();
    let direct = Target::direct(upstream.address());
    let nginx = Target::nginx(launch, upstream.address()).await?;
    let gateway = gateway::start(launch, upstream.address(), highest, plan.resumable).await?;
    let (mut held, mut note) = (0, String::new());
    for &sessions in &plan.steps {
        println!("{sessions} sessions");
        let mut holds = false;
        for _ in 0..TRIES {
            let direct = at(&direct, sessions, plan, upstream).await?;
            if let Some(nginx) = &nginx {
                at(nginx, sessions, plan, upstream).await?;
            }
            let gateway = at(&gateway, sessions, plan, upstream).await?;
            note = match (direct.valid(), gateway.valid()) {
                (false, _) => format!("at {sessions} the load itself is at its limit"),
                (true, false) => format!("at {sessions} the load is at its limit beside the gateway"),
                (true, true) => String::new(),
            };
            holds = gateway.lost == 0 && gateway.p99_us - direct.p99_us < ADDED_P99_US;
            if holds {
                break;
            }
        }
        if !holds {
            break;
        }
        held = sessions;
    }
    table.add(HELD, Some(held as f64), note);
    Ok(())
}

async fn at(target: &Target, sessions: usize, plan: &Plan, upstream: &Upstream) -> io::Result<Figures> {
    let fleet = Fleet::open(target, sessions).await;
    let mut figures = fleet.drive(plan.window).await?;
    figures.lost += fleet.refused.len();
    println!("  {:<8}{}, {} lost", target.name, line(&figures), figures.lost);
    drop(fleet);
    upstream.emptied().await;
    Ok(figures)
}

/// Fills a gateway to its cap and knocks on.
async fn refuse(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    const KNOCKS: usize = 20;
    const EVERY: Duration = Duration::from_millis(200);
    let gateway = gateway::start(launch, upstream.address(), plan.sessions, plan.resumable).await?;
    let inside = Fleet::open(&gateway, plan.sessions).await;
    let alone = inside.drive(plan.window).await?;
    let answers = RefCell::new(Vec::new());
    let knocking = async {
        loop {
            let refused = Fleet::open(&gateway, KNOCKS).await.refused;
            answers.borrow_mut().extend(refused);
            tokio::time::sleep(EVERY).await;
        }
    };
    let beset = tokio::select! {
        beset = inside.drive(plan.window) => beset?,
        () = knocking => return Ok(()),
    };
    let answers: Vec<Refusal> = answers.into_inner();
    let right = answers.iter().filter(|refusal| refusal.status == 503 && refusal.retry_after).count();
    if right < KNOCKS || right < answers.len() {
        table.fault(format!("a full gateway answered {right} of {} knocks with 503 and retry-after", answers.len()));
    }
    if alone.lost + beset.lost + inside.refused.len() > 0 {
        table.fault("sessions inside a full gateway lost frames".to_owned());
    }
    println!("  full    {}\n  knocked {}", line(&alone), line(&beset));
    let added = alone.valid() && beset.valid();
    let note = format!("{right} of {} refused with 503 and retry-after", answers.len());
    table.add(REFUSING, added.then_some((beset.p99_us - alone.p99_us) / 1e3), note);
    Ok(())
}
