//! A lane: the records of one partition, one batch of them in flight at a time.
//!
//! A record that finds its lane idle goes out at once; one that finds a batch in flight waits, and goes
//! out with all others that waited when that batch is settled. So the batches grow with the load by
//! themselves: an idle service pays one round trip a record and a busy one shares each round trip among
//! many, without a linger that would have to be guessed. (Two producers with different lingers would do
//! it too, but then a partition may change producers only while nothing of it is in flight, which is this
//! same bookkeeping and a second connection besides.)
//!
//! **Invariant:** records leave in the order in which they came, and nobody sends for a lane but who was
//! handed its batch. An account has one lane, so its records never overtake each other: not when a
//! batch is retried, and not when the producer is renewed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most records of one batch. Bounds how long the thread that settles a batch is busy with the next.
pub(super) const BATCH_MAX: usize = 2_000;

/// The records of one partition that are on their way.
#[derive(Debug)]
pub(super) struct Lane<T> {
    queue: Mutex<Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    /// Records that were handed out and are not settled.
    in_flight: usize,
    /// Which producer has them, and since when.
    sent: Option<(u64, Instant)>,
    waiting: VecDeque<T>,
}

impl<T> Lane<T> {
    pub(super) const fn new() -> Self {
        Self { queue: Mutex::new(Queue { in_flight: 0, sent: None, waiting: VecDeque::new() }) }
    }

    /// Takes records in; hands out a batch if nothing is in flight, to be sent by the caller.
    pub(super) fn admit(&self, records: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
        let mut queue = self.lock();
        queue.waiting.extend(records);
        queue.next_batch()
    }

    /// The batch that was handed out goes to this producer, now.
    pub(super) fn sent_by(&self, producer: u64, now: Instant) {
        self.lock().sent = Some((producer, now));
    }

    /// Whether this producer was given a batch before `limit` of which something is still in flight.
    pub(super) fn is_overdue(&self, producer: u64, limit: Instant) -> bool {
        let queue = self.lock();
        queue.in_flight > 0 && queue.sent.is_some_and(|(by, at)| by == producer && at <= limit)
    }

    /// `count` records of the batch in flight were acknowledged or failed; hands out the next batch if
    /// they were the last.
    pub(super) fn settle(&self, count: usize) -> Option<Vec<T>> {
        let mut queue = self.lock();
        queue.in_flight = queue.in_flight.saturating_sub(count);
        queue.next_batch()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn next_batch(&mut self) -> Option<Vec<T>> {
        if self.in_flight > 0 || self.waiting.is_empty() {
            return None;
        }
        let count = self.waiting.len().min(BATCH_MAX);
        self.in_flight = count;
        Some(self.waiting.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_idle_lane_hands_out_at_once_and_a_busy_one_gathers() {
        let lane = Lane::new();
        assert_eq!(lane.admit([1]), Some(vec![1]));
        assert_eq!(lane.admit([2]), None);
        assert_eq!(lane.admit([3, 4]), None);
        assert_eq!(lane.settle(1), Some(vec![2, 3, 4]));
        assert_eq!(lane.settle(2), None);
        assert_eq!(lane.admit([5]), None);
        assert_eq!(lane.settle(1), Some(vec![5]));
        assert_eq!(lane.settle(1), None);
    }

    #[test]
    fn a_batch_is_overdue_while_a_record_of_it_is_and_only_with_who_has_it() {
        let (lane, begun) = (Lane::new(), Instant::now());
        assert_eq!(lane.admit([1, 2]), Some(vec![1, 2]));
        assert!(!lane.is_overdue(1, begun));
        lane.sent_by(1, begun);
        assert!(lane.is_overdue(1, begun) && !lane.is_overdue(2, begun));
        assert_eq!(lane.settle(1), None);
        assert!(lane.is_overdue(1, begun));
        assert_eq!(lane.settle(1), None);
        assert!(!lane.is_overdue(1, begun));
    }

    proptest! {
        #[test]
        fn whatever_happens_records_leave_in_order_one_batch_at_a_time(
            steps in prop::collection::vec((any::<bool>(), 0_usize..3_000), 1..60)
        ) {
            let lane = Lane::new();
            let (mut came, mut left, mut in_flight) = (0, 0, 0);
            let mut steps = steps.into_iter();
            loop {
                let batch = match steps.next() {
                    Some((true, count)) => {
                        let batch = lane.admit(came..came + count);
                        came += count;
                        batch
                    }
                    Some((false, count)) => {
                        let count = count.min(in_flight);
                        in_flight -= count;
                        lane.settle(count)
                    }
                    None if in_flight > 0 => {
                        let count = std::mem::take(&mut in_flight);
                        lane.settle(count)
                    }
                    None => break,
                };
                if let Some(batch) = batch {
                    prop_assert_eq!(in_flight, 0);
                    prop_assert!(batch.len() <= BATCH_MAX);
                    in_flight = batch.len();
                    for record in batch {
                        prop_assert_eq!(record, left);
                        left += 1;
                    }
                }
            }
            prop_assert_eq!(left, came);
        }
    }
}
