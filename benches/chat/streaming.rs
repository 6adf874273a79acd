//! S6: processor time per stream, and how late its chunks are, in interleaved rounds.

use std::io;
use std::time::Duration;

use crate::Plan;
use crate::launch::Launch;
use crate::program::PROGRAM;
use crate::spread::median;
use crate::streams::{Audience, Figures};
use crate::table::Better::Less;
use crate::table::{Row, Table};
use crate::target::{STREAMED, Target, Variant};
use crate::upstream::{Pace, Upstream};

const CPU: Row = Row { id: "S6", what: "CPU per stream, against nginx", unit: "", better: Less, must: 1.2, goal: 0.9 };
const DELAY: Row =
    Row { id: "S6", what: "delay p99 added to chunks, 64 streams", unit: "ms", better: Less, must: 1.0, goal: 0.3 };
/// Streams at once.
const STREAMS: usize = 64;
/// Of a provider that is fast.
const PACE: Pace = Pace { chunks: 100, every: Duration::from_millis(10) };
/// A ratio that no noise explains; a build without optimisation is granted more.
const GROSS: f64 = if cfg!(debug_assertions) { 32.0 } else { 6.0 };

/// One round over all targets.
struct Round {
    direct: Figures,
    nginx: Option<Figures>,
    baseline: Option<Figures>,
    gateway: Figures,
}

/// Listens at every target in turn, compares, and audits the books.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    let (address, store) = (upstream.address(), plan.store.as_deref());
    let direct = Target::direct(address);
    let nginx = Target::nginx(launch, address, &STREAMED).await?;
    let variant = |name, program| Variant { name, program, log: None, store };
    let baseline = match &plan.baseline {
        Some(program) => Some(Target::gateway(launch, address, &variant("baseline", program)).await?),
        None => None,
    };
    let gateway = Target::gateway(launch, address, &variant("gateway", PROGRAM)).await?;
    let (chunks, every) = (PACE.chunks, PACE.every.as_millis());
    println!("{STREAMS} streams of {chunks} chunks, {every} ms apart, windows of {} s", plan.window.as_secs());
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let direct = listen(&direct, plan, upstream, table).await?;
        let nginx = match &nginx {
            Some(nginx) => Some(listen(nginx, plan, upstream, table).await?),
            None => None,
        };
        let baseline = match &baseline {
            Some(baseline) => Some(listen(baseline, plan, upstream, table).await?),
            None => None,
        };
        let gateway = listen(&gateway, plan, upstream, table).await?;
        if [Some(&direct), nginx.as_ref(), Some(&gateway)].into_iter().flatten().all(Figures::valid) {
            rounds.push(Round { direct, nginx, baseline, gateway });
        } else {
            println!("this round does not count: the load itself was at its limit");
        }
    }
    report(&rounds, table);
    for target in baseline.iter().chain([&gateway]) {
        target.audit(table).await?;
    }
    Ok(())
}

async fn listen(target: &Target, plan: &Plan, upstream: &Upstream, table: &mut Table) -> io::Result<Figures> {
    let audience = Audience::gather(target, upstream, PACE, STREAMS).await?;
    let figures = audience.measure(target, plan.window).await?;
    let lost = audience.leave(target).await?;
    if lost > 0 {
        table.fault(format!("{}: {lost} streams did not come whole", target.name));
    }
    println!(
        "  {:<9}{:6.0} µs CPU a stream, chunks late by p50 {:4.0} p99 {:5.0} µs, load {:3.0} % of its core, others {:3.0} % of the tested one",
        target.name,
        figures.cpu_us,
        figures.p50_us,
        figures.p99_us,
        figures.own_share * 100.0,
        figures.others_share * 100.0
    );
    Ok(figures)
}

fn report(rounds: &[Round], table: &mut Table) {
    let middle = |figure: &dyn Fn(&Round) -> Option<f64>| median(&rounds.iter().filter_map(figure).collect::<Vec<_>>());
    let cpu = middle(&|round| Some(round.gateway.cpu_us / round.nginx.as_ref()?.cpu_us));
    let own = middle(&|round| Some(round.gateway.cpu_us)).unwrap_or(f64::NAN);
    table.add(CPU, cpu, format!("{own:.0} µs"));
    let late = middle(&|round| Some((round.gateway.p99_us - round.direct.p99_us) / 1e3));
    let nginx = middle(&|round| Some((round.nginx.as_ref()?.p99_us - round.direct.p99_us) / 1e3));
    table.add(DELAY, late, nginx.map(|nginx| format!("nginx {nginx:.2}")).unwrap_or_default());
    if let Some(ratio) = cpu.filter(|ratio| *ratio > GROSS) {
        table.fault(format!("a stream takes {ratio:.1} times the processor time of nginx"));
    }
    let cpu = middle(&|round| Some(round.gateway.cpu_us / round.baseline.as_ref()?.cpu_us));
    let late = middle(&|round| Some(round.gateway.p99_us / round.baseline.as_ref()?.p99_us));
    if let Some((cpu, late)) = cpu.zip(late) {
        println!("against the baseline: {cpu:.3} of its CPU a stream, {late:.3} of its chunks' p99");
    }
}
