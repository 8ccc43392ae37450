//! The transaction of one partition: the offset by compare-and-set, then a batch, and behind it those that are gathered.

use std::collections::BTreeMap;

use sqlx::PgTransaction;

use super::{Borrowed, CONNECT_MAX, Ended, Partition, Worker, bounded, uncaught};
use crate::builds::tables;
use crate::dead_letters;
use crate::runner::Projection;
use crate::runner::batch_error::BatchError;
use crate::runner::offsets::{self, Advance, Position};
use crate::runner::record::{Batch, Poison, Poisoned, Sorted, Waiting};

/// What a transaction has folded so far.
struct Folded<C> {
    /// Where the partition stands with it.
    ends_at: Position,
    newly_waiting: Waiting,
    changes: Vec<C>,
}

/// The batches of a partition behind one that is being folded.
pub(crate) trait Behind<E>: Send {
    /// The next one, if it is to be in the same transaction; waits for it, but not long.
    fn next(&mut self) -> impl Future<Output = Option<Sorted<E>>> + Send;
}

/// A batch that is folded alone.
pub(crate) struct Alone;

impl<E: Send> Behind<E> for Alone {
    async fn next(&mut self) -> Option<Sorted<E>> {
        None
    }
}

impl<P: Projection> Worker<P> {
    /// The whole transaction. However it is left, its connection is used again only if it was ended in order.
    pub(super) async fn transact(
        &self,
        partition: &mut Partition<P::Memory>,
        first: Sorted<P::Event>,
        context: P::Context,
        behind: &mut impl Behind<P::Event>,
    ) -> Result<Ended, BatchError> {
        let mut connection = Borrowed(Some(bounded(CONNECT_MAX, self.pool.acquire()).await?));
        let mut tx = connection.begin().await?;
        let mut folded =
            Folded { ends_at: first.batch.ends_at, newly_waiting: Waiting::default(), changes: Vec::new() };
        let mut ended = self.take_hold(partition, &first, &mut tx).await?;
        if matches!(ended, Ended::Done) {
            ended = self.gather(partition, first, context, behind, &mut folded, &mut tx).await?;
        }
        if matches!(ended, Ended::Done) {
            self.flush(partition, folded.changes, &mut tx).await?;
            tx.commit().await?;
            partition.position = folded.ends_at;
            partition.waiting.extend(folded.newly_waiting);
        } else {
            tx.rollback().await?;
        }
        if let Ended::Superseded(position) = ended {
            partition.reset(position);
        }
        connection.give_back();
        Ok(ended)
    }

    /// Moves the partition on to the end of the first batch, and looks whether all is as it is believed to be.
    async fn take_hold(
        &self,
        partition: &mut Partition<P::Memory>,
        first: &Sorted<P::Event>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<Ended, BatchError> {
        let Batch { source, ends_at, .. } = first.batch;
        match offsets::advance(tx, &self.build, source, partition.position, ends_at).await? {
            Advance::Moved { interventions } if partition.interventions == Some(interventions) => {}
            Advance::Moved { interventions } => {
                let waiting = dead_letters::waiting(tx, &self.build, source).await?;
                partition.interventions = Some(interventions);
                partition.memory = P::Memory::default();
                self.read_list(tx).await?;
                if waiting != partition.waiting || first.forgotten != self.forgotten.len() {
                    partition.waiting = waiting;
                    return Ok(Ended::LettersChanged);
                }
            }
            Advance::HeldAt(offset) => return Ok(Ended::HeldAt(offset)),
            Advance::StandsAt(position) => return Ok(Ended::Superseded(position)),
        }
        if self.unlogged && !tables::hold_their_rows(tx).await? {
            return Err(BatchError::Emptied(self.build.to_string()));
        }
        Ok(Ended::Done)
    }

    /// Folds the first batch and those behind it that are gathered, and moves the partition on to the end of the last. From
    /// the first on its offset is locked, so nothing that was looked at changes meanwhile.
    async fn gather(
        &self,
        partition: &mut Partition<P::Memory>,
        first: Sorted<P::Event>,
        mut context: P::Context,
        behind: &mut impl Behind<P::Event>,
        folded: &mut Folded<P::Changes>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<Ended, BatchError> {
        let (source, moved_to, as_of) = (partition.source, folded.ends_at, first.forgotten);
        let mut sorted = first;
        loop {
            let (changes, poisoned) = self.changes(partition, &sorted, &context, tx).await?;
            if !poisoned.is_empty() {
                return Ok(Ended::Poison(poisoned.into_map()));
            }
            dead_letters::keep(tx, &self.build, source, &sorted.letters).await?;
            self.joined(&mut folded.changes, changes);
            folded.ends_at = sorted.batch.ends_at;
            folded.newly_waiting.extend(sorted.newly_waiting);
            if !folded.changes.last().is_some_and(|changes| self.projection.gathers(&partition.memory, changes)) {
                break;
            }
            let Some(next) = behind.next().await else { break };
            if next.forgotten != as_of {
                return Ok(Ended::LettersChanged);
            }
            context = self.projection.prepare(&next.batch).await;
            sorted = next;
        }
        if folded.ends_at == moved_to {
            return Ok(Ended::Done);
        }
        Ok(match offsets::advance(tx, &self.build, source, moved_to, folded.ends_at).await? {
            Advance::Moved { .. } => Ended::Done,
            Advance::HeldAt(offset) => {
                partition.memory = P::Memory::default();
                Ended::HeldAt(offset)
            }
            Advance::StandsAt(position) => Ended::Superseded(position),
        })
    }

    /// Loads, folds and flushes within a transaction; what the fold calls poison is returned, and then nothing is flushed.
    pub(crate) async fn fold(
        &self,
        partition: &mut Partition<P::Memory>,
        sorted: &Sorted<P::Event>,
        context: &P::Context,
        tx: &mut PgTransaction<'_>,
    ) -> Result<BTreeMap<i64, Poison>, BatchError> {
        let (changes, poisoned) = self.changes(partition, sorted, context, tx).await?;
        if poisoned.is_empty() {
            self.flush(partition, vec![changes], tx).await?;
        }
        Ok(poisoned.into_map())
    }

    /// Loads and folds; what is poison is only noted.
    pub(super) async fn changes(
        &self,
        partition: &mut Partition<P::Memory>,
        sorted: &Sorted<P::Event>,
        context: &P::Context,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(P::Changes, Poisoned), BatchError> {
        self.projection.load(&sorted.batch, &mut partition.memory, tx).await?;
        let mut poisoned = Poisoned::default();
        let changes = uncaught(|| self.projection.fold(&sorted.batch, context, &mut partition.memory, &mut poisoned))?;
        Ok((changes, poisoned))
    }

    /// Takes `more` up into the last of `changes`, or behind it.
    pub(super) fn joined(&self, changes: &mut Vec<P::Changes>, more: P::Changes) {
        let apart = match changes.last_mut() {
            Some(all) => self.projection.join(all, more),
            None => Some(more),
        };
        changes.extend(apart);
    }

    /// Writes what batches of one partition have changed.
    async fn flush(
        &self,
        partition: &mut Partition<P::Memory>,
        mut changes: Vec<P::Changes>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), BatchError> {
        if let Some(last) = changes.last_mut() {
            uncaught(|| self.projection.settle(partition.source, &mut partition.memory, last))?;
        }
        for changes in changes {
            self.projection.flush(changes, tx).await?;
        }
        Ok(())
    }
}
