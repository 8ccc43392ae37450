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
mod batch_error;
mod consumer;
mod ends;
mod folding;
mod health;
pub(crate) mod offsets;
pub(crate) mod outage;
pub(crate) mod reading;
mod record;
pub(crate) mod search;
mod status;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pulsegate_domain::topic::TopicNames;
use pulsegate_privacy::Forgotten;
use rdkafka::ClientConfig;
use sqlx::{PgPool, PgTransaction};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::builds::Build;
use crate::registry::Registered;
use assignment::Assignment;
use consumer::{Chunk, Reader};
use folding::{Folding, Held, Round};
use outage::Outage;

pub use batch_error::BatchError;
pub use consumer::group_of;
pub use health::{Health, Stuck};
pub use offsets::Position;
pub use record::{Batch, Placed, Poison, Poisoned, Record, Source};
pub(crate) use record::{Letter, Sorted, Waiting};
pub use status::{HistoryEntry, PartitionStatus, ProjectionStatus, RebuildStatus, status};
pub(crate) use worker::{Behind, Ended, uncaught};
pub use worker::{Committed, Partition, Worker};

/// Most records that one round takes out of the channel: how large a batch may grow when behind.
const ROUND_RECORDS_MAX: usize = 20_000;
/// How far apart rounds begin while there is little to fold: what comes between shares a transaction. With what a fetch
/// may wait it is the most of a read model's lag, and an idle one's first record doesn't wait for it.
const ROUND_EVERY: Duration = Duration::from_millis(200);
/// Chunks between Kafka's thread and the fold; when they are full, Kafka's thread reads no further.
const CHUNKS_MAX: usize = 16;
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

    /// How many records a batch of a rebuild has: small ones keep reading and writing going side by side. About four
    /// batches of each worker are in memory at once. Where many records are folded into few rows, what a batch changes
    /// had better be [gathered](Self::gathers), so that each row is written less often.
    const REBUILD_RECORDS: usize = 32_768;

    /// Its name, version, topics and tables.
    fn registered(&self) -> &'static Registered;

    /// Reads one record, or says why it can't be folded.
    fn decode(&self, record: &Record) -> Result<Self::Event, Poison>;

    /// Makes ready what the fold looks things up in. Outside of the transaction, so it may wait; but for a batch that is
    /// [gathered](Self::gathers), within.
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

    /// Whether a rebuild may fold the next batch of the partition before what was changed is flushed. Not unless a
    /// projection says so: its memory must hold whatever the tables don't say yet, and [`join`](Self::join) take up the
    /// changes of the next batch. To be bounded by what memory and `changes` hold.
    fn gathers(&self, memory: &Self::Memory, changes: &Self::Changes) -> bool {
        let _ = (memory, changes);
        false
    }

    /// Brings what memory holds for the tables into `changes`: once before they are flushed, behind the last batch.
    fn settle(&self, source: Source, memory: &mut Self::Memory, changes: &mut Self::Changes) {
        let _ = (source, memory, changes);
    }

    /// Takes what another partition changed up into `changes`, or what the next batch did, so that one flush writes both;
    /// or gives it back, and it is flushed by itself, which is as right and costs the database some statements more.
    fn join(&self, changes: &mut Self::Changes, more: Self::Changes) -> Option<Self::Changes> {
        let _ = changes;
        Some(more)
    }

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

/// The next chunk, if there is one or one comes until then.
async fn within(until: Instant, chunks: &mut mpsc::Receiver<Chunk>) -> Option<Chunk> {
    match chunks.try_recv() {
        Ok(chunk) => Some(chunk),
        Err(_) => tokio::time::timeout_at(until, chunks.recv()).await.ok().flatten(),
    }
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

    /// Lets it know who was forgotten, and open what is sealed.
    #[must_use]
    pub fn knowing(mut self, forgotten: &Forgotten) -> Self {
        self.worker = self.worker.knowing(forgotten);
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
        let mut next_round = Instant::now();
        loop {
            let mut round = Round::default();
            let held_back: usize = partitions.values().map(Held::held_back).max().unwrap_or_default();
            tokio::select! {
                biased;
                () = folding.shutdown.cancelled() => break,
                chunk = chunks.recv(), if held_back < ROUND_RECORDS_MAX => {
                    round.add(chunk.ok_or(RunError::ReaderDied)?);
                }
                () = tokio::time::sleep(HELD_WAIT), if held_back > 0 => {}
            }
            while held_back < ROUND_RECORDS_MAX
                && round.records < ROUND_RECORDS_MAX
                && let Some(chunk) = within(next_round, &mut chunks).await
            {
                round.add(chunk);
            }
            next_round = Instant::now() + ROUND_EVERY;
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
