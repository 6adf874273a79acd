//! S1 and S2: processor time per frame pair, and the round trip that a proxy adds, in interleaved rounds.

use std::io;

use crate::Plan;
use crate::gateway;
use crate::launch::Launch;
use crate::load::{Figures, Fleet};
use crate::spread::median;
use crate::table::Better::Less;
use crate::table::{Row, Table};
use crate::target::Target;
use crate::upstream::Upstream;

const CPU: Row =
    Row { id: "S1", what: "relay CPU per frame pair, against nginx", unit: "", better: Less, must: 1.4, goal: 1.0 };
const P50: Row =
    Row { id: "S2", what: "added round trip p50, against nginx's", unit: "", better: Less, must: 1.5, goal: 1.1 };
const P99: Row =
    Row { id: "S2", what: "added round trip p99, less nginx's", unit: "ms", better: Less, must: 3.0, goal: 1.0 };
/// A ratio that no noise explains; a build without optimisation is granted more.
const GROSS: f64 = if cfg!(debug_assertions) { 16.0 } else { 4.0 };

/// One round over all targets.
struct Round {
    direct: Figures,
    nginx: Option<Figures>,
    gateway: Figures,
    baseline: Option<Figures>,
}

/// Drives direct, nginx and the gateway in turn, and compares.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    let direct = Target::direct(upstream.address());
    let nginx = Target::nginx(launch, upstream.address()).await?;
    let gateway = gateway::start(launch, upstream.address(), 2 * plan.sessions, plan.resumable).await?;
    let baseline = match &plan.baseline {
        Some(program) => {
            let baseline = gateway::start_program(program, launch, upstream.address(), 2 * plan.sessions).await?;
            Some(Target { name: "baseline", ..baseline })
        }
        None => None,
    };
    println!("{} sessions × {}/s, windows of {} s", plan.sessions, crate::load::RATE, plan.window.as_secs());
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let direct = drive(&direct, plan, upstream, table).await?;
        let nginx = match &nginx {
            Some(nginx) => Some(drive(nginx, plan, upstream, table).await?),
            None => None,
        };
        let baseline = match &baseline {
            Some(baseline) => Some(drive(baseline, plan, upstream, table).await?),
            None => None,
        };
        let gateway = drive(&gateway, plan, upstream, table).await?;
        let valid = [Some(&direct), nginx.as_ref(), Some(&gateway)].into_iter().flatten().all(Figures::valid);
        if valid {
            rounds.push(Round { direct, nginx, gateway, baseline });
        } else {
            println!("this round does not count: the load itself was at its limit");
        }
    }
    report(plan, &rounds, table);
    Ok(())
}

/// Opens sessions, loads them and lets them go; loss is noted as a fault.
pub(crate) async fn drive(target: &Target, plan: &Plan, upstream: &Upstream, table: &mut Table) -> io::Result<Figures> {
    let figures = drive_at(target, plan.sessions, plan, table).await?;
    if !upstream.emptied().await {
        table.fault(format!("{}: sessions at the upstream outlived their clients", target.name));
    }
    Ok(figures)
}

async fn drive_at(target: &Target, sessions: usize, plan: &Plan, table: &mut Table) -> io::Result<Figures> {
    let fleet = Fleet::open(target, sessions).await;
    let figures = fleet.drive(plan.window).await?;
    if let Some(refusal) = fleet.refused.first() {
        table.fault(format!("{}: {} of {sessions} sessions refused: {refusal:?}", target.name, fleet.refused.len()));
    }
    if figures.lost > 0 {
        table.fault(format!("{}: {} frames lost", target.name, figures.lost));
    }
    println!("  {:<8}{}", target.name, line(&figures));
    Ok(figures)
}

/// A window's figures on one line.
pub(crate) fn line(figures: &Figures) -> String {
    format!(
        "{:6.1} µs CPU a pair, round trip p50 {:5.0} p99 {:6.0} µs, load {:3.0} % of its core, others {:3.0} % of the tested one",
        figures.cpu_us,
        figures.p50_us,
        figures.p99_us,
        figures.own_share * 100.0,
        figures.others_share * 100.0
    )
}

fn report(plan: &Plan, rounds: &[Round], table: &mut Table) {
    let compare = |figure: fn(&Figures, &Figures, &Figures) -> f64| {
        let compared = rounds
            .iter()
            .filter_map(|round| round.nginx.as_ref().map(|nginx| figure(&round.gateway, nginx, &round.direct)));
        median(&compared.collect::<Vec<_>>())
    };
    let typical =
        |figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN);
    let cpu = compare(|gateway, nginx, _| gateway.cpu_us / nginx.cpu_us);
    table.add(CPU, cpu, format!("{:.1} µs", typical(|round| round.gateway.cpu_us)));
    let p50 = compare(|gateway, nginx, direct| (gateway.p50_us - direct.p50_us) / (nginx.p50_us - direct.p50_us));
    table.add(P50, p50, format!("{:.0} µs added", typical(|round| round.gateway.p50_us - round.direct.p50_us)));
    let p99 = compare(|gateway, nginx, _| (gateway.p99_us - nginx.p99_us) / 1e3);
    table.add(P99, p99, format!("{:.0} µs added", typical(|round| round.gateway.p99_us - round.direct.p99_us)));
    if let Some(ratio) = cpu.filter(|ratio| *ratio > GROSS) {
        table.fault(format!("the relay takes {ratio:.1} times the processor time of nginx"));
    }
    let ratios = rounds.iter().filter_map(|round| {
        let before = round.baseline.as_ref()?;
        Some((round.gateway.cpu_us / before.cpu_us, round.gateway.p50_us / before.p50_us))
    });
    let (cpu, trip): (Vec<f64>, Vec<f64>) = ratios.unzip();
    if let (Some(cpu), Some(trip)) = (median(&cpu), median(&trip)) {
        println!("against the baseline: {cpu:.3} of its CPU a pair, {trip:.3} of its round trip p50");
    }
    if plan.short && rounds.is_empty() {
        println!("no round was valid: this machine is too busy or too small to tell");
    }
}
