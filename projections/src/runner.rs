//! The runner: folds the log into a projection's tables, exactly once.
//!
//! A batch's rows and its partition's next offset commit in one transaction, which begins by moving the
//! offset by compare-and-set. So a worker that has lost its partition without knowing it writes nothing,
//! and two processes that both believe to own everything still fold each record once. Kafka's group
//! says who should work on what and nothing else: its committed offsets are for dashboards, never read.
//!
//! **Invariant:** a partition's rows are the fold of exactly the records before its `next_offset`, at
//! every commit. What a worker keeps in memory is a copy, and is dropped whenever that is in doubt.

pub(crate) mod arena;
mod assignment;
mod consumer;
mod ends;
mod health;
pub(crate) mod offsets;
pub(crate) mod outage;
mod record;
pub(crate) mod search;
mod status;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use pulsegate_domain::topic::TopicNames;
use rdkafka::ClientConfig;
use sqlx::{PgPool, PgTransaction};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::builds::Build;
use crate::registry::Registered;
use assignment::Assignment;
use consumer::{Chunk, Item, Reader};
use outage::{Backoff, Outage};
use search::Search;

pub(crate) use consumer::group_of;
pub use health::{Health, Stuck};
pub use offsets::Position;
pub use record::{Batch, Placed, Poison, Poisoned, Record, Source};
pub(crate) use record::{Letter, Sorted, Waiting};
pub use status::{HistoryEntry, PartitionStatus, ProjectionStatus, RebuildStatus, status};
pub use worker::{BatchError, Committed, Partition, Worker};
pub(crate) use worker::{Ended, uncaught};

