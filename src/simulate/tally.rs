//! What happened in a run, counted as it happens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::habits::Habit;
use super::latency::{Histogram, Quantiles};

/// Violations that are kept word by word; more are only counted.
const EXAMPLES_MAX: usize = 100;

/// A call of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Start of a session.
    Start,
    /// One heartbeat.
    Heartbeat,
    /// The block check.
    Check,
    /// Stop of a session.
    Stop,
    /// Remote kill.
    Evict,
    /// Signals of servers.
    Signal,
    /// Heartbeats that were kept.
    Batch,
}

impl Call {
    const ALL: [Self; 7] =
        [Self::Start, Self::Heartbeat, Self::Check, Self::Stop, Self::Evict, Self::Signal, Self::Batch];

    /// The word of the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Heartbeat => "heartbeat",
            Self::Check => "check",
            Self::Stop => "stop",
            Self::Evict => "evict",
            Self::Signal => "signal",
            Self::Batch => "batch",
        }
    }
}

/// What the players of one habit did and were told.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Counts {
    /// Starts that were sent, retries among them.
    pub(crate) starts: u64,
    /// Starts that were told yes.
    pub(crate) allowed: u64,
    /// Starts that were told no.
    pub(crate) blocked: u64,
    /// Heartbeats that were sent, late ones among them.
    pub(crate) heartbeats: u64,
    /// Heartbeats that were taken from a session that may run.
    pub(crate) accepted: u64,
    /// Heartbeats that were taken and told no, or not taken.
    pub(crate) refused: u64,
    /// Heartbeats that were sent late, in a batch.
    pub(crate) late: u64,
    /// Heartbeats of a player that plays on though it was told no.
    pub(crate) ignored_blocks: u64,
    /// Block checks.
    pub(crate) checks: u64,
    /// Signals.
    pub(crate) signals: u64,
    /// Stops that were acknowledged.
    pub(crate) stops: u64,
    /// Sessions that a player of this habit ended for its own sake.
    pub(crate) evictions: u64,
    /// Answers 410, by reason.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// Wrong requests that were refused, as they should be.
    pub(crate) mischief_refused: u64,
    /// Answers 503 and 429.
    pub(crate) unavailable: u64,
    /// Calls without an answer.
    pub(crate) lost: u64,
    /// Answers that were given before the own event was folded.
    pub(crate) provisional: u64,
    /// Other refusals, by status and code.
    pub(crate) problems: BTreeMap<String, u64>,
}

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// In which account.
    pub(crate) account: String,
    /// In the answer to what, about which session.
    pub(crate) about: String,
    /// What is wrong.
    pub(crate) what: String,
}

/// The counts of a run, shared by its players.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    inner: Mutex<Inner>,
    requests: AtomicU64,
    violations: AtomicU64,
    watching: AtomicI64,
    waiting: AtomicI64,
}

#[derive(Debug, Default)]
struct Inner {
    counts: [Counts; Habit::ALL.len()],
    latency: [Histogram; Call::ALL.len()],
    examples: Vec<Violation>,
}

impl Tally {
    /// Changes the counts of a habit.
    pub(crate) fn count(&self, habit: Habit, change: impl FnOnce(&mut Counts)) {
        change(&mut self.inner().counts[habit as usize]);
    }

    /// Counts a call, and how long its answer took if there was one.
    pub(crate) fn called(&self, call: Call, answered_after: Option<Duration>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(took) = answered_after {
            self.inner().latency[call as usize].add(took);
        }
    }

    /// Counts something that must not happen.
    pub(crate) fn violated(&self, violation: Violation) {
        self.violations.fetch_add(1, Ordering::Relaxed);
        let examples = &mut self.inner().examples;
        if examples.len() < EXAMPLES_MAX {
            examples.push(violation);
        }
    }

    /// Some players begin or cease to watch, or to wait for room.
    pub(crate) fn stand(&self, watching: i64, waiting: i64) {
        self.watching.fetch_add(watching, Ordering::Relaxed);
        self.waiting.fetch_add(waiting, Ordering::Relaxed);
    }

    /// Players that watch now, and players that were told no and wait.
    pub(crate) fn standing(&self) -> (i64, i64) {
        (self.watching.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }

    /// Calls so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Violations so far.
    pub(crate) fn violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }

    /// Those violations that were kept word by word.
    pub(crate) fn examples(&self) -> Vec<Violation> {
        self.inner().examples.clone()
    }

    /// The counts of a habit.
    pub(crate) fn of(&self, habit: Habit) -> Counts {
        self.inner().counts[habit as usize].clone()
    }

    /// How long each kind of call took.
    pub(crate) fn latency(&self) -> Vec<(Call, Quantiles)> {
        let inner = self.inner();
        Call::ALL
            .into_iter()
            .filter_map(|call| inner.latency[call as usize].quantiles().map(|quantiles| (call, quantiles)))
            .collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Counting can't leave counts half changed in a way that matters: go on with them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_and_calls_are_numbered_as_they_are_listed() {
        assert!(Habit::ALL.iter().enumerate().all(|(index, habit)| *habit as usize == index));
        assert!(Call::ALL.iter().enumerate().all(|(index, call)| *call as usize == index));
    }

    #[test]
    fn violations_beyond_the_kept_are_counted() {
        let tally = Tally::default();
        for _ in 0..EXAMPLES_MAX + 5 {
            let text = String::new;
            tally.violated(Violation { account: text(), about: text(), what: text() });
        }
        assert_eq!((tally.violations(), tally.examples().len()), (105, EXAMPLES_MAX));
    }
}
