//! A bare producer: what the log takes at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pulsegate_domain::event::CONTENT_TYPE;
use pulsegate_domain::topic::Topic;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::deployment::Deployment;
use crate::events::RawEvent;
use crate::load::Span;
use crate::scale::per_second;

/// Records between two looks at what was acknowledged.
const POLL_EACH: usize = 500;

/// The product's settings for the log, with a linger.
pub(crate) fn settings(mut client: ClientConfig, linger_ms: u32) -> ClientConfig {
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", linger_ms.to_string())
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "262144")
        .set("socket.nagle.disable", "true");
    client
}

/// The header that each record of the product has.
pub(crate) fn headers() -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(1).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) })
}

#[derive(Default)]
struct Acks {
    acked: AtomicU64,
    failed: AtomicU64,
}

struct Counting(Arc<Acks>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let counter = if report.is_ok() { &self.0.acked } else { &self.0.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A producer on the thread that calls it.
pub(crate) struct BareProducer {
    producer: BaseProducer<Counting>,
    acks: Arc<Acks>,
    topic: String,
}

impl BareProducer {
    /// Of the limits' playback topic.
    pub(crate) fn new(deployment: &Deployment, linger_ms: u32) -> anyhow::Result<Self> {
        Self::to(deployment, deployment.raw_topics().name(Topic::Playback), linger_ms)
    }

    /// Of any topic.
    fn to(deployment: &Deployment, topic: String, linger_ms: u32) -> anyhow::Result<Self> {
        let acks = Arc::new(Acks::default());
        let producer = settings(deployment.client(), linger_ms).create_with_context(Counting(Arc::clone(&acks)))?;
        Ok(Self { producer, acks, topic })
    }

    /// Hands a record over, as soon as there is room.
    pub(crate) fn append(&self, event: &mut RawEvent, headers: OwnedHeaders) -> anyhow::Result<()> {
        let (key, value) = event.next();
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value).headers(headers);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    record = returned;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Takes what was acknowledged, without waiting for more.
    pub(crate) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until all is acknowledged; anything that isn't is an error.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        self.producer.flush(Duration::from_mins(1))?;
        let failed = self.acks.failed.load(Ordering::Relaxed);
        anyhow::ensure!(failed == 0, "{failed} records were not acknowledged");
        Ok(self.acks.acked.load(Ordering::Relaxed))
    }
}

/// Writes a history of so many records into a topic, the events taking turns; says how many were acknowledged.
pub(crate) fn fill(
    deployment: &Deployment,
    topic: String,
    events: &mut [RawEvent],
    records: usize,
) -> anyhow::Result<u64> {
    let producer = BareProducer::to(deployment, topic, 5)?;
    let count = events.len();
    for record in 0..records {
        producer.append(&mut events[record % count], headers())?;
        if record.is_multiple_of(POLL_EACH) {
            producer.poll();
        }
    }
    producer.finish()
}

/// Acknowledged records a second, from one thread that does nothing else.
pub(crate) fn records_per_s(deployment: &Deployment, events: &mut [RawEvent], span: Span) -> anyhow::Result<f64> {
    // librdkafka's own default: a queue that is always full fills batches by itself.
    let bare = BareProducer::new(deployment, 5)?;
    let (mut sent, mut acked_before) = (0_usize, None);
    loop {
        let event = sent % events.len();
        bare.append(&mut events[event], headers())?;
        sent += 1;
        if sent.is_multiple_of(POLL_EACH) {
            bare.poll();
            let (now, acked) = (Instant::now(), bare.acks.acked.load(Ordering::Relaxed));
            if now >= span.end {
                let (at, before) = acked_before.unwrap_or((span.start, 0));
                let per_s = per_second(acked - before, now - at);
                bare.finish()?;
                return Ok(per_s);
            }
            if now >= span.begin && acked_before.is_none() {
                acked_before = Some((now, acked));
            }
        }
    }
}
