//! The limit of whatever folds a history: reading it, with nothing or little done to each record.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use crate::appended::{assign, unassigned};
use crate::deployment::{Deployment, PARTITIONS};
use crate::scale::per_second;

/// No round takes longer, unless something is wrong.
pub(crate) const ROUND_TIME_MAX: Duration = Duration::from_mins(5);

/// How long the brokers may take to say who leads what.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a consumer knows before the clock runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// Nothing: it is as new as one of a process that has just started.
    Cold,
    /// Whom to ask for each partition: else it asks again after half a second, which is no limit of anything.
    Warm,
}

/// Records a second with which so many threads read a topic to its end; `is_right` looks at each record.
pub(crate) fn read(
    deployment: &Deployment,
    topic: &str,
    threads: usize,
    records: u64,
    start: Start,
    is_right: fn(&[u8]) -> bool,
) -> anyhow::Result<f64> {
    let mut begun = Instant::now();
    let consumers: Vec<_> = (0..threads).map(|_| unassigned(deployment)).collect::<anyhow::Result<_>>()?;
    if matches!(start, Start::Warm) {
        for consumer in &consumers {
            consumer.fetch_metadata(Some(topic), ANSWER_MAX)?;
        }
        begun = Instant::now();
    }
    let count = thread::scope(|scope| {
        let readers: Vec<_> = consumers
            .into_iter()
            .enumerate()
            .map(|(index, consumer)| {
                let own: Vec<_> = (0..PARTITIONS).skip(index).step_by(threads).collect();
                scope.spawn(move || read_part(&consumer, topic, &own, is_right))
            })
            .collect();
        readers.into_iter().try_fold(0, |count, reader| {
            let read = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            anyhow::Ok(count + read)
        })
    })?;
    anyhow::ensure!(count == records, "{count} of {records} records are right");
    Ok(per_second(count, begun.elapsed()))
}

fn read_part(consumer: &BaseConsumer, topic: &str, own: &[i32], is_right: fn(&[u8]) -> bool) -> anyhow::Result<u64> {
    assign(consumer, topic, own, Offset::Beginning)?;
    let (begun, mut count, mut ended) = (Instant::now(), 0, 0);
    while ended < own.len() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => count += u64::from(is_right(message.payload().unwrap_or_default())),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => anyhow::ensure!(begun.elapsed() < ROUND_TIME_MAX, "the log does not end"),
        }
    }
    consumer.unassign()?;
    Ok(count)
}
