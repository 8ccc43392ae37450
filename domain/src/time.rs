//! Log time: milliseconds since the Unix epoch, UTC, as Kafka stamps a record.

use std::fmt;

use chrono::{DateTime, Datelike as _, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MS_PER_DAY: i64 = 86_400_000;

/// An instant of log time, in milliseconds since the Unix epoch (UTC).
///
/// Serialized as RFC 3339 with milliseconds (`2026-11-22T20:47:03.120Z`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every record.
    pub const MIN: Self = Self(i64::MIN);

    /// The instant `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The instant `ms` later; saturates, so that an absurd lease never wraps into the past.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(ms))
    }

    /// The instant `ms` earlier; saturates.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub_unsigned(ms))
    }

    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        if self.0 > earlier.0 { self.0.abs_diff(earlier.0) } else { 0 }
    }

    /// Reads RFC 3339; `None` if it is none. Ours (`2026-11-22T20:47:03.120Z`) is read in a fraction of the time that
    /// any other spelling takes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let any = || DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_millis()));
        let &[
            y1,
            y2,
            y3,
            y4,
            b'-',
            m1,
            m2,
            b'-',
            d1,
            d2,
            b'T',
            h1,
            h2,
            b':',
            n1,
            n2,
            b':',
            s1,
            s2,
            b'.',
            f1,
            f2,
            f3,
            b'Z',
        ] = text.as_bytes()
        else {
            return any();
        };
        let number = |digits: &[u8]| {
            digits
                .iter()
                .try_fold(0_u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
        };
        let date =
            NaiveDate::from_ymd_opt(number(&[y1, y2, y3, y4])?.cast_signed(), number(&[m1, m2])?, number(&[d1, d2])?)?;
        // A leap second is left to the slow way.
        let Some(time) =
            date.and_hms_milli_opt(number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?, number(&[f1, f2, f3])?)
        else {
            return any();
        };
        Some(Self(time.and_utc().timestamp_millis()))
    }

    /// The instant as text; `None` where its year has not four digits. Every event and every answer has one: written with
    /// chrono's formatter it would cost more than the verdict beside it.
    pub(crate) fn written(self) -> Option<[u8; 24]> {
        let date = DateTime::from_timestamp_millis(self.0)?.date_naive();
        let year = u32::try_from(date.year()).ok().filter(|year| *year <= 9_999)?;
        let ms = u32::try_from(self.0.rem_euclid(MS_PER_DAY)).ok()?;
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (end, len, number) in [
            (4, 4, year),
            (7, 2, date.month()),
            (10, 2, date.day()),
            (13, 2, hour),
            (16, 2, minute),
            (19, 2, second),
            (23, 3, ms % 1_000),
        ] {
            let mut rest = number;
            for digit in text[end - len..end].iter_mut().rev() {
                *digit = b"0123456789"[(rest % 10) as usize];
                rest /= 10;
            }
        }
        Some(text)
    }

    /// The calendar form; instants outside chrono's range (±262 000 years) are clamped to it.
    #[must_use]
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(if self.0 < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }
}

/// By how many milliseconds at least a clock that was read at `asked` and again at `answered` is ahead of the clock that
/// gave `stamp` between the two readings; negative if it is behind, 0 if they may well be the same.
#[must_use]
pub const fn ahead_ms(asked: Timestamp, stamp: Timestamp, answered: Timestamp) -> i64 {
    if stamp.0 < asked.0 {
        asked.0.saturating_sub(stamp.0)
    } else if stamp.0 > answered.0 {
        answered.0.saturating_sub(stamp.0)
    } else {
        0
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.written() {
            Some(text) => f.write_str(str::from_utf8(&text).unwrap_or_default()),
            None => f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true)),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DateTime::<Utc>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_by_what_the_time_of_a_question_does_not_explain() {
        let ahead = |asked, stamp, answered| {
            ahead_ms(Timestamp::from_millis(asked), Timestamp::from_millis(stamp), Timestamp::from_millis(answered))
        };
        assert_eq!(ahead(100, 100, 100), 0);
        assert_eq!(ahead(100, 150, 200), 0);
        assert_eq!(ahead(100, 70, 200), 30);
        assert_eq!(ahead(100, 260, 200), -60);
        assert_eq!(ahead(i64::MAX, i64::MIN, i64::MAX), i64::MAX);
    }

    #[test]
    fn is_written_as_rfc_3339_with_milliseconds() {
        let time = Timestamp::from_millis(1_795_380_423_120);
        assert_eq!(time.to_string(), "2026-11-22T20:47:03.120Z");
        assert_eq!(serde_json::from_str::<Timestamp>("\"2026-11-22T20:47:03.120Z\"").unwrap(), time);
    }

    proptest::proptest! {
        #[test]
        fn every_instant_is_written_as_chrono_writes_it(
            millis in proptest::prop_oneof![
                -80_000_000_000_000_i64..300_000_000_000_000,
                proptest::prelude::any::<i64>(),
            ],
        ) {
            let time = Timestamp::from_millis(millis);
            let expected = time.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true);
            proptest::prop_assert_eq!(time.to_string(), expected);
        }
    }

    #[test]
    fn any_spelling_of_an_instant_is_read_the_same() {
        for (text, millis) in [
            ("2026-11-22T20:47:03.120Z", Some(1_795_380_423_120)),
            ("2026-11-22T20:47:03.12Z", Some(1_795_380_423_120)),
            ("2026-11-22T21:47:03.120999+01:00", Some(1_795_380_423_120)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2016-12-31T23:59:60.500Z", Some(1_483_228_800_500)),
            ("2026-02-30T00:00:00.000Z", None),
            ("2026-11-22T24:00:00.000Z", None),
            ("2026-11-2 T20:47:03.120Z", None),
            ("soon", None),
        ] {
            assert_eq!(Timestamp::read(text).map(Timestamp::millis), millis, "{text}");
        }
    }

    #[test]
    fn never_wraps() {
        assert_eq!(Timestamp::from_millis(1).plus_ms(u64::MAX).millis(), i64::MAX);
        assert_eq!(Timestamp::MIN.minus_ms(1), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.ms_since(Timestamp::from_millis(5)), 0);
    }
}
