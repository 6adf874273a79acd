//! The present, in the resolution that the store keeps.

use jiff::Timestamp;

/// Now, truncated to microseconds, so that a time read back from the store equals the one written.
#[must_use]
pub fn now() -> Timestamp {
    at(Timestamp::now().as_microsecond())
}

/// The time that a `*_us` column holds. Values beyond jiff's range (year 9999) become its end.
#[must_use]
pub fn at(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
}
