//! How views are counted.

use rust_decimal::Decimal;
use serde::Serialize;

use super::reading::Members;
use crate::money::Rounding;

/// Largest number that views may be rounded to.
const ROUND_TO_MAX: u64 = 1_000_000_000;

/// How views are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "views", rename_all = "snake_case")]
pub enum Counting {
    /// Sessions whose watched time reached the contract's `view_threshold_ms`.
    #[default]
    Qualified,
    /// Hours watched of a title, divided by how long the title is; over all rows of a title, rounded once.
    HoursByRuntime {
        /// To a multiple of this.
        round_to: u64,
        /// Half-way.
        rounding: Rounding,
    },
}

impl Counting {
    pub(super) fn read(members: &mut Members<'_, '_>) -> Option<Self> {
        let is_by_runtime = members.word("views", "must be qualified or hours_by_runtime", |word| match word {
            "qualified" => Some(false),
            "hours_by_runtime" => Some(true),
            _ => None,
        });
        let rounding = match members.raw("rounding") {
            None => Some(Rounding::HalfUp),
            Some(value) => rounding(value),
        };
        if rounding.is_none() {
            members.note("rounding", "must be half_even or half_up");
        }
        let round_to = match members.raw("round_to") {
            None => Some(1),
            Some(value) => value.as_u64().filter(|number| (1..=ROUND_TO_MAX).contains(number)),
        };
        if round_to.is_none() {
            members.note("round_to", "must be an integer of 1-1000000000");
        }
        Some(if is_by_runtime? {
            Self::HoursByRuntime { round_to: round_to?, rounding: rounding? }
        } else {
            Self::Qualified
        })
    }

    /// Views of a title that is `runtime_ms` long and was watched for `watched_ms`; `None` without a length.
    #[must_use]
    pub fn views_by_runtime(round_to: u64, rounding: Rounding, watched_ms: u64, runtime_ms: u64) -> Option<u64> {
        let unit = u128::from(runtime_ms.max(1)) * u128::from(round_to.max(1));
        if runtime_ms == 0 {
            return None;
        }
        // In integers, so that half-way is half-way.
        let (whole, rest) = (u128::from(watched_ms) / unit, u128::from(watched_ms) % unit);
        let up = match (rest * 2).cmp(&unit) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => 1,
            std::cmp::Ordering::Equal => match rounding {
                Rounding::HalfUp => 1,
                Rounding::HalfEven => whole % 2,
            },
        };
        u64::try_from((whole + up) * u128::from(round_to.max(1))).ok()
    }
}

pub(super) fn rounding(value: &serde_json::Value) -> Option<Rounding> {
    match value.as_str()? {
        "half_even" => Some(Rounding::HalfEven),
        "half_up" => Some(Rounding::HalfUp),
        _ => None,
    }
}

/// A count as a decimal.
pub(super) fn decimal(count: u64) -> Decimal {
    Decimal::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_by_runtime_are_rounded_once_and_exactly() {
        let hour = 3_600_000;
        for (round_to, rounding, watched_ms, runtime_ms, views) in [
            (1, Rounding::HalfUp, 3 * hour, 2 * hour, Some(2)),
            (1, Rounding::HalfEven, 5 * hour, 2 * hour, Some(2)),
            (1, Rounding::HalfUp, 5 * hour, 2 * hour, Some(3)),
            (100_000, Rounding::HalfUp, 149_999 * hour, hour, Some(100_000)),
            (100_000, Rounding::HalfUp, 150_000 * hour, hour, Some(200_000)),
            (100_000, Rounding::HalfUp, 0, hour, Some(0)),
            (1, Rounding::HalfUp, hour, 0, None),
        ] {
            assert_eq!(Counting::views_by_runtime(round_to, rounding, watched_ms, runtime_ms), views);
        }
    }

    /// Netflix publishes views as hours viewed ÷ runtime, both and the result rounded to 100 000. Rows of its lists of the
    /// most popular titles in their first 91 days (netflix.com/tudum/top10/most-popular), as they stood in 2024.
    #[test]
    fn published_views_are_published_hours_by_runtime() {
        for (title, hours, (runtime_h, runtime_min), views) in [
            ("Squid Game: Season 1", 2_205_200_000, (8, 19), 265_200_000),
            ("Wednesday: Season 1", 1_718_800_000, (6, 49), 252_100_000),
            ("Stranger Things 4", 1_838_000_000, (13, 4), 140_700_000),
            ("DAHMER", 1_031_100_000, (8, 55), 115_600_000),
            ("Red Notice", 454_200_000, (1, 58), 230_900_000),
            ("Don't Look Up", 408_600_000, (2, 23), 171_400_000),
        ] {
            let (watched_ms, runtime_ms) = (hours * 3_600_000, (runtime_h * 60 + runtime_min) * 60_000);
            let counted = Counting::views_by_runtime(100_000, Rounding::HalfUp, watched_ms, runtime_ms);
            assert_eq!(counted, Some(views), "{title}");
        }
    }
}
