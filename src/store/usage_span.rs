//! Which sums answer a question over a span of time: the coarsest that fit, and rows at the ragged ends. Pure.

use super::usage_sums::{DAY_US, Grain, QUARTER_US};

/// What a part of a span is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The ledger's rows.
    Rows,
    /// Sums of this grain.
    Sums(Grain),
}

/// A part of a span in which local time has one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where its sums are.
    pub source: Source,
    /// From then on.
    pub from_us: i64,
    /// Before then.
    pub to_us: i64,
    /// What local time is ahead of UTC.
    pub offset_us: i64,
}

/// What must be told apart beside time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail {
    /// Models.
    pub models: bool,
    /// Licenses.
    pub licenses: bool,
    /// API keys.
    pub keys: bool,
}

impl Detail {
    fn quarter(self) -> Grain {
        if self.licenses || self.keys { Grain::Quarter } else { Grain::QuarterModel }
    }

    fn day(self) -> Grain {
        match (self.licenses || self.keys, self.keys || self.models) {
            (false, _) => Grain::DayModel,
            (true, false) => Grain::DayLicense,
            (true, true) => Grain::Day,
        }
    }
}

/// Cuts `from_us..to_us`. `offsets`: since when local time has which offset, the first from the beginning on; none
/// where days are not told apart.
#[must_use]
pub fn pieces(from_us: i64, to_us: i64, offsets: &[(i64, i64)], detail: Detail) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if offsets.is_empty() {
        cut((from_us, to_us), 0, detail, &mut pieces);
    }
    let ends = offsets.iter().skip(1).map(|(since_us, _)| *since_us).chain([i64::MAX]);
    for ((since_us, offset_us), until_us) in offsets.iter().zip(ends) {
        let part = (from_us.max(*since_us), to_us.min(until_us));
        if part.0 < part.1 {
            cut(part, *offset_us, detail, &mut pieces);
        }
    }
    pieces
}

fn cut((from_us, to_us): (i64, i64), offset_us: i64, detail: Detail, pieces: &mut Vec<Piece>) {
    let mut add = |source, from_us, to_us| {
        if from_us < to_us {
            pieces.push(Piece { source, from_us, to_us, offset_us });
        }
    };
    let (first, last) = (up(from_us, QUARTER_US), down(to_us, QUARTER_US));
    if first > last {
        return add(Source::Rows, from_us, to_us);
    }
    add(Source::Rows, from_us, first);
    let (first_day, last_day) = (up(first, DAY_US), down(last, DAY_US));
    let quarter = Source::Sums(detail.quarter());
    if offset_us % DAY_US == 0 && first_day < last_day {
        add(quarter, first, first_day);
        add(Source::Sums(detail.day()), first_day, last_day);
        add(quarter, last_day, last);
    } else {
        add(quarter, first, last);
    }
    add(Source::Rows, last, to_us);
}

/// The multiple of `step` at or before a time.
#[must_use]
pub fn down(time_us: i64, step: i64) -> i64 {
    time_us.div_euclid(step).saturating_mul(step)
}

/// The multiple of `step` at or after a time.
#[must_use]
pub fn up(time_us: i64, step: i64) -> i64 {
    let below = down(time_us, step);
    if below == time_us { below } else { below.saturating_add(step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 4 * QUARTER_US;
    const ALL: Detail = Detail { models: true, licenses: true, keys: true };

    fn of(from_us: i64, to_us: i64, offsets: &[(i64, i64)], detail: Detail) -> Vec<(Source, i64, i64)> {
        let pieces = pieces(from_us, to_us, offsets, detail);
        // Whatever the cut, each moment is in one piece.
        let mut at = from_us;
        for piece in &pieces {
            assert_eq!(piece.from_us, at);
            at = piece.to_us;
        }
        assert_eq!(at, to_us);
        pieces.into_iter().map(|piece| (piece.source, piece.from_us, piece.to_us)).collect()
    }

    #[test]
    fn the_coarsest_sums_that_fit() {
        let (quarter, day) = (Source::Sums(Grain::Quarter), Source::Sums(Grain::Day));
        assert_eq!(of(DAY_US, 3 * DAY_US, &[], ALL), [(day, DAY_US, 3 * DAY_US)]);
        let ragged = of(DAY_US - HOUR - 1, 2 * DAY_US + HOUR + 1, &[(i64::MIN, 0)], ALL);
        let expected = [
            (Source::Rows, DAY_US - HOUR - 1, DAY_US - HOUR),
            (quarter, DAY_US - HOUR, DAY_US),
            (day, DAY_US, 2 * DAY_US),
            (quarter, 2 * DAY_US, 2 * DAY_US + HOUR),
            (Source::Rows, 2 * DAY_US + HOUR, 2 * DAY_US + HOUR + 1),
        ];
        assert_eq!(ragged, expected);
        assert_eq!(of(1, 2, &[], ALL), [(Source::Rows, 1, 2)]);
        assert_eq!(of(1, QUARTER_US, &[], ALL), [(Source::Rows, 1, QUARTER_US)]);
    }

    #[test]
    fn days_of_another_zone_are_made_of_quarters() {
        let london = [(i64::MIN, 0), (2 * DAY_US + HOUR, HOUR)];
        let pieces = of(0, 5 * DAY_US, &london, Detail::default());
        let totals = (Source::Sums(Grain::DayModel), Source::Sums(Grain::QuarterModel));
        assert_eq!(
            pieces,
            [
                (totals.0, 0, 2 * DAY_US),
                (totals.1, 2 * DAY_US, 2 * DAY_US + HOUR),
                (totals.1, 2 * DAY_US + HOUR, 5 * DAY_US),
            ]
        );
    }

    #[test]
    fn what_need_not_be_told_apart_is_not() {
        let day = |models, licenses, keys| {
            pieces(0, DAY_US, &[], Detail { models, licenses, keys }).pop().map(|piece| piece.source)
        };
        assert_eq!(day(true, false, false), Some(Source::Sums(Grain::DayModel)));
        assert_eq!(day(false, true, false), Some(Source::Sums(Grain::DayLicense)));
        assert_eq!(day(true, true, false), Some(Source::Sums(Grain::Day)));
        assert_eq!(day(false, false, true), Some(Source::Sums(Grain::Day)));
    }
}
