//! One generation of the Kafka producer: from its start to its end, its fatal error, or the first record that is not
//! acknowledged in time.
//!
//! Its own timeouts are off. Where librdkafka gives a record up it goes on under another producer epoch, and sends again
//! under it what it has in flight of other partitions and may have arrived: the broker then appends that twice. So whoever
//! has a record for too long is followed by another, gets a moment for what it still may settle, and is emptied: what was
//! in it is not acknowledged, and is sent by nobody again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use pulsegate_domain::time::Timestamp;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;

use super::reply::Reply;
use super::{ConnectError, Inner};
use crate::record::{AppendError, Appended, Record};
use crate::settings::LogSettings;

/// The most that waits at once, in bytes. Far above what `queue_max` heartbeats take: it is there for
/// large clickstream events.
pub(super) const QUEUE_BYTES_MAX: usize = 256 << 20;

/// A request body may have 1 MiB, its record a little more. The broker compares the compressed batch with
/// its own limit; this one only keeps the client from refusing before it has compressed.
const RECORD_BYTES_MAX: usize = 2_000_000;

/// How often the polling thread looks whether it should end, and whether a record is in flight for too long.
const POLL: Duration = Duration::from_millis(100);

/// How long a producer that has ended may still settle what is in flight.
const SETTLE: Duration = Duration::from_secs(1);

/// What is kept of a record while it is on its way.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) lane: usize,
    pub(super) weight: usize,
    pub(super) since: Instant,
    pub(super) reply: Reply,
}

/// A producer with the thread that serves its delivery reports.
pub(super) struct Generation {
    pub(super) number: u64,
    producer: Arc<BaseProducer<Delivery>>,
    stop: Arc<AtomicBool>,
}

impl Generation {
    pub(super) fn start(config: &ClientConfig, log: Weak<Inner>, number: u64) -> Result<Self, ConnectError> {
        let context = Delivery { log: Weak::clone(&log), generation: number };
        let producer: Arc<BaseProducer<Delivery>> = Arc::new(config.create_with_context(context)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (served, ended) = (Arc::clone(&producer), Arc::clone(&stop));
        let serve = move || serve(&served, &ended, &log, number);
        thread::Builder::new().name(format!("log-{number}")).spawn(serve)?;
        Ok(Self { number, producer, stop })
    }

    /// Hands a record to librdkafka, which copies it; gives the ticket back with the reason if it won't.
    pub(super) fn send(
        &self,
        topic: &str,
        partition: i32,
        record: &Record,
        ticket: Ticket,
    ) -> Result<(), (Ticket, AppendError)> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (name, value)| {
                headers.insert(Header { key: name, value: Some(value.as_ref()) })
            });
        let mut out = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, Box::new(ticket))
            .partition(partition)
            .payload(&record.value)
            .headers(headers);
        if let Some(key) = &record.key {
            out = out.key(key);
        }
        self.producer.send(out).map_err(|(error, returned)| (*returned.delivery_opaque, append_error(&error)))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // The thread lets go of the producer once what is in flight is settled. It isn't joined: the last
        // handle may be dropped by the thread itself.
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(producer: &BaseProducer<Delivery>, stop: &AtomicBool, log: &Weak<Inner>, number: u64) {
    let mut looked_at = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        producer.poll(POLL);
        if looked_at.elapsed() >= POLL {
            looked_at = Instant::now();
            if let Some(log) = log.upgrade() {
                log.renew_if_overdue(number);
            }
        }
    }
    drop(producer.flush(SETTLE));
    // What is left may have arrived. It is reported as not acknowledged, which frees its lane.
    producer.purge(PurgeConfig::default().queue().inflight());
    drop(producer.flush(SETTLE));
}

/// Takes librdkafka's delivery reports and errors, on the serving thread.
pub(super) struct Delivery {
    log: Weak<Inner>,
    generation: u64,
}

impl ClientContext for Delivery {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        pulsegate_access::kafka::token(config)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::Fatal)) {
            tracing::error!(generation = self.generation, reason, "the log's producer failed for good");
            if let Some(log) = self.log.upgrade() {
                log.renew(self.generation);
            }
        } else {
            tracing::warn!(generation = self.generation, %error, reason, "the log's producer has trouble");
        }
    }
}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match report {
            // A broker that has seen the record before may acknowledge it without its place.
            Ok(message) => match message.timestamp().to_millis() {
                Some(millis) if message.offset() >= 0 => Ok(Appended {
                    partition: message.partition(),
                    offset: message.offset(),
                    at: Timestamp::from_millis(millis),
                }),
                _ => Err(AppendError::NotAcknowledged),
            },
            // A record that was in flight when its producer failed may have arrived.
            Err((error, _)) => Err(match append_error(error) {
                AppendError::Unavailable => AppendError::NotAcknowledged,
                error => error,
            }),
        };
        match self.log.upgrade() {
            Some(log) => log.delivered(*ticket, outcome),
            None => drop(ticket.reply.send(ticket.weight, outcome)),
        }
    }
}

fn append_error(error: &KafkaError) -> AppendError {
    error.rdkafka_error_code().map_or(AppendError::NotAcknowledged, AppendError::of)
}

/// The producer's configuration.
pub(super) fn config(settings: &LogSettings) -> ClientConfig {
    let mut config = settings.client.clone();
    let timeout_ms = settings.ack_timeout.as_millis().clamp(10, 300_000).to_string();
    config
        // A record that is retried is appended once and in its order.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        // The partition is chosen here, as this one would; it is set for records without a key.
        .set("partitioner", "murmur2_random")
        // Batches come from the lanes.
        .set("linger.ms", "0")
        // Never: see the top of this file.
        .set("message.timeout.ms", "0")
        .set("request.timeout.ms", &timeout_ms)
        .set("queue.buffering.max.messages", settings.queue_max.clamp(1, 10_000_000).to_string())
        .set("queue.buffering.max.kbytes", (QUEUE_BYTES_MAX >> 10).to_string())
        .set("message.max.bytes", RECORD_BYTES_MAX.to_string())
        .set("socket.nagle.disable", "true")
        // The default of 10 s would add as much to each outage.
        .set("reconnect.backoff.max.ms", "1000");
    config
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::topic::TopicNames;

    use super::*;

    #[test]
    fn librdkafka_gives_no_record_up_for_time() {
        let config = config(&LogSettings::new("127.0.0.1:1", TopicNames::new("none.")));
        assert_eq!(config.get("message.timeout.ms"), Some("0"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
    }
}
