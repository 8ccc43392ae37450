//! The limit of whatever is answered from the log: an append until a consumer has it, with nothing between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pulsegate_domain::topic::Topic;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::deployment::{Deployment, PARTITIONS};
use crate::events::RawEvent;
use crate::latencies::{Latencies, Quantiles};
use crate::load::Span;
use crate::producer::{BareProducer, headers};

/// The header that says when a record was appended, in nanoseconds since the span's start.
const SENT: &str = "sent";

/// How long until a consumer has what is appended at `per_s`, both in one process, linger 0.
pub(crate) fn seen(
    deployment: &Deployment,
    events: &mut [RawEvent],
    per_s: u32,
    span: Span,
) -> anyhow::Result<Quantiles> {
    let topic = deployment.raw_topics().name(Topic::Playback);
    let consumer = consumer(deployment, &topic, &(0..PARTITIONS).collect::<Vec<_>>(), Offset::End)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| read(&consumer, span, &over));
        let appended = append(deployment, events, per_s, span);
        over.store(true, Ordering::Relaxed);
        let latencies = reading.join().map_err(|_| anyhow::anyhow!("the consumer panicked"))?;
        appended?;
        Ok(latencies?.quantiles())
    })
}

/// A consumer with the settings of the product's hot view, on some partitions of a topic.
pub(crate) fn consumer(
    deployment: &Deployment,
    topic: &str,
    partitions: &[i32],
    from: Offset,
) -> anyhow::Result<BaseConsumer> {
    let consumer = unassigned(deployment)?;
    assign(&consumer, topic, partitions, from)?;
    Ok(consumer)
}

/// The same, with nothing to read yet.
pub(crate) fn unassigned(deployment: &Deployment) -> anyhow::Result<BaseConsumer> {
    let consumer = deployment
        .client()
        .set("group.id", format!("{}limit", deployment.raw_topics().prefix()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "250")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "32768")
        .create()?;
    Ok(consumer)
}

/// Lets it read.
pub(crate) fn assign(consumer: &BaseConsumer, topic: &str, partitions: &[i32], from: Offset) -> anyhow::Result<()> {
    let mut assigned = TopicPartitionList::new();
    for partition in partitions {
        assigned.add_partition_offset(topic, *partition, from)?;
    }
    Ok(consumer.assign(&assigned)?)
}

fn append(deployment: &Deployment, events: &mut [RawEvent], per_s: u32, span: Span) -> anyhow::Result<()> {
    let bare = BareProducer::new(deployment, 0)?;
    let mut sent = 0_usize;
    for tick in 0_u64.. {
        let due = span.start + Duration::from_millis(tick);
        if due >= span.end {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let wanted = usize::try_from((tick + 1) * u64::from(per_s) / 1_000)?;
        while sent < wanted {
            let event = sent % events.len();
            // Since it was due, as the product is measured.
            let since = u64::try_from((due - span.start).as_nanos())?.to_le_bytes();
            bare.append(&mut events[event], headers().insert(Header { key: SENT, value: Some(&since) }))?;
            sent += 1;
        }
        bare.poll();
    }
    bare.finish()?;
    Ok(())
}

fn read(consumer: &BaseConsumer, span: Span, over: &AtomicBool) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    while !over.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let sent = message.headers().and_then(|headers| headers.iter().find(|header| header.key == SENT)?.value);
        let Some(Ok(sent)) = sent.map(<[u8; 8]>::try_from) else { continue };
        let due = span.start + Duration::from_nanos(u64::from_le_bytes(sent));
        if span.counts(due) {
            latencies.add(due.elapsed());
        }
    }
    consumer.unassign()?;
    Ok(latencies)
}
