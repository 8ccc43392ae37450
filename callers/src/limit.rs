//! How often somebody may call: a token bucket for each account, key and address.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::{Duration, Instant};

use crate::generations::Generations;

/// Most callers that are remembered. One that is forgotten has a full bucket again.
const CALLERS_MAX: usize = 262_144;
/// How many seconds' worth of calls may come at once.
pub const BURST_S: u32 = 3;

/// Buckets of one kind of caller.
///
/// Each is one number, the moment at which it would be full again (the generic cell rate algorithm), so there is nothing
/// to fill by a timer.
pub struct Buckets {
    full_at: Generations<u64, u64>,
    hasher: RandomState,
    began: Instant,
    /// Of one call, in nanoseconds.
    interval: u64,
    /// How far ahead of now a bucket may be, in nanoseconds.
    burst: u64,
}

impl Buckets {
    /// Buckets that give `per_second` calls a second and [`BURST_S`] seconds' worth at once; `None` where that is 0: no
    /// limit.
    #[must_use]
    pub fn new(per_second: u32) -> Option<Self> {
        let interval = 1_000_000_000_u64.checked_div(u64::from(per_second))?;
        Some(Self {
            full_at: Generations::new(CALLERS_MAX),
            hasher: RandomState::new(),
            began: Instant::now(),
            interval,
            burst: interval * u64::from(per_second) * u64::from(BURST_S),
        })
    }

    /// Takes one call out of a caller's bucket; where it is empty, says in how long it won't be.
    pub fn take(&self, caller: impl Hash) -> Result<(), Duration> {
        self.take_at(caller, Instant::now())
    }

    fn take_at(&self, caller: impl Hash, now: Instant) -> Result<(), Duration> {
        let now = u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX / 2);
        self.full_at.change(self.hasher.hash_one(caller), |full_at| {
            let was = full_at.unwrap_or_default().max(now);
            let becomes = was + self.interval;
            match becomes.saturating_sub(now).checked_sub(self.burst) {
                None | Some(0) => (becomes, Ok(())),
                Some(over) => (was, Err(Duration::from_nanos(over))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_and_is_nobody_elses() {
        let buckets = Buckets::new(10).unwrap();
        let at = |millis| buckets.began + Duration::from_millis(millis);
        for call in 0..30 {
            assert_eq!(buckets.take_at("a", at(0)), Ok(()), "call {call}");
        }
        assert_eq!(buckets.take_at("a", at(0)), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take_at("b", at(0)), Ok(()));
        assert_eq!(buckets.take_at("a", at(99)), Err(Duration::from_millis(1)));
        assert_eq!(buckets.take_at("a", at(100)), Ok(()));
        assert!(buckets.take_at("a", at(100)).is_err());
        let later = (0..40).filter(|_| buckets.take_at("a", at(60_000)).is_ok()).count();
        assert_eq!(later, 30, "never more than a burst");
    }

    #[test]
    fn nought_is_no_limit() {
        assert!(Buckets::new(0).is_none());
    }
}
