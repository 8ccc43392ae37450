//! The hot view: beside its own node's acknowledgements, and beside writers of another kind.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, partition_of};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::hot_view::{Acknowledged, HotView, Snapshot};
use pulsegate_projections::reader::ReaderSettings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _};

use crate::households::{Event, Households, policies};
use crate::recount::Recount;
use crate::services::{Bench, DEADLINE, on_a_bench, producer};

const PARTITIONS: i32 = 2;

/// What a node appends itself comes twice, by its acknowledgement and by the log; here the acknowledgements are out of
/// order, some never come, and some come long after the log.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_and_the_log_make_one_fold() {
    on_a_view(PARTITIONS, async |bench, _, view| {
        // The catalog of this test is empty, so every event names the built-in policy.
        let events: Vec<_> = Households::new(11, 9)
            .events(3_000)
            .into_iter()
            .filter(|event| !String::from_utf8_lossy(&event.value).contains("family@1"))
            .collect();
        let producer = producer(&bench.kafka);
        let playback = bench.topics.name(Topic::Playback);
        let mut late = Vec::new();
        for (round, group) in events.chunks(40).enumerate() {
            let sent = join_all(group.iter().map(|event| append(&producer, &playback, event))).await;
            for (index, (partition, own)) in interleaved(sent).into_iter().enumerate() {
                match (index + round) % 5 {
                    0 => {}
                    1 => late.push((partition, own)),
                    _ => view.acknowledged(partition, [own]),
                }
            }
            if round % 7 == 0 {
                late.drain(..).for_each(|(partition, own)| view.acknowledged(partition, [own]));
            }
        }
        for (partition, end) in bench.ends().await {
            assert!(view.folded(partition, end - 1, DEADLINE).await, "partition {partition}");
        }
        assert_eq!(view.folded_total(), events.len() as u64, "each once");
        let recount = Recount::of(bench, &policies()).await;
        assert!(recount.decided() > 200, "{} decisions", recount.decided());
        recount.is_what_the_view_holds(view);
    })
    .await;
}

/// Appends an event; says where it stands, as the broker told.
async fn append(producer: &FutureProducer, playback: &str, event: &Event) -> (i32, Acknowledged) {
    let key = event.account.as_str().as_bytes();
    let partition = partition_of(key, PARTITIONS);
    let record = FutureRecord::to(playback).partition(partition).key(key).payload(&event.value);
    let delivery = producer.send(record, DEADLINE).await.unwrap();
    let envelope = event::decode::<PlaybackEvent>(&event.value).unwrap();
    let stamp = Timestamp::from_millis(delivery.timestamp.to_millis().expect("the log's time"));
    let own = Acknowledged { id: envelope.id.parse().unwrap(), event: envelope.event, offset: delivery.offset, stamp };
    (delivery.partition, own)
}

/// Every third one first, then those after them, and so on.
fn interleaved<T>(items: Vec<T>) -> Vec<T> {
    let mut numbered: Vec<_> = items.into_iter().enumerate().collect();
    numbered.sort_by_key(|(index, _)| index % 3);
    numbered.into_iter().map(|(_, item)| item).collect()
}

/// A transaction's marker takes an offset and is no record: a view that waited for it would be behind for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_ends_in_transaction_markers_is_proven_to_its_end() {
    on_a_view(1, async |bench, settings, view| {
        bench.append(&Households::new(1, 2).events(20)).await;
        proven_to(view, 19).await;
        let (kafka, playback) = (bench.kafka.clone(), bench.topics.name(Topic::Playback));
        tokio::task::spawn_blocking(move || in_transactions(&kafka, &playback)).await.unwrap();
        // A transaction is committed before its marker is written. A record and a marker, twice:
        let marked = async {
            while bench.ends().await[&0] < 24 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, marked).await.expect("the markers to be written");
        proven_to(view, 23).await;

        // From the beginning as well.
        let catalog = CatalogView::start(settings).unwrap();
        assert!(catalog.caught_up(DEADLINE).await);
        let fresh = HotView::start(settings, catalog.clone(), Snapshot::default()).unwrap();
        tokio::time::timeout(DEADLINE, fresh.caught_up()).await.expect("a fresh view catches up");
        proven_to(&fresh, 23).await;
        stop(fresh, catalog).await;
    })
    .await;
}

/// Runs a test on a view of an empty playback topic, with an empty catalog.
async fn on_a_view(partitions: i32, test: impl AsyncFnOnce(&Bench, &ReaderSettings, &HotView)) {
    on_a_bench(partitions, async |bench| {
        let admin: AdminClient<DefaultClientContext> = bench.kafka.create().unwrap();
        let catalog_topic = bench.topics.name(Topic::Catalog);
        let topic = NewTopic::new(&catalog_topic, 1, TopicReplication::Fixed(1));
        for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let settings = ReaderSettings { client: bench.kafka.clone(), topics: bench.topics.clone(), partitions };
        let catalog = CatalogView::start(&settings).unwrap();
        assert!(catalog.caught_up(DEADLINE).await);
        let view = HotView::start(&settings, catalog.clone(), Snapshot::default()).unwrap();
        test(bench, &settings, &view).await;
        stop(view, catalog).await;
        admin.delete_topics(&[&catalog_topic], &AdminOptions::new()).await.unwrap();
    })
    .await;
}

async fn stop(view: HotView, catalog: CatalogView) {
    let stopped = tokio::task::spawn_blocking(move || {
        view.stop();
        catalog.stop();
    });
    stopped.await.unwrap();
}

/// Waits until the view stands behind `offset` and says that it is at the end.
async fn proven_to(view: &HotView, offset: i64) {
    let begun = Instant::now();
    while !view.has_folded(0, offset) || view.stale_ms() > 2_000 {
        assert!(begun.elapsed() < DEADLINE, "not at the end: {} ms old", view.stale_ms());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a record that is committed and one that is aborted.
fn in_transactions(kafka: &rdkafka::ClientConfig, playback: &str) {
    let producer: BaseProducer = kafka.clone().set("transactional.id", format!("{playback}writer")).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    for is_kept in [true, false] {
        producer.begin_transaction().unwrap();
        let record = BaseRecord::to(playback).partition(0).key(b"somebody").payload(b"not an event");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
        if is_kept {
            producer.commit_transaction(DEADLINE).unwrap();
        } else {
            producer.abort_transaction(DEADLINE).unwrap();
        }
    }
}
