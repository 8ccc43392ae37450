//! Filling a build's tables from the log: a worker a partition, as many at once as there are cores.
//!
//! A partition is read and decoded by a thread of its own, in pieces, while the piece before is folded. A projection may
//! [gather](Projection::gathers) what many pieces change before it is written, in one transaction: then a row that
//! changes all the time is written once. What a fold remembers stays in memory from piece to piece. Where a piece can't
//! be folded, the records are read again with care: in small batches that tell which record it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pulsegate_domain::topic::TopicNames;
use rdkafka::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::reader::{Piece, Reading, Target, Then};
use crate::builds::Build;
use crate::registry::Dependencies;
use crate::runner::outage::{Backoff, Outage};
use crate::runner::search::Search;
use crate::runner::{BatchError, Behind, Committed, Ended, Partition, Projection, RunError, Sorted, Source, Worker};

/// How long one transaction may take.
const TRANSACTION_MAX: Duration = Duration::from_mins(10);
/// From how many records on nothing more is gathered before it is committed: that much is folded again after a crash.
const GATHERED_RECORDS_MAX: u32 = 500_000;
/// From when on, too: the database ends a transaction that says nothing for long.
const GATHERING_MAX: Duration = Duration::from_secs(5);
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
        Worker::new(projection, with.pool).on(build).knowing(&with.forgotten).rebuilding(TRANSACTION_MAX, order.parks);
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

/// The pieces of a partition, as they are read.
struct Pieces<E> {
    source: Source,
    received: mpsc::Receiver<Piece<E>>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    /// Before this offset each is committed by itself.
    gathers_from: i64,
    gathers_until: Instant,
    /// Records of the pieces that were gathered: those folded, and those not.
    folded: usize,
    skipped: usize,
    /// Where the last of them ends, and what follows it.
    ends_at: i64,
    then: Then,
}

impl<E> Pieces<E> {
    /// The first piece of a transaction, which may hold no record; `None` if there are no more.
    async fn begin(&mut self) -> Option<Option<Sorted<E>>> {
        let Piece { sorted, then } = self.received.recv().await?;
        (self.folded, self.skipped, self.gathers_until) = (0, 0, Instant::now() + GATHERING_MAX);
        Some(self.took(sorted, then))
    }

    fn took(&mut self, sorted: Option<Sorted<E>>, then: Then) -> Option<Sorted<E>> {
        self.then = then;
        if let Some(Sorted { batch, letters, .. }) = &sorted {
            self.folded += batch.events.len();
            self.skipped += letters.len();
            self.ends_at = batch.ends_at.next_offset;
        }
        sorted
    }
}

impl<E: Send> Behind<E> for Pieces<E> {
    async fn next(&mut self) -> Option<Sorted<E>> {
        // Who looks on sees what is folded, which a moment later is committed.
        self.progress.stands(self.source, self.ends_at);
        let is_enough = self.folded + self.skipped >= GATHERED_RECORDS_MAX as usize
            || self.ends_at < self.gathers_from
            || Instant::now() >= self.gathers_until;
        if is_enough || self.then != Then::More || self.stop.is_cancelled() {
            return None;
        }
        let next = tokio::time::timeout_at(self.gathers_until, self.received.recv()).await;
        let Piece { sorted, then } = next.ok().flatten()?;
        self.took(sorted, then)
    }
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
        let mut gathers_from = 0;
        loop {
            let careful = matches!(reached, Reached::Trouble) || !partition.waits_for_nothing();
            let position = partition.position();
            if matches!(reached, Reached::Trouble) {
                // What goes wrong once more soon must not cost the fold of all before it again and again.
                gathers_from = position.next_offset.saturating_add(GATHERED_RECORDS_MAX.into());
            }
            let reading = Reading::open(&self.kafka, &self.topics, target, position)?;
            reached = if careful {
                self.with_care(reading, &mut partition).await?
            } else {
                self.fast(reading, &mut partition, gathers_from, &mut backoff).await?
            };
            if matches!(reached, Reached::End) {
                self.progress.is_done(target.source, partition.position().next_offset);
                return Ok(());
            }
        }
    }

    /// Reads, folds and flushes piece by piece, or as many pieces at once as the projection gathers.
    async fn fast(
        &self,
        reading: Reading,
        partition: &mut Partition<P::Memory>,
        gathers_from: i64,
        backoff: &mut Backoff,
    ) -> Result<Reached, RunError> {
        // Two pieces wait while one is folded and one is read: that is all that is in memory.
        let (sender, received) = mpsc::channel::<Piece<P::Event>>(2);
        let stop = self.stop.child_token();
        let _ends_reading = stop.clone().drop_guard();
        let thread = reading.decode(Arc::clone(&self.worker), sender, stop.clone())?;
        let mut pieces = Pieces {
            source: partition.source(),
            received,
            progress: Arc::clone(&self.progress),
            stop,
            gathers_from,
            gathers_until: Instant::now(),
            folded: 0,
            skipped: 0,
            ends_at: 0,
            then: Then::More,
        };
        while let Some(first) = pieces.begin().await {
            if let Some(sorted) = first
                && let Some(reached) = self.gathered(partition, sorted, &mut pieces, backoff).await?
            {
                return Ok(reached);
            }
            match pieces.then {
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

    /// Folds a piece and what is gathered behind it; where reading must begin anew, `Some`.
    async fn gathered(
        &self,
        partition: &mut Partition<P::Memory>,
        first: Sorted<P::Event>,
        pieces: &mut Pieces<P::Event>,
        backoff: &mut Backoff,
    ) -> Result<Option<Reached>, RunError> {
        let begun = Instant::now();
        let tried = tokio::select! {
            biased;
            tried = self.worker.commit_sorted(partition, first, pieces) => tried,
            () = self.grace_is_over() => return Err(RunError::Stopped),
        };
        match tried {
            Ok(Ended::Done) => {
                self.outage.over();
                *backoff = Backoff::default();
                self.worker.count(pieces.folded, pieces.skipped, begun.into());
                self.progress.stands(partition.source(), partition.position().next_offset);
                return Ok(None);
            }
            // Another process folds the same build: it goes on from where that stands.
            Ok(Ended::Superseded(_)) => {}
            Ok(Ended::LettersChanged | Ended::Poison(_)) => return Ok(Some(Reached::Trouble)),
            Ok(Ended::HeldAt(_)) => tokio::time::sleep(backoff.next()).await,
            Err(error) if error.may_be_a_records_fault() => return Ok(Some(Reached::Trouble)),
            Err(error) => self.wait_out(error, backoff).await?,
        }
        // What was read and isn't in the tables is read again.
        Ok(Some(Reached::SomeWhere))
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
