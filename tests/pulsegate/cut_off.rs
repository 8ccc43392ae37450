//! Connections to the broker are cut while its acknowledgements are on their way, again and again: what was acknowledged
//! is in the log, and nothing stands there twice. Whether a producer that sends again doubles anything is a matter of
//! moments: that it is given up instead is seen each time, a double would be by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pulsegate_domain::topic::{Topic, TopicNames};
use pulsegate_write_side::{EventLog, LogSettings, Record};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;
use crate::recount::read_log;
use crate::services::Services;

const WRITERS: usize = 24;
const CUTS: usize = 8;
const PARTITIONS: i32 = 24;
/// How long a record may be in flight. librdkafka is back about a second after a cut: of what was sent in the time
/// before it some is older by then, and some is not.
const ACK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Longest that a writer pauses.
const THINKING: Duration = Duration::from_millis(900);
const SEED: u64 = 11;

/// Appends one record after the other; gives those that were acknowledged.
async fn write(log: EventLog, writer: usize, stop: CancellationToken) -> Vec<String> {
    let key = format!("account-{writer}");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + writer as u64);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let value = format!("{writer}-{number}");
        let record = Record {
            topic: Topic::Playback,
            key: Some(key.as_bytes().into()),
            value: value.clone().into_bytes(),
            headers: Vec::new(),
        };
        if log.append(record).await.is_ok() {
            acknowledged.push(value);
        }
        // So that records of many ages are in flight.
        tokio::time::sleep(THINKING.mul_f64(rng.random())).await;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_when_connections_are_cut_stands_in_the_log_once_at_most() {
    let mut services = Services::unstarted();
    let broker = Proxy::to(services.kafka_port).await;
    services.advertise(broker.port);
    services.ctl("kafka", "start");
    services.ctl("postgres", "start");
    let deployment = services.deployment().await;
    let settings = LogSettings::new(&deployment.kafka, TopicNames::new(&deployment.prefix));
    let settings = LogSettings { partitions: PARTITIONS, ack_timeout: ACK_TIMEOUT, ..settings };
    pulsegate_write_side::ensure_topics(&settings).await.expect("topics");
    let log = EventLog::connect(&settings).expect("a log");
    let stop = CancellationToken::new();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(log.clone(), writer, stop.clone()))).collect();

    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for _ in 0..CUTS {
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..600))).await;
        // What is sent from now on arrives, and nobody hears of it.
        broker.mute();
        tokio::time::sleep(THINKING).await;
        broker.cut();
        tokio::time::sleep(Duration::from_millis(rng.random_range(350..750))).await;
        broker.mend();
        tokio::time::sleep(ACK_TIMEOUT).await;
    }
    // Until it is written to again.
    let renewed = log.renewals();
    let last = Record { topic: Topic::Playback, key: None, value: b"last".to_vec(), headers: Vec::new() };
    crate::deployment::until("the log to be reached again", || async { log.append(last.clone()).await.is_ok() }).await;
    stop.cancel();
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("a writer"));
    }

    let mut places: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for record in read_log(&deployment, "playback") {
        places.entry(record.value).or_default().push((record.partition, record.offset));
    }
    let missing: Vec<_> = acknowledged.iter().filter(|value| !places.contains_key(*value)).collect();
    assert!(missing.is_empty(), "acknowledged, and not in the log: {missing:?}");
    println!("{} acknowledged, {} in the log, {renewed} producers were renewed", acknowledged.len(), places.len());
    // Else nothing was in flight for too long, and nothing was tried.
    assert!(renewed > 0, "no producer was given up");
    places.retain(|value, places| value != "last" && places.len() > 1);
    assert!(places.is_empty(), "stand in the log twice, at these partitions and offsets: {places:?}");
}
