//! Where the log is and how it is written.

use std::time::Duration;

use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::ClientConfig;

/// Where the log is and how it is written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How to reach the brokers: `bootstrap.servers` and whatever their security asks for.
    pub client: ClientConfig,
    /// The topics' names.
    pub topics: TopicNames,
    /// Partitions of each topic but `catalog`, which has one. Fixed when a topic is made.
    pub partitions: i32,
    /// Copies of each partition; -1 is the broker's default.
    pub replication: i32,
    /// Most records that wait for the broker at once; one more is refused at once.
    pub queue_max: usize,
    /// How long the broker may take to acknowledge a record.
    pub ack_timeout: Duration,
}

impl LogSettings {
    /// The defaults, for the brokers at `bootstrap`.
    #[must_use]
    pub fn new(bootstrap: &str, topics: TopicNames) -> Self {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", bootstrap);
        Self {
            client,
            topics,
            partitions: 12,
            replication: -1,
            queue_max: 100_000,
            ack_timeout: Duration::from_secs(5),
        }
    }

    /// How many partitions a topic has.
    #[must_use]
    pub const fn partitions_of(&self, topic: Topic) -> i32 {
        match topic {
            Topic::Catalog => 1,
            Topic::Playback | Topic::Clickstream | Topic::Rejected | Topic::Provisional => self.partitions,
        }
    }
}
