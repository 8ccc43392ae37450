//! Bringing history in: another system's log, or one that was kept.
//!
//! An empty log is made with the records' own time, filled in time order within each partition, and closed: from then on
//! time is the broker's, and the records keep theirs. Nothing else writes with its own time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pulsegate_access::kafka as access;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, partition_of};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use thiserror::Error;

use crate::settings::LogSettings;
use crate::topics::{self, Admin, REQUEST, SETTINGS, SETTINGS_OF_HISTORY, TopicsError};

/// How long the broker may take to make room for one more record, or to take the last ones.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two attempts while there is no room.
const ROOM_AGAIN: Duration = Duration::from_millis(5);

/// A record of the past.
#[derive(Clone, Copy, Debug)]
pub struct PastRecord<'a> {
    /// Of which topic.
    pub topic: Topic,
    /// Its key, which chooses its partition.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When the log took it in.
    pub at: Timestamp,
}

/// Why history can't be brought in.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The topics can't be made or asked.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// There is a log already.
    #[error("history goes into an empty log only, and these have records: {}", .0.join(", "))]
    NotEmpty(Vec<String>),
    /// Who signs in by role makes no topics.
    #[error("with {} the infrastructure makes the topics, and history can't be brought in", access::MECHANISM)]
    ByRole,
    /// The broker does not take a record.
    #[error("the log did not take a record: {0}")]
    NotTaken(RDKafkaErrorCode),
    /// The broker doesn't keep up, or is gone.
    #[error("the log took nothing for {} s", PATIENCE.as_secs())]
    TooSlow,
    /// The broker doesn't change the topics' settings.
    #[error("the topics' time could not be set: {0}")]
    NotSet(String),
}

impl From<KafkaError> for HistoryError {
    fn from(error: KafkaError) -> Self {
        TopicsError::from(error).into()
    }
}

/// Watches that each partition's records come in time order.
#[derive(Debug)]
pub struct TimeOrder {
    partitions: i32,
    newest: HashMap<(Topic, i32), Timestamp>,
}

impl TimeOrder {
    /// Nothing was seen yet of a log with so many partitions.
    #[must_use]
    pub fn new(settings: &LogSettings) -> Self {
        Self { partitions: settings.partitions, newest: HashMap::new() }
    }

    /// Whether a record may come next; if not, the time of the one that came before it in its partition.
    pub fn follows(&mut self, record: &PastRecord<'_>) -> Result<(), Timestamp> {
        let partitions = if record.topic == Topic::Catalog { 1 } else { self.partitions };
        let newest = self.newest.entry((record.topic, partition_of(record.key, partitions))).or_insert(record.at);
        if record.at < *newest {
            return Err(*newest);
        }
        *newest = record.at;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Deliveries {
    taken: AtomicU64,
    refused: Mutex<Option<RDKafkaErrorCode>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
            }
        }
    }
}

/// A log that is being filled with history.
pub struct History {
    admin: Arc<Admin>,
    producer: ThreadedProducer<Deliveries>,
    settings: LogSettings,
}

