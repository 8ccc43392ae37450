//! One batch, one transaction: the records' rows and the partition's next offset commit together or
//! not at all.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use thiserror::Error;

use super::Projection;
use super::offsets::{self, Position};
use super::record::{Batch, Record, Skipped, Source};
use crate::dead_letters;

/// How long a connection may be waited for.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a batch may take: a database that no longer answers is a failed try, not a wait for ever.
const BATCH_MAX: Duration = Duration::from_mins(1);

/// A partition as one worker holds it.
#[derive(Debug)]
pub struct Partition<M> {
    source: Source,
    position: Position,
    /// What the projection keeps of it between batches; only a copy of what the database holds.
    memory: M,
}

impl<M: Default> Partition<M> {
    /// A partition that stands at `position`.
    #[must_use]
    pub fn at(source: Source, position: Position) -> Self {
        Self { source, position, memory: M::default() }
    }

    /// Which one.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Where it stands.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Goes where the database says that it stands, with nothing in memory.
    fn reset(&mut self, position: Position) {
        *self = Self::at(self.source, position);
    }
}

/// How a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is in the database.
    Done {
        /// How many records were folded.
        folded: usize,
        /// How many were skipped.
        skipped: usize,
    },
    /// Somebody else has moved the partition; nothing was written, and it was reset to where it stands.
    Superseded,
}

/// Why a batch was not committed, or is not known to be.
#[derive(Debug, Error)]
pub enum BatchError {
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database took too long.
    #[error("database: no answer within {} s", .0.as_secs())]
    Slow(Duration),
}

/// Folds batches of one projection into its tables.
#[derive(Debug)]
pub struct Worker<P> {
    projection: P,
    pool: PgPool,
}

impl<P: Projection> Worker<P> {
    /// A worker of `projection` on a database.
    pub const fn new(projection: P, pool: PgPool) -> Self {
        Self { projection, pool }
    }

    pub(super) const fn projection(&self) -> &P {
        &self.projection
    }

    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes a partition over from where the database says that it stands.
    pub async fn take(&self, source: Source) -> Result<Partition<P::Memory>, BatchError> {
        let position = bounded(CONNECT_MAX, offsets::position(&self.pool, self.projection.registered(), source));
        Ok(Partition::at(source, position.await?))
    }

    /// Folds `records`, in the order of the log, into the tables; those that the partition has passed
    /// already are left out.
    ///
    /// # Errors
    /// On an error it isn't known whether the batch is in the database (its commit may have been done and
    /// the answer lost). The same records may be given again: compare-and-set tells.
    pub async fn commit(
        &self,
        partition: &mut Partition<P::Memory>,
        records: &[Record],
    ) -> Result<Committed, BatchError> {
        let begun = Instant::now();
        let (source, from) = (partition.source, partition.position);
        let records = &records[records.partition_point(|record| record.offset < from.next_offset)..];
        let Some((batch, mut skipped)) = Batch::read(&self.projection, source, from, records) else {
            return Ok(Committed::Done { folded: 0, skipped: 0 });
        };
        let context = self.projection.prepare(&batch).await;
        match bounded(BATCH_MAX, self.transact(partition, records, &batch, &context, &mut skipped)).await {
            Ok(true) => {
                partition.position = batch.ends_at;
                let folded = records.len() - skipped.len();
                self.count(folded, skipped.len(), begun);
                Ok(Committed::Done { folded, skipped: skipped.len() })
            }
            Ok(false) => Ok(Committed::Superseded),
            Err(error) => {
                // Memory may be ahead of the database now.
                partition.memory = P::Memory::default();
                Err(error)
            }
        }
    }

    /// The transaction; `false` if the partition had to be reset to where the database says that it stands.
    async fn transact(
        &self,
        partition: &mut Partition<P::Memory>,
        records: &[Record],
        batch: &Batch<P::Event>,
        context: &P::Context,
        skipped: &mut Skipped,
    ) -> Result<bool, BatchError> {
        let version = self.projection.registered();
        let mut tx = bounded(CONNECT_MAX, self.pool.begin()).await?;
        if !offsets::advance(&mut tx, version, batch.source, partition.position, batch.ends_at).await? {
            let stands = offsets::stands_at(&mut tx, version, batch.source).await?;
            tx.rollback().await?;
            partition.reset(stands);
            return Ok(false);
        }
        self.projection.load(batch, &mut partition.memory, &mut tx).await?;
        let changes = self.projection.fold(batch, context, &mut partition.memory, skipped);
        self.projection.flush(changes, &mut tx).await?;
        dead_letters::keep_skipped(&mut tx, version, batch.source, &skipped.of(records)).await?;
        tx.commit().await?;
        Ok(true)
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^52 events")]
    fn count(&self, folded: usize, skipped: usize, begun: Instant) {
        let name = self.projection.registered().to_string();
        metrics::counter!("pulsegate_projection_events_total", "projection" => name.clone()).increment(folded as u64);
        metrics::counter!("pulsegate_projection_dead_letters_total", "projection" => name.clone())
            .increment(skipped as u64);
        metrics::histogram!("pulsegate_projection_batch_events", "projection" => name.clone())
            .record((folded + skipped) as f64);
        metrics::histogram!("pulsegate_projection_commit_seconds", "projection" => name)
            .record(begun.elapsed().as_secs_f64());
    }
}

async fn bounded<T, E: Into<BatchError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BatchError> {
    tokio::time::timeout(limit, work).await.map_err(|_| BatchError::Slow(limit))?.map_err(Into::into)
}
