//! The period of a report: a month, a quarter or some days, UTC.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, Months, NaiveDate};
use thiserror::Error;

/// Most days of one period.
const DAYS_MAX: i64 = 366;

/// Days that one report is about: `2026-10`, `2026-Q4`, `2026-10-31` or `2026-10-01--2026-10-15`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    name: String,
    pub(crate) first: NaiveDate,
    /// Inclusive.
    pub(crate) last: NaiveDate,
}

/// Not a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "must be a month, YYYY-MM, a quarter, YYYY-Q4, a day, YYYY-MM-DD, or at most 366 days, YYYY-MM-DD--YYYY-MM-DD, \
     of the years 1970-9999"
)]
pub struct InvalidPeriod;

impl Period {
    /// The first day.
    #[must_use]
    pub const fn first(&self) -> NaiveDate {
        self.first
    }

    /// The last day.
    #[must_use]
    pub const fn last(&self) -> NaiveDate {
        self.last
    }

    /// The first and the last day.
    #[must_use]
    pub const fn days(&self) -> (NaiveDate, NaiveDate) {
        (self.first, self.last)
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let day = |text: &str| {
            // Other spellings that chrono reads would make two names of one period.
            let day: NaiveDate = text.parse().ok()?;
            ((1970..=9999).contains(&day.year()) && day.to_string() == text).then_some(day)
        };
        let months = |first: &str, count: u32| {
            day(&format!("{first}-01")).and_then(|first| Some((first, (first + Months::new(count)).pred_opt()?)))
        };
        let days = match (text.len(), text.as_bytes()) {
            (10, _) => day(text).map(|day| (day, day)),
            (7, [.., b'-', b'Q', quarter @ b'1'..=b'4']) => {
                months(&format!("{}-{:02}", &text[..4], (quarter - b'1') * 3 + 1), 3)
            }
            (7, _) => months(text, 1),
            (22, _) => text
                .split_once("--")
                .and_then(|(first, last)| Some((day(first)?, day(last)?)))
                .filter(|(first, last)| first < last && (*last - *first).num_days() < DAYS_MAX),
            _ => None,
        };
        let (first, last) = days.ok_or(InvalidPeriod)?;
        Ok(Self { name: text.to_owned(), first, last })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_month_a_quarter_or_some_days() {
        let days = |text: &str| text.parse().map(|Period { first, last, .. }| (first.to_string(), last.to_string()));
        assert_eq!(days("2026-10"), Ok(("2026-10-01".into(), "2026-10-31".into())));
        assert_eq!(days("2024-02"), Ok(("2024-02-01".into(), "2024-02-29".into())));
        assert_eq!(days("9999-12"), Ok(("9999-12-01".into(), "9999-12-31".into())));
        assert_eq!(days("2026-10-31"), Ok(("2026-10-31".into(), "2026-10-31".into())));
        assert_eq!(days("2026-Q4"), Ok(("2026-10-01".into(), "2026-12-31".into())));
        assert_eq!(days("2024-Q1"), Ok(("2024-01-01".into(), "2024-03-31".into())));
        assert_eq!(days("2026-10-01--2026-10-15"), Ok(("2026-10-01".into(), "2026-10-15".into())));
        assert_eq!(days("2024-01-01--2024-12-31"), Ok(("2024-01-01".into(), "2024-12-31".into())));
        for bad in [
            "2026-Q5",
            "2026-Q0",
            "2026-q1",
            "2026-10-02--2026-10-01",
            "2026-10-01--2026-10-01",
            "2026-01-01--2027-01-02",
            "é026-Q1",
        ] {
            assert_eq!(bad.parse::<Period>(), Err(InvalidPeriod), "{bad}");
        }
        for bad in ["", "2026", "2026-13", "2026-1", "2026-02-30", "1969-12", "2026-10-1", "+026-10", "2026-10-31 "] {
            assert_eq!(bad.parse::<Period>(), Err(InvalidPeriod), "{bad}");
        }
    }
}
