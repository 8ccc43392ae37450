//! Kafka's side: one consumer on a thread of its own, and a bounded channel to the fold.
//!
//! A `BaseConsumer`, because the wake-ups of a `StreamConsumer` can get lost; on a thread, because its
//! poll and its rebalance callbacks block.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::arena::{Arena, unusual_headers};
use super::assignment::Assignment;
use super::offsets::{self, Position};
use super::outage::{Backoff, Outage};
use super::record::{Record, Source};
use super::{Ownership, RunError};
use crate::builds::Build;
use crate::reader::is_end;

/// Most records in one chunk.
const CHUNK_RECORDS_MAX: usize = 1_000;
/// How long a poll waits for a first record; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the channel may be full before Kafka is asked to pause.
const FULL_MAX: Duration = Duration::from_secs(1);
/// How long one question to a broker or the database may take.
const ASK_MAX: Duration = Duration::from_secs(5);
/// How often Kafka's group is shown how far we are.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What Kafka's thread needs.
pub(super) struct Reader {
    pub(super) kafka: ClientConfig,
    pub(super) topics: TopicNames,
    pub(super) ownership: Ownership,
    pub(super) build: Build,
    pub(super) pool: PgPool,
    pub(super) database: Arc<Outage>,
    pub(super) assignment: Arc<Assignment>,
    pub(super) stop: CancellationToken,
}

/// What was read in one go.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) items: Vec<Item>,
    arena: Arena,
}

pub(super) enum Item {
    Record {
        source: Source,
        epoch: u64,
        record: Record,
    },
    /// At this moment the partition held nothing more.
    End {
        source: Source,
        epoch: u64,
        /// Where the next record will stand: behind the last one, or behind what is no record.
        next_offset: i64,
    },
}

impl Reader {
    /// Starts the thread; it ends when `stop` is cancelled or the channel's other end is gone.
    pub(super) fn start(self, chunks: mpsc::Sender<Chunk>) -> Result<JoinHandle<()>, RunError> {
        let group = group_of(&self.build, &self.topics);
        let name = self.build.to_string();
        let config = self
            .kafka
            .clone()
            .set("group.id", group)
            .set("client.id", format!("pulsegate-{name}"))
            // Only what was folded is shown to the group, and nobody reads it.
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "5000")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // A position that the log doesn't have is trouble to be looked at, not to be jumped over.
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // A topic that is made only after this asks for it must not stay unknown for the usual five minutes.
            .set("topic.metadata.refresh.interval.ms", "5000")
            // A worker that was killed is missed after this.
            .set("session.timeout.ms", "10000")
            // A read model may be a moment late, and what comes in that moment shares a fetch and a transaction: answered
            // at once, each fetch would hold a few records and cost as much as one that holds thousands.
            .set("fetch.min.bytes", "1000000")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "16384")
            .clone();
        let desk = Desk { kafka: Outage::new(name.clone(), "kafka"), runtime: Handle::current(), reader: self };
        let consumer: BaseConsumer<Desk> = config.create_with_context(desk)?;
        if consumer.context().reader.ownership == Ownership::Group {
            let topics = consumer.context().topic_names();
            consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        let read = move || Reading { consumer, chunks, shown: Instant::now() }.read();
        Ok(std::thread::Builder::new().name(name).spawn(read)?)
    }
}

/// The consumer's context: what its callbacks, which run within `poll`, know.
struct Desk {
    reader: Reader,
    kafka: Outage,
    runtime: Handle,
}

impl ClientContext for Desk {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        pulsegate_access::kafka::token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // An outage makes librdkafka repeat itself; we say it once, from the error below.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "{message}");
            }
            _ => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes this way too, and then once more out of the poll.
        if !is_end(&error) {
            self.kafka.failed(&format_args!("{error}: {reason}"));
        }
    }
}

impl ConsumerContext for Desk {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.begin(consumer, partitions),
            Rebalance::Revoke(partitions) => {
                for element in partitions.elements() {
                    if let Some(source) = self.source(element.topic(), element.partition()) {
                        tracing::debug!(projection = %self.reader.build, %source, "given up");
                        self.reader.assignment.remove(source);
                    }
                }
            }
            Rebalance::Error(error) => {
                self.kafka.failed(error);
            }
        }
    }
}

impl Desk {
    fn topic_names(&self) -> Vec<String> {
        self.reader.build.registered().topics.iter().map(|topic| self.reader.topics.name(*topic)).collect()
    }

    fn source(&self, name: &str, partition: i32) -> Option<Source> {
        let behind = name.strip_prefix(self.reader.topics.prefix())?;
        let topic: Topic =
            self.reader.build.registered().topics.iter().copied().find(|topic| topic.base_name() == behind)?;
        Some(Source { topic, partition })
    }

