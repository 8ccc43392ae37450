//! The fold's side: what came out of the channel becomes transactions, a partition each, several at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::assignment::Assignment;
use super::batch_error::BatchError;
use super::consumer::{Chunk, Item};
use super::health::Health;
use super::offsets;
use super::outage::{Backoff, Outage};
use super::record::{Record, Source};
use super::search::Search;
use super::worker::{Committed, Partition, Worker};
use super::{Projection, STOP_GRACE};

/// Partitions whose transactions run at once: enough to share the disk's flush, and few, because where database and node
/// share a machine each of them takes a core from those who wait for an answer, and a read model may be a moment late.
const PARALLEL_COMMITS: usize = 2;

/// Most records of a round that is folded in one transaction. Larger ones say that the build is behind: then the
/// partitions' own transactions go on side by side.
const TOGETHER_RECORDS_MAX: usize = 8_000;

/// What came out of the channel, by partition.
#[derive(Default)]
pub(super) struct Round {
    pub(super) records: usize,
    slices: HashMap<(Source, u64), Slice>,
}

#[derive(Default)]
struct Slice {
    records: Vec<Record>,
    /// Where the partition ends, if nothing was behind the last of them when they were read.
    end: Option<i64>,
}

impl Slice {
    fn followed_by(mut self, next: Self) -> Self {
        if !next.records.is_empty() || next.end.is_some() {
            self.end = next.end;
        }
        self.records.extend(next.records);
        self
    }

    /// Where the partition stands once this is folded.
    fn next_offset(&self) -> i64 {
        self.end.or_else(|| Some(self.records.last()?.offset + 1)).unwrap_or_default()
    }
}

impl Round {
    pub(super) fn add(&mut self, chunk: Chunk) {
        for item in chunk.items {
            match item {
                Item::Record { source, epoch, record } => {
                    let slice = self.slices.entry((source, epoch)).or_default();
                    slice.records.push(record);
                    slice.end = None;
                    self.records += 1;
                }
                Item::End { source, epoch, next_offset } => {
                    self.slices.entry((source, epoch)).or_default().end = Some(next_offset);
                }
            }
        }
    }
}

/// A partition, held since an assignment.
pub(super) struct Held<M> {
    epoch: u64,
    partition: Partition<M>,
    /// What may not be folded yet: others must not wait for it.
    back: Slice,
}

impl<M> Held<M> {
    pub(super) fn held_back(&self) -> usize {
        self.back.records.len() + usize::from(self.back.end.is_some())
    }
}

pub(super) struct Folding<'a, P> {
    pub(super) worker: &'a Worker<P>,
    pub(super) assignment: Arc<Assignment>,
    pub(super) outage: Arc<Outage>,
    pub(super) shutdown: CancellationToken,
    pub(super) health: Arc<Health>,
}

