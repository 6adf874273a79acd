//! The figures beside their targets.

use std::fmt;

use crate::crowd::Outcome;
use crate::judge::Verdict;

/// Samples a millisecond.
const MILLISECOND: f64 = 16.0;
/// What a bill may differ by, samples: one frame; with a kill, a second in the customer's favour.
const FRAME: u64 = 1_600;
const SECOND: u64 = 16_000;

/// One line.
struct Line {
    row: &'static str,
    what: String,
    figure: String,
    target: String,
    /// Whether the figure reaches the target; none where it can't be told.
    met: Option<bool>,
    note: String,
}

/// Everything that was found.
#[derive(Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
    violated: bool,
}

impl Table {
    /// A figure that should be at most `most`.
    pub(crate) fn at_most(&mut self, row: &'static str, what: &str, figure: Option<f64>, most: (f64, &str)) {
        let figure = figure.filter(|figure| figure.is_finite());
        let (most, unit) = most;
        self.push(Line {
            row,
            what: what.to_owned(),
            figure: figure.map_or_else(|| "-".to_owned(), |figure| format!("{} {unit}", round(figure))),
            target: format!("≤ {} {unit}", round(most)),
            met: figure.map(|figure| figure <= most),
            note: String::new(),
        });
    }

    /// What must hold on any machine; where it doesn't, the run fails.
    pub(crate) fn must(&mut self, row: &'static str, what: &str, holds: bool, note: String) {
        self.violated |= !holds;
        let figure = if holds { "yes" } else { "NO" }.to_owned();
        self.push(Line { row, what: what.to_owned(), figure, target: "yes".to_owned(), met: Some(holds), note });
    }

    /// Nothing lost, doubled or made up; otherwise the run fails.
    pub(crate) fn clean(&mut self, row: &'static str, what: &str, verdict: &Verdict) {
        self.violated |= !verdict.is_clean();
        self.push(Line {
            row,
            what: format!("{what}: lost, doubled, made up"),
            figure: verdict.total().to_string(),
            target: "0".to_owned(),
            met: Some(verdict.is_clean()),
            note: verdict.describe(),
        });
    }

    /// What was billed against what the upstream accepted, the worst session; beyond its bound the run fails.
    pub(crate) fn billed(&mut self, row: &'static str, outcome: &Outcome, kills: u64) {
        self.bill(row, outcome.overbilled, outcome.unbilled, kills);
    }

    /// The same of figures by themselves, in samples.
    pub(crate) fn bill(&mut self, row: &'static str, over: u64, under: u64, kills: u64) {
        let (most_over, most_under) = if kills == 0 { (FRAME, FRAME) } else { (0, SECOND * kills) };
        let milliseconds = |samples: u64| round(samples as f64 / MILLISECOND);
        let met = over <= most_over && under <= most_under;
        self.violated |= !met;
        self.push(Line {
            row,
            what: "billed beyond / short of what was accepted, worst session".to_owned(),
            figure: format!("{}/{} ms", milliseconds(over), milliseconds(under)),
            target: format!("≤ {}/{} ms", milliseconds(most_over), milliseconds(most_under)),
            met: Some(met),
            note: String::new(),
        });
    }

    /// More of the same line.
    pub(crate) fn note(&mut self, note: &str) {
        if let Some(line) = self.lines.last_mut() {
            println!("         {note}");
            line.note = [line.note.as_str(), note].join(if line.note.is_empty() { "" } else { "; " });
        }
    }

    /// A row that could not be tried.
    pub(crate) fn skip(&mut self, row: &'static str, why: &str) {
        let (figure, target) = ("-".to_owned(), "-".to_owned());
        self.push(Line { row, what: "not tried".to_owned(), figure, target, met: None, note: why.to_owned() });
    }

    /// Whether nothing happened that must not happen.
    pub(crate) fn sound(&self) -> bool {
        !self.violated
    }

    fn push(&mut self, line: Line) {
        println!("  {line}");
        self.lines.push(line);
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "unknown",
        };
        let Self { row, what, figure, target, note, .. } = self;
        write!(out, "{row:<4} {what:<58} {figure:>12} {target:>12}  {verdict:<8}{note}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{:<4} {:<58} {:>12} {:>12}  verdict", "row", "", "figure", "target")?;
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

fn round(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The value that this share of the figures does not exceed; none of none.
pub(crate) fn share(figures: &[f64], share: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied()
}
