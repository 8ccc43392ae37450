//! Reading one partition from a position on, for a rebuild: decoded where it is read.

mod otherwise;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pulsegate_domain::account::Place;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::TopicNames;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::reader::{self, ReaderContext};
use crate::runner::arena::{Arena, unusual_headers};
use crate::runner::{
    Batch, Letter, Placed, Poison, Position, Projection, Record, RunError, Sorted, Source, Waiting, Worker, uncaught,
};

/// How long a poll waits for a first record; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long a new consumer waits to be told who leads the partition; without, it finds out by itself, only later.
const LEADER_MAX: Duration = Duration::from_secs(5);

/// Where a rebuild reads, and up to where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) source: Source,
    /// Where it ends; what came behind it meanwhile is the next pass's.
    pub(crate) end: i64,
}

/// A partition that is being read.
pub(crate) struct Reading {
    consumer: BaseConsumer<ReaderContext>,
    topic: String,
    target: Target,
    from: Position,
}

enum Next<'a> {
    Record(BorrowedMessage<'a>),
    /// Nothing more, up to this offset.
    End(i64),
    Nothing,
}

/// What was read in one go.
pub(super) struct Piece<E> {
    /// None where there was no record.
    pub(super) sorted: Option<Sorted<E>>,
    pub(super) then: Then,
}

/// What follows a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    More,
    /// Nothing: the partition is read up to this offset.
    End(i64),
    /// A record that must be looked at with care.
    Trouble,
}

