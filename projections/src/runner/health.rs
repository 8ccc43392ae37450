//! Whether the runners of this process get anywhere.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch_error::BatchError;
use super::record::Source;
use crate::builds::Build;

/// How long a runner may fail to commit what it has before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// What keeps each build of this process from going on; being far behind is no trouble.
#[derive(Debug, Default)]
pub struct Health(Mutex<HashMap<(String, Source), Failing>>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    error: String,
    outage: bool,
}

/// A build's partition that has had records to fold for more than a minute, and could not commit any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub build: String,
    /// Where.
    pub source: Source,
    /// What it is told each time.
    pub error: String,
    /// Whether that is only that the database can't be reached.
    pub outage: bool,
}

impl Health {
    fn failing_ones(&self) -> MutexGuard<'_, HashMap<(String, Source), Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failing(&self, build: &Build, source: Source, error: &BatchError) {
        let mut failing = self.failing_ones();
        let key = (build.to_string(), source);
        let since = failing.get(&key).map_or_else(Instant::now, |known| known.since);
        failing.insert(key, Failing { since, error: error.to_string(), outage: error.is_outage() });
    }

    /// It committed something, or is not worked on any more.
    pub(crate) fn working(&self, build: &Build, source: Source) {
        let mut failing = self.failing_ones();
        if !failing.is_empty() {
            failing.remove(&(build.to_string(), source));
        }
    }

    /// The builds that are stuck.
    #[must_use]
    pub fn stuck(&self) -> Vec<Stuck> {
        let failing = self.failing_ones();
        let stuck = failing.iter().filter(|(_, failing)| failing.since.elapsed() > STUCK_AFTER);
        stuck
            .map(|((build, source), failing)| Stuck {
                build: build.clone(),
                source: *source,
                error: failing.error.clone(),
                outage: failing.outage,
            })
            .collect()
    }
}
