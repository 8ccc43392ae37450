//! What each test stands on.

use std::time::{Duration, Instant};

use pulsegate_domain::topic::{Topic, TopicNames};
use pulsegate_write_side::{EventLog, LogSettings, ensure_topics};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::topic_partition_list::TopicPartitionList;
use uuid::Uuid;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn bootstrap() -> String {
    let address = std::env::var("PULSEGATE_KAFKA_BOOTSTRAP").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let reachable = address.split(',').any(|broker| std::net::TcpStream::connect(broker).is_ok());
    assert!(reachable, "no Kafka at {address}: run `make services`, or set PULSEGATE_KAFKA_BOOTSTRAP");
    address
}

/// Settings for topics that nobody else has.
pub(crate) fn settings() -> LogSettings {
    let prefix = format!("test-{}.", Uuid::now_v7().simple());
    let settings = LogSettings::new(&bootstrap(), TopicNames::new(prefix));
    LogSettings { partitions: 3, ack_timeout: PATIENCE, ..settings }
}

/// A log with its topics.
pub(crate) async fn log() -> (EventLog, LogSettings) {
    let settings = settings();
    ensure_topics(&settings).await.unwrap();
    (EventLog::connect(&settings).unwrap(), settings)
}

/// All records of a topic, partition after partition.
pub(crate) async fn read_all(settings: &LogSettings, topic: Topic) -> Vec<OwnedMessage> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer =
            settings.client.clone().set("group.id", "test").set("enable.auto.commit", "false").create().unwrap();
        let name = settings.topics.name(topic);
        let mut records = Vec::new();
        for partition in 0..settings.partitions_of(topic) {
            let (low, high) = consumer.fetch_watermarks(&name, partition, PATIENCE).unwrap();
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(&name, partition, Offset::Offset(low)).unwrap();
            consumer.assign(&assignment).unwrap();
            let deadline = Instant::now() + PATIENCE;
            let mut position = low;
            while position < high {
                assert!(Instant::now() < deadline, "{name}/{partition} ends at {position}, not at {high}");
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    let message = message.unwrap().detach();
                    position = message.offset() + 1;
                    records.push(message);
                }
            }
            consumer.unassign().unwrap();
        }
        records
    })
    .await
    .unwrap()
}
