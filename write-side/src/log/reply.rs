//! How whoever appended hears what became of it.

use std::sync::{Arc, Mutex, PoisonError};

use pulsegate_domain::time::Timestamp;
use tokio::sync::oneshot;

use crate::record::{AppendError, Appended};

type Outcome = Result<Appended, AppendError>;

/// Where the outcome of one record goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// To whoever appended it alone.
    One(oneshot::Sender<Outcome>),
    /// To the others of its batch that stand in its partition.
    Part {
        group: Arc<Group>,
        /// Its place among them.
        place: usize,
    },
}

/// Records whose sender was told just now what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// All of them.
    pub(super) records: usize,
    /// What they weigh together.
    pub(super) weight: usize,
    /// How many stand in the log, and the broker's time of the last one that was acknowledged.
    pub(super) appended: Option<(usize, Timestamp)>,
}

impl Settled {
    /// One more, of this weight.
    fn add(&mut self, weight: usize, outcome: Outcome) {
        self.records += 1;
        self.weight += weight;
        if let Ok(Appended { at, .. }) = outcome {
            self.appended = Some((self.appended.map_or(1, |(count, _)| count + 1), at));
        }
    }
}

impl Reply {
    /// Says what became of a record of this weight. `None` if others of its group are still to come.
    pub(super) fn send(self, weight: usize, outcome: Outcome) -> Option<Settled> {
        match self {
            Self::One(sender) => {
                let mut settled = Settled::default();
                settled.add(weight, outcome);
                // Whoever asked may have stopped waiting.
                let _ = sender.send(outcome);
                Some(settled)
            }
            Self::Part { group, place } => group.settle(place, weight, outcome),
        }
    }
}

/// What a batch has in one partition: its sender is told once, when all of it is settled, since each time costs it a
/// turn of its task.
#[derive(Debug)]
pub(super) struct Group {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    outcomes: Vec<Option<Outcome>>,
    settled: Settled,
    whole: Option<oneshot::Sender<()>>,
}

impl Group {
    /// A group of `count` records, and what is told when all are settled.
    pub(super) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, whole) = oneshot::channel();
        let state = State { outcomes: vec![None; count], settled: Settled::default(), whole: Some(sender) };
        (Arc::new(Self { state: Mutex::new(state) }), whole)
    }

    fn settle(&self, place: usize, weight: usize, outcome: Outcome) -> Option<Settled> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcomes[place] = Some(outcome);
        state.settled.add(weight, outcome);
        if state.settled.records < state.outcomes.len() {
            return None;
        }
        if let Some(whole) = state.whole.take() {
            let _ = whole.send(());
        }
        Some(state.settled)
    }

    /// What became of each so far; of what isn't settled nothing is known.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcomes.iter().map(|outcome| outcome.unwrap_or(Err(AppendError::NotAcknowledged))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(offset: i64, ms: i64) -> Appended {
        Appended { partition: 0, offset, at: Timestamp::from_millis(ms) }
    }

    #[test]
    fn a_group_is_settled_with_its_last_record() {
        let (group, mut whole) = Group::new(3);
        let reply = |place| Reply::Part { group: Arc::clone(&group), place };
        assert_eq!(reply(2).send(10, Ok(appended(7, 5))), None);
        assert_eq!(reply(0).send(20, Err(AppendError::TooLarge)), None);
        assert!(whole.try_recv().is_err());
        let settled = Settled { records: 3, weight: 60, appended: Some((2, Timestamp::from_millis(6))) };
        assert_eq!(reply(1).send(30, Ok(appended(8, 6))), Some(settled));
        assert_eq!(whole.try_recv(), Ok(()));
        assert_eq!(group.outcomes(), [Err(AppendError::TooLarge), Ok(appended(8, 6)), Ok(appended(7, 5))]);
    }

    #[test]
    fn one_record_is_settled_also_if_nobody_waits() {
        let (sender, answer) = oneshot::channel();
        drop(answer);
        let settled = Settled { records: 1, weight: 10, appended: None };
        assert_eq!(Reply::One(sender).send(10, Err(AppendError::QueueFull)), Some(settled));
    }
}
