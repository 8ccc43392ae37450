//! What time it is by the log, between two records.
//!
//! Leases end by the brokers' stamps, and a check between two records is evaluated at the time of this node. A clock that
//! is an hour off must not end, or prolong, anybody's lease: so it is kept to what the log's own stamps say. A record that
//! was not there when the log's end was asked for, and was folded when it was asked for again, was stamped in between;
//! and how long ago that was, the machine's monotonic clock says, which nobody steps.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pulsegate_domain::time::Timestamp;

/// By how much a node's clock may differ from the log's and still be believed: brokers differ from each other, too.
const TOLERANCE_MS: i64 = 1_000;
/// Two monotonic clocks drift apart by less than one part in so many.
const DRIFT: i64 = 1_000;

/// An instant, by the log as far as this node knows it, and by its monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

impl Now {
    /// What time it is, by the log.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        self.at
    }

    /// What time it was then.
    pub(super) fn then(self, instant: Instant) -> Timestamp {
        self.at.minus_ms(ms(self.instant.saturating_duration_since(instant)).unsigned_abs())
    }
}

/// A stamp, and between which instants it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamped {
    pub(super) stamp: Timestamp,
    pub(super) after: Instant,
    pub(super) before: Instant,
}

/// The newest stamp that says what time it is.
#[derive(Default)]
pub(super) struct LogTime(RwLock<Option<Stamped>>);

impl LogTime {
    /// Takes up a stamp.
    pub(super) fn note(&self, stamped: Stamped) {
        let mut newest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|known| known.before < stamped.before) {
            *newest = Some(stamped);
        }
    }

    /// What time it is.
    pub(super) fn now(&self) -> Now {
        let instant = Instant::now();
        Now { at: self.at(wall(), instant), instant }
    }

    /// The node's clock, which says `wall` at `instant`, kept to what the log says.
    fn at(&self, wall: Timestamp, instant: Instant) -> Timestamp {
        let newest = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Stamped { stamp, after, before }) = newest else { return wall };
        let since = |then: Instant| ms(instant.saturating_duration_since(then));
        let margin = TOLERANCE_MS + since(before) / DRIFT;
        let stamp = stamp.millis();
        let earliest = stamp.saturating_add(since(before) - margin);
        let latest = stamp.saturating_add(since(after) + margin);
        Timestamp::from_millis(wall.millis().clamp(earliest, latest))
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

/// The node's clock.
pub(super) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// What a clock that says `wall_ms` is taken for, `later_ms` after a record of 1 000 000 ms was stamped within the
    /// half second before it was seen.
    fn taken_for(wall_ms: i64, later_ms: u64) -> i64 {
        let begun = Instant::now();
        let seen = begun + Duration::from_millis(500);
        let log = LogTime::default();
        log.note(Stamped { stamp: Timestamp::from_millis(1_000_000), after: begun, before: seen });
        log.at(Timestamp::from_millis(wall_ms), seen + Duration::from_millis(later_ms)).millis()
    }

    #[test]
    fn a_clock_that_agrees_is_believed() {
        for wall_ms in [1_000_000, 1_000_300, 999_200, 1_001_400] {
            assert_eq!(taken_for(wall_ms, 0), wall_ms);
        }
        assert_eq!(taken_for(1_010_200, 10_000), 1_010_200);
    }

    #[test]
    fn a_clock_that_was_stepped_is_kept_to_the_log() {
        assert_eq!(taken_for(1_000_000 + HOUR_MS, 0), 1_001_500);
        assert_eq!(taken_for(1_000_000 - HOUR_MS, 0), 999_000);
        // And goes on from there, with a margin that grows slowly.
        assert_eq!(taken_for(1_000_000 + HOUR_MS, 10_000), 1_011_510);
        assert_eq!(taken_for(1_000_000 - HOUR_MS, 10_000), 1_008_990);
    }

    #[test]
    fn without_a_stamp_the_nodes_clock_is_all_there_is_and_the_newest_stamp_counts() {
        let (log, begun) = (LogTime::default(), Instant::now());
        assert_eq!(log.at(Timestamp::from_millis(5), begun).millis(), 5);
        let stamped = |ms: u64| {
            let at = begun + Duration::from_millis(ms);
            Stamped { stamp: Timestamp::from_millis(i64::try_from(ms).unwrap()), after: at, before: at }
        };
        log.note(stamped(7_000));
        log.note(stamped(2_000));
        assert_eq!(log.at(Timestamp::from_millis(0), begun + Duration::from_secs(7)).millis(), 6_000);
    }
}
