//! M: memory per slow stream, and whether it grows with the stream's length.

use std::io;
use std::time::Duration;

use crate::Plan;
use crate::launch::Launch;
use crate::program::PROGRAM;
use crate::resident;
use crate::streams::Audience;
use crate::table::Better::Less;
use crate::table::{Row, Table};
use crate::target::{Target, Variant};
use crate::upstream::{Pace, Upstream};

const EACH: Row = Row { id: "M", what: "memory per slow stream", unit: "KiB", better: Less, must: 64.0, goal: 32.0 };
/// What buffers and the allocator need to settle, and no more: nothing of a stream is kept.
const GROWTH: Row =
    Row { id: "M", what: "memory per stream that its length adds", unit: "KiB", better: Less, must: 2.0, goal: 1.0 };
/// From one chunk to the next.
const EVERY: Duration = Duration::from_millis(100);
/// Chunks after which the first look is taken.
const EARLY: u32 = 50;

/// Opens slow streams at a fresh gateway and looks at its memory twice.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    let variant = Variant { name: "gateway", program: PROGRAM, log: None, store: plan.store.as_deref() };
    let gateway = Target::gateway(launch, upstream.address(), &variant).await?;
    let process = gateway.process().ok_or(io::ErrorKind::NotFound)?;
    let (count, late) = (plan.slow_streams, plan.length);
    println!("{count} streams, a chunk each {} ms, {late} chunks", EVERY.as_millis());
    let before = resident::resident_kib(process, "VmRSS")?;
    let audience = Audience::gather(&gateway, upstream, Pace { chunks: late + EARLY, every: EVERY }, count).await?;
    audience.heard(EARLY.into()).await;
    let early = resident::resident_kib(process, "VmRSS")?;
    audience.heard(late.into()).await;
    let then = resident::resident_kib(process, "VmRSS")?;
    let lost = audience.leave(&gateway).await?;
    if lost > 0 {
        table.fault(format!("{lost} slow streams did not come whole"));
    }
    let each = |kib: f64| kib / count as f64;
    // The later look counts: by then every buffer has been filled once.
    let note = format!("after {late} chunks, {count} streams; {:.0} after {EARLY}", each(early - before));
    table.add(EACH, Some(each(then - before)), note);
    table.add(GROWTH, Some(each(then - early)), format!("{EARLY} to {late} chunks"));
    gateway.audit(table).await
}
