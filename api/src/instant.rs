//! An instant as it stands in a query.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use pulsegate_domain::time::Timestamp;

/// An instant, read from RFC 3339 with its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant(pub(crate) Timestamp);

impl FromStr for Instant {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::parse_from_rfc3339(text)
            // In a query a plus that isn't encoded means a space, and offsets begin with one.
            .or_else(|_| DateTime::parse_from_rfc3339(&text.replace(' ', "+")))
            .map_err(|_| "must be an RFC 3339 time with its offset, e.g. 2026-11-22T20:47:03.120Z")?;
        Ok(Self(Timestamp::from(time.with_timezone(&Utc))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_may_have_lost_its_plus() {
        let expected = Ok(Instant(Timestamp::from_millis(1_795_380_423_000)));
        for text in ["2026-11-22T20:47:03Z", "2026-11-22T21:47:03+01:00", "2026-11-22T21:47:03 01:00"] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for bad in ["", "now", "2026-11-22", "2026-11-22T20:47:03", "1795380423"] {
            assert!(bad.parse::<Instant>().is_err(), "{bad}");
        }
    }
}
