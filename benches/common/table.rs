//! The figures beside their targets.

use std::fmt;

/// How a figure stands to its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Goal,
    Must,
    Missed,
    /// Nothing to compare with, or the load measured itself.
    Unknown,
}

/// A figure that should be small, or large.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Better {
    /// At most.
    Less,
    /// At least.
    More,
}

/// A row's caption and targets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The target's number.
    pub(crate) id: &'static str,
    /// What the figure is.
    pub(crate) what: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Which way is better.
    pub(crate) better: Better,
    /// What it must reach.
    pub(crate) must: f64,
    /// What it should reach.
    pub(crate) goal: f64,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(Row, Option<f64>, String)>,
    faults: Vec<String>,
}

impl Table {
    /// Adds a figure; none where it can't be told. `note` says what else belongs to it.
    pub(crate) fn add(&mut self, row: Row, figure: Option<f64>, note: String) {
        self.rows.push((row, figure.filter(|figure| figure.is_finite()), note));
    }

    /// Gross loss: what must not happen on any machine.
    pub(crate) fn fault(&mut self, fault: String) {
        println!("FAULT: {fault}");
        self.faults.push(fault);
    }

    /// Whether nothing was grossly wrong.
    pub(crate) fn sound(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Row {
    fn judge(&self, figure: Option<f64>) -> Verdict {
        let reaches = |target: f64, figure: f64| match self.better {
            Better::Less => figure <= target,
            Better::More => figure >= target,
        };
        match figure {
            None => Verdict::Unknown,
            Some(figure) if reaches(self.goal, figure) => Verdict::Goal,
            Some(figure) if reaches(self.must, figure) => Verdict::Must,
            Some(_) => Verdict::Missed,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{:<3} {:<46} {:>12} {:>8} {:>8}  verdict", "", "", "figure", "must", "goal")?;
        for (row, figure, note) in &self.rows {
            let sign = match row.better {
                Better::Less => "≤",
                Better::More => "≥",
            };
            let verdict = match row.judge(*figure) {
                Verdict::Goal => "goal",
                Verdict::Must => "must",
                Verdict::Missed => "MISSED",
                Verdict::Unknown => "unknown",
            };
            let figure = figure.map_or_else(|| "-".to_owned(), |figure| format!("{} {}", round(figure), row.unit));
            let target = |value: f64| format!("{sign} {}", round(value));
            let (must, goal) = (target(row.must), target(row.goal));
            writeln!(out, "{:<3} {:<46} {figure:>12} {must:>8} {goal:>8}  {verdict:<8}{note}", row.id, row.what)?;
        }
        for fault in &self.faults {
            writeln!(out, "FAULT: {fault}")?;
        }
        Ok(())
    }
}

fn round(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
