//! One batch, one transaction: the records' rows and the partition's next offset commit together or
//! not at all.

mod together;
mod transaction;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use pulsegate_domain::topic::Topic;
use pulsegate_privacy::Forgotten;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgPool, PgTransaction, Postgres};

use super::Projection;
use super::batch_error::BatchError;
use super::offsets::{self, Advance, Position};
use super::reading::Readings;
use super::record::{Poison, Record, Sorted, Source, Waiting};
use crate::builds::Build;
use crate::traced;
use transaction::Alone;
pub(crate) use transaction::Behind;

/// How long a connection may be waited for.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a batch may take: a database that no longer answers is a failed try, not a wait for ever.
const BATCH_MAX: Duration = Duration::from_mins(1);
/// How often a batch is sorted anew because more of its records turn out to wait.
const SORTS_MAX: u32 = 16;

/// A partition as one worker holds it.
#[derive(Debug)]
pub struct Partition<M> {
    source: Source,
    position: Position,
    /// What the projection keeps of it between batches; only a copy of what the database holds.
    memory: M,
    /// The keys whose records wait behind a parked one; a copy as well.
    waiting: Waiting,
    /// As of which intervention the copies are; none at first.
    interventions: Option<i64>,
}

impl<M: Default> Partition<M> {
    /// A partition that stands at `position`.
    #[must_use]
    pub fn at(source: Source, position: Position) -> Self {
        Self { source, position, memory: M::default(), waiting: Waiting::default(), interventions: None }
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

    /// Whether nothing waits in it, as far as is known.
    pub(crate) fn waits_for_nothing(&self) -> bool {
        self.waiting.is_empty()
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
        /// How many were skipped or parked.
        skipped: usize,
    },
    /// Somebody else has moved the partition; nothing was written, and it was reset to where it stands.
    Superseded,
    /// Nothing was written: for a moment nobody may fold beyond this offset.
    HeldAt(i64),
}

/// How the transaction of a batch ended.
pub(crate) enum Ended {
    Done,
    /// It stands there, and was reset to it.
    Superseded(Position),
    HeldAt(i64),
    /// What waits in the partition was changed by somebody, or who was forgotten; that is known now.
    LettersChanged,
    /// The fold calls these poison, so what stands behind them may have to wait: nothing was written.
    Poison(BTreeMap<i64, Poison>),
}

/// Folds batches of one projection into the tables of one build.
#[derive(Debug)]
pub struct Worker<P> {
    projection: P,
    build: Build,
    pool: PgPool,
    batch_max: Duration,
    /// Whether its tables are unlogged, so that a crash of the database empties them.
    unlogged: bool,
    /// Whether a poison event whose key would wait is an error instead.
    stops_at_poison: bool,
    forgotten: Forgotten,
}

impl<P: Projection> Worker<P> {
    /// A worker of `projection`, on the first build of its version.
    pub fn new(projection: P, pool: PgPool) -> Self {
        let build = Build::first(projection.registered());
        let forgotten = Forgotten::new(None);
        Self { projection, build, pool, batch_max: BATCH_MAX, unlogged: false, stops_at_poison: false, forgotten }
    }

    /// Lets it work on another build.
    #[must_use]
    pub fn on(mut self, build: Build) -> Self {
        self.build = build;
        self
    }

    /// Lets it know who was forgotten, and open what is sealed.
    #[must_use]
    pub fn knowing(mut self, forgotten: &Forgotten) -> Self {
        self.forgotten = forgotten.anew();
        self
    }

    /// Lets it fill unlogged tables in large batches; a poison event is parked or else an error.
    #[must_use]
    pub(crate) const fn rebuilding(mut self, batch_max: Duration, parks: bool) -> Self {
        self.batch_max = batch_max;
        self.unlogged = true;
        self.stops_at_poison = !parks;
        self
    }

    pub(crate) const fn projection(&self) -> &P {
        &self.projection
    }

    pub(crate) const fn build(&self) -> &Build {
        &self.build
    }

    pub(crate) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// What records are read as.
    pub(crate) async fn read(&self, topic: Topic, records: &[Record]) -> Result<Readings, BatchError> {
        bounded(CONNECT_MAX, Readings::of(records, topic, &self.forgotten, &self.pool)).await
    }

    /// Who was taken out of the build, as the database says in a transaction.
    pub(crate) async fn read_list(&self, tx: &mut PgTransaction<'_>) -> Result<(), BatchError> {
        Ok(self.forgotten.reload(self.build.schema(), tx).await?)
    }

    /// Whether records of this topic may be read as something else than they are.
    pub(crate) fn may_read_otherwise(&self, topic: Topic) -> bool {
        topic == Topic::Clickstream || !self.forgotten.is_empty()
    }

    /// Takes a partition over from where the database says that it stands.
    pub async fn take(&self, source: Source) -> Result<Partition<P::Memory>, BatchError> {
        let mut connection = bounded(CONNECT_MAX, self.pool.acquire()).await?;
        bounded(CONNECT_MAX, self.forgotten.reload(self.build.schema(), &mut connection)).await?;
        drop(connection);
        let position = bounded(CONNECT_MAX, offsets::position(&self.pool, &self.build, source));
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
        self.commit_knowing(partition, records, BTreeMap::new()).await
    }

