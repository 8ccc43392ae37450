//! Trying a policy on history: the log is folded twice, by what was in force and by a draft in its place, and what the
//! two say otherwise is counted.
//!
//! Nobody is asked what they would have done: a player that was told no stays told no in the log, and one that would
//! have been told no goes on in it. So what differs is what the draft would have said to what happened.
//!
//! **Warming up.** What an account remembers begins before the first day that is asked for. Both folds begin
//! [`Question::warm_up_ms`] earlier and count nothing until then. An ended session is remembered for 24 h and a lease
//! lasts 24 h at most, so after 48 h only a stream that has been heard of without a break for longer than that began
//! unseen; both folds then take it up at its first record that they see.

mod fold;
mod progress;
mod report;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pulsegate_domain::ids::PolicyName;
use pulsegate_domain::policy::{PolicySet, Terms};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::reader;
use crate::rebuild::{Reading, Target};
use crate::runner::{Position, RunError, Source};
use fold::Fold;
pub use progress::Progress;
pub use report::{AffectedAccount, AsOf, Concurrency, Hour, MOST_AFFECTED, STREAMS_MAX, Sessions, Tried};

/// How long both folds warm up where nothing else is said: 48 h.
pub const WARM_UP_MS: u64 = 2 * 86_400_000;
/// How long the broker may take to say where the log begins and ends.
const ASK: Duration = Duration::from_secs(10);

/// After how many records it is noted how far a partition is.
const PROGRESS_EVERY: u64 = 1_024;

/// What is tried, and on what.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the draft says.
    pub terms: Terms,
    /// Of which policy it takes the place; of every one where absent.
    pub name: Option<PolicyName>,
    /// What happened from here on counts.
    pub since: Timestamp,
    /// What happened at or after this doesn't; as of now where absent.
    pub until: Option<Timestamp>,
    /// How much earlier the folds begin, in milliseconds.
    pub warm_up_ms: u64,
}

/// Why a draft can't be tried.
#[derive(Debug, Error)]
pub enum TryError {
    /// Nothing has this name.
    #[error("there is no policy {name}; there are: {}", known.join(", "))]
    UnknownPolicy {
        /// The name that was asked for.
        name: PolicyName,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The end comes before the beginning.
    #[error("the time to be looked at ends before it begins")]
    Backwards,
    /// The broker doesn't say where the log begins and ends.
    #[error("the log's ends: {0}")]
    Ends(#[from] KafkaError),
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] RunError),
    /// A thread has died.
    #[error("a thread that folds has died")]
    Died,
}

/// Where one partition is read.
#[derive(Clone, Copy, Debug)]
struct Part {
    partition: i32,
    from: i64,
    end: i64,
}

/// Tries a draft on history: a thread a core, each with a partition at a time. Blocks.
pub fn run(
    kafka: &ClientConfig,
    topics: &TopicNames,
    policies: &Arc<PolicySet>,
    question: &Question,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Tried, TryError> {
    let began = Instant::now();
    if let Some(name) = question.name.as_ref().filter(|name| policies.newest(name).is_none()) {
        let named = policies.iter().filter(|policy| policies.derived_from(&policy.reference()).is_none());
        let mut known: Vec<_> = named.map(|policy| policy.name.to_string()).collect();
        known.sort_unstable();
        known.dedup();
        return Err(TryError::UnknownPolicy { name: name.clone(), known });
    }
    if question.until.is_some_and(|until| until <= question.since) {
        return Err(TryError::Backwards);
    }
    let tried = Arc::new(policies.with_terms(question.name.as_ref(), &question.terms));
    let parts = parts(kafka, topics, question.since.minus_ms(question.warm_up_ms))?;
    progress.begin(parts.iter().map(|part| (part.partition, u64::try_from(part.end - part.from).unwrap_or_default())));
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(parts.len().max(1));
    let (left, done) = (Mutex::new(parts), Mutex::new(Vec::new()));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let work = || -> Result<(), TryError> {
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(part) = next else { return Ok(()) };
                let fold = fold_part(kafka, topics, part, Fold::new(policies, &tried, question), progress, stop)?;
                done.lock().unwrap_or_else(PoisonError::into_inner).push((part.partition, part.from, fold));
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(TryError::Died))).collect()
    });
    outcomes.into_iter().collect::<Result<(), _>>()?;
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Tried::of(question, done, began.elapsed()))
}

fn fold_part(
    kafka: &ClientConfig,
    topics: &TopicNames,
    part: Part,
    mut fold: Fold,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Fold, TryError> {
    fold.next_offset = part.from;
    if part.from >= part.end {
        return Ok(fold);
    }
    let source = Source { topic: Topic::Playback, partition: part.partition };
    let from = Position { next_offset: part.from, clock: Timestamp::MIN };
    let reading = Reading::open(kafka, topics, Target { source, end: part.end }, from)?;
    reading.each(stop, |message| {
        let stamp = message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis);
        let goes_on = fold.record(message.offset(), stamp, message.key(), message.payload().unwrap_or_default());
        if fold.records.is_multiple_of(PROGRESS_EVERY) {
            progress.folded(part.partition, PROGRESS_EVERY);
        }
        goes_on
    })?;
    progress.done(part.partition);
    fold.finish();
    Ok(fold)
}

/// Where each partition is read: from the first record at or after `since` to its end as of now. Longest last, since
/// they are taken from there.
fn parts(kafka: &ClientConfig, topics: &TopicNames, since: Timestamp) -> Result<Vec<Part>, KafkaError> {
    let topic = topics.name(Topic::Playback);
    let consumer = reader::consumer(kafka.clone().set("group.id", format!("{}policy-try", topics.prefix())))?;
    let metadata = consumer.fetch_metadata(Some(&topic), ASK)?;
    let partitions = metadata.topics().iter().find(|known| known.name() == topic);
    let mut ends = BTreeMap::new();
    let mut asked = TopicPartitionList::new();
    for partition in partitions.into_iter().flat_map(MetadataTopic::partitions) {
        let (low, high) = consumer.fetch_watermarks(&topic, partition.id(), ASK)?;
        ends.insert(partition.id(), (low, high));
        asked.add_partition_offset(&topic, partition.id(), Offset::Offset(since.millis().max(0)))?;
    }
    let found = consumer.offsets_for_times(asked, ASK)?;
    let mut parts: Vec<_> = ends
        .into_iter()
        .map(|(partition, (low, end))| {
            let element = found.find_partition(&topic, partition);
            // Where no record is that new, there is nothing to read.
            let from = element.and_then(|element| element.offset().to_raw()).filter(|offset| *offset >= 0);
            Part { partition, from: from.map_or(end, |from| from.max(low)), end }
        })
        .collect();
    parts.sort_by_key(|part| part.end - part.from);
    Ok(parts)
}
