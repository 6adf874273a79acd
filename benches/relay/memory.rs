//! S4: memory per session, before it has been used and after.

use std::io;
use std::time::Duration;

use crate::Plan;
use crate::gateway;
use crate::launch::Launch;
use crate::load::Fleet;
use crate::resident;
use crate::table::Better::Less;
use crate::table::{Row, Table};
use crate::target::Target;
use crate::upstream::Upstream;

const IDLE: Row = Row { id: "S4", what: "memory per session, idle", unit: "KiB", better: Less, must: 64.0, goal: 32.0 };
const ACTIVE: Row =
    Row { id: "S4", what: "memory per session, active", unit: "KiB", better: Less, must: 96.0, goal: 48.0 };
/// Long enough for pings on both legs.
const SETTLED: Duration = Duration::from_secs(10);
const BRIEFLY: Duration = Duration::from_secs(2);

/// KiB a session.
struct Memory {
    idle: f64,
    active: f64,
}

/// Opens sessions at a fresh gateway, waits, then loads them.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    let nginx = match Target::nginx(launch, upstream.address()).await? {
        Some(nginx) => Some(of(&nginx, plan, upstream).await?),
        None => None,
    };
    let gateway = gateway::start(launch, upstream.address(), plan.sessions, plan.resumable).await?;
    let memory = of(&gateway, plan, upstream).await?;
    let beside = |figure: fn(&Memory) -> f64| nginx.as_ref().map(|nginx| format!("nginx {:.0}", figure(nginx)));
    table.add(IDLE, Some(memory.idle), beside(|memory| memory.idle).unwrap_or_default());
    table.add(ACTIVE, Some(memory.active), beside(|memory| memory.active).unwrap_or_default());
    Ok(())
}

async fn of(target: &Target, plan: &Plan, upstream: &Upstream) -> io::Result<Memory> {
    let process = target.process().ok_or(io::ErrorKind::NotFound)?;
    let before = resident::resident_kib(process, "VmRSS")?;
    let fleet = Fleet::open(target, plan.sessions).await;
    tokio::time::sleep(if plan.short { BRIEFLY } else { SETTLED }).await;
    let idle = resident::resident_kib(process, "VmRSS")?;
    fleet.drive(plan.window).await?;
    let active = resident::resident_kib(process, "VmRSS")?;
    drop(fleet);
    upstream.emptied().await;
    let each = |now: f64| (now - before) / plan.sessions as f64;
    Ok(Memory { idle: each(idle), active: each(active) })
}
