//! Reads one partition from its beginning to its end as of now.

use std::thread;
use std::time::{Duration, Instant};

use pulsegate_access::kafka as access;
use pulsegate_domain::account::Place;
use pulsegate_domain::time::Timestamp;
use rdkafka::Offset;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::settings::LogSettings;

/// Records that wait for a slow reader.
const CHANNEL: usize = 1_024;
/// How long one poll waits for a record. Below 1 ms it wouldn't wait at all but spin.
const POLL: Duration = Duration::from_millis(100);
/// How long the broker may take to say where the partition begins and ends.
const ASK: Duration = Duration::from_secs(10);
/// A replay that hears nothing for this long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why a replay ended early.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The broker, or the way to it.
    #[error("replay: {0}")]
    Kafka(#[from] KafkaError),
    /// No record and no end came.
    #[error("replay: nothing was heard of the log for 30 s")]
    Silent,
    /// No thread to read in.
    #[error("replay: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread that reads ended without a word.
    #[error("replay: the reader ended early")]
    Ended,
}

/// Which records of which partition.
pub(crate) struct Span {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Only records under this key are handed on; the others still move the clock.
    pub(crate) key: Vec<u8>,
    /// Only as far as the partition's clock doesn't pass this.
    pub(crate) until: Option<Timestamp>,
}

/// What a replay hands on.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record under the key.
    Record { place: Place, value: Vec<u8> },
    /// The end, with the place of the last record that was read, of any key.
    End(Option<Place>),
}

/// Starts to read, on a thread of its own. The thread ends when the receiver is dropped.
pub(crate) fn read(
    settings: &LogSettings,
    span: Span,
) -> Result<mpsc::Receiver<Result<Step, ReplayError>>, ReplayError> {
    let config = config(settings);
    let (sender, receiver) = mpsc::channel(CHANNEL);
    thread::Builder::new().name(format!("replay-{}", span.partition)).spawn(move || {
        let outcome = match run(&config, &span, &sender) {
            Ok(Some(end)) => Ok(end),
            // Nobody listens any more.
            Ok(None) => return,
            Err(error) => Err(error),
        };
        drop(sender.blocking_send(outcome));
    })?;
    Ok(receiver)
}

fn config(settings: &LogSettings) -> ClientConfig {
    let mut config = settings.client.clone();
    config
        // librdkafka assigns no partition without a group's name. Nobody joins that group, and nothing is
        // committed to it.
        .set("group.id", format!("{}replay", settings.topics.prefix()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50");
    config
}

/// What a poll returns is met by whoever polls; librdkafka reports it here as well, ends of partitions among it.
struct Quiet;

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        access::token(config)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a replay's consumer");
    }
}

impl ConsumerContext for Quiet {}

type Listener = mpsc::Sender<Result<Step, ReplayError>>;

/// Reads to the end; none if the listener left before.
fn run(config: &ClientConfig, span: &Span, listener: &Listener) -> Result<Option<Step>, ReplayError> {
    let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
    access::sign_in(&consumer, config);
    let (low, high) = watermarks(&consumer, span)?;
    if low >= high {
        return Ok(Some(Step::End(None)));
    }
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&span.topic, span.partition, Offset::Offset(low))?;
    consumer.assign(&assignment)?;
    let outcome = follow(&consumer, span, high, listener);
    // A consumer that is dropped while it is assigned can hang.
    consumer.unassign()?;
    outcome
}

/// Where the partition begins and ends. A broker that is busy, or has just begun to lead it, may deny it for a moment.
fn watermarks(consumer: &BaseConsumer<Quiet>, span: &Span) -> Result<(i64, i64), KafkaError> {
    let deadline = Instant::now() + ASK;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(POLL);
        match consumer.fetch_watermarks(&span.topic, span.partition, left) {
            Err(_) if Instant::now() < deadline => thread::sleep(POLL),
            answered => return answered,
        }
    }
}

fn follow(
    consumer: &BaseConsumer<Quiet>,
    span: &Span,
    high: i64,
    listener: &Listener,
) -> Result<Option<Step>, ReplayError> {
    let mut last: Option<Place> = None;
    let mut heard = Instant::now();
    loop {
        if listener.is_closed() {
            return Ok(None);
        }
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Some(Step::End(last))),
            Some(Err(error)) if passes(&error) && heard.elapsed() < SILENCE_MAX => continue,
            Some(Err(error)) => return Err(error.into()),
            None if heard.elapsed() < SILENCE_MAX => continue,
            None => return Err(ReplayError::Silent),
        };
        heard = Instant::now();
        if message.offset() >= high {
            return Ok(Some(Step::End(last)));
        }
        let place = place_of(&message, last);
        if span.until.is_some_and(|until| place.at > until) {
            return Ok(Some(Step::End(last)));
        }
        last = Some(place);
        if message.key() == Some(&span.key) {
            let value = message.payload().unwrap_or_default().to_vec();
            if listener.blocking_send(Ok(Step::Record { place, value })).is_err() {
                return Ok(None);
            }
        }
        if message.offset() + 1 >= high {
            return Ok(Some(Step::End(last)));
        }
    }
}

/// The partition's clock never runs back: it is the largest timestamp so far.
fn place_of(message: &BorrowedMessage<'_>, last: Option<Place>) -> Place {
    let at = message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis);
    Place { offset: message.offset(), at: last.map_or(at, |last| last.at.max(at)) }
}

/// What librdkafka reports and gets over by itself.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}
