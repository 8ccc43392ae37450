//! Provisional answers, settled against the log.
//!
//! A node that must answer before it has folded everything up to a question's own event says so, and leaves in the
//! topic `provisional` what it answered and what it knew: the account's state before some offset. So the log's own word
//! can be had afterwards, by anybody and exactly, from the few records between that offset and the event; no part of it
//! depends on the node that answered.

pub(crate) mod settle;

use std::time::{Duration, Instant};

use pulsegate_domain::account::{Reason, VerdictDecision};
use pulsegate_domain::event::{self, Answered, Because, ProvisionalEvent, Question};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use thiserror::Error;

use crate::reader::{POLL, ReaderContext, ReaderSettings, is_end};
pub use settle::Word;
use settle::{Due, Span};

/// How long the broker may take to say where a partition begins and ends.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Why provisional answers can't be listed.
#[derive(Debug, Error)]
pub enum ListError {
    /// The broker, or the way to it.
    #[error("read the log: {0}")]
    Kafka(#[from] KafkaError),
    /// It took longer than it may.
    #[error("the log could not be read in time; ask for less, or with more time")]
    TooSlow,
}

/// Which answers.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Given then or later.
    pub since: Timestamp,
    /// Given before.
    pub until: Option<Timestamp>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// At most so many, the newest.
    pub limit: usize,
    /// For how long the log may be read.
    pub time_max: Duration,
}

/// In what way an answer was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrongly {
    /// It said yes where the log says no.
    LetThrough,
    /// It said no where the log says yes.
    Refused,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Yes or no.
    pub decision: VerdictDecision,
    /// Why not.
    pub reason: Option<Reason>,
}

/// A provisional answer beside the log's word.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settled {
    /// When it was kept, by the log's time.
    pub given_at: Timestamp,
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: Option<SessionId>,
    /// What was asked.
    pub question: Question,
    /// Why the answer is provisional.
    pub because: Because,
    /// The node that answered.
    pub node: String,
    /// The account's partition.
    pub partition: i32,
    /// The question's own event; null for a check.
    pub offset: Option<i64>,
    /// The instant that was answered for.
    pub at: Timestamp,
    /// What was answered.
    pub given: Given,
    /// What the log says at the same place; null where it knows no such session.
    pub log: Option<Word>,
    /// In what way the answer was wrong; null where it was right.
    pub wrongly: Option<Wrongly>,
    /// How many records the answer's state was behind its event; null where nothing was known, or for a check.
    pub behind_events: Option<i64>,
    /// How far the answer's state was behind, in milliseconds of the log's time; null where nothing was known.
    pub behind_ms: Option<u64>,
}

impl Settled {
    fn of(given_at: Timestamp, answered: Answered, word: Option<Word>) -> Self {
        let known = answered.known.as_ref();
        let wrongly = word.and_then(|word| match (answered.decision, word.decision) {
            (VerdictDecision::Allow, VerdictDecision::Block) => Some(Wrongly::LetThrough),
            (VerdictDecision::Block, VerdictDecision::Allow) => Some(Wrongly::Refused),
            (VerdictDecision::Allow, VerdictDecision::Allow) | (VerdictDecision::Block, VerdictDecision::Block) => None,
        });
        Self {
            given_at,
            behind_events: known.zip(answered.offset).map(|(known, offset)| (offset - known.next_offset).max(0)),
            behind_ms: known.map(|known| answered.at.ms_since(known.clock)),
            session_id: word.and_then(|word| word.session_id).or(answered.session_id),
            account_id: answered.account_id,
            question: answered.question,
            because: answered.because,
            node: answered.node,
            partition: answered.partition,
            offset: answered.offset,
            at: answered.at,
            given: Given { decision: answered.decision, reason: answered.reason },
            log: word,
            wrongly,
        }
    }
}

/// Lists provisional answers with the log's word on each, oldest first. Blocks while it reads.
///
/// # Errors
/// If the log can't be read, or not within the time: a part of the truth would look like all of it.
pub fn list(settings: &ReaderSettings, policies: &PolicySet, wanted: &Wanted) -> Result<Vec<Settled>, ListError> {
    let reading = Reading { settings, deadline: Instant::now() + wanted.time_max };
    let mut found = reading.answers(wanted)?;
    found.sort_by_key(|(given_at, answered)| (*given_at, answered.partition, answered.offset));
    let surplus = found.len().saturating_sub(wanted.limit);
    found.drain(..surplus);
    let mut words = vec![None; found.len()];
    for span in Span::of_all(found.iter().map(|(_, answered)| answered).enumerate().map(Due::of)) {
        for (index, word) in reading.settle(span, policies)? {
            words[index] = word;
        }
    }
    Ok(found.into_iter().zip(words).map(|((given_at, answered), word)| Settled::of(given_at, answered, word)).collect())
}