impl History {
    /// Makes the topics, or takes empty ones, so that records keep their time.
    pub async fn begin(settings: &LogSettings) -> Result<Self, HistoryError> {
        if access::by_role(&settings.client) {
            return Err(HistoryError::ByRole);
        }
        let admin: Arc<Admin> = Arc::new(settings.client.create()?);
        let wanted = Topic::ALL.map(|topic| (settings.topics.name(topic), settings.partitions_of(topic)));
        let present = topics::partitions(&admin).await?;
        let (there, missing): (Vec<_>, Vec<_>) = wanted.iter().partition(|(name, _)| present.contains_key(name));
        let asked: Vec<_> = there.iter().map(|(name, _)| (name.clone(), present[name])).collect();
        let full = with_records(settings, asked).await?;
        if !full.is_empty() {
            return Err(HistoryError::NotEmpty(full));
        }
        if !missing.is_empty() {
            topics::make(&admin, &missing, settings.replication, &SETTINGS_OF_HISTORY).await?;
        }
        topics::once_seen(&admin, &wanted).await?;
        set_all(&admin, settings, &SETTINGS_OF_HISTORY).await?;
        let producer = settings
            .client
            .clone()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "20")
            .create_with_context(Deliveries::default())?;
        Ok(Self { admin, producer, settings: settings.clone() })
    }

    /// Sends a record; returns before it has arrived.
    pub fn append(&self, record: &PastRecord<'_>, headers: &[(&str, &str)]) -> Result<(), HistoryError> {
        self.refused()?;
        let topic = self.settings.topics.name(record.topic);
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let mut message =
            BaseRecord::to(&topic).key(record.key).payload(record.value).timestamp(record.at.millis()).headers(headers);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    if Instant::now() >= deadline {
                        return Err(HistoryError::TooSlow);
                    }
                    std::thread::sleep(ROOM_AGAIN);
                    message = unsent;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    fn refused(&self) -> Result<(), HistoryError> {
        match *self.producer.context().refused.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(code) => Err(HistoryError::NotTaken(code)),
            None => Ok(()),
        }
    }

    /// Waits for the last records, and gives the log back to the broker's time; how many records there are.
    pub async fn end(self) -> Result<u64, HistoryError> {
        let flushed = {
            let producer = self.producer.clone();
            tokio::task::spawn_blocking(move || producer.flush(PATIENCE)).await.map_err(|_| KafkaError::Canceled)?
        };
        self.refused()?;
        flushed.map_err(|_| HistoryError::TooSlow)?;
        set_all(&self.admin, &self.settings, &SETTINGS).await?;
        Ok(self.producer.context().taken.load(Ordering::Relaxed))
    }
}

/// Which of these topics have records.
async fn with_records(settings: &LogSettings, asked: Vec<(String, i32)>) -> Result<Vec<String>, HistoryError> {
    let client = settings.client.clone();
    let ask = move || {
        let consumer: BaseConsumer = client.create()?;
        let mut full = Vec::new();
        for (name, partitions) in asked {
            for partition in 0..partitions {
                if consumer.fetch_watermarks(&name, partition, REQUEST)?.1 > 0 {
                    full.push(name);
                    break;
                }
            }
        }
        Ok::<_, KafkaError>(full)
    };
    Ok(tokio::task::spawn_blocking(ask).await.map_err(|_| KafkaError::Canceled)??)
}

async fn set_all(admin: &Admin, settings: &LogSettings, values: &[(&str, &str)]) -> Result<(), HistoryError> {
    let names = Topic::ALL.map(|topic| settings.topics.name(topic));
    let changes: Vec<_> = names
        .iter()
        .map(|name| {
            let change = AlterConfig::new(ResourceSpecifier::Topic(name));
            values.iter().fold(change, |change, (key, value)| change.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
    let refused: Vec<_> = admin
        .alter_configs(&changes, &options)
        .await?
        .into_iter()
        .filter_map(|changed| changed.err().map(|(topic, code)| format!("{topic:?}: {code}")))
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(HistoryError::NotSet(refused.join("; "))) }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::topic::TopicNames;

    use super::*;

    #[test]
    fn time_goes_forward_within_each_partition() {
        let mut order = TimeOrder::new(&LogSettings::new("nowhere:1", TopicNames::new("pulsegate.")));
        let record = |key: &'static str, ms| PastRecord {
            topic: Topic::Playback,
            key: key.as_bytes(),
            value: b"{}",
            at: Timestamp::from_millis(ms),
        };
        assert_eq!(order.follows(&record("ada", 20)), Ok(()));
        assert_eq!(order.follows(&record("ada", 20)), Ok(()));
        assert_eq!(order.follows(&record("ada", 19)), Err(Timestamp::from_millis(20)));
        let other =
            ["ben", "cleo", "dov"].into_iter().find(|key| partition_of(key.as_bytes(), 12) != partition_of(b"ada", 12));
        assert_eq!(order.follows(&record(other.unwrap(), 5)), Ok(()), "another partition has its own time");
    }
}
