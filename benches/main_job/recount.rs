//! The log's word on each answer, by a fold from the log's beginning.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pulsegate_domain::account::{Account, Place, VerdictDecision};
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::reader::ReaderSettings;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use uuid::Uuid;

use crate::deployment::{Deployment, PARTITIONS};

/// How long the log may take to be read.
const READ_TIME_MAX: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(100);

/// An answer to a start.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) account: String,
    session: Uuid,
    pub(crate) partition: i64,
    offset: i64,
    allowed: bool,
    provisional: bool,
}

impl Given {
    pub(crate) fn read(account: String, session: Uuid, answer: &Value) -> Option<Self> {
        Some(Self {
            account,
            session,
            partition: answer["as_of"]["partition"].as_i64()?,
            offset: answer["as_of"]["offset"].as_i64()?,
            allowed: answer["verdict"]["decision"].as_str()? == "allow",
            provisional: answer["provisional"] == true,
        })
    }
}

/// What a recount found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Certain answers that said yes where the log says no.
    pub(crate) let_through: u64,
    /// Certain answers that said no where the log says yes.
    pub(crate) refused: u64,
    pub(crate) provisional: u64,
    pub(crate) provisional_let_through: u64,
    pub(crate) provisional_refused: u64,
    /// Provisional answers that the listing lacks, or says something else of.
    pub(crate) unlisted: u64,
}

/// Holds each answer against the log, and the provisional ones against their listing.
pub(crate) async fn recount(deployment: &Deployment, given: &[Given], listing: &Value) -> anyhow::Result<Found> {
    let words = words(deployment, given).await?;
    let key = |partition: i64, offset: i64, session: &str, word: &str| format!("{partition}/{offset} {session} {word}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed: HashSet<_> = listing["answers"]
        .as_array()
        .context("the listing has no answers")?
        .iter()
        .filter_map(|answer| {
            let (partition, offset) = (answer["partition"].as_i64()?, answer["offset"].as_i64()?);
            Some(key(partition, offset, &text(&answer["session_id"]), &text(&answer["log"]["decision"])))
        })
        .collect();
    let mut found = Found::default();
    for answer in given {
        let allows =
            *words.get(&(answer.partition, answer.offset)).context("an answer names a place without its start")?;
        let (let_through, refused) = (u64::from(answer.allowed && !allows), u64::from(!answer.allowed && allows));
        if answer.provisional {
            found.provisional += 1;
            found.provisional_let_through += let_through;
            found.provisional_refused += refused;
            let word = if allows { "allow" } else { "block" };
            let is_listed = listed.contains(&key(answer.partition, answer.offset, &answer.session.to_string(), word));
            found.unlisted += u64::from(!is_listed);
        } else {
            found.let_through += let_through;
            found.refused += refused;
        }
    }
    Ok(found)
}

/// Whether the log lets the session in whose start stands at each place.
async fn words(deployment: &Deployment, given: &[Given]) -> anyhow::Result<HashMap<(i64, i64), bool>> {
    let due: HashMap<_, _> = given.iter().map(|answer| ((answer.partition, answer.offset), answer.session)).collect();
    let settings = ReaderSettings { client: deployment.client(), topics: deployment.topics(), partitions: PARTITIONS };
    let catalog = CatalogView::start(&settings)?;
    anyhow::ensure!(catalog.caught_up(READ_TIME_MAX).await, "the catalog is not read");
    let policies = catalog.policies();
    let mut client = deployment.client();
    client
        .set("group.id", format!("{}recount", deployment.topics().prefix()))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let words = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create()?;
        let mut from = TopicPartitionList::new();
        let topic = settings.topics.name(Topic::Playback);
        for partition in 0..PARTITIONS {
            from.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&from)?;
        let mut accounts: HashMap<AccountId, Account> = HashMap::new();
        let mut clocks: HashMap<i32, Timestamp> = HashMap::new();
        let (mut words, mut ended) = (HashMap::new(), HashSet::new());
        let begun = Instant::now();
        while ended.len() < PARTITIONS.unsigned_abs() as usize {
            anyhow::ensure!(begun.elapsed() < READ_TIME_MAX, "the log is not read in time");
            let message = match consumer.poll(POLL) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                    continue;
                }
                Some(Err(error)) => return Err(error.into()),
                None => continue,
            };
            let stamp = Timestamp::from_millis(message.timestamp().to_millis().unwrap_or_default());
            let clock = clocks.entry(message.partition()).or_insert(stamp);
            *clock = stamp.max(*clock);
            let place = Place { offset: message.offset(), at: *clock };
            let envelope = event::decode::<PlaybackEvent>(message.payload().unwrap_or_default())?;
            let account = accounts.entry(envelope.event.account_id().clone()).or_default();
            let applied = account.apply(&envelope.id, &envelope.event, place, &policies, &mut ())?;
            let at = (i64::from(message.partition()), message.offset());
            if due.get(&at).is_some_and(|session| *session == applied.session.uuid()) {
                let verdict = account.verdict(applied.session, place.at, &policies);
                words.insert(at, verdict.is_some_and(|verdict| verdict.decision == VerdictDecision::Allow));
            }
        }
        consumer.unassign()?;
        anyhow::Ok(words)
    });
    let words = words.await??;
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    Ok(words)
}
