//! A whole round in one transaction.
//!
//! While a build keeps up, each of its partitions has a few records a round: a transaction for each would cost the
//! database more than its rows. What is unusual (poison, a partition that moved or is held, trouble of any kind) is
//! left to the partitions' own transactions, which know what to do about it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{BatchError, Borrowed, CONNECT_MAX, Partition, Projection, Sorted, Worker, bounded, offsets, uncaught};
use crate::runner::Record;
use crate::runner::reading::Readings;

impl<P: Projection> Worker<P> {
    /// Folds the next records of several partitions and commits them all at once.
    ///
    /// `false`: nothing of it is known to be written, and each partition is to be folded by itself.
    pub(crate) async fn commit_together(&self, round: &mut [(&mut Partition<P::Memory>, &[Record])]) -> bool {
        let begun = Instant::now();
        let mut readings = Vec::with_capacity(round.len());
        let parts: Vec<_> = round.iter().map(|(partition, records)| (partition.source.topic, *records)).collect();
        for (topic, records) in parts {
            let Ok(read) = self.read(topic, records).await else { return false };
            readings.push(read);
        }
        let Some(sorted) = self.sort_together(round, &readings) else { return false };
        let mut contexts = Vec::with_capacity(sorted.len());
        for one in &sorted {
            contexts.push(self.projection.prepare(&one.batch).await);
        }
        match bounded(self.batch_max, self.transact_together(round, &sorted, &contexts)).await {
            Ok(true) => {
                for ((partition, _), one) in round.iter_mut().zip(&sorted) {
                    partition.position = one.batch.ends_at;
                }
                self.count(sorted.iter().map(|one| one.batch.events.len()).sum(), 0, begun);
                crate::traced::batch(&self.build, round.iter().flat_map(|(_, records)| records.iter()), begun);
                true
            }
            refused => {
                if let Err(error) = refused {
                    tracing::debug!(build = %self.build, %error, "a round is folded partition by partition");
                }
                // Memory may be ahead of the database now.
                for (partition, _) in round {
                    partition.memory = P::Memory::default();
                }
                false
            }
        }
    }

    /// Reads the records; `None` if there is anything but events to be folded.
    fn sort_together(
        &self,
        round: &[(&mut Partition<P::Memory>, &[Record])],
        readings: &[Readings],
    ) -> Option<Vec<Sorted<P::Event>>> {
        let sort = |((partition, records), read): (&(&mut Partition<P::Memory>, &[Record]), &Readings)| {
            let (source, from) = (partition.source, partition.position);
            if !partition.waiting.is_empty() {
                return None;
            }
            let rest = &records[records.partition_point(|record| record.offset < from.next_offset)..];
            let none = BTreeMap::new();
            let sorted =
                uncaught(|| Sorted::read(&self.projection, source, from, (rest, read), &partition.waiting, &none))
                    .ok()?;
            sorted.filter(|sorted| sorted.letters.is_empty())
        };
        if self.unlogged { None } else { round.iter().zip(readings).map(sort).collect() }
    }

    async fn transact_together(
        &self,
        round: &mut [(&mut Partition<P::Memory>, &[Record])],
        sorted: &[Sorted<P::Event>],
        contexts: &[P::Context],
    ) -> Result<bool, BatchError> {
        let mut connection = Borrowed(Some(bounded(CONNECT_MAX, self.pool.acquire()).await?));
        let mut tx = connection.begin().await?;
        let ways: Vec<_> = round
            .iter()
            .zip(sorted)
            .map(|((partition, _), one)| (partition.source, partition.position, one.batch.ends_at))
            .collect();
        let moved = offsets::advance_together(&mut tx, &self.build, &ways).await?;
        let as_known = |partition: &Partition<P::Memory>| {
            let interventions = moved.get(&partition.source).copied();
            interventions.is_some() && interventions == partition.interventions
        };
        let mut is_usual = round.iter().all(|(partition, _)| as_known(partition));
        if is_usual {
            let mut changes = Vec::<P::Changes>::new();
            for (((partition, _), one), context) in round.iter_mut().zip(sorted).zip(contexts) {
                let (mut more, poisoned) = self.changes(partition, one, context, &mut tx).await?;
                is_usual &= poisoned.is_empty();
                uncaught(|| self.projection.settle(partition.source, &mut partition.memory, &mut more))?;
                self.joined(&mut changes, more);
            }
            if is_usual {
                for joined in changes {
                    self.projection.flush(joined, &mut tx).await?;
                }
            }
        }
        if is_usual { tx.commit().await } else { tx.rollback().await }?;
        connection.give_back();
        Ok(is_usual)
    }
}
