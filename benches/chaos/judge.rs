//! The judge: compares what customers said and were told with what the upstream heard and sent, as sets. Pure.
//!
//! Samples: the upstream's connections of a session together heard each number from 0 to the last; one connection
//! alone heard one unbroken run; a number heard by two is a replaced connection's replay. Events: each that was sent
//! came once and in order, but for what the contract withholds (a new connection's `session.created` and
//! `session.updated`, an old one's `session.finished`) and the end of what a connection that broke had sent. Captions:
//! each sentence has one final source and one final translation; a gateway that was killed may repeat.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{AddAssign, Range};

use livetranslate::simulator::ledger::SessionRecord as Leg;

use super::story::{Story, name};

/// What was wrong, and some figures beside it. Sums over sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Sessions judged.
    pub(crate) sessions: u64,
    /// Those that ended before all was translated.
    pub(crate) failed: u64,
    /// Samples that the upstream never heard.
    pub(crate) lost_samples: u64,
    /// Samples that one connection heard twice.
    pub(crate) doubled_samples: u64,
    /// Places at which a connection's numbers jump, or a new connection begins behind a hole.
    pub(crate) jumps: u64,
    /// Samples that nobody said.
    pub(crate) strange_samples: u64,
    /// Events that were sent and never came.
    pub(crate) lost_events: u64,
    /// Events that came twice.
    pub(crate) doubled_events: u64,
    /// Events that came before one that was sent earlier.
    pub(crate) disordered_events: u64,
    /// Events that nobody sent.
    pub(crate) strange_events: u64,
    /// Sentences without a final source or translation.
    pub(crate) lost_captions: u64,
    /// Finals too many.
    pub(crate) doubled_captions: u64,
    /// Finals that are of no whole sentence.
    pub(crate) strange_captions: u64,
    /// Responses that never ended.
    pub(crate) open_responses: u64,
    /// Breaches of the extension's rules that customers noted.
    pub(crate) breaches: u64,
    /// Samples that the upstream accepted, each counted once.
    pub(crate) accepted: u64,
    /// Samples that more than one connection heard.
    pub(crate) replayed: u64,
    /// Connections to the upstream.
    pub(crate) legs: u64,
}

impl Verdict {
    /// Whether nothing was lost, doubled or made up.
    pub(crate) fn is_clean(&self) -> bool {
        self.wrongs().iter().all(|(_, count)| *count == 0)
    }

    fn wrongs(&self) -> [(&'static str, u64); 14] {
        [
            ("sessions failed", self.failed),
            ("samples lost", self.lost_samples),
            ("samples doubled", self.doubled_samples),
            ("jumps", self.jumps),
            ("strange samples", self.strange_samples),
            ("events lost", self.lost_events),
            ("events doubled", self.doubled_events),
            ("events out of order", self.disordered_events),
            ("strange events", self.strange_events),
            ("captions lost", self.lost_captions),
            ("captions doubled", self.doubled_captions),
            ("strange captions", self.strange_captions),
            ("responses open", self.open_responses),
            ("breaches", self.breaches),
        ]
    }

    /// The sum of all that was wrong.
    pub(crate) fn total(&self) -> u64 {
        self.wrongs().iter().map(|(_, count)| count).sum()
    }

    /// What was wrong, or how much was right.
    pub(crate) fn describe(&self) -> String {
        let wrongs = self.wrongs().into_iter().filter(|(_, count)| *count > 0);
        let wrongs: Vec<String> = wrongs.map(|(what, count)| format!("{count} {what}")).collect();
        if wrongs.is_empty() {
            format!("{} sessions, {} legs, {} s accepted", self.sessions, self.legs, self.accepted / 16_000)
        } else {
            wrongs.join(", ")
        }
    }
}

impl AddAssign<&Verdict> for Verdict {
    fn add_assign(&mut self, other: &Verdict) {
        self.sessions += other.sessions;
        self.failed += other.failed;
        self.lost_samples += other.lost_samples;
        self.doubled_samples += other.doubled_samples;
        self.jumps += other.jumps;
        self.strange_samples += other.strange_samples;
        self.lost_events += other.lost_events;
        self.doubled_events += other.doubled_events;
        self.disordered_events += other.disordered_events;
        self.strange_events += other.strange_events;
        self.lost_captions += other.lost_captions;
        self.doubled_captions += other.doubled_captions;
        self.strange_captions += other.strange_captions;
        self.open_responses += other.open_responses;
        self.breaches += other.breaches;
        self.accepted += other.accepted;
        self.replayed += other.replayed;
        self.legs += other.legs;
    }
}

/// Gives each connection to the session whose audio it heard, or who was told what it sent; oldest first.
pub(crate) fn assign<'a>(stories: &[&Story], legs: &'a [Leg]) -> Vec<Vec<&'a Leg>> {
    let streams: HashMap<u32, usize> = stories.iter().enumerate().map(|(place, story)| (story.stream, place)).collect();
    let told = stories.iter().enumerate();
    let told: HashMap<&str, usize> =
        told.flat_map(|(place, story)| story.told.iter().map(move |told| (told.id.as_str(), place))).collect();
    let mut assigned = vec![Vec::new(); stories.len()];
    for leg in legs {
        let by_audio = leg.numbers.stream.and_then(|stream| streams.get(&stream));
        let owner = by_audio.or_else(|| leg.sent.iter().find_map(|sent| told.get(sent.id.as_str())));
        if let Some(mine) = owner.and_then(|place| assigned.get_mut(*place)) {
            mine.push(leg);
        }
    }
    assigned
}

