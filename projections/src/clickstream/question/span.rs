//! The days that a question is about.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate};
use thiserror::Error;

use crate::period::Period;

/// Most days of one question.
const DAYS_MAX: u16 = 366;

/// Days of the log, UTC: a period, or the newest so many, `7d`, which go on with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// These.
    Of(Period),
    /// The log's newest day and those before it, so many together.
    Newest(u16),
}

/// Not a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "must be the newest 1-366 days, 7d, or a month, YYYY-MM, a quarter, YYYY-Q4, a day, YYYY-MM-DD, or at most 366 \
     days, YYYY-MM-DD--YYYY-MM-DD"
)]
pub struct InvalidSpan;

impl Span {
    /// How many days.
    #[must_use]
    pub fn days(&self) -> i64 {
        match self {
            Self::Of(period) => (period.last() - period.first()).num_days() + 1,
            Self::Newest(days) => i64::from(*days),
        }
    }

    /// The first and the last day, where the log's clock stands there; `None` where it has none and is needed.
    pub(crate) fn resolve(&self, clock_ms: Option<i64>) -> Option<(NaiveDate, NaiveDate)> {
        match self {
            Self::Of(period) => Some((period.first(), period.last())),
            Self::Newest(days) => {
                let last = DateTime::from_timestamp_millis(clock_ms?)?.date_naive();
                Some((last.checked_sub_days(Days::new(u64::from(*days) - 1))?, last))
            }
        }
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let Some(days) = text.strip_suffix('d') else { return text.parse().map(Self::Of).map_err(|_| InvalidSpan) };
        let days: u16 = days.parse().ok().filter(|read: &u16| read.to_string() == days).ok_or(InvalidSpan)?;
        if (1..=DAYS_MAX).contains(&days) { Ok(Self::Newest(days)) } else { Err(InvalidSpan) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(period) => period.fmt(f),
            Self::Newest(days) => write!(f, "{days}d"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_days_end_with_the_logs_newest() {
        let days = |text: &str, clock| {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), text);
            span.resolve(clock).map(|(first, last)| (first.to_string(), last.to_string()))
        };
        // 2026-11-22T23:59:00Z
        let clock = Some(1_795_391_940_000);
        assert_eq!(days("1d", clock), Some(("2026-11-22".into(), "2026-11-22".into())));
        assert_eq!(days("30d", clock), Some(("2026-10-24".into(), "2026-11-22".into())));
        assert_eq!(days("7d", None), None);
        assert_eq!(days("2026-10", None), Some(("2026-10-01".into(), "2026-10-31".into())));
        assert!(["", "d", "0d", "367d", "007d", "-1d", "7", "7 d"].iter().all(|bad| bad.parse::<Span>().is_err()));
    }
}
