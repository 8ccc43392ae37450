//! Times as people type them.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use pulsegate_domain::time::Timestamp;

const MINUTE_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;

/// A moment, UTC where no offset is said; as long as it is said exactly: `20:47` is that whole minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) begins: Timestamp,
    /// Its last millisecond.
    pub(super) ends: Timestamp,
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lasting = |begins: Timestamp, ms: u64| Self { begins, ends: begins.plus_ms(ms - 1) };
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            let exact = if text.contains('.') { 1 } else { SECOND_MS };
            return Ok(lasting(time.with_timezone(&Utc).into(), exact));
        }
        let plain = text.strip_suffix(['Z', 'z']).unwrap_or(text).replace(' ', "T");
        for (format, ms) in [("%Y-%m-%dT%H:%M:%S", SECOND_MS), ("%Y-%m-%dT%H:%M", MINUTE_MS)] {
            if let Ok(time) = NaiveDateTime::parse_from_str(&plain, format) {
                return Ok(lasting(time.and_utc().into(), ms));
            }
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
        day.map(|day| lasting(day.and_utc().into(), DAY_MS))
            .ok_or("must be a time such as 2026-11-22T20:47:03Z or 2026-11-22T20:47 (UTC), or a day")
    }
}

/// Since when: a moment, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Moment(Moment),
    AgoMs(u64),
}

impl Since {
    pub(super) const fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Moment(moment) => moment.begins,
            Self::AgoMs(ms) => now.minus_ms(ms),
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = || length_ms(text).map(Self::AgoMs);
        text.parse().map(Self::Moment).ok().or_else(ago).ok_or("must be a time, a day, or so long ago: 30d, 12h, 90m")
    }
}

/// A length of time, up to a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Duration);

impl FromStr for Length {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ms = length_ms(text).filter(|ms| (1..=36_500 * DAY_MS).contains(ms));
        ms.map(|ms| Self(Duration::from_millis(ms))).ok_or("must be a length of time: 90d, 12h, 90m, 30s")
    }
}

/// A length of time in milliseconds: `30d`, `12h`, `90m`, `30s`.
pub(super) fn length_ms(text: &str) -> Option<u64> {
    let units = [('d', DAY_MS), ('h', 3_600_000), ('m', MINUTE_MS), ('s', SECOND_MS)];
    let (digits, unit_ms) = units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(*unit)?, *ms)))?;
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse::<u64>().ok()?.checked_mul(unit_ms)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_as_long_as_it_is_said() {
        let read =
            |text: &str| text.parse::<Moment>().map(|m| (m.begins.to_string(), m.ends.millis() - m.begins.millis()));
        let at = |text: &str, ms: i64| Ok((text.to_owned(), ms));
        assert_eq!(read("2026-11-22T20:47:03.120Z"), at("2026-11-22T20:47:03.120Z", 0));
        assert_eq!(read("2026-11-22T21:47:03+01:00"), at("2026-11-22T20:47:03.000Z", 999));
        assert_eq!(read("2026-11-22 20:47"), at("2026-11-22T20:47:00.000Z", 59_999));
        assert_eq!(read("2026-11-22T20:47Z"), at("2026-11-22T20:47:00.000Z", 59_999));
        assert_eq!(read("2026-11-22"), at("2026-11-22T00:00:00.000Z", 86_399_999));
        assert!(["", "20:47", "yesterday", "2026-13-01", "30d"].iter().all(|bad| bad.parse::<Moment>().is_err()));
    }

    #[test]
    fn a_length_is_neither_nothing_nor_endless() {
        assert_eq!("30s".parse(), Ok(Length(Duration::from_secs(30))));
        assert_eq!("90d".parse(), Ok(Length(Duration::from_hours(90 * 24))));
        assert!(["", "0s", "36501d", "1", "-1h", "2026-11-22"].iter().all(|bad| bad.parse::<Length>().is_err()));
    }

    #[test]
    fn since_may_be_so_long_ago() {
        let now = Timestamp::from_millis(100 * 86_400_000);
        assert_eq!("30d".parse::<Since>().unwrap().before(now), Timestamp::from_millis(70 * 86_400_000));
        assert_eq!("1970-01-02".parse::<Since>().unwrap().before(now), Timestamp::from_millis(86_400_000));
        assert!(
            ["", "d", "-1d", "+1d", "1.5h", "99999999999999999999d", "5 d"]
                .iter()
                .all(|bad| bad.parse::<Since>().is_err())
        );
    }
}
