//! How whoever appended hears what became of it.

use std::sync::{Arc, Mutex, PoisonError};

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

impl Reply {
    /// Whoever asked may have stopped waiting.
    pub(super) fn send(self, outcome: Outcome) {
        match self {
            Self::One(sender) => drop(sender.send(outcome)),
            Self::Part { group, place } => group.settle(place, outcome),
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
    left: usize,
    whole: Option<oneshot::Sender<()>>,
}

impl Group {
    /// A group of `count` records, and what is told when all are settled.
    pub(super) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, whole) = oneshot::channel();
        let state = State { outcomes: vec![None; count], left: count, whole: Some(sender) };
        (Arc::new(Self { state: Mutex::new(state) }), whole)
    }

    fn settle(&self, place: usize, outcome: Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcomes[place] = Some(outcome);
        state.left -= 1;
        if state.left == 0
            && let Some(whole) = state.whole.take()
        {
            let _ = whole.send(());
        }
    }

    /// What became of each so far; of what isn't settled nothing is known.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcomes.iter().map(|outcome| outcome.unwrap_or(Err(AppendError::NotAcknowledged))).collect()
    }
}
