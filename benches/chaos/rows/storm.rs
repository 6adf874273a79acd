//! P16: everybody comes back at once, while others go on.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::Plan;
use crate::crowd::{Crowd, Guests, milliseconds};
use crate::launch::Launch;
use crate::proxy::{Mode, Proxy};
use crate::stage::{Scene, Stage};
use crate::table::{Table, share};

/// Four who are cut off for each that is not.
const CUT_OFF: u32 = 4;
/// Who isn't there by then is not waited for.
const COME_WITHIN: Duration = Duration::from_secs(60);

/// Cuts the quiet ones off at one moment, while the others speak by a way of their own.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let untouched = Guests::new(plan.sessions, if plan.short { 6 } else { 15 }, plan.seed);
    let untouched = Crowd::invite(admin, admin, &untouched).await?;
    let returning = Guests { first: 100_000, ..Guests::new(CUT_OFF * plan.sessions, 1, plan.seed) };
    let mut storm = Storm::gather(admin, returning).await?;
    let half = Duration::from_secs(if plan.short { 4 } else { 12 });
    let (mut back, mut parted) = (Back::default(), Instant::now());
    let trouble = async {
        untouched.speaking(untouched.customers.len()).await;
        sleep(half).await;
        parted = Instant::now();
        back = storm.break_loose(half).await?;
        Ok(())
    };
    untouched.speak(trouble).await?;
    let Back { inside, returned, took } = back;
    let served = took.map(milliseconds);
    table.at_most("P16", &format!("{inside} sessions cut off at once: all served"), served, (2_000.0, "ms"));
    table.note(&format!("{returned} came back"));
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

/// How those who were cut off came back.
#[derive(Debug, Clone, Copy, Default)]
struct Back {
    /// So many were inside when they were cut off.
    inside: usize,
    /// So many were inside again.
    returned: usize,
    /// The time until all were, if they were.
    took: Option<Duration>,
}

/// Those who are cut off, and the proxy that does it: on a thread of their own, so that the time which thousands of
/// handshakes take this program is not counted as a delay of those who speak. Dropped, it lets them go.
struct Storm {
    order: Sender<Duration>,
    reports: Receiver<io::Result<Back>>,
}

impl Storm {
    /// Lets them all in; they say nothing.
    async fn gather(gateway: SocketAddr, guests: Guests) -> io::Result<Self> {
        let ((order, ordered), (told, reports)) = (channel(1), channel(1));
        thread::Builder::new().name("storm".to_owned()).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                if let Err(error) = play(gateway, &guests, ordered, &told).await {
                    drop(told.send(Err(error)).await);
                }
            });
        })?;
        let mut storm = Self { order, reports };
        storm.report().await?;
        Ok(storm)
    }

    /// Cuts them all off, and waits for so long until they are back.
    async fn break_loose(&mut self, within: Duration) -> io::Result<Back> {
        self.order.send(within).await.map_err(io::Error::other)?;
        self.report().await
    }

    async fn report(&mut self) -> io::Result<Back> {
        self.reports.recv().await.ok_or_else(|| io::Error::other("those who were to be cut off are gone"))?
    }
}

/// The storm's own thread: reports when all are inside, and once more after the order. They stay until they are let go.
async fn play(
    gateway: SocketAddr,
    guests: &Guests,
    mut order: Receiver<Duration>,
    reports: &Sender<io::Result<Back>>,
) -> io::Result<()> {
    let door = Proxy::start(gateway).await?;
    let crowd = Crowd::invite(gateway, door.address(), guests).await?;
    for customer in &crowd.customers {
        customer.set_silent(true);
        spawn_local(customer.clone().run());
        sleep(Duration::from_millis(2)).await;
    }
    let inside = || crowd.customers.iter().filter(|customer| customer.story().configured).count();
    let begun = Instant::now();
    while inside() < crowd.customers.len() && begun.elapsed() < COME_WITHIN {
        sleep(Duration::from_millis(20)).await;
    }
    reports.send(Ok(Back::default())).await.map_err(io::Error::other)?;
    let Some(within) = order.recv().await else { return Ok(()) };
    let (inside, parted) = (inside(), Instant::now());
    door.lines().iter().for_each(|line| line.set(Mode::Reset));
    let returned = || crowd.customers.iter().filter(|customer| !customer.story().returns.is_empty()).count();
    while returned() < inside && parted.elapsed() < within {
        sleep(Duration::from_millis(5)).await;
    }
    let took = (returned() >= inside).then(|| parted.elapsed());
    reports.send(Ok(Back { inside, returned: returned(), took })).await.map_err(io::Error::other)?;
    order.recv().await;
    Ok(())
}
