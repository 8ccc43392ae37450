//! A topic read by hand: outside of any group, nothing committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use pulsegate_domain::topic::Topic;
use pulsegate_projections::reader::{self, ReaderContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Config;

pub(super) const POLL: Duration = Duration::from_millis(100);
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
/// A topic of which nothing is heard for this long can't be read to its end.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// A topic read by hand: outside of any group, nothing committed.
pub(super) struct TopicReader {
    pub(super) consumer: BaseConsumer<ReaderContext>,
    /// Its full name.
    pub(super) topic: String,
    /// Where each partition ended when this was opened.
    pub(super) ends: BTreeMap<i32, i64>,
    /// The oldest offset of each partition.
    pub(super) beginnings: BTreeMap<i32, i64>,
}

impl TopicReader {
    pub(super) fn open(config: &Config, topic: Topic) -> anyhow::Result<Self> {
        let topic = config.topics.name(topic);
        let mut client = config.kafka.clone();
        client
            .set("group.id", format!("{}events", config.topics.prefix()))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "5");
        let consumer = reader::consumer(&client)?;
        let metadata =
            reader::metadata(&consumer, Some(&topic), BROKER_TIMEOUT).context("failed to reach Kafka for metadata")?;
        let found = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
        let Some(found) = found else { bail!("there is no topic {topic}") };
        let mut ends = BTreeMap::new();
        let mut beginnings = BTreeMap::new();
        for partition in found.partitions() {
            let (low, high) = watermarks(&consumer, &topic, partition.id())
                .with_context(|| format!("failed to read the ends of {topic}/{}", partition.id()))?;
            ends.insert(partition.id(), high);
            beginnings.insert(partition.id(), low);
        }
        Ok(Self { consumer, topic, ends, beginnings })
    }

    pub(super) fn assign(&self, from: impl Fn(i32) -> Option<Offset>) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for partition in self.ends.keys() {
            if let Some(offset) = from(*partition) {
                list.add_partition_offset(&self.topic, *partition, offset)?;
            }
        }
        Ok(self.consumer.assign(&list)?)
    }

    /// The first offset of each partition whose record is stamped at or after `since`.
    pub(super) fn offsets_since(&self, since: DateTime<Utc>) -> anyhow::Result<BTreeMap<i32, i64>> {
        let mut asked = TopicPartitionList::new();
        for partition in self.ends.keys() {
            asked.add_partition_offset(&self.topic, *partition, Offset::Offset(since.timestamp_millis().max(0)))?;
        }
        let found = self.consumer.offsets_for_times(asked, BROKER_TIMEOUT).context("failed to look the time up")?;
        let mut offsets = self.ends.clone();
        for element in found.elements() {
            // No record is that new: then there is nothing to read, as far as this reader sees.
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(element.partition(), offset);
            }
        }
        Ok(offsets)
    }

    /// How many offsets lie between these and the ends.
    pub(super) fn distance(&self, from: &BTreeMap<i32, i64>) -> u64 {
        let behind = |(partition, end): (&i32, &i64)| end - from.get(partition).unwrap_or(end);
        u64::try_from(self.ends.iter().map(behind).sum::<i64>()).unwrap_or_default()
    }

    /// Hands on each record from these offsets to the ends, what is appended meanwhile left out; ends early
    /// where `each` says `false`. Says whether the ends were reached.
    pub(super) fn read_to_the_ends(
        &self,
        from: &BTreeMap<i32, i64>,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let unread = |partition: &i32| from.get(partition).is_some_and(|offset| *offset < self.ends[partition]);
        let mut open: Vec<_> = self.ends.keys().copied().filter(unread).collect();
        self.assign(|partition| open.contains(&partition).then(|| Offset::Offset(from[&partition])))?;
        let mut heard = Instant::now();
        let mut goes_on = true;
        while goes_on && !open.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let end = self.ends[&message.partition()];
                    goes_on = message.offset() >= end || each(&message)?;
                    if message.offset() + 1 >= end {
                        open.retain(|partition| *partition != message.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|known| *known != partition),
                Some(Err(error)) if heard.elapsed() < SILENCE_MAX => eprintln!("pulsegate: {error}"),
                Some(Err(error)) => return Err(error).with_context(|| format!("failed to read {}", self.topic)),
                None if heard.elapsed() < SILENCE_MAX => {}
                None => bail!("nothing was heard of {} for {} s", self.topic, SILENCE_MAX.as_secs()),
            }
        }
        self.consumer.unassign()?;
        Ok(goes_on)
    }
}

/// Where a partition begins and ends. A broker that is busy, or has just begun to lead it, may deny it for a moment.
fn watermarks(consumer: &BaseConsumer<ReaderContext>, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
    let deadline = Instant::now() + BROKER_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(POLL);
        match consumer.fetch_watermarks(topic, partition, left) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(POLL),
            answered => return answered,
        }
    }
}