    /// The same, where some records are known to be poison.
    pub(crate) async fn commit_knowing(
        &self,
        partition: &mut Partition<P::Memory>,
        records: &[Record],
        mut known: BTreeMap<i64, Poison>,
    ) -> Result<Committed, BatchError> {
        let begun = Instant::now();
        let (source, from) = (partition.source, partition.position);
        let records = &records[records.partition_point(|record| record.offset < from.next_offset)..];
        for _ in 0..SORTS_MAX {
            let readings = self.read(source.topic, records).await?;
            let sort =
                || Sorted::read(&self.projection, source, from, (records, &readings), &partition.waiting, &known);
            let Some(sorted) = uncaught(sort)? else {
                return Ok(Committed::Done { folded: 0, skipped: 0 });
            };
            if self.stops_at_poison
                && let Some(letter) = sorted.letters.iter().find(|letter| matches!(letter.poison, Poison::Park(_)))
            {
                return Err(BatchError::poison(source, letter));
            }
            let folded = sorted.batch.events.len();
            match self.commit_sorted(partition, sorted, &mut Alone).await? {
                Ended::Done => {
                    let skipped = records.len() - folded;
                    self.count(folded, skipped, begun);
                    // What is built anew was traced when it was new.
                    if !self.unlogged {
                        traced::batch(&self.build, records, begun);
                    }
                    return Ok(Committed::Done { folded, skipped });
                }
                Ended::Superseded(_) => return Ok(Committed::Superseded),
                Ended::HeldAt(offset) => return Ok(Committed::HeldAt(offset)),
                Ended::LettersChanged => {}
                Ended::Poison(found) => known.extend(found),
            }
        }
        Err(BatchError::Restless)
    }

    /// Folds what was sorted, which follows the partition's position, and as many of the batches behind it as the
    /// projection [gathers](Projection::gathers): all of them or none.
    pub(crate) async fn commit_sorted(
        &self,
        partition: &mut Partition<P::Memory>,
        sorted: Sorted<P::Event>,
        behind: &mut impl Behind<P::Event>,
    ) -> Result<Ended, BatchError> {
        let context = self.projection.prepare(&sorted.batch).await;
        let ended = bounded(self.batch_max, self.transact(partition, sorted, context, behind)).await;
        match &ended {
            // It was reset.
            Ok(Ended::Done | Ended::Superseded(_) | Ended::HeldAt(_)) => {}
            // Memory may be ahead of the database now, or behind.
            Ok(Ended::LettersChanged | Ended::Poison(_)) | Err(_) => partition.memory = P::Memory::default(),
        }
        ended
    }

    /// Moves a partition on over what is no record, such as the marker of a transaction.
    pub(crate) async fn pass(
        &self,
        partition: &mut Partition<P::Memory>,
        next_offset: i64,
    ) -> Result<Committed, BatchError> {
        let from = partition.position;
        if next_offset <= from.next_offset {
            return Ok(Committed::Done { folded: 0, skipped: 0 });
        }
        let to = Position { next_offset, clock: from.clock };
        let passing = async {
            let mut tx = self.pool.begin().await?;
            let advance = offsets::advance(&mut tx, &self.build, partition.source, from, to).await?;
            if matches!(advance, Advance::Moved { .. }) { tx.commit().await } else { tx.rollback().await }?;
            Ok::<_, sqlx::Error>(advance)
        };
        match bounded(self.batch_max, passing).await? {
            Advance::Moved { .. } => {
                partition.position = to;
                Ok(Committed::Done { folded: 0, skipped: 0 })
            }
            Advance::HeldAt(offset) => Ok(Committed::HeldAt(offset)),
            Advance::StandsAt(position) => {
                partition.reset(position);
                Ok(Committed::Superseded)
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^52 events")]
    pub(crate) fn count(&self, folded: usize, skipped: usize, begun: Instant) {
        let name = self.build.to_string();
        metrics::counter!("pulsegate_projection_events_total", "projection" => name.clone()).increment(folded as u64);
        metrics::counter!("pulsegate_projection_dead_letters_total", "projection" => name.clone())
            .increment(skipped as u64);
        metrics::histogram!("pulsegate_projection_batch_events", "projection" => name.clone())
            .record((folded + skipped) as f64);
        metrics::histogram!("pulsegate_projection_commit_seconds", "projection" => name)
            .record(begun.elapsed().as_secs_f64());
    }
}

/// A connection out of the pool. One whose transaction was left in the middle (an error, a batch that took too long, a
/// stop) is closed instead of used again: a COPY that was cut short leaves answers behind that belong to nobody.
struct Borrowed(Option<PoolConnection<Postgres>>);

impl Borrowed {
    async fn begin(&mut self) -> Result<PgTransaction<'_>, sqlx::Error> {
        match &mut self.0 {
            Some(connection) => connection.begin().await,
            None => Err(sqlx::Error::PoolClosed),
        }
    }

    fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// A projection's own code must not end the process: a record that makes it panic is poison as well.
pub(crate) fn uncaught<T>(code: impl FnOnce() -> T) -> Result<T, BatchError> {
    // Whatever it has touched is dropped on an error.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        BatchError::Panicked(
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned(),
        )
    })
}

async fn bounded<T, E: Into<BatchError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BatchError> {
    tokio::time::timeout(limit, work).await.map_err(|_| BatchError::Slow(limit))?.map_err(Into::into)
}
