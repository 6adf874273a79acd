//! What goes wrong when: timetables made from a seed, and their playing.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Customer;
use crate::crowd::Crowd;
use crate::dice::Dice;
use crate::proxy::{Line, Mode};
use crate::stage::Stage;

/// On which side of the gateway a line is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The customer's.
    Front,
    /// The upstream's.
    Back,
}

/// A session ends, and rightly, when three connections of its upstream in a row die young.
const MOST_DEATHS: u64 = 2;

/// One fault of one session.
#[derive(Debug, Clone)]
pub(crate) struct Stroke {
    /// When, from the timetable's begin.
    pub(crate) at: Duration,
    /// Whose, by place in the crowd.
    pub(crate) customer: usize,
    /// Which line.
    pub(crate) side: Side,
    /// What happens to it.
    pub(crate) mode: Mode,
    /// How long it stalls, or the customer reaches nobody.
    pub(crate) lasting: Duration,
}

/// The kinds of strokes of a timetable, and their times.
pub(crate) struct Kinds<'a> {
    /// What may happen.
    pub(crate) of: &'a [(Side, Mode)],
    /// How many to each customer, at most; one at least.
    pub(crate) most: u64,
    /// Between which times.
    pub(crate) within: (Duration, Duration),
    /// How long stalls and absences last at most.
    pub(crate) longest: Duration,
}

/// A timetable: the same seed, the same faults.
pub(crate) fn timetable(seed: u64, customers: usize, kinds: &Kinds<'_>) -> Vec<Stroke> {
    let mut strokes = Vec::new();
    for customer in 0..customers {
        let mut dice = Dice::new(seed, u64::try_from(customer).unwrap_or(0) + 1_000_003);
        let mut deaths = 0;
        for _ in 0..=dice.below(kinds.most) {
            let Some((side, mode)) = dice.one_of(kinds.of) else { continue };
            let at = dice.span(kinds.within.0, kinds.within.1);
            let lasting = dice.span(Duration::ZERO, kinds.longest);
            let deadly = side == Side::Back && mode != Mode::Stalled;
            deaths += u64::from(deadly);
            if deadly && deaths > MOST_DEATHS {
                continue;
            }
            strokes.push(Stroke { at, customer, side, mode, lasting });
        }
    }
    strokes.sort_by_key(|stroke| stroke.at);
    strokes
}

/// Plays a timetable to its end. Strokes at a line that isn't there are left out.
pub(crate) async fn play(stage: &Stage<'_>, crowd: &Crowd, strokes: &[Stroke]) -> io::Result<()> {
    let begun = Instant::now();
    for stroke in strokes {
        sleep_until(begun + stroke.at).await;
        let Some(customer) = crowd.customers.get(stroke.customer).filter(|customer| !customer.is_over()) else {
            continue;
        };
        strike(stage, customer, stroke);
    }
    Ok(())
}

fn strike(stage: &Stage<'_>, customer: &Customer, stroke: &Stroke) {
    let line = match stroke.side {
        Side::Front => customer.local().and_then(|local| stage.front.line_from(local)),
        Side::Back => upstream_line(stage, customer),
    };
    let Some(line) = line else { return };
    let what = format!("{:?} {:?} {} ms", stroke.side, stroke.mode, stroke.lasting.as_millis());
    customer.note(what, line.far);
    line.set(stroke.mode);
    match (stroke.mode, stroke.side) {
        (Mode::Stalled, _) => release_after(&line, stroke.lasting),
        (Mode::Cut | Mode::Reset, Side::Front) => customer.set_offline(stroke.lasting),
        (Mode::Cut | Mode::Reset | Mode::HalfOpen | Mode::Open, _) => {}
    }
}

/// The newest line of a session to the upstream that lives.
pub(crate) fn upstream_line(stage: &Stage<'_>, customer: &Customer) -> Option<Rc<Line>> {
    let stream = customer.story().stream;
    let pages = stage.simulator().pages();
    let peer = pages.iter().rev().find_map(|page| {
        let record = page.record();
        let theirs = record.numbers.stream == Some(stream) && record.closed.is_none();
        theirs.then_some(record.peer).flatten()
    });
    stage.back.line_seen_as(peer?)
}

fn release_after(line: &Rc<Line>, lasting: Duration) {
    // The line's own task keeps it; this one only ends the stall.
    let line = Rc::downgrade(line);
    spawn_local(async move {
        sleep(lasting).await;
        if let Some(line) = line.upgrade() {
            line.set(Mode::Open);
        }
    });
}
