//! P6: the upstream drops its connections.

use std::io;
use std::time::Duration;

use crate::Plan;
use crate::crowd::{Crowd, Guests, milliseconds};
use crate::judge::assign;
use crate::launch::Launch;
use crate::proxy::Mode;
use crate::schedule::{Kinds, Side, play, timetable};
use crate::stage::{Scene, Stage};
use crate::story::Story;
use crate::table::{Table, share};

const KINDS: &[(Side, Mode)] = &[(Side::Back, Mode::Cut), (Side::Back, Mode::Reset)];

/// Drops every session's upstream once, each at its own moment.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let count = plan.sessions.min(200);
    let guests = Guests { spoken_each: 10, ..Guests::new(count, if plan.short { 4 } else { 10 }, plan.seed) };
    let crowd = Crowd::invite(admin, stage.front.address(), &guests).await?;
    let within = (Duration::from_secs(2), Duration::from_secs(if plan.short { 7 } else { 18 }));
    let kinds = Kinds { of: KINDS, most: 1, within, longest: Duration::ZERO };
    let strokes = timetable(plan.seed, crowd.customers.len(), &kinds);
    crowd.speak(play(&stage, &crowd, &strokes)).await?;
    let outcome = crowd.outcome(&stage, admin).await?;
    table.clean("P6", &format!("{count} upstreams dropped"), &outcome.verdict);
    table.billed("P6", &outcome, 0);
    let redials = redials_ms(&stage, &crowd);
    table.at_most("P6", "first redial, as the upstream sees it, p99", share(&redials, 0.99), (300.0, "ms"));
    let moved = outcome.resumes_ms.len();
    table.note(&format!("{} redials; {moved} customers had to come back", redials.len()));
    stage.clear().await;
    Ok(())
}

/// From a connection's end to the same session's next one.
pub(crate) fn redials_ms(stage: &Stage<'_>, crowd: &Crowd) -> Vec<f64> {
    let legs = stage.legs();
    let stories: Vec<_> = crowd.customers.iter().map(|customer| customer.story()).collect();
    let stories: Vec<&Story> = stories.iter().map(|story| &**story).collect();
    let assigned = assign(&stories, &legs);
    let pairs = assigned.iter().flat_map(|legs| legs.iter().zip(legs.iter().skip(1)));
    let spans = pairs.filter_map(|(old, new)| Some(new.opened?.saturating_duration_since(old.ended?)));
    spans.map(milliseconds).collect()
}