struct Reading<'a> {
    settings: &'a ReaderSettings,
    deadline: Instant,
}

impl Reading<'_> {
    fn consumer(&self) -> Result<BaseConsumer<ReaderContext>, KafkaError> {
        self.settings.consumer("settle")
    }

    fn answers(&self, wanted: &Wanted) -> Result<Vec<(Timestamp, Answered)>, ListError> {
        let topic = self.settings.topics.name(Topic::Provisional);
        let consumer = self.consumer()?;
        let mut asked = TopicPartitionList::new();
        for partition in 0..self.settings.partitions {
            asked.add_partition_offset(&topic, partition, Offset::Offset(wanted.since.millis().max(0)))?;
        }
        let starts = consumer.offsets_for_times(asked, ASK_MAX)?;
        let mut open = std::collections::HashMap::new();
        let mut from = TopicPartitionList::new();
        for element in starts.elements() {
            // No record is that new: nothing to read.
            let Offset::Offset(start) = element.offset() else { continue };
            let (_, end) = consumer.fetch_watermarks(&topic, element.partition(), ASK_MAX)?;
            if start < end {
                from.add_partition_offset(&topic, element.partition(), Offset::Offset(start))?;
                open.insert(element.partition(), end);
            }
        }
        consumer.assign(&from)?;
        let mut found = Vec::new();
        while !open.is_empty() {
            let (partition, offset) = match self.poll(&consumer)? {
                Polled::Nothing => continue,
                Polled::End(partition) => (partition, i64::MAX),
                Polled::Record(message) => {
                    let given_at = message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis);
                    if let Some(answered) = read(message.payload().unwrap_or_default(), message.offset())
                        && given_at >= wanted.since
                        && wanted.until.is_none_or(|until| given_at < until)
                        && wanted.account.as_ref().is_none_or(|account| *account == answered.account_id)
                    {
                        found.push((given_at, answered));
                    }
                    (message.partition(), message.offset() + 1)
                }
            };
            if open.get(&partition).is_some_and(|end| offset >= *end) {
                open.remove(&partition);
            }
        }
        consumer.unassign()?;
        Ok(found)
    }

    /// Folds the accounts of a span's answers through it.
    fn settle(&self, mut span: Span, policies: &PolicySet) -> Result<Vec<(usize, Option<Word>)>, ListError> {
        let topic = self.settings.topics.name(Topic::Playback);
        let consumer = self.consumer()?;
        let (low, end) = consumer.fetch_watermarks(&topic, span.partition(), ASK_MAX)?;
        let start = span.from().max(low);
        if start < end {
            let mut from = TopicPartitionList::new();
            from.add_partition_offset(&topic, span.partition(), Offset::Offset(start))?;
            consumer.assign(&from)?;
            while !span.is_done() {
                match self.poll(&consumer)? {
                    Polled::Nothing => {}
                    Polled::End(_) => break,
                    Polled::Record(message) => {
                        let stamp = message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis);
                        let value = message.payload().unwrap_or_default();
                        span.take(message.offset(), stamp, message.key(), value, policies);
                        if message.offset() + 1 >= end {
                            break;
                        }
                    }
                }
            }
            consumer.unassign()?;
        }
        Ok(span.end(policies))
    }

    fn poll<'c>(&self, consumer: &'c BaseConsumer<ReaderContext>) -> Result<Polled<'c>, ListError> {
        if Instant::now() >= self.deadline {
            return Err(ListError::TooSlow);
        }
        match consumer.poll(POLL) {
            Some(Ok(message)) => Ok(Polled::Record(message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Polled::End(partition)),
            Some(Err(error)) if !is_end(&error) => {
                // librdkafka gets over what passes; the deadline ends what doesn't.
                tracing::debug!(%error, "settling provisional answers");
                Ok(Polled::Nothing)
            }
            Some(Err(_)) | None => Ok(Polled::Nothing),
        }
    }
}

enum Polled<'c> {
    Nothing,
    End(i32),
    Record(rdkafka::message::BorrowedMessage<'c>),
}

fn read(value: &[u8], offset: i64) -> Option<Answered> {
    match event::decode::<ProvisionalEvent>(value) {
        Ok(envelope) => {
            let ProvisionalEvent::Answered(answered) = envelope.event;
            Some(answered)
        }
        Err(error) => {
            tracing::warn!(offset, %error, "skipped a record of provisional answers");
            None
        }
    }
}
