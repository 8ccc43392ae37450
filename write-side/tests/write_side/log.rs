//! Appending: places, order, limits, and what happens when the producer fails.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames, partition_of};
use pulsegate_write_side::{AppendError, EventLog, LogSettings, Record};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::fixture::{PATIENCE, log, read_all};

fn record(key: &str, value: impl Into<Vec<u8>>) -> Record {
    Record {
        topic: Topic::Playback,
        key: Some(key.into()),
        value: value.into(),
        headers: vec![("content-type", Cow::Borrowed(b"text/plain".as_slice()))],
    }
}

#[tokio::test]
async fn an_append_tells_partition_offset_and_the_brokers_time() {
    let (log, settings) = log().await;
    let before = Timestamp::from(chrono::Utc::now());
    let first = log.append(record("acc-1", "a")).await.unwrap();
    let second = log.append(record("acc-1", "b")).await.unwrap();
    assert_eq!(first.partition, partition_of(b"acc-1", 3));
    assert_eq!((second.partition, second.offset), (first.partition, first.offset + 1));
    assert!(first.at.ms_since(before.minus_ms(60_000)) <= 180_000, "{} is not about {before}", first.at);

    let stored = read_all(&settings, Topic::Playback).await;
    assert_eq!(stored.len(), 2);
    assert_eq!((stored[0].offset(), stored[0].payload()), (first.offset, Some(b"a".as_slice())));
    assert_eq!(stored[0].timestamp(), rdkafka::Timestamp::LogAppendTime(first.at.millis()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_a_key_keep_their_order_whatever_the_load() {
    const KEYS: usize = 24;
    const ROUNDS: usize = 12;
    let (log, settings) = log().await;
    let writers = (0..KEYS).map(|key| {
        let log = log.clone();
        tokio::spawn(async move {
            let name = format!("key-{key}");
            let mut number = 0_usize;
            let mut placed = Vec::new();
            for round in 0..ROUNDS {
                // From one at a time to bursts, alone and together.
                let burst = 1 + (key * 7 + round * 13) % 40;
                let records: Vec<_> = (number..number + burst).map(|n| record(&name, n.to_string())).collect();
                number += burst;
                let outcomes = if round % 2 == 0 {
                    join_all(records.into_iter().map(|record| log.append(record))).await
                } else {
                    log.append_all(records).await
                };
                placed.extend(outcomes.into_iter().map(Result::unwrap));
            }
            (name, placed)
        })
    });
    let mut written = HashMap::new();
    for writer in join_all(writers).await {
        let (name, placed) = writer.unwrap();
        assert!(placed.is_sorted_by_key(|place| place.offset), "{name} is out of order");
        written.insert(name, placed);
    }
    let mut read: HashMap<String, Vec<(i64, usize)>> = HashMap::new();
    for message in read_all(&settings, Topic::Playback).await {
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let number = text(message.payload()).parse().unwrap();
        read.entry(text(message.key())).or_default().push((message.offset(), number));
    }
    assert_eq!(read.len(), written.len());
    for (name, placed) in written {
        let expected: Vec<_> = placed.iter().enumerate().map(|(number, place)| (place.offset, number)).collect();
        assert_eq!(read[&name], expected, "{name}: each once, in order, where its answer said");
    }
    assert!(log.flush(PATIENCE).await);
    assert_eq!(log.in_flight(), 0);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_what_it_refused_is_not_in_the_log() {
    let (_, settings) = log().await;
    let small = EventLog::connect(&LogSettings { queue_max: 10, ..settings.clone() }).unwrap();
    let outcomes = small.append_all((0..50).map(|n| record("acc-1", n.to_string())).collect()).await;
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(taken.len(), 10);
    assert!(refused.iter().all(|outcome| *outcome == Err(AppendError::QueueFull)));
    // What was acknowledged leaves the client's queue a moment later.
    let deadline = Instant::now() + PATIENCE;
    let mut again = small.append(record("acc-1", "again")).await;
    while again == Err(AppendError::QueueFull) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
        again = small.append(record("acc-1", "again")).await;
    }
    again.unwrap();
    assert_eq!(read_all(&settings, Topic::Playback).await.len(), 11);
}

#[tokio::test]
async fn what_is_too_large_is_said_to_be_and_spoils_nothing() {
    let (log, settings) = log().await;
    let records = vec![record("a", "before"), record("a", vec![b'x'; 3 << 20]), record("a", "after")];
    let outcomes = log.append_all(records).await;
    assert_eq!(outcomes[1], Err(AppendError::TooLarge));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!(read_all(&settings, Topic::Playback).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_fails_for_good_is_renewed() {
    let cluster = MockCluster::new(1).unwrap();
    let settings = LogSettings::new(&cluster.bootstrap_servers(), TopicNames::new("mock."));
    for topic in Topic::ALL {
        cluster.create_topic(&settings.topics.name(topic), settings.partitions_of(topic), 1).unwrap();
    }
    let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[forbidden]);
    let log = EventLog::connect(&settings).unwrap();
    // The first producer is forbidden to write; its successor isn't.
    let deadline = Instant::now() + PATIENCE;
    while log.renewals() == 0 {
        assert!(Instant::now() < deadline, "the producer was not renewed");
        let _ = log.append(record("acc-1", "x")).await;
    }
    let mut outcome = log.append(record("acc-1", "x")).await;
    while outcome.is_err() {
        assert!(Instant::now() < deadline, "{outcome:?}");
        outcome = log.append(record("acc-1", "x")).await;
    }
    assert_eq!(log.renewals(), 1);
}