impl Reading {
    pub(crate) fn open(
        kafka: &ClientConfig,
        topics: &TopicNames,
        target: Target,
        from: Position,
    ) -> Result<Self, RunError> {
        let topic = topics.name(target.source.topic);
        let mut config = kafka.clone();
        config
            // Demanded by librdkafka, used by nobody: it is assigned by hand and commits nothing.
            .set("group.id", format!("{}rebuild", topics.prefix()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // A position that the log doesn't have is trouble to be looked at, not to be jumped over.
            .set("auto.offset.reset", "error")
            // The end is to be heard of soon; and one partition at a time, as much of it as there is.
            .set("fetch.wait.max.ms", "20")
            .set("max.partition.fetch.bytes", "4194304")
            .set("queued.max.messages.kbytes", "32768")
            .set("fetch.queue.backoff.ms", "2");
        let consumer = reader::consumer(&config)?;
        Ok(Self { consumer, topic, target, from })
    }

    /// Lets the consumer fetch; blocks until it knows whom to ask.
    fn begin(&self) -> Result<(), RunError> {
        // Who is to be asked where a log begins, and isn't known yet, is asked half a second later: once a partition.
        if let Err(error) = self.consumer.fetch_metadata(Some(&self.topic), LEADER_MAX) {
            tracing::debug!(%error, "asking who leads {}", self.topic);
        }
        let mut partitions = TopicPartitionList::new();
        // A log may begin later than at 0; what it never held isn't missed.
        let from_start = self.from == Position::START;
        let offset = if from_start { Offset::Beginning } else { Offset::Offset(self.from.next_offset) };
        partitions.add_partition_offset(&self.topic, self.target.source.partition, offset)?;
        Ok(self.consumer.assign(&partitions)?)
    }

    fn next(&self, wait: Duration) -> Result<Next<'_>, RunError> {
        // Who needn't wait needn't look at the clock.
        match self.consumer.poll(Duration::ZERO).or_else(|| self.consumer.poll(wait)) {
            None => Ok(Next::Nothing),
            Some(Ok(message)) if message.offset() >= self.target.end => Ok(Next::End(self.target.end)),
            Some(Ok(message)) => Ok(Next::Record(message)),
            // Behind the last record there may be what is none: the consumer's own position tells.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let positions = self.consumer.position()?;
                let position = positions
                    .find_partition(&self.topic, self.target.source.partition)
                    .and_then(|element| element.offset().to_raw())
                    .filter(|offset| *offset >= 0)
                    .unwrap_or(self.from.next_offset);
                Ok(Next::End(self.target.end.min(position)))
            }
            Some(Err(error)) => {
                if let Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) =
                    error.rdkafka_error_code()
                {
                    return Err(RunError::LogLost {
                        partition: self.target.source,
                        next_offset: self.from.next_offset,
                    });
                }
                // Brokers that are away come back; librdkafka goes on asking.
                tracing::debug!(%error, "reading the log");
                Ok(Next::Nothing)
            }
        }
    }

    /// Whether the last record that is wanted was read. The end of a partition is only heard of later.
    fn ended(&self, last: Option<i64>) -> Option<Then> {
        let next_offset = last? + 1;
        (next_offset >= self.target.end).then_some(Then::End(next_offset))
    }

    /// Reads records as they are, at most `most` of them.
    pub(super) fn records(&self, most: usize, stop: &CancellationToken) -> Result<(Vec<Record>, Then), RunError> {
        self.begin()?;
        let mut arena = Arena::default();
        let mut records = Vec::new();
        while records.len() < most {
            if stop.is_cancelled() {
                return Err(RunError::Stopped);
            }
            if let Some(end) = self.ended(records.last().map(|record: &Record| record.offset)) {
                return Ok((records, end));
            }
            match self.next(POLL)? {
                Next::Record(message) => records.push(arena.record(&message, unusual_headers(&message))),
                Next::End(offset) => return Ok((records, Then::End(offset))),
                Next::Nothing => {}
            }
        }
        Ok((records, Then::More))
    }

    /// Hands each record on as it is, until the end, or until `each` has had enough.
    pub(crate) fn each(
        &self,
        stop: &CancellationToken,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> bool,
    ) -> Result<(), RunError> {
        self.begin()?;
        let mut last = None;
        while self.ended(last).is_none() {
            if stop.is_cancelled() {
                return Err(RunError::Stopped);
            }
            match self.next(POLL)? {
                Next::Record(message) => {
                    last = Some(message.offset());
                    if !each(&message) {
                        return Ok(());
                    }
                }
                Next::End(_) => return Ok(()),
                Next::Nothing => {}
            }
        }
        Ok(())
    }

    /// Reads and decodes on a thread of its own, until the end, trouble, a stop, or nobody listens.
    pub(super) fn decode<P: Projection>(
        self,
        worker: Arc<Worker<P>>,
        pieces: mpsc::Sender<Piece<P::Event>>,
        stop: CancellationToken,
    ) -> Result<JoinHandle<Result<(), RunError>>, RunError> {
        let name = format!("rebuild-{}", self.target.source);
        let runtime = Handle::current();
        let read = move || {
            self.begin()?;
            let mut clock = self.from.clock;
            loop {
                let piece = if worker.may_read_otherwise(self.target.source.topic) {
                    self.piece_otherwise(&worker, &runtime, &mut clock, &stop)?
                } else {
                    self.piece(worker.projection(), &mut clock, &stop)?
                };
                let Some(piece) = piece else { return Ok(()) };
                let then = piece.then;
                if pieces.blocking_send(piece).is_err() || then != Then::More {
                    return Ok(());
                }
            }
        };
        Ok(std::thread::Builder::new().name(name).spawn(read)?)
    }

    fn piece<P: Projection>(
        &self,
        projection: &P,
        clock: &mut Timestamp,
        stop: &CancellationToken,
    ) -> Result<Option<Piece<P::Event>>, RunError> {
        let mut arena = Arena::default();
        let mut events = Vec::with_capacity(P::REBUILD_RECORDS);
        let (mut letters, mut last) = (Vec::new(), None);
        let mut then = Then::More;
        while events.len() + letters.len() < P::REBUILD_RECORDS {
            if let Some(end) = self.ended(last) {
                then = end;
                break;
            }
            match self.next(POLL)? {
                Next::Record(message) => {
                    let record = arena.record(&message, Vec::new());
                    let at = record.timestamp.map_or(*clock, |stamp| (*clock).max(stamp));
                    let Ok(read) = uncaught(|| projection.decode(&record)) else {
                        then = Then::Trouble;
                        break;
                    };
                    match read {
                        Ok(event) => {
                            events.push(Placed { place: Place { offset: record.offset, at }, event });
                        }
                        Err(poison @ Poison::Skip(_)) => {
                            let record = Record { headers: unusual_headers(&message), ..record.clone() };
                            letters.push(Letter { record, clock: at, poison, behind: None });
                        }
                        Err(Poison::Park(_)) => {
                            then = Then::Trouble;
                            break;
                        }
                    }
                    *clock = at;
                    last = Some(record.offset);
                }
                Next::End(offset) => {
                    then = Then::End(offset);
                    break;
                }
                Next::Nothing if stop.is_cancelled() => return Ok(None),
                Next::Nothing => {}
            }
        }
        let sorted = last.map(|last| {
            let ends_at = Position { next_offset: last + 1, clock: *clock };
            let batch = Batch { source: self.target.source, ends_at, events };
            Sorted { batch, letters, newly_waiting: Waiting::default(), forgotten: 0 }
        });
        Ok(Some(Piece { sorted, then }))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // A consumer that is dropped while it fetches can hang.
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "unassigning");
        }
    }
}
