//! The log as its writer sees it: append, and learn where the record came to stand.

mod lane;
mod meters;
mod producer;
mod reply;
mod slot;
mod traced;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pulsegate_domain::topic::{Topic, partition_of};
use rdkafka::error::KafkaError;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

use self::lane::Lane;
use self::meters::Meters;
use self::producer::{Generation, QUEUE_BYTES_MAX, Ticket};
use self::reply::{Group, Reply};
use self::slot::Slot;
use crate::record::{AppendError, Appended, Record};
use crate::settings::LogSettings;

/// Why the log cannot be written.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// librdkafka refuses its configuration.
    #[error("make a Kafka producer: {0}")]
    Producer(#[from] KafkaError),
    /// No thread for delivery reports.
    #[error("start the producer's thread: {0}")]
    Thread(#[from] io::Error),
}

/// The log, to append to. Clones share one producer.
#[derive(Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

struct Pending {
    record: Record,
    ticket: Ticket,
}

/// What of a batch goes to one lane: each record with its index in the batch and its weight.
#[derive(Default)]
struct Part {
    indices: Vec<usize>,
    records: Vec<(usize, Record)>,
}

struct Address {
    topic: Topic,
    name: Arc<str>,
    partition: i32,
}

/// What all clones share, and the producer's callbacks.
struct Inner {
    queue_max: usize,
    ack_timeout: Duration,
    /// For each topic its first lane and how many it has.
    topics: [(usize, i32); Topic::ALL.len()],
    addresses: Vec<Address>,
    lanes: Vec<Lane<Pending>>,
    slot: Slot,
    in_flight: AtomicUsize,
    weight: AtomicUsize,
    /// Spreads records without a key.
    keyless: AtomicUsize,
    idle: Notify,
    meters: Meters,
}

impl EventLog {
    /// Makes the producer. The broker is reached in the background: a log that is away shows at the
    /// first append. Metrics go to the recorder that is installed now.
    pub fn connect(settings: &LogSettings) -> Result<Self, ConnectError> {
        let inner = Arc::new_cyclic(|inner| Inner::new(settings, Slot::new(producer::config(settings), inner.clone())));
        inner.slot.start()?;
        Ok(Self { inner })
    }

    /// Appends a record and waits for the broker to say where it stands.
    ///
    /// Once this has been polled the record is on its way, also if the caller stops waiting.
    pub async fn append(&self, mut record: Record) -> Result<Appended, AppendError> {
        let span = traced::begin(&mut record);
        let weight = self.inner.enter(&record)?;
        self.inner.meters.in_flight(self.in_flight());
        let (sender, answer) = oneshot::channel();
        let since = Instant::now();
        let lane = self.inner.lane_of(&record);
        let ticket = Ticket { lane, weight, since, reply: Reply::One(sender) };
        self.inner.admit(lane, [Pending { record, ticket }]);
        // A producer is given up a moment after its records are overdue, so its own report comes late.
        let outcome = match tokio::time::timeout_at((since + self.inner.ack_timeout).into(), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(AppendError::NotAcknowledged),
        };
        if let Some(span) = span {
            traced::end(span, &outcome);
        }
        outcome
    }

    /// Appends records together; each has its own answer, in the order given. Those of one key keep
    /// their order in the log.
    pub async fn append_all(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        let mut outcomes = vec![Err(AppendError::NotAcknowledged); records.len()];
        let settled = |indices: &[usize], settled: Vec<_>| {
            for (index, outcome) in indices.iter().zip(settled) {
                outcomes[*index] = outcome;
            }
        };
        self.append_by_partition(records, settled).await;
        outcomes
    }

    /// Appends records together and says of each partition's part what became of it, as soon as that is known: by the
    /// records' indices among those given, in their order, and the outcome of each. Those of one key keep their order
    /// in the log.
    pub async fn append_by_partition(
        &self,
        records: Vec<Record>,
        mut settled: impl FnMut(&[usize], Vec<Result<Appended, AppendError>>),
    ) {
        let since = Instant::now();
        // Ends with the last of them.
        let span = traced::begin_all(records.len());
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        for (index, mut record) in records.into_iter().enumerate() {
            match self.inner.enter(&record) {
                Ok(weight) => {
                    let part = parts.entry(self.inner.lane_of(&record)).or_default();
                    // One of each partition is enough to be followed.
                    if let Some(span) = span.as_ref().filter(|_| part.records.is_empty()) {
                        traced::mark(&mut record, span);
                    }
                    part.indices.push(index);
                    part.records.push((weight, record));
                }
                Err(error) => settled(&[index], vec![Err(error)]),
            }
        }
        self.inner.meters.in_flight(self.in_flight());
        let mut waiting = FuturesUnordered::new();
        for (lane, Part { indices, records }) in parts {
            let (group, answer) = Group::new(records.len());
            let pending = records.into_iter().enumerate().map(|(place, (weight, record))| {
                let reply = Reply::Part { group: Arc::clone(&group), place };
                Pending { record, ticket: Ticket { lane, weight, since, reply } }
            });
            self.inner.admit(lane, pending);
            waiting.push(async move {
                // That it is whole is all that is told; what isn't by the deadline may still arrive.
                let _ = tokio::time::timeout_at((since + self.inner.ack_timeout).into(), answer).await;
                (indices, group.outcomes())
            });
        }
        while let Some((indices, outcomes)) = waiting.next().await {
            settled(&indices, outcomes);
        }
    }

    /// Waits until nothing is in flight, for at most `patience`; says whether that came to be.
    pub async fn flush(&self, patience: Duration) -> bool {
        let emptied = async {
            loop {
                // Made before the look, so that no notice between the two is missed.
                let notice = self.inner.idle.notified();
                if self.in_flight() == 0 {
                    return;
                }
                notice.await;
            }
        };
        tokio::time::timeout(patience, emptied).await.is_ok()
    }

    /// How many producers were given up, after a fatal error or for a record that was not acknowledged in time, and
    /// followed by another.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.inner.slot.renewals()
    }

    /// How many records wait for the broker.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(settings: &LogSettings, slot: Slot) -> Self {
        let mut addresses = Vec::new();
        let topics = Topic::ALL.map(|topic| {
            let first = addresses.len();
            let partitions = settings.partitions_of(topic).max(1);
            let name: Arc<str> = settings.topics.name(topic).into();
            addresses.extend((0..partitions).map(|partition| Address { topic, name: Arc::clone(&name), partition }));
            (first, partitions)
        });
        Self {
            queue_max: settings.queue_max,
            ack_timeout: settings.ack_timeout,
            topics,
            lanes: addresses.iter().map(|_| Lane::new()).collect(),
            addresses,
            slot,
            in_flight: AtomicUsize::new(0),
            weight: AtomicUsize::new(0),
            keyless: AtomicUsize::new(0),
            idle: Notify::new(),
            meters: Meters::new(settings.queue_max),
        }
    }

    /// Lets a record in, if there is room; says what it weighs.
    fn enter(&self, record: &Record) -> Result<usize, AppendError> {
        let weight = record.weight();
        let count = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let bytes = self.weight.fetch_add(weight, Ordering::Relaxed);
        if count >= self.queue_max || bytes + weight > QUEUE_BYTES_MAX {
            self.leave(1, weight);
            self.meters.failed(AppendError::QueueFull);
            return Err(AppendError::QueueFull);
        }
        Ok(weight)
    }

    /// Puts records that were let in into their lane, and sends what may go out.
    fn admit(&self, lane: usize, pending: impl IntoIterator<Item = Pending>) {
        if let Some(batch) = self.lanes[lane].admit(pending) {
            self.drive(lane, batch);
        }
    }

    fn lane_of(&self, record: &Record) -> usize {
        let (first, partitions) = self.topics[record.topic as usize];
        let partition = match &record.key {
            Some(key) => usize::try_from(partition_of(key, partitions)).unwrap_or(0),
            None => self.keyless.fetch_add(1, Ordering::Relaxed) % usize::try_from(partitions).unwrap_or(1),
        };
        first + partition
    }

    /// Sends a lane's batch, and the next ones for as long as nothing of them is in flight.
    fn drive(&self, lane: usize, mut batch: Vec<Pending>) {
        loop {
            let (generation, now) = (self.slot.current(), Instant::now());
            if let Some(generation) = &generation {
                self.lanes[lane].sent_by(generation.number, now);
            }
            // A batch never changes producers: a record of it that the old one has in flight could be
            // overtaken by one that the new one sends.
            let failed =
                batch.into_iter().filter_map(|pending| self.send(generation.as_deref(), pending, now).err()).count();
            if failed == 0 {
                return;
            }
            match self.lanes[lane].settle(failed) {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    fn send(&self, generation: Option<&Generation>, pending: Pending, now: Instant) -> Result<(), AppendError> {
        let Pending { record, ticket } = pending;
        let address = &self.addresses[ticket.lane];
        let sent = match generation {
            // Its sender was told already that it isn't acknowledged.
            _ if now.duration_since(ticket.since) >= self.ack_timeout => Err((ticket, AppendError::NotAcknowledged)),
            Some(generation) => generation.send(&address.name, address.partition, &record, ticket),
            None => Err((ticket, AppendError::Unavailable)),
        };
        sent.map_err(|(ticket, error)| {
            if let (AppendError::Unavailable, Some(generation)) = (error, generation) {
                self.renew(generation.number);
            }
            self.finish(ticket, Err(error));
            error
        })
    }

    /// A producer that has had a record for longer than anybody waits for it is followed by another.
    fn renew_if_overdue(&self, generation: u64) {
        let Some(limit) = Instant::now().checked_sub(self.ack_timeout) else { return };
        if let Some(lane) = self.lanes.iter().position(|lane| lane.is_overdue(generation, limit)) {
            let Address { name, partition, .. } = &self.addresses[lane];
            tracing::warn!(
                generation,
                topic = %name,
                partition,
                waited_ms = self.ack_timeout.as_millis(),
                "a record was not acknowledged in time; the log's producer is followed by another"
            );
            self.renew(generation);
        }
    }

    /// A producer is given up: the next batch of each lane goes to its successor.
    fn renew(&self, generation: u64) {
        if self.slot.renew(generation) {
            self.meters.renewed();
        }
    }

    /// A delivery report came.
    fn delivered(&self, ticket: Ticket, outcome: Result<Appended, AppendError>) {
        let lane = ticket.lane;
        self.finish(ticket, outcome);
        if let Some(batch) = self.lanes[lane].settle(1) {
            self.drive(lane, batch);
        }
    }

    fn finish(&self, ticket: Ticket, outcome: Result<Appended, AppendError>) {
        if let Err(error) = outcome {
            self.meters.failed(error);
        }
        let Ticket { lane, weight, since, reply } = ticket;
        // Records that were sent together leave together: counting each by itself would cost more than its delivery.
        if let Some(settled) = reply.send(weight, outcome) {
            if let Some((count, stamp)) = settled.appended {
                self.meters.appended(self.addresses[lane].topic, count, since.elapsed(), stamp);
            }
            self.leave(settled.records, settled.weight);
        }
    }

    fn leave(&self, records: usize, weight: usize) {
        self.weight.fetch_sub(weight, Ordering::Relaxed);
        let left = self.in_flight.fetch_sub(records, Ordering::Relaxed) - records;
        self.meters.in_flight(left);
        if left == 0 {
            self.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::topic::TopicNames;

    use super::*;

    fn record(topic: Topic, key: Option<&str>) -> Record {
        Record { topic, key: key.map(Into::into), value: vec![0; 10], headers: Vec::new() }
    }

    fn unreachable_log(queue_max: usize) -> EventLog {
        let settings = LogSettings::new("127.0.0.1:1", TopicNames::new("none."));
        EventLog::connect(&LogSettings { queue_max, ack_timeout: Duration::from_millis(300), ..settings }).unwrap()
    }

    #[tokio::test]
    async fn each_partition_of_each_topic_is_a_lane() {
        let log = unreachable_log(1);
        assert_eq!(log.inner.lanes.len(), 12 + 12 + 1 + 12 + 12);
        for topic in Topic::ALL {
            let address = &log.inner.addresses[log.inner.lane_of(&record(topic, Some("account-1")))];
            let partitions = if topic == Topic::Catalog { 1 } else { 12 };
            assert_eq!((address.topic, address.partition), (topic, partition_of(b"account-1", partitions)));
        }
        let keyless = |_| log.inner.addresses[log.inner.lane_of(&record(Topic::Rejected, None))].partition;
        assert_eq!((0..3).map(keyless).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_full_queue_says_so_at_once_and_an_unreachable_log_in_time() {
        let log = unreachable_log(2);
        let records = (0..3).map(|_| record(Topic::Playback, Some("a"))).collect();
        let begin = Instant::now();
        let outcomes = log.append_all(records).await;
        assert_eq!(
            outcomes,
            [Err(AppendError::NotAcknowledged), Err(AppendError::NotAcknowledged), Err(AppendError::QueueFull)]
        );
        assert!(begin.elapsed() >= Duration::from_millis(300));
        // What nobody waits for any more still leaves the queue.
        assert!(log.flush(Duration::from_secs(30)).await);
        assert_eq!(log.in_flight(), 0);
    }
}