impl<P: Projection> Folding<'_, P> {
    /// Folds a round; what was read for an assignment that is over is dropped.
    pub(super) async fn fold(&self, mut round: Round, partitions: &mut HashMap<Source, Held<P::Memory>>) {
        partitions.retain(|source, held| self.assignment.holds(*source, held.epoch));
        let mut work = Vec::with_capacity(round.slices.len());
        for (source, held) in partitions.iter().filter(|(_, held)| held.held_back() > 0) {
            round.slices.entry((*source, held.epoch)).or_default();
        }
        for ((source, epoch), slice) in round.slices {
            let Some(lease) = self.assignment.lease(source).filter(|lease| lease.epoch == epoch) else { continue };
            let mut held = partitions.remove(&source).unwrap_or_else(|| Held {
                epoch,
                partition: Partition::at(source, lease.begins_at),
                back: Slice::default(),
            });
            let slice = std::mem::take(&mut held.back).followed_by(slice);
            work.push((held, slice));
        }
        if round.records <= TOGETHER_RECORDS_MAX {
            self.fold_together(&mut work).await;
        }
        let settling = work.into_iter().map(|(held, slice)| self.settle(held, slice));
        let mut settled = stream::iter(settling).buffer_unordered(PARALLEL_COMMITS);
        while let Some(held) = settled.next().await {
            partitions.insert(held.partition.source(), held);
        }
    }

    /// Tries to fold a round in one transaction. What that leaves, and whatever goes wrong, is [settled](Self::settle).
    async fn fold_together(&self, work: &mut [(Held<P::Memory>, Slice)]) {
        let mut parts: Vec<_> = work
            .iter_mut()
            .filter(|(_, slice)| !slice.records.is_empty())
            .map(|(held, slice)| (&mut held.partition, slice.records.as_slice()))
            .collect();
        if parts.len() > 1 {
            tokio::select! {
                biased;
                done = self.worker.commit_together(&mut parts) => if done {
                    self.outage.over();
                },
                () = self.grace_is_over() => {}
            }
        }
    }

    /// Folds a partition's part of a round, however long the database is away; until the partition is
    /// somebody else's, or a stop.
    async fn settle(&self, mut held: Held<P::Memory>, mut slice: Slice) -> Held<P::Memory> {
        let mut backoff = Backoff::default();
        let mut search = Search::default();
        let source = held.partition.source();
        while self.assignment.holds(source, held.epoch) {
            let begins_at = held.partition.position();
            let rest = &slice.records[slice.records.partition_point(|one| one.offset < begins_at.next_offset)..];
            let tried = tokio::select! {
                biased;
                tried = self.step(&mut held.partition, rest, &search, slice.end) => tried,
                () = self.grace_is_over() => return held,
            };
            match tried {
                Ok(Committed::Done { folded, skipped }) => {
                    if folded + skipped > 0 {
                        self.outage.over();
                        backoff = Backoff::default();
                    }
                    search.went_well();
                    self.assignment.folded(source, held.partition.position());
                    if held.partition.position().next_offset >= slice.next_offset() {
                        return held;
                    }
                }
                // Somebody folded on from here, or our own commit's answer was lost: what is left is folded.
                Ok(Committed::Superseded) if held.partition.position().next_offset > begins_at.next_offset => {}
                // The database stands before what was read (it was restored, or set back): read again.
                Ok(Committed::Superseded) => {
                    tracing::warn!(%source, next_offset = held.partition.position().next_offset, "set back");
                    self.assignment.read_again(source, held.partition.position());
                    return held;
                }
                Ok(Committed::HeldAt(offset)) if rest.first().is_some_and(|record| record.offset < offset) => {
                    search.at_most(rest.partition_point(|record| record.offset < offset));
                }
                // Up to there is nothing, or nothing but what is no record.
                Ok(Committed::HeldAt(offset)) => {
                    if let Err(error) = self.worker.pass(&mut held.partition, offset).await {
                        tracing::debug!(%error, "passing to where it is held");
                    }
                    let next_offset = held.partition.position().next_offset;
                    slice.records.retain(|record| record.offset >= next_offset);
                    held.back = slice;
                    return held;
                }
                // A smaller batch tells which record it is.
                Err(error) if error.may_be_a_records_fault() && search.narrows(rest.len(), &error) => {}
                Err(error) => {
                    if self.outage.failed(&error) {
                        self.note_error(&error).await;
                    }
                    self.health.failing(self.worker.build(), source, &error);
                    tokio::select! {
                        () = self.shutdown.cancelled() => return held,
                        () = tokio::time::sleep(backoff.next()) => {}
                    }
                }
            }
        }
        // It is somebody else's now, and so is its trouble.
        self.health.working(self.worker.build(), source);
        held
    }

    /// The next transaction: as many of `rest` as are tried at once, or, behind them, what is no record.
    async fn step(
        &self,
        partition: &mut Partition<P::Memory>,
        rest: &[Record],
        search: &Search,
        end: Option<i64>,
    ) -> Result<Committed, BatchError> {
        let committed = if rest.is_empty() {
            self.worker.pass(partition, end.unwrap_or_default()).await
        } else {
            let (records, known) = search.window(rest);
            self.worker.commit_knowing(partition, records, known).await
        }?;
        self.health.working(self.worker.build(), partition.source());
        Ok(committed)
    }

    async fn grace_is_over(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    /// Best effort: if it is the database that is away, this fails as well.
    async fn note_error(&self, error: &BatchError) {
        let text = error.to_string();
        let note = offsets::note_error(self.worker.pool(), self.worker.build(), &text);
        if !matches!(tokio::time::timeout(Duration::from_secs(1), note).await, Ok(Ok(()))) {
            tracing::debug!("the error could not be kept in the database");
        }
    }
}
