//! How long a run goes on: until its deadline, or until somebody ends it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time of a run, as its players wait in it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// When the run began.
    pub(crate) begun: Instant,
    deadline: Instant,
    halted: watch::Receiver<bool>,
}

impl Clock {
    /// A run that begins now, lasts `run`, and ends before that when `halted` says true.
    pub(crate) fn new(run: Duration, halted: watch::Receiver<bool>) -> Self {
        let begun = Instant::now();
        Self { begun, deadline: begun + run, halted }
    }

    /// Waits until `goal`; answers whether the run still goes on then.
    pub(crate) async fn reach(&mut self, goal: Instant) -> bool {
        let until = goal.min(self.deadline);
        tokio::select! {
            // Whoever could halt the run is gone: it is over.
            _ = self.halted.wait_for(|halted| *halted) => false,
            () = sleep_until(until) => goal < self.deadline,
        }
    }

    /// Waits for so long; answers whether the run still goes on then.
    pub(crate) async fn rest(&mut self, wait: Duration) -> bool {
        self.reach(Instant::now() + wait).await
    }

    /// How much of the run is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_run() {
        let (halt, halted) = watch::channel(false);
        let mut clock = Clock::new(Duration::from_millis(20), halted);
        assert!(clock.rest(Duration::from_millis(1)).await);
        assert!(!clock.rest(Duration::from_hours(1)).await);
        drop(halt);
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_run_is_halted() {
        let (halt, halted) = watch::channel(false);
        let mut clock = Clock::new(Duration::from_hours(1), halted);
        halt.send(true).unwrap();
        assert!(!clock.rest(Duration::from_hours(1)).await);
    }
}
