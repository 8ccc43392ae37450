//! A set of positions, kept as the ranges that it is made of.

use serde::{Deserialize, Serialize};

/// Positions in a title, in milliseconds: half-open ranges, ascending, with gaps between them.
///
/// Most sessions run through a title once, so this is one range; each jump adds one at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds the positions from `start` up to `end`, and says how many of them are new, in milliseconds.
    pub fn insert(&mut self, start: u64, end: u64) -> u64 {
        if start >= end {
            return 0;
        }
        // The ranges that touch the new one become part of it.
        let first = self.0.partition_point(|range| range.1 < start);
        let touching = self.0[first..].partition_point(|range| range.0 <= end);
        let touched = &self.0[first..first + touching];
        let known: u64 = touched.iter().map(length).sum();
        let whole = touched.iter().fold((start, end), |whole, range| (whole.0.min(range.0), whole.1.max(range.1)));
        if let [one] = touched {
            if *one != whole {
                self.0[first] = whole;
            }
        } else {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.splice(first..first + touching, [whole]);
        }
        length(&whole) - known
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending, with gaps between them.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many positions there are, in milliseconds.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        self.0.iter().map(length).sum()
    }
}

fn length(range: &(u64, u64)) -> u64 {
    range.1 - range.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_becomes_one() {
        let mut ranges = Ranges::default();
        for (start, end, new, then) in [
            (10, 20, 10, &[(10, 20)][..]),
            (20, 30, 10, &[(10, 30)]),
            (40, 50, 10, &[(10, 30), (40, 50)]),
            (0, 5, 5, &[(0, 5), (10, 30), (40, 50)]),
            (12, 18, 0, &[(0, 5), (10, 30), (40, 50)]),
            (31, 32, 1, &[(0, 5), (10, 30), (31, 32), (40, 50)]),
            (5, 45, 14, &[(0, 50)]),
            (9, 9, 0, &[(0, 50)]),
        ] {
            assert_eq!(ranges.insert(start, end), new, "{start}..{end}");
            assert_eq!(ranges.as_slice(), then);
        }
        assert_eq!(ranges.total_ms(), 50);
    }
}