    /// Sets each partition's offset to where the database says that it stands.
    fn begin(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        for mut element in partitions.elements() {
            let Some(source) = self.source(element.topic(), element.partition()) else { continue };
            // A partition that can't be begun is assigned and left alone: nothing of it is folded.
            let mut offset = Offset::End;
            if let Some((position, first)) = self.position(consumer, element.topic(), source) {
                self.reader.assignment.add(source, position);
                offset = Offset::Offset(first);
                tracing::debug!(projection = %self.reader.build, %source, first, "taken over");
            }
            if let Err(error) = element.set_offset(offset) {
                self.reader.assignment.remove(source);
                tracing::error!(projection = %self.reader.build, %source, %error, "can't be begun");
            }
        }
    }

    /// Where a partition stands, and the offset from which to read; `None` at a stop, or if the log doesn't
    /// have it.
    fn position(&self, consumer: &BaseConsumer<Self>, topic: &str, source: Source) -> Option<(Position, i64)> {
        let build = &self.reader.build;
        let position = self.insist(&self.reader.database, || {
            let asked = offsets::position(&self.reader.pool, build, source);
            match self.runtime.block_on(async { tokio::time::timeout(ASK_MAX, asked).await }) {
                Ok(Ok(position)) => Ok(position),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        })?;
        let (low, high) = self.insist(&self.kafka, || {
            consumer.fetch_watermarks(topic, source.partition, ASK_MAX).map_err(|error| error.to_string())
        })?;
        if position == Position::START {
            // A log may begin later than at 0; what it never held isn't missed.
            return Some((position, low));
        }
        if position.next_offset < low || position.next_offset > high {
            let error = format!(
                "{source} stands at {}, but the log holds {low} to {high}: was it deleted or made anew?",
                position.next_offset
            );
            tracing::error!(projection = %build, error);
            let noted = offsets::note_error(&self.reader.pool, build, &error);
            if !matches!(self.runtime.block_on(async { tokio::time::timeout(ASK_MAX, noted).await }), Ok(Ok(()))) {
                tracing::debug!("the error could not be kept in the database");
            }
            return None;
        }
        Some((position, position.next_offset))
    }

    /// Asks until there is an answer; `None` at a stop.
    fn insist<T>(&self, outage: &Outage, ask: impl Fn() -> Result<T, String>) -> Option<T> {
        let mut backoff = Backoff::default();
        while !self.reader.stop.is_cancelled() {
            match ask() {
                Ok(answer) => {
                    outage.over();
                    return Some(answer);
                }
                Err(error) => {
                    outage.failed(&error);
                    self.nap(backoff.next());
                }
            }
        }
        None
    }

    fn nap(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.reader.stop.is_cancelled() {
            std::thread::sleep(wait.min(Duration::from_millis(50)));
        }
    }
}

struct Reading {
    consumer: BaseConsumer<Desk>,
    chunks: mpsc::Sender<Chunk>,
    shown: Instant,
}

impl Reading {
    fn read(mut self) {
        if self.desk().reader.ownership == Ownership::Everything {
            self.assign_everything();
        }
        while !self.desk().reader.stop.is_cancelled() {
            let mut chunk = Chunk::default();
            let mut wait = POLL;
            while chunk.items.len() < CHUNK_RECORDS_MAX
                && let Some(polled) = self.consumer.poll(wait)
            {
                self.take(polled, &mut chunk);
                wait = Duration::ZERO;
            }
            if !chunk.items.is_empty() && !self.hand_over(chunk) {
                break;
            }
            self.read_again();
            self.show();
        }
        // A consumer that is dropped while it fetches can hang.
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "unassigning");
        }
    }

    fn desk(&self) -> &Desk {
        self.consumer.context()
    }

    fn assign_everything(&self) {
        let desk = self.desk();
        let mut all = TopicPartitionList::new();
        for topic in desk.topic_names() {
            let Some(count) = desk.insist(&desk.kafka, || partitions_of(&self.consumer, &topic)) else { return };
            for partition in 0..count {
                all.add_partition(&topic, partition);
            }
        }
        desk.begin(&self.consumer, &all);
        if let Err(error) = self.consumer.assign(&all) {
            tracing::error!(%error, "assigning every partition");
        }
    }

    fn take(&self, polled: KafkaResult<BorrowedMessage<'_>>, chunk: &mut Chunk) {
        let desk = self.desk();
        let assignment = &desk.reader.assignment;
        match polled {
            Ok(message) => {
                desk.kafka.over();
                let source = desk.source(message.topic(), message.partition());
                if let Some(source) = source
                    && let Some(lease) = assignment.lease(source)
                {
                    let record = chunk.arena.record(&message, unusual_headers(&message));
                    chunk.items.push(Item::Record { source, epoch: lease.epoch, record });
                }
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                desk.kafka.over();
                chunk.items.extend(self.at_end(partition));
            }
            Err(error) => {
                desk.kafka.failed(&error);
            }
        }
    }

    /// Which topics' partition is at its end, since which assignment, and where that is. The event doesn't
    /// say, and behind the last record there may be the marker of a transaction: so the consumer's own
    /// position is asked for, which is unknown only as long as nothing was read.
    fn at_end(&self, partition: i32) -> Vec<Item> {
        let reader = &self.desk().reader;
        let topics = reader.build.registered().topics;
        let positions = self.consumer.position().ok();
        let at_end = |topic: &Topic| {
            let source = Source { topic: *topic, partition };
            let name = reader.topics.name(*topic);
            let lease = reader.assignment.lease(source)?;
            let position = positions.as_ref().and_then(|all| all.find_partition(&name, partition)?.offset().to_raw());
            let position = position.filter(|offset| *offset >= 0).unwrap_or(lease.begins_at.next_offset);
            // Of several topics each is asked for.
            let end = topics.len() == 1
                || self.consumer.fetch_watermarks(&name, partition, ASK_MAX).is_ok_and(|(_, high)| position >= high);
            end.then_some(Item::End { source, epoch: lease.epoch, next_offset: position })
        };
        topics.iter().filter_map(at_end).collect()
    }

    /// Waits until the fold has room. Meanwhile rebalances must be served, or the group throws us out; so
    /// Kafka is polled on with everything paused. `false` if the fold is gone.
    fn hand_over(&self, mut chunk: Chunk) -> bool {
        let begun = Instant::now();
        let mut paused = false;
        while !self.desk().reader.stop.is_cancelled() {
            match self.chunks.try_send(chunk) {
                Ok(()) => {
                    if paused {
                        self.change_flow(BaseConsumer::<Desk>::resume);
                    }
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(back)) => chunk = back,
            }
            if begun.elapsed() < FULL_MAX {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            if !paused {
                self.change_flow(BaseConsumer::<Desk>::pause);
                paused = true;
            }
            if let Some(polled) = self.consumer.poll(POLL) {
                self.take(polled, &mut chunk);
                // It came from a partition that was assigned since.
                self.change_flow(BaseConsumer::<Desk>::pause);
            }
        }
        false
    }

    fn change_flow(&self, change: impl Fn(&BaseConsumer<Desk>, &TopicPartitionList) -> KafkaResult<()>) {
        if let Err(error) = self.consumer.assignment().and_then(|assigned| change(&self.consumer, &assigned)) {
            tracing::debug!(%error, "pausing or resuming");
        }
    }

    fn read_again(&self) {
        let desk = self.desk();
        for (source, position) in desk.reader.assignment.take_again() {
            let topic = desk.reader.topics.name(source.topic);
            let offset = Offset::Offset(position.next_offset);
            match self.consumer.seek(&topic, source.partition, offset, ASK_MAX) {
                Ok(()) => desk.reader.assignment.add(source, position),
                Err(error) => {
                    desk.kafka.failed(&error);
                    desk.reader.assignment.put_again(source, position);
                }
            }
        }
    }

    fn show(&mut self) {
        if self.shown.elapsed() < SHOW_EVERY {
            return;
        }
        self.shown = Instant::now();
        let desk = self.desk();
        for (source, position) in desk.reader.assignment.take_folded() {
            let topic = desk.reader.topics.name(source.topic);
            // librdkafka's stored offset is the last one done, by this call: one less than the next.
            if let Err(error) = self.consumer.store_offset(&topic, source.partition, position.next_offset - 1) {
                tracing::debug!(%error, %source, "showing the group how far we are");
            }
        }
    }
}

/// The group that shares a build's partitions.
#[must_use]
pub fn group_of(build: &Build, topics: &TopicNames) -> String {
    let version = build.registered();
    let behind = build.schema().strip_prefix(&version.to_string()).unwrap_or(build.schema());
    format!("{}project.{}.v{}{}", topics.prefix(), version.name, version.version, behind.replace('_', "."))
}

fn partitions_of(consumer: &BaseConsumer<Desk>, topic: &str) -> Result<i32, String> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK_MAX).map_err(|error| error.to_string())?;
    let count =
        metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |topic| topic.partitions().len());
    match i32::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("topic {topic} does not exist")),
    }
}
