//! `fold_history`: the hot view folds a log from its beginning.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::hot_view::{HotView, Snapshot};
use pulsegate_projections::reader::ReaderSettings;
use rdkafka::Offset;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use crate::appended::consumer;
use crate::deployment::{Deployment, PARTITIONS};
use crate::events::events;
use crate::producer::{BareProducer, headers};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median, per_second};
use crate::viewers::account;

/// Sessions of the history, an account each.
const SESSIONS: usize = 100_000;
/// Threads that the hot view folds with, so those that the limits read with.
const THREADS: usize = 1;
/// No round takes longer, unless something is wrong.
const ROUND_TIME_MAX: Duration = Duration::from_mins(5);

/// Against consuming and decoding the same log with as many threads; consuming alone is shown beside.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let records = fill(deployment, scale.history_records)?;
        let (mut consumed, mut decoded, mut folded) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            consumed.push(read(deployment, records, |value| black_box(value).len() > 1)?);
            decoded.push(read(deployment, records, |value| black_box(event::decode::<PlaybackEvent>(value)).is_ok())?);
            folded.push(fold(deployment, records).await?);
        }
        let consumed = median(consumed);
        let target = Target::AtLeast { ratio: 0.6, value: 0.0 };
        Ok(vec![
            Row::new("fold_history", median(folded), "1/s", target).limit(median(decoded)).note(&format!(
                "{records} heartbeats of {SESSIONS} sessions in {PARTITIONS} partitions, from the first connection to \
                 the last record; limit: consume and decode with {THREADS} thread"
            )),
            Row::new("fold_history_consume_alone", consumed, "1/s", Target::None),
        ])
    })
    .await
}

/// Writes the history; says how many records it has.
fn fill(deployment: &Deployment, records: usize) -> anyhow::Result<u64> {
    let mut sessions = events(SESSIONS)?;
    let producer = BareProducer::new(deployment, 5)?;
    for record in 0..records {
        producer.append(&mut sessions[record % SESSIONS], headers())?;
        if record % 500 == 0 {
            producer.poll();
        }
    }
    producer.finish()
}

/// Reads the topic to its end; `is_right` looks at each record.
fn read(deployment: &Deployment, records: u64, is_right: fn(&[u8]) -> bool) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let count = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..THREADS).map(|index| scope.spawn(move || read_part(deployment, index, is_right))).collect();
        readers.into_iter().try_fold(0, |count, reader| {
            let read = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            anyhow::Ok(count + read)
        })
    })?;
    anyhow::ensure!(count == records, "{count} of {records} records are right");
    Ok(per_second(count, begun.elapsed()))
}

fn read_part(deployment: &Deployment, index: usize, is_right: fn(&[u8]) -> bool) -> anyhow::Result<u64> {
    let own: Vec<_> = (0..PARTITIONS).skip(index).step_by(THREADS).collect();
    let consumer = consumer(deployment, &own, Offset::Beginning)?;
    let (begun, mut count, mut ended) = (Instant::now(), 0, 0);
    while ended < own.len() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => count += u64::from(is_right(message.payload().unwrap_or_default())),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => anyhow::ensure!(begun.elapsed() < ROUND_TIME_MAX, "the log does not end"),
        }
    }
    Ok(count)
}

/// Folds the topic to its end, as a node does that finds no read model.
async fn fold(deployment: &Deployment, records: u64) -> anyhow::Result<f64> {
    let topics = deployment.raw_topics();
    let settings = ReaderSettings { client: deployment.client(), topics, partitions: PARTITIONS };
    let catalog = CatalogView::start(&settings)?;
    anyhow::ensure!(catalog.caught_up(Duration::from_secs(30)).await, "the catalog is not read");
    let begun = Instant::now();
    let view = HotView::start(&settings, catalog.clone(), Snapshot::default())?;
    // Sooner than the view says itself that it has caught up: it asks for the log's end now and then.
    while view.folded_total() < records {
        anyhow::ensure!(begun.elapsed() < ROUND_TIME_MAX, "folded {} of {records}", view.folded_total());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    let caught_up = tokio::time::timeout(ROUND_TIME_MAX, view.caught_up());
    caught_up.await.context("the view does not say that it has caught up")?;
    let is_known = view.look(&account(SESSIONS - 1).parse()?, |look| look.account.is_some());
    anyhow::ensure!(is_known, "the view skipped what it should have folded");
    tokio::task::spawn_blocking(move || {
        view.stop();
        catalog.stop();
    })
    .await?;
    Ok(float(records) / took.as_secs_f64())
}
