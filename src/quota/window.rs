//! Where a budget's period begins and ends. Pure.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use crate::error::Error;

const SECOND_US: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// The windows that can roll, and how they are counted, in seconds: the window's length, and that of the slices in
/// which usage leaves it. A month is thirty days here.
const ROLLING: [(&str, i64, i64); 4] =
    [("5h", 5 * 3_600, 60), ("1d", DAY_SECONDS, 300), ("1w", 7 * DAY_SECONDS, 1_800), ("1mo", 30 * DAY_SECONDS, 7_200)];

/// When what is used at `at` leaves a window that rolls, in microseconds since 1970, by the window's word: when its
/// whole slice is out, so that no window of that length ever holds more than was allowed.
#[must_use]
pub fn leaving(at: Timestamp) -> [(&'static str, i64); 4] {
    let at = at.as_microsecond();
    ROLLING.map(|(span, length, slice)| {
        let slice_us = slice * SECOND_US;
        (span, (at.div_euclid(slice_us) + 1) * slice_us + length * SECOND_US)
    })
}

/// What each window that rolls counts at `at`, by its word: since when, in microseconds since 1970, and its length.
#[must_use]
pub fn counting(at: Timestamp) -> [(&'static str, i64, i64); 4] {
    let at = at.as_microsecond();
    ROLLING.map(|(span, length, slice)| {
        let (length_us, slice_us) = (length * SECOND_US, slice * SECOND_US);
        (span, (at - length_us).div_euclid(slice_us) * slice_us, length_us)
    })
}

/// The first period of a budget that is made at `at`: it counts from then on, until the period's end where it has one.
/// A rolling one has nothing to forget yet.
///
/// # Errors
/// As [`period`]; `InvalidRequest` for a lifetime that rolls.
pub fn first(span: &str, rolls: bool, tz: &str, at: Timestamp) -> Result<(Timestamp, Option<Timestamp>), Error> {
    if !rolls {
        return period(span, tz, at).map(|(_, end)| (at, end));
    }
    if ROLLING.iter().any(|(known, ..)| *known == span) {
        return Ok((at, None));
    }
    Err(Error::field("mode", "a lifetime does not roll; leave `mode` out, or name another window"))
}

/// The period that holds `at`: its start, and its end unless it is a lifetime.
///
/// Days, weeks (from Monday) and months begin at local midnight of `tz`; five-hour periods are counted
/// from 1970 without gaps.
///
/// # Errors
/// `InvalidRequest` for an unknown span or time zone.
pub fn period(span: &str, tz: &str, at: Timestamp) -> Result<(Timestamp, Option<Timestamp>), Error> {
    let zone = TimeZone::get(tz).map_err(|_| {
        Error::field("tz", format!("`{tz}` is not a time zone; write an IANA name such as `UTC` or `Asia/Tokyo`"))
    })?;
    let out_of_range = |error: jiff::Error| Error::request(format!("no period fits this time: {error}"));
    let local = at.to_zoned(zone);
    let (start, length) = match span {
        "lifetime" => return Ok((at, None)),
        "5h" => return five_hours(at).map_err(out_of_range),
        "1d" => (local.start_of_day(), Span::new().days(1)),
        "1w" => (start_of_week(&local), Span::new().weeks(1)),
        "1mo" => {
            let first = local.first_of_month().map_err(out_of_range)?;
            (first.start_of_day(), Span::new().months(1))
        }
        other => {
            return Err(Error::field("window", format!("`{other}` is not a window; use 5h, 1d, 1w, 1mo or lifetime")));
        }
    };
    let start = start.map_err(out_of_range)?;
    let end = start.checked_add(length).map_err(out_of_range)?;
    Ok((start.timestamp(), Some(end.timestamp())))
}

fn five_hours(at: Timestamp) -> Result<(Timestamp, Option<Timestamp>), jiff::Error> {
    const SECONDS: i64 = 5 * 60 * 60;
    let start = Timestamp::from_second(at.as_second().div_euclid(SECONDS) * SECONDS)?;
    Ok((start, Some(start.checked_add(SignedDuration::from_secs(SECONDS))?)))
}

fn start_of_week(local: &Zoned) -> Result<Zoned, jiff::Error> {
    let since_monday = local.weekday().since(Weekday::Monday);
    local.checked_sub(Span::new().try_days(since_monday)?)?.start_of_day()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        let at: Timestamp = "2026-11-21T03:04:05Z".parse().unwrap();
        for (span, tz, start, end) in [
            ("1d", "UTC", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("1d", "Asia/Tokyo", "2026-11-20T15:00:00Z", "2026-11-21T15:00:00Z"),
            ("1w", "UTC", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("1mo", "America/New_York", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
            ("5h", "UTC", "2026-11-21T03:00:00Z", "2026-11-21T08:00:00Z"),
        ] {
            let expected = (start.parse().unwrap(), Some(end.parse().unwrap()));
            assert_eq!(period(span, tz, at).unwrap(), expected, "{span} {tz}");
        }
        assert_eq!(period("lifetime", "UTC", at).unwrap(), (at, None));
        // Where clocks change the day has 23 or 25 hours.
        let spring: Timestamp = "2026-03-29T12:00:00Z".parse().unwrap();
        let (start, end) = period("1d", "Europe/Berlin", spring).unwrap();
        assert_eq!(end.unwrap().duration_since(start), SignedDuration::from_hours(23));
        let autumn: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let (start, end) = period("1d", "America/New_York", autumn).unwrap();
        assert_eq!(end.unwrap().duration_since(start), SignedDuration::from_hours(25));
        assert!(period("2d", "UTC", at).is_err());
        assert!(period("1d", "Nowhere/Land", at).is_err());
    }

    #[test]
    fn what_is_used_stays_for_the_whole_window() {
        let at: Timestamp = "2026-11-21T03:04:05Z".parse().unwrap();
        let leaves = |span| leaving(at).iter().find(|(known, _)| *known == span).unwrap().1;
        let time = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        assert_eq!(leaves("5h"), time("2026-11-21T08:05:00Z"));
        // What is counted has not left, and what came before has.
        for (span, from_us, _) in counting(at) {
            let leaves = |at_us: i64| {
                let at = Timestamp::from_microsecond(at_us).unwrap();
                leaving(at).iter().find(|(known, _)| *known == span).unwrap().1
            };
            assert!(leaves(from_us) > at.as_microsecond() && leaves(from_us - 1) <= at.as_microsecond(), "{span}");
        }
        assert_eq!(leaves("1d"), time("2026-11-22T03:05:00Z"));
        assert_eq!(leaves("1w"), time("2026-11-28T03:30:00Z"));
        assert_eq!(leaves("1mo"), time("2026-12-21T04:00:00Z"));
        assert_eq!(first("1d", true, "UTC", at).unwrap(), (at, None));
        assert!(first("lifetime", true, "UTC", at).is_err());
    }
}
