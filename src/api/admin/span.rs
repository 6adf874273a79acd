//! Spans of time as the operator writes them: times or dates, in a time zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::error::Error;

/// The zone that `tz` names; UTC if it is left out.
///
/// # Errors
/// `InvalidRequest` for a name that IANA doesn't list.
pub fn zone(tz: Option<&str>) -> Result<TimeZone, Error> {
    let Some(name) = tz else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| Error::field("tz", "tz is an IANA time zone such as `UTC` or `Asia/Tokyo`"))
}

/// A time in RFC 3339, or the midnight `days_later` after a date.
///
/// # Errors
/// `InvalidRequest`, naming `param`.
pub fn moment(param: &str, text: &str, zone: &TimeZone, days_later: i64) -> Result<Timestamp, Error> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let wrong = || Error::field(param, format!("{param} is a time such as 2026-11-21T12:00:00Z or a date"));
    let date: Date = if text.len() == 10 { text.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    let date = date.checked_add(days_later.days()).map_err(|_| wrong())?;
    Ok(date.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp())
}

/// Since when the zone's local time is how far ahead of UTC, in microseconds: the first from the beginning on, and
/// those that begin between `start` and `end`.
#[must_use]
pub fn offsets(zone: &TimeZone, start: Timestamp, end: Timestamp) -> Vec<(i64, i64)> {
    let ahead = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * 1_000_000;
    let changes = zone.following(start).take_while(|change| change.timestamp() < end);
    let changes = changes.map(|change| (change.timestamp().as_microsecond(), ahead(change.offset())));
    std::iter::once((i64::MIN, ahead(zone.to_offset(start)))).chain(changes).collect()
}

/// The date of a local day's number since 1970.
#[must_use]
pub fn date(day: i64) -> Date {
    const FIRST: Date = jiff::civil::date(1970, 1, 1);
    jiff::Span::new().try_days(day).and_then(|days| FIRST.checked_add(days)).unwrap_or(Date::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_daylight_saving() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let berlin = zone(Some("Europe/Berlin")).unwrap();
        let hour = 3_600_000_000;
        let (spring, autumn) = (at("2026-03-29T01:00:00Z"), at("2026-10-25T01:00:00Z"));
        let found = offsets(&berlin, at("2026-01-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        let expected = [(i64::MIN, hour), (spring.as_microsecond(), 2 * hour), (autumn.as_microsecond(), hour)];
        assert_eq!(found, expected);
        assert_eq!(offsets(&TimeZone::UTC, spring, autumn), [(i64::MIN, 0)]);
        assert_eq!(offsets(&berlin, spring, autumn), [(i64::MIN, 2 * hour)]);
        let kathmandu = zone(Some("Asia/Kathmandu")).unwrap();
        assert_eq!(offsets(&kathmandu, spring, autumn), [(i64::MIN, 5 * hour + hour * 3 / 4)]);
    }

    #[test]
    fn moments_and_dates() {
        let tokyo = zone(Some("Asia/Tokyo")).unwrap();
        assert_eq!(moment("end", "2026-11-21", &tokyo, 1).unwrap().to_string(), "2026-11-21T15:00:00Z");
        assert_eq!(
            moment("start", "2026-11-21T00:00:00+01:00", &tokyo, 0).unwrap().to_string(),
            "2026-11-20T23:00:00Z"
        );
        for wrong in ["tomorrow", "2026-13-01", "2026-11-21T00:00"] {
            assert_eq!(moment("start", wrong, &tokyo, 0).unwrap_err().param(), Some("start"), "{wrong}");
        }
        assert_eq!(zone(Some("Mars/Olympus")).unwrap_err().param(), Some("tz"));
        assert_eq!(date(0).to_string(), "1970-01-01");
        assert_eq!(date(20_778).to_string(), "2026-11-21");
    }
}
