//! Which partitions are ours at the moment: shared by Kafka's thread and the fold.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::offsets::Position;
use super::record::Source;

/// A partition that is ours, since when, and from where on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// Counts assignments, so that what was read for an earlier one is told apart.
    pub(super) epoch: u64,
    pub(super) begins_at: Position,
}

#[derive(Debug, Default)]
struct State {
    epochs: u64,
    leases: HashMap<Source, Lease>,
    /// How far ours are folded, to be shown to Kafka's group.
    folded: HashMap<Source, Position>,
    /// Those to be read again, and from where.
    again: HashMap<Source, Position>,
}

/// The partitions that are ours.
#[derive(Debug, Default)]
pub(super) struct Assignment(Mutex<State>);

impl Assignment {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, source: Source, begins_at: Position) {
        let mut state = self.state();
        state.epochs += 1;
        let epoch = state.epochs;
        state.leases.insert(source, Lease { epoch, begins_at });
    }

    /// Not ours any more: what is buffered of it is dropped where it lies.
    pub(super) fn remove(&self, source: Source) {
        let mut state = self.state();
        state.leases.remove(&source);
        state.folded.remove(&source);
        state.again.remove(&source);
    }

    pub(super) fn lease(&self, source: Source) -> Option<Lease> {
        self.state().leases.get(&source).copied()
    }

    pub(super) fn holds(&self, source: Source, epoch: u64) -> bool {
        self.lease(source).is_some_and(|lease| lease.epoch == epoch)
    }

    pub(super) fn folded(&self, source: Source, position: Position) {
        self.state().folded.insert(source, position);
    }

    pub(super) fn take_folded(&self) -> HashMap<Source, Position> {
        std::mem::take(&mut self.state().folded)
    }

    /// Asks Kafka's thread to go back to `position`. Until it has, nothing is ours of the partition: a
    /// record that is read meanwhile stands behind a gap.
    pub(super) fn read_again(&self, source: Source, position: Position) {
        let mut state = self.state();
        if state.leases.remove(&source).is_some() {
            state.again.insert(source, position);
        }
    }

    pub(super) fn take_again(&self) -> HashMap<Source, Position> {
        std::mem::take(&mut self.state().again)
    }

    /// Going back has failed: it is to be tried again.
    pub(super) fn put_again(&self, source: Source, position: Position) {
        self.state().again.insert(source, position);
    }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::topic::Topic;

    use super::*;

    #[test]
    fn what_was_read_for_an_earlier_assignment_is_told_apart() {
        let source = Source { topic: Topic::Playback, partition: 3 };
        let assignment = Assignment::default();
        assignment.add(source, Position::START);
        let first = assignment.lease(source).unwrap();
        assert!(assignment.holds(source, first.epoch));
        assignment.remove(source);
        assert!(!assignment.holds(source, first.epoch));
        assignment.add(source, Position::START);
        assert!(!assignment.holds(source, first.epoch));
    }
}
