//! Where the log ends, as far as the brokers say.

use std::collections::HashMap;
use std::time::Duration;

use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;

use crate::reader;

/// How long one question to the brokers may take.
const ASK_MAX: Duration = Duration::from_secs(3);

/// The offset that the next record of a partition will have.
pub(super) type Ends = HashMap<(Topic, i32), i64>;

/// The end of every partition of the deployment's topics, as far as the brokers say.
pub(super) fn ends(kafka: &ClientConfig, topics: &TopicNames) -> Ends {
    let mut ends = Ends::new();
    let consumer = match reader::consumer(kafka) {
        Ok(consumer) => consumer,
        Err(error) => {
            tracing::warn!(%error, "asking for the ends of the log");
            return ends;
        }
    };
    let metadata = match consumer.fetch_metadata(None, ASK_MAX) {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::debug!(%error, "asking for the ends of the log");
            return ends;
        }
    };
    for topic in Topic::ALL {
        let name = topics.name(topic);
        for found in metadata.topics().iter().filter(|found| found.name() == name) {
            for partition in found.partitions() {
                match consumer.fetch_watermarks(&name, partition.id(), ASK_MAX) {
                    Ok((_, end)) => _ = ends.insert((topic, partition.id()), end),
                    // One that doesn't answer must not be waited for once a partition.
                    Err(error) => {
                        tracing::debug!(%error, "asking for the ends of the log");
                        return ends;
                    }
                }
            }
        }
    }
    ends
}
