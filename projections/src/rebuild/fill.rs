//! Filling a build's tables from the log: a worker a partition, as many at once as there are cores.
//!
//! A partition is read and decoded by a thread of its own, in large pieces, while the piece before is folded and
//! flushed. What a fold remembers stays in memory from piece to piece. Where a piece can't be folded, the records are
//! read again with care: in small batches that tell which record it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pulsegate_domain::topic::TopicNames;
use rdkafka::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::reader::{Piece, Reading, Target, Then};
use crate::builds::Build;
use crate::registry::Dependencies;
use crate::runner::outage::{Backoff, Outage};
use crate::runner::search::Search;
use crate::runner::{BatchError, Committed, Ended, Partition, Projection, RunError, Sorted, Worker};

/// How long one piece may take.
const PIECE_MAX: Duration = Duration::from_mins(10);
/// How many records are read with care before it is tried fast again.
const CAREFUL_RECORDS: usize = 5_000;
/// How often a database that answers may say no before that is taken for its last word.
const REFUSALS_MAX: u32 = 10;
/// How long a stop waits for the transaction that is under way.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What is to be filled, and how.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) targets: Vec<Target>,
    pub(crate) workers: usize,
    /// Whether a poison event is parked; else it stops everything.
    pub(crate) parks: bool,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
}

/// Fills `build` up to the targets, or says why not.
pub(crate) async fn fill<P: Projection>(
    projection: P,
    build: Build,
    with: Dependencies,
    order: Order,
) -> Result<(), RunError> {
    let worker =
        Worker::new(projection, with.pool).on(build).knowing(&with.forgotten).rebuilding(PIECE_MAX, order.parks);
    let filling = Arc::new(Filling {
        outage: Outage::new(worker.build().to_string(), "database"),
        worker: Arc::new(worker),
        kafka: with.kafka,
        topics: with.topics,
        progress: order.progress,
        // One that fails stops the others.
        stop: order.stop.child_token(),
    });
    let queue = Arc::new(Mutex::new(VecDeque::from(order.targets)));
    let mut workers = JoinSet::new();
    for _ in 0..order.workers.max(1) {
        let (filling, queue) = (Arc::clone(&filling), Arc::clone(&queue));
        workers.spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(target) = next else { return Ok(()) };
                filling.partition(target).await?;
            }
        });
    }
    let mut outcome = Ok(());
    while let Some(ended) = workers.join_next().await {
        let ended = match ended {
            Ok(ended) => ended,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(RunError::Stopped),
        };
        if let Err(error) = ended {
            filling.stop.cancel();
            // The first is the cause, the others were stopped by it.
            if outcome.is_ok() || matches!(outcome, Err(RunError::Stopped)) {
                outcome = Err(error);
            }
        }
    }
    outcome
}

struct Filling<P> {
    worker: Arc<Worker<P>>,
    kafka: ClientConfig,
    topics: TopicNames,
    progress: Arc<Progress>,
    outage: Outage,
    stop: CancellationToken,
}

/// Where reading a partition has come to.
enum Reached {
    End,
    /// It goes on.
    SomeWhere,
    /// It goes on, but with care.
    Trouble,
}

impl<P: Projection> Filling<P> {
    async fn partition(&self, target: Target) -> Result<(), RunError> {
        let mut backoff = Backoff::default();
        let mut partition = loop {
            match self.worker.take(target.source).await {
                Ok(partition) => break partition,
                Err(error) => self.wait_out(error, &mut backoff).await?,
            }
        };
        self.progress.stands(target.source, partition.position().next_offset);
        let mut reached = Reached::SomeWhere;
        loop {
            let careful = matches!(reached, Reached::Trouble) || !partition.waits_for_nothing();
            let reading = Reading::open(&self.kafka, &self.topics, target, partition.position())?;
            reached = if careful {
                self.with_care(reading, &mut partition).await?
            } else {
                self.fast(reading, &mut partition).await?
            };
            if matches!(reached, Reached::End) {
                self.progress.is_done(target.source, partition.position().next_offset);
                return Ok(());
            }
        }
    }

    /// Reads, folds and flushes piece by piece.
    async fn fast(&self, reading: Reading, partition: &mut Partition<P::Memory>) -> Result<Reached, RunError> {
        // One piece waits while one is folded and one is read: that is all that is in memory.
        let (sender, mut pieces) = mpsc::channel::<Piece<P::Event>>(1);
        let stop = self.stop.child_token();
        let _ends_reading = stop.clone().drop_guard();
        let thread = reading.decode(Arc::clone(&self.worker), sender, stop)?;
        while let Some(Piece { sorted, then }) = pieces.recv().await {
            if let Some(sorted) = sorted
                && let Some(reached) = self.piece(partition, &sorted).await?
            {
                return Ok(reached);
            }
            match then {
                // A log that is read without a pause must not keep a stop waiting.
                Then::More if self.stop.is_cancelled() => return Err(RunError::Stopped),
                Then::More => {}
                Then::Trouble => return Ok(Reached::Trouble),
                Then::End(next_offset) => return self.end(partition, next_offset).await,
            }
        }
        // The thread ends by itself only because of a stop or an error.
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        match ended {
            Ok(Ok(ended)) => ended.and(Err(RunError::Stopped)),
            Ok(Err(_)) | Err(_) => Err(RunError::ReaderDied),
        }
    }

