//! S5: how many plain calls go through one core in a second, in interleaved rounds; and what a call is delayed by
//! when there are few.

use std::io;
use std::time::Duration;

use crate::Plan;
use crate::calls::{self, Figures};
use crate::launch::Launch;
use crate::program::PROGRAM;
use crate::spread::median;
use crate::table::Better::More;
use crate::table::{Row, Table};
use crate::target::{Target, Variant, WHOLE};
use crate::upstream::Upstream;

const RATE: Row =
    Row { id: "S5", what: "plain calls a second, against nginx", unit: "", better: More, must: 0.75, goal: 0.95 };
const QUIET: Row = Row { what: "likewise with RUST_LOG=warn", ..RATE };
/// Less than that no noise explains; a build without optimisation is granted more.
const GROSS: f64 = if cfg!(debug_assertions) { 0.01 } else { 0.1 };
/// Of plain calls at a low rate, from one to the next.
const NOW_AND_THEN: Duration = Duration::from_millis(5);

/// One target's windows, round by round; none where a round does not count.
struct Runner {
    target: Target,
    flood: Vec<Option<Figures>>,
    trickle: Vec<Option<Figures>>,
}

/// Drives every target in turn, compares, and audits the books.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, upstream: &Upstream, table: &mut Table) -> io::Result<()> {
    let mut runners: Vec<Runner> = Vec::new();
    for target in targets(plan, launch, upstream).await? {
        runners.push(Runner { target, flood: Vec::new(), trickle: Vec::new() });
    }
    println!("plain calls on {} connections, windows of {} s", plan.connections, plan.window.as_secs());
    for _ in 0..plan.rounds {
        for runner in &mut runners {
            let figures = calls::flood(&runner.target, plan.connections, plan.window).await?;
            println!("  {:<9}{}", runner.target.name, line(&figures));
            runner.flood.push(counted(figures, &runner.target, table));
        }
    }
    println!("plain calls, one at a time, {} ms from one to the next", NOW_AND_THEN.as_millis());
    for _ in 0..plan.rounds {
        for runner in &mut runners {
            let figures = calls::trickle(&runner.target, NOW_AND_THEN, plan.window / 2).await?;
            runner.trickle.push(counted(figures, &runner.target, table));
        }
    }
    delays(&runners);
    compare(&runners, table);
    for runner in &runners {
        runner.target.audit(table).await?;
    }
    Ok(())
}

async fn targets(plan: &Plan, launch: &Launch, upstream: &Upstream) -> io::Result<Vec<Target>> {
    let address = upstream.address();
    let mut targets = vec![Target::direct(address)];
    targets.extend(Target::nginx(launch, address, &WHOLE).await?);
    let store = plan.store.as_deref();
    let mut variants = vec![
        Variant { name: "gateway", program: PROGRAM, log: None, store },
        Variant { name: "quiet", program: PROGRAM, log: Some("warn"), store },
    ];
    if let Some(program) = &plan.baseline {
        variants.insert(0, Variant { name: "baseline", program, log: None, store });
    }
    for variant in &variants {
        targets.push(Target::gateway(launch, address, variant).await?);
    }
    Ok(targets)
}

/// The window if it counts: lost calls are a fault, and a load at its limit measures itself.
fn counted(figures: Figures, target: &Target, table: &mut Table) -> Option<Figures> {
    if figures.lost > 0 {
        table.fault(format!("{}: {} calls lost", target.name, figures.lost));
    }
    // Without a program between there is nothing but the load.
    if figures.valid() || target.program.is_none() {
        return Some(figures);
    }
    println!("  {}: this window does not count: the load itself was at its limit", target.name);
    None
}

fn line(figures: &Figures) -> String {
    format!(
        "{:6.0} calls/s, {:5.1} µs CPU a call, p50 {:5.0} p99 {:6.0} µs, load {:3.0} % of its core, others {:3.0} % of the tested one",
        figures.rate,
        figures.cpu_us,
        figures.p50_us,
        figures.p99_us,
        figures.own_share * 100.0,
        figures.others_share * 100.0
    )
}

fn named<'a>(runners: &'a [Runner], name: &str) -> Option<&'a Runner> {
    runners.iter().find(|runner| runner.target.name == name)
}

/// The middle of what two targets' windows of the same rounds compare to.
fn beside(one: &[Option<Figures>], other: &[Option<Figures>], compare: fn(&Figures, &Figures) -> f64) -> Option<f64> {
    let pairs = one.iter().zip(other).filter_map(|(one, other)| Some(compare(one.as_ref()?, other.as_ref()?)));
    median(&pairs.collect::<Vec<_>>())
}

/// Says what each proxy adds to a call when there are few.
fn delays(runners: &[Runner]) {
    let Some((direct, proxies)) = runners.split_first() else { return };
    for proxy in proxies {
        let added = |figure| beside(&proxy.trickle, &direct.trickle, figure).unwrap_or(f64::NAN);
        let (p50, p99) = (added(|one, other| one.p50_us - other.p50_us), added(|one, other| one.p99_us - other.p99_us));
        println!("  {:<9}adds {p50:.0} µs in the middle, {p99:.0} µs to the slowest hundredth", proxy.target.name);
    }
}

fn compare(runners: &[Runner], table: &mut Table) {
    let (nginx, baseline) = (named(runners, "nginx"), named(runners, "baseline"));
    for (row, name) in [(RATE, "gateway"), (QUIET, "quiet")] {
        let Some(gateway) = named(runners, name) else { continue };
        let ratio = nginx.and_then(|nginx| beside(&gateway.flood, &nginx.flood, |one, other| one.rate / other.rate));
        let each = |runner: Option<&Runner>, figure: fn(&Figures) -> f64| {
            let windows = runner.into_iter().flat_map(|runner| runner.flood.iter().flatten());
            median(&windows.map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        let own = (each(Some(gateway), |figures| figures.rate), each(Some(gateway), |figures| figures.cpu_us));
        let its = (each(nginx, |figures| figures.rate), each(nginx, |figures| figures.cpu_us));
        let note = match ratio {
            Some(_) => format!("{:.0} of {:.0} a second, {:.0} of {:.0} µs CPU each", own.0, its.0, own.1, its.1),
            None => format!("{:.0} a second, {:.0} µs CPU each; no window of nginx counts", own.0, own.1),
        };
        table.add(row, ratio, note);
        if let Some(ratio) = ratio.filter(|ratio| *ratio < GROSS) {
            table.fault(format!("{name}: {ratio:.3} of nginx's calls a second"));
        }
        let before = |figure| beside(&gateway.flood, &baseline?.flood, figure);
        let rate = before(|one, other| one.rate / other.rate);
        if let Some((rate, cpu)) = rate.zip(before(|one, other| one.cpu_us / other.cpu_us)) {
            println!("{name} against the baseline: {rate:.3} of its calls a second, {cpu:.3} of its CPU a call");
        }
    }
}