/// Judges one session by its connections.
pub(crate) fn judge(story: &Story, legs: &[&Leg]) -> Verdict {
    let mut verdict = Verdict {
        sessions: 1,
        failed: u64::from(story.failed.is_some() || !story.finished || story.sent < story.total),
        breaches: count(story.breaches.len()),
        open_responses: count(story.open.len()),
        legs: count(legs.len()),
        ..Verdict::default()
    };
    judge_samples(story, legs, &mut verdict);
    judge_events(story, legs, &mut verdict);
    judge_captions(story, &mut verdict);
    verdict
}

fn judge_samples(story: &Story, legs: &[&Leg], verdict: &mut Verdict) {
    let mut reached = 0;
    for leg in legs {
        verdict.strange_samples += leg.numbers.strange;
        let mut end = None;
        for run in leg.numbers.runs.iter().map(|run| &run.numbers) {
            match end {
                None => verdict.jumps += u64::from(run.start > reached),
                Some(end) => {
                    verdict.jumps += 1;
                    verdict.doubled_samples += run.end.min(end).saturating_sub(run.start);
                }
            }
            end = end.max(Some(run.end));
        }
        reached = reached.max(end.unwrap_or(0));
    }
    let mut runs: Vec<&Range<u64>> =
        legs.iter().flat_map(|leg| leg.numbers.runs.iter().map(|run| &run.numbers)).collect();
    runs.sort_by_key(|run| run.start);
    let (mut covered, mut heard, mut at) = (0, 0, 0);
    for run in runs {
        covered += run.end.saturating_sub(run.start.max(at));
        heard += run.end - run.start;
        at = at.max(run.end);
    }
    verdict.accepted += covered;
    verdict.lost_samples += story.total.saturating_sub(covered);
    verdict.replayed += heard.saturating_sub(covered).saturating_sub(verdict.doubled_samples);
}

fn judge_events(story: &Story, legs: &[&Leg], verdict: &mut Verdict) {
    let mut places = HashMap::new();
    for (leg, record) in legs.iter().enumerate() {
        places.extend(record.sent.iter().enumerate().map(|(index, sent)| (sent.id.as_str(), (leg, index))));
    }
    let (mut came, mut last) = (HashSet::new(), None);
    for told in &story.told {
        match places.get(told.id.as_str()) {
            None => verdict.strange_events += u64::from(!told.id.starts_with("event_gw_")),
            Some(place) if !came.insert(*place) => verdict.doubled_events += 1,
            Some(place) => {
                verdict.disordered_events += u64::from(last.is_some_and(|last| *place < last));
                last = last.max(Some(*place));
            }
        }
    }
    let mut left_out = story.left_out;
    for (leg, record) in legs.iter().enumerate() {
        let newest = leg + 1 == legs.len();
        // Of a connection that broke, or whose gateway was killed, the end of what it sent may be missing.
        let broken = !record.closed_by_client || record.peer.is_some_and(|peer| story.struck.contains(&peer));
        let whole = record.finished && (newest || !broken);
        let heard_until = came.iter().filter(|(of, _)| *of == leg).map(|(_, index)| index + 1).max().unwrap_or(0);
        let due = if whole { record.sent.len() } else { heard_until };
        for (index, sent) in record.sent.iter().enumerate().take(due) {
            let withheld = leg > 0 && matches!(sent.name, "session.created" | "session.updated")
                || !newest && sent.name == "session.finished";
            if withheld || came.contains(&(leg, index)) {
                continue;
            }
            match left_out.checked_sub(1).filter(|_| sent.name == "response.audio.delta") {
                Some(rest) => left_out = rest,
                None => verdict.lost_events += 1,
            }
        }
    }
}

fn judge_captions(story: &Story, verdict: &mut Verdict) {
    let mut finals: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for caption in &story.finals {
        let [source, translation] = finals.entry(&caption.text).or_default();
        *if caption.source { source } else { translation } += 1;
    }
    let repeats = count(story.returns.iter().filter(|back| back.new_epoch).count());
    for sentence in story.sentences() {
        for told in finals.remove(name(&sentence).as_str()).unwrap_or_default() {
            verdict.lost_captions += u64::from(told == 0);
            verdict.doubled_captions += told.saturating_sub(1 + repeats);
        }
    }
    verdict.strange_captions += finals.values().flatten().sum::<u64>();
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
