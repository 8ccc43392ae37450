//! Reading the log: what was refused, and what of it had been sent before a crash.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_write_side::Rejected;
use pulsegate_write_side::rejected::RejectedPlace;
use pulsegate_write_side::resend::SOURCE;
use rdkafka::message::Message as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::claims::{LogEnds, Unsettled};
use crate::commands::topic_reader::TopicReader;
use crate::config::Config;

/// Where events are sent to.
const TARGETS: [Topic; 2] = [Topic::Playback, Topic::Clickstream];
/// A record that a crashed process had handed to Kafka's client arrives within as many times its own limit, or never.
const ACK_TIMEOUTS: u32 = 2;

/// A record of the topic `rejected`.
pub(super) struct Found {
    pub(super) place: RejectedPlace,
    /// When it was refused, by the log.
    pub(super) at: Timestamp,
    pub(super) rejected: Rejected,
}

/// Begins to read what was refused since then, up to where the topic ends now: what is refused again is not
/// met again. Says how many records that are.
pub(super) async fn start(
    config: &Config,
    since: DateTime<Utc>,
    sender: mpsc::Sender<Found>,
) -> anyhow::Result<(u64, JoinHandle<anyhow::Result<()>>)> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let reader = TopicReader::open(&config, Topic::Rejected)?;
        let from = reader.offsets_since(since)?;
        anyhow::Ok((reader.distance(&from), reader, from))
    });
    let (total, reader, from) = opened.await.context("the reading thread panicked")??;
    let reading = tokio::task::spawn_blocking(move || {
        reader.read_to_the_ends(&from, |message| {
            let found = Found {
                place: RejectedPlace { partition: message.partition(), offset: message.offset() },
                at: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or_default()),
                rejected: Rejected::from_message(message),
            };
            Ok(sender.blocking_send(found).is_ok())
        })?;
        Ok(())
    });
    Ok((total, reading))
}

/// Where the topics end that events are sent to.
pub(super) async fn ends(config: &Config) -> anyhow::Result<LogEnds> {
    let config = config.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let end = |topic: Topic| Ok((topic.base_name().to_owned(), TopicReader::open(&config, topic)?.ends));
        TARGETS.into_iter().map(end).collect()
    });
    asked.await.context("the reading thread panicked")?
}

/// The ids of everything that was sent in again since a run that was cut short began.
pub(super) async fn sent_since(config: &Config, unsettled: Unsettled) -> anyhow::Result<HashSet<Uuid>> {
    #[derive(Deserialize)]
    struct Origin<'a> {
        id: Uuid,
        #[serde(borrow)]
        source: std::borrow::Cow<'a, str>,
    }

    let wait = (config.ack_timeout * ACK_TIMEOUTS).saturating_sub(unsettled.age);
    if wait > Duration::ZERO {
        eprintln!(
            "an earlier run was cut short; waiting {} s until nothing of it can arrive any more",
            wait.as_secs_f64().ceil()
        );
        tokio::time::sleep(wait).await;
    }
    let config = config.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let mut sent = HashSet::new();
        for topic in TARGETS {
            let Some(from) = unsettled.log_ends.get(topic.base_name()) else { continue };
            TopicReader::open(&config, topic)?.read_to_the_ends(from, |message| {
                let read = serde_json::from_slice::<Origin<'_>>(message.payload().unwrap_or_default());
                sent.extend(read.ok().filter(|origin| origin.source == SOURCE).map(|origin| origin.id));
                Ok(true)
            })?;
        }
        Ok(sent)
    });
    looking.await.context("the reading thread panicked")?
}