    /// Folds one piece; where reading must begin anew, `Some`.
    async fn piece(
        &self,
        partition: &mut Partition<P::Memory>,
        sorted: &Sorted<P::Event>,
    ) -> Result<Option<Reached>, RunError> {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let tried = tokio::select! {
                biased;
                tried = self.worker.commit_sorted(partition, sorted) => tried,
                () = self.grace_is_over() => return Err(RunError::Stopped),
            };
            match tried {
                Ok(Ended::Done) => {
                    self.outage.over();
                    self.worker.count(sorted.batch.events.len(), sorted.letters.len(), begun);
                    self.progress.stands(partition.source(), partition.position().next_offset);
                    return Ok(None);
                }
                // Another process folds the same build: it goes on from where that stands.
                Ok(Ended::Superseded(_)) => return Ok(Some(Reached::SomeWhere)),
                Ok(Ended::LettersChanged | Ended::Poison(_)) => return Ok(Some(Reached::Trouble)),
                Ok(Ended::HeldAt(_)) => tokio::time::sleep(backoff.next()).await,
                Err(error) if error.may_be_a_records_fault() => return Ok(Some(Reached::Trouble)),
                Err(error) => self.wait_out(error, &mut backoff).await?,
            }
        }
    }

    /// Reads a few records as they are, and folds them in batches that get smaller until it is known which is poison.
    async fn with_care(&self, reading: Reading, partition: &mut Partition<P::Memory>) -> Result<Reached, RunError> {
        let stop = self.stop.clone();
        let read = tokio::task::spawn_blocking(move || reading.records(CAREFUL_RECORDS, &stop)).await;
        let (records, then) = read.map_err(|_| RunError::ReaderDied)??;
        let (mut search, mut backoff) = (Search::default(), Backoff::default());
        loop {
            let next_offset = partition.position().next_offset;
            let rest = &records[records.partition_point(|record| record.offset < next_offset)..];
            if rest.is_empty() {
                break;
            }
            let (batch, known) = search.window(rest);
            match self.worker.commit_knowing(partition, batch, known).await {
                Ok(Committed::Done { .. }) => {
                    search.went_well();
                    self.progress.stands(partition.source(), partition.position().next_offset);
                }
                Ok(Committed::Superseded) => return Ok(Reached::SomeWhere),
                Ok(Committed::HeldAt(_)) => tokio::time::sleep(backoff.next()).await,
                Err(error) if error.may_be_a_records_fault() && search.narrows(rest.len(), &error) => {}
                Err(error) => self.wait_out(error, &mut backoff).await?,
            }
            if self.stop.is_cancelled() {
                return Err(RunError::Stopped);
            }
        }
        match then {
            Then::End(next_offset) => self.end(partition, next_offset).await,
            Then::More | Then::Trouble => Ok(Reached::SomeWhere),
        }
    }

    /// Passes what is no record behind the last one.
    async fn end(&self, partition: &mut Partition<P::Memory>, next_offset: i64) -> Result<Reached, RunError> {
        let mut backoff = Backoff::default();
        loop {
            match self.worker.pass(partition, next_offset).await {
                Ok(Committed::Done { .. }) => return Ok(Reached::End),
                Ok(Committed::Superseded) => return Ok(Reached::SomeWhere),
                Ok(Committed::HeldAt(_)) => tokio::time::sleep(backoff.next()).await,
                Err(error) => self.wait_out(error, &mut backoff).await?,
            }
        }
    }

    /// Waits before it is tried again, unless that can't help.
    async fn wait_out(&self, error: BatchError, backoff: &mut Backoff) -> Result<(), RunError> {
        let hopeless = matches!(error, BatchError::Poison { .. } | BatchError::Emptied(_));
        if hopeless || (!error.is_outage() && backoff.tries() >= REFUSALS_MAX) {
            return Err(error.into());
        }
        self.outage.failed(&error);
        tokio::select! {
            () = self.stop.cancelled() => Err(RunError::Stopped),
            () = tokio::time::sleep(backoff.next()) => Ok(()),
        }
    }

    async fn grace_is_over(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    }
}
