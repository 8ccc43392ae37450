//! Causes outside: said once when they begin and once when they end, with bounded waits between.

use std::fmt::Display;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first wait of an outage.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Whether something outside is away, as seen by all who need it.
#[derive(Debug)]
pub(crate) struct Outage {
    projection: String,
    what: &'static str,
    since: Mutex<Option<Instant>>,
}

impl Outage {
    pub(crate) const fn new(projection: String, what: &'static str) -> Self {
        Self { projection, what, since: Mutex::new(None) }
    }

    /// A try failed; `true` if it is the first of this outage.
    pub(crate) fn failed(&self, error: &dyn Display) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let first = since.is_none();
        if first {
            *since = Some(Instant::now());
            tracing::warn!(projection = self.projection, what = self.what, %error, "waiting, and trying again");
        } else {
            tracing::debug!(projection = self.projection, what = self.what, %error, "still waiting");
        }
        first
    }

    /// A try went well.
    pub(crate) fn over(&self) {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(projection = self.projection, what = self.what, away_ms, "going on");
        }
    }
}

/// The waits of one who tries again: doubled each time up to a bound, and never in step with others.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How often it was tried in vain.
    pub(crate) const fn tries(&self) -> u32 {
        self.tries
    }

    pub(crate) fn next(&mut self) -> Duration {
        let full = WAIT_MIN.saturating_mul(1 << self.tries.min(10)).min(WAIT_MAX);
        self.tries += 1;
        // Jitter from the hasher's own seed: between half of the wait and all of it.
        let dice = foldhash::fast::RandomState::default().hash_one(self.tries) % 512;
        full / 2 + full / 1024 * u32::try_from(dice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] <= WAIT_MIN);
        assert!(waits[19] >= WAIT_MAX / 2);
        assert!(waits.iter().all(|wait| *wait <= WAIT_MAX));
    }

    #[test]
    fn an_outage_is_said_once() {
        let outage = Outage::new("p".into(), "database");
        assert!(outage.failed(&"refused"));
        assert!(!outage.failed(&"refused"));
        outage.over();
        assert!(outage.failed(&"refused"));
    }
}