/// Most records that one round takes out of the channel: how large a batch may grow when behind.
const ROUND_RECORDS_MAX: usize = 20_000;
/// Chunks between Kafka's thread and the fold; when they are full, Kafka's thread reads no further.
const CHUNKS_MAX: usize = 16;
/// Partitions whose transactions run at once: a live round's commits share the disk's flush.
const PARALLEL_COMMITS: usize = 4;
/// How often a partition that is held is tried again.
const HELD_WAIT: Duration = Duration::from_millis(20);
/// How long a stop waits for the transactions that are under way.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What one version of a projection does with the log.
///
/// A batch goes through `decode` (each record), `prepare`, `load`, `fold`, `flush`, in this order; the
/// last three within one transaction that the runner opens and commits. The tables are named without a
/// schema: the transaction's search path is the build's own.
///
/// **Invariant:** `fold` is a function of its arguments, and the same whatever the batches are: no
/// clock, no randomness, no other projection's tables.
pub trait Projection: Send + Sync + 'static {
    /// What a record is read as.
    type Event: Send + Sync;
    /// What a fold looks things up in beside its own tables, such as the policies.
    type Context: Send + Sync;
    /// What is kept of one partition between batches. May be dropped at any time; bound it.
    type Memory: Default + Send;
    /// What a batch changes.
    type Changes: Send;

    /// How many records a batch of a rebuild has: more where a flush folds many records into few rows.
    const REBUILD_RECORDS: usize = 100_000;

    /// Its name, version, topics and tables.
    fn registered(&self) -> &'static Registered;

    /// Reads one record, or says why it can't be folded.
    fn decode(&self, record: &Record) -> Result<Self::Event, Poison>;

    /// Makes ready what the fold looks things up in; outside of the transaction, so it may wait.
    fn prepare(&self, batch: &Batch<Self::Event>) -> impl Future<Output = Self::Context> + Send;

    /// Brings the state of the batch's keys from the tables into memory.
    fn load(
        &self,
        batch: &Batch<Self::Event>,
        memory: &mut Self::Memory,
        tx: &mut PgTransaction<'_>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Folds the batch in the order of the log. What can't be folded is noted in `poisoned`; the batch is
    /// then rolled back and folded again without it, and without what has to wait behind it.
    fn fold(
        &self,
        batch: &Batch<Self::Event>,
        context: &Self::Context,
        memory: &mut Self::Memory,
        poisoned: &mut Poisoned,
    ) -> Self::Changes;

    /// Writes what changed.
    fn flush(
        &self,
        changes: Self::Changes,
        tx: &mut PgTransaction<'_>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Who says which partitions a runner folds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Kafka's group: they are shared among all runners of the same build.
    #[default]
    Group,
    /// Nobody: it folds all of them. With others beside it still right, only wasteful.
    Everything,
}

/// Why a runner could not begin, or ended by itself. Nothing outside ends it.
#[derive(Debug, Error)]
pub enum RunError {
    /// Kafka's client refuses its configuration.
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// No thread could be had.
    #[error("no thread for reading: {0}")]
    Thread(#[from] std::io::Error),
    /// Kafka's thread panicked.
    #[error("the thread that reads the log has died")]
    ReaderDied,
    /// A batch can't be folded, and trying again would not help.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The log doesn't hold where the build stands.
    #[error("{partition} stands at {next_offset}, which the log does not hold: was it deleted or made anew?")]
    LogLost {
        /// Where.
        partition: Source,
        /// Where it stands.
        next_offset: i64,
    },
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

/// Folds the log into one build of a projection until told to stop.
#[derive(Debug)]
pub struct Runner<P> {
    worker: Worker<P>,
    kafka: ClientConfig,
    topics: TopicNames,
    ownership: Ownership,
    health: Arc<Health>,
}

impl<P: Projection> Runner<P> {
    /// A runner of `projection`; `kafka` says where the brokers are and how they are trusted.
    pub fn new(projection: P, pool: PgPool, kafka: ClientConfig, topics: TopicNames) -> Self {
        Self {
            worker: Worker::new(projection, pool),
            kafka,
            topics,
            ownership: Ownership::Group,
            health: Arc::default(),
        }
    }

    /// Lets it say there how it goes.
    #[must_use]
    pub fn telling(mut self, health: Arc<Health>) -> Self {
        self.health = health;
        self
    }

    /// Lets it fold into another build than the version's first.
    #[must_use]
    pub fn on(mut self, build: Build) -> Self {
        self.worker = self.worker.on(build);
        self
    }

    /// Lets somebody else than Kafka's group say what it folds.
    #[must_use]
    pub fn owning(mut self, ownership: Ownership) -> Self {
        self.ownership = ownership;
        self
    }

    /// Waits for records, folds what there is, commits; until `shutdown`.
    ///
    /// The database or Kafka being away doesn't end it: it tries again for ever.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        // Also when this future is dropped in mid-air, Kafka's thread must end.
        let reading = CancellationToken::new();
        let _ends_reading = reading.clone().drop_guard();
        let (sender, mut chunks) = mpsc::channel(CHUNKS_MAX);
        let build = self.worker.build().clone();
        let outage = Arc::new(Outage::new(build.to_string(), "database"));
        let assignment = Arc::new(Assignment::default());
        let reader = Reader {
            kafka: self.kafka.clone(),
            topics: self.topics.clone(),
            ownership: self.ownership,
            build,
            pool: self.worker.pool().clone(),
            database: Arc::clone(&outage),
            assignment: Arc::clone(&assignment),
            stop: reading.clone(),
        };
        let thread = reader.start(sender)?;
        let folding = Folding { worker: &self.worker, assignment, outage, shutdown, health: self.health };
        let mut partitions = HashMap::new();
        loop {
            let first = tokio::select! {
                biased;
                () = folding.shutdown.cancelled() => break,
                chunk = chunks.recv() => chunk.ok_or(RunError::ReaderDied)?,
            };
            let mut round = Round::default();
            round.add(first);
            while round.records < ROUND_RECORDS_MAX
                && let Ok(chunk) = chunks.try_recv()
            {
                round.add(chunk);
            }
            folding.fold(round, &mut partitions).await;
        }
        reading.cancel();
        drop(chunks);
        // Kafka's thread leaves its group, so that others take over at once.
        let left = tokio::task::spawn_blocking(move || thread.join());
        match tokio::time::timeout(STOP_GRACE, left).await {
            Ok(Ok(Err(_))) => Err(RunError::ReaderDied),
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// What came out of the channel, by partition.
#[derive(Default)]
struct Round {
    records: usize,
    slices: HashMap<(Source, u64), Slice>,
}

#[derive(Default)]
struct Slice {
    records: Vec<Record>,
    /// Where the partition ends, if nothing was behind the last of them when they were read.
    end: Option<i64>,
}

impl Slice {
    /// Where the partition stands once this is folded.
    fn next_offset(&self) -> i64 {
        self.end.or_else(|| Some(self.records.last()?.offset + 1)).unwrap_or_default()
    }
}

impl Round {
    fn add(&mut self, chunk: Chunk) {
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
struct Held<M> {
    epoch: u64,
    partition: Partition<M>,
}

struct Folding<'a, P> {
    worker: &'a Worker<P>,
    assignment: Arc<Assignment>,
    outage: Arc<Outage>,
    shutdown: CancellationToken,
    health: Arc<Health>,
}

impl<P: Projection> Folding<'_, P> {
    /// Folds a round; what was read for an assignment that is over is dropped.
    async fn fold(&self, round: Round, partitions: &mut HashMap<Source, Held<P::Memory>>) {
        partitions.retain(|source, held| self.assignment.holds(*source, held.epoch));
        let mut work = Vec::with_capacity(round.slices.len());
        for ((source, epoch), slice) in round.slices {
            let Some(lease) = self.assignment.lease(source).filter(|lease| lease.epoch == epoch) else { continue };
            let held = partitions
                .remove(&source)
                .unwrap_or_else(|| Held { epoch, partition: Partition::at(source, lease.begins_at) });
            work.push(self.settle(held, slice));
        }
        let mut settled = stream::iter(work).buffer_unordered(PARALLEL_COMMITS);
        while let Some(held) = settled.next().await {
            partitions.insert(held.partition.source(), held);
        }
    }

    /// Folds a partition's part of a round, however long the database is away; until the partition is
    /// somebody else's, or a stop.
    async fn settle(&self, mut held: Held<P::Memory>, slice: Slice) -> Held<P::Memory> {
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
                        self.note_lag(&held.partition, slice.end.is_some());
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
                Ok(Committed::HeldAt(offset)) => {
                    search.at_most(rest.partition_point(|record| record.offset < offset));
                    if rest.first().is_none_or(|record| record.offset >= offset) {
                        tokio::select! {
                            () = self.shutdown.cancelled() => return held,
                            () = tokio::time::sleep(HELD_WAIT) => {}
                        }
                    }
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

    #[expect(clippy::cast_precision_loss, reason = "a lag of 2^52 ms is no lag but a wrong clock")]
    fn note_lag(&self, partition: &Partition<P::Memory>, to_the_end: bool) {
        let behind_ms = if to_the_end {
            0
        } else {
            chrono::Utc::now().timestamp_millis().saturating_sub(partition.position().clock.millis()).max(0)
        };
        let source = partition.source();
        metrics::gauge!(
            "pulsegate_projection_lag_seconds",
            "projection" => self.worker.build().to_string(),
            "topic" => source.topic.base_name(),
            "partition" => source.partition.to_string()
        )
        .set(behind_ms as f64 / 1e3);
    }
}
