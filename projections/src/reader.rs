//! Reading a topic outside of any group: what the views in memory share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pulsegate_access::kafka as access;
use pulsegate_domain::topic::TopicNames;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use thiserror::Error;

/// How long a poll waits: long enough not to spin, short enough to notice a stop.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// How long a client that doesn't reach Kafka is listened to for why.
const LISTENED: Duration = Duration::from_secs(1);

/// Where to read.
#[derive(Clone, Debug)]
pub struct ReaderSettings {
    /// Bootstrap servers and security.
    pub client: ClientConfig,
    /// The deployment's topics.
    pub topics: TopicNames,
    /// The partitions of the playback topic.
    pub partitions: i32,
}

/// A consumer's context that logs its troubles once: what a poll returns is logged, or met, by whoever polls.
#[derive(Debug, Default)]
pub struct ReaderContext {
    /// Its newest trouble, in librdkafka's words.
    said: Mutex<Option<String>>,
}

impl ClientContext for ReaderContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        access::token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // An outage makes librdkafka repeat itself; whoever polls says it.
        tracing::debug!(?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes this way too.
        if is_end(&error) {
            return;
        }
        tracing::debug!(%error, reason, "a consumer has trouble");
        // That all brokers are down follows from each one's own trouble, and says less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for ReaderContext {}

/// Is this "error" only the news that a partition holds nothing more at this moment?
pub(crate) fn is_end(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF)
}

/// Why reading could not begin.
#[derive(Debug, Error)]
pub enum ReaderError {
    /// Kafka's client refused.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// No thread could be had.
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A consumer that may be asked at once, for records, metadata or offsets.
pub fn consumer(config: &ClientConfig) -> Result<BaseConsumer<ReaderContext>, KafkaError> {
    let consumer = config.create_with_context(ReaderContext::default())?;
    access::sign_in(&consumer, config);
    Ok(consumer)
}

/// Kafka did not say what topics there are.
#[derive(Debug, Error)]
#[error("{}", said.as_ref().map_or_else(|| error.to_string(), Clone::clone))]
pub struct Unreached {
    error: KafkaError,
    /// Why, in librdkafka's own words, which name a wrong password or certificate; the error doesn't.
    said: Option<String>,
}

/// Asks for one topic, or for all, before anything is assigned.
pub fn metadata(
    consumer: &BaseConsumer<ReaderContext>,
    topic: Option<&str>,
    time_max: Duration,
) -> Result<Metadata, Unreached> {
    consumer.fetch_metadata(topic, time_max).map_err(|error| {
        // What was said waits in its queue.
        let polled_until = Instant::now() + LISTENED;
        while consumer.poll(POLL).is_some() && Instant::now() < polled_until {}
        let said = consumer.context().said.lock().unwrap_or_else(PoisonError::into_inner).take();
        Unreached { error, said }
    })
}

impl ReaderSettings {
    /// A consumer that is assigned by hand and commits nothing; `purpose` names its group, which
    /// librdkafka demands but nothing reads.
    pub(crate) fn consumer(&self, purpose: &str) -> Result<BaseConsumer<ReaderContext>, KafkaError> {
        consumer(&self.config(purpose))
    }

    /// Such a consumer of the playback topic, for a node that folds what it appends by itself. What others
    /// append may come a few milliseconds late: fetches that were answered at once would bring a record each
    /// in a busy log, and cost the broker and the node more than all else.
    pub(crate) fn consumer_of_others(&self) -> Result<BaseConsumer<ReaderContext>, KafkaError> {
        consumer(
            self.config("hot-view")
                .set("fetch.min.bytes", "65536")
                .set("fetch.wait.max.ms", "5")
                .set("enable.partition.eof", "false"),
        )
    }

    fn config(&self, purpose: &str) -> ClientConfig {
        let mut config = self.client.clone();
        config
            .set("group.id", format!("{}{purpose}", self.topics.prefix()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // A position that the log doesn't hold must be an error: starting over would fold twice.
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "250")
            // A topic that is made only after this asks for it must not stay unknown for the usual five minutes.
            .set("topic.metadata.refresh.interval.ms", "5000")
            // Behind, a full queue is refilled at once instead of after a second.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "32768");
        config
    }
}
