//! A statement once more, straight from the log: every record up to the offsets that it is as of, through the domain's own
//! folds, in memory, without a read model.
//!
//! It takes the memory of one partition's sessions, and of what the period's rows are made of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use pulsegate_domain::account::{Account, Decision, DecisionKind, Observe, Place, key_matches};
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{self, CatalogEvent, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, DeviceClass, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_domain::watch_time::{Fact, VIEW_THRESHOLD_MS, WatchTime};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use thiserror::Error;

use super::agreements::{Agreement, Agreements};
use super::assemble::{Used, Where, assemble};
use super::provisional::{headings, outside_ms};
use super::rows::Heading;
use super::{About, Figures, Statement};
use crate::live::AsOf;
use crate::reader::{POLL, ReaderContext, ReaderSettings};

/// A topic of which nothing is heard for this long can't be read.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The largest position that licensing takes.
const POSITION_MS_MAX: u64 = (1 << 53) - 1;

/// Why the log could not be folded.
#[derive(Debug, Error)]
pub enum RecountError {
    /// Kafka's client refused, or the log doesn't hold what it should.
    #[error("read {topic}/{partition} up to offset {offset}: {error}")]
    Kafka {
        /// The topic's full name.
        topic: String,
        /// The partition.
        partition: i32,
        /// Up to where.
        offset: i64,
        /// Why not.
        error: KafkaError,
    },
    /// The log ends before the statement does.
    #[error("{topic}/{partition} ends before offset {offset}, which the statement is as of")]
    TooShort {
        /// The topic's full name.
        topic: String,
        /// The partition.
        partition: i32,
        /// Up to where.
        offset: i64,
    },
    /// Nothing came.
    #[error("nothing was heard of {topic}/{partition} for 60 s")]
    Silent {
        /// The topic's full name.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

/// Folds the log up to `as_of`, inclusive, into the statement that it makes. Blocks; `progress` is told of each record.
pub fn recount(
    settings: &ReaderSettings,
    about: &About,
    as_of: &[AsOf],
    mut progress: impl FnMut(),
) -> Result<Statement, RecountError> {
    let mut catalog = Catalog::default();
    let of_topic = |topic: Topic| as_of.iter().filter(move |one| one.topic == topic.base_name());
    let mut next_offset = 0;
    for one in of_topic(Topic::Catalog) {
        read(settings, Topic::Catalog, one, |message| {
            progress();
            if let Ok(envelope) = event::decode::<CatalogEvent>(message.payload().unwrap_or_default()) {
                catalog.apply(envelope.event);
            }
        })?;
        next_offset = one.offset + 1;
    }
    let agreements = Agreements::of(&catalog, next_offset);
    let mut tally = Tally { about, agreements: &agreements, rows: BTreeMap::new(), service_watched_ms: 0 };
    for one in of_topic(Topic::Playback) {
        let mut partition = Partition::default();
        read(settings, Topic::Playback, one, |message| {
            progress();
            partition.take_up(message, catalog.policies());
        })?;
        tally.add(&partition);
    }
    let mut as_of = as_of.to_vec();
    as_of.sort();
    Ok(assemble(about, tally.used(as_of), &agreements))
}

/// Hands on each record of a partition up to an offset, inclusive.
fn read(
    settings: &ReaderSettings,
    topic: Topic,
    until: &AsOf,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), RecountError> {
    let (topic, partition, offset) = (settings.topics.name(topic), until.partition, until.offset);
    let failed = |error: KafkaError| RecountError::Kafka { topic: topic.clone(), partition, offset, error };
    let consumer = settings.consumer("recount").map_err(failed)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&topic, partition, Offset::Beginning).map_err(failed)?;
    consumer.assign(&from).map_err(failed)?;
    let mut heard = Instant::now();
    let outcome = loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if message.offset() <= offset {
                    each(&message);
                }
                if message.offset() >= offset {
                    break Ok(());
                }
            }
            // A transaction's marker takes an offset and is no record.
            Some(Err(KafkaError::PartitionEOF(_))) if position(&consumer, &topic, partition) > offset => break Ok(()),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                break Err(RecountError::TooShort { topic: topic.clone(), partition, offset });
            }
            Some(Err(error)) if heard.elapsed() >= SILENCE_MAX => break Err(failed(error)),
            Some(Err(error)) => tracing::debug!(%error, "reading for a recount"),
            None if heard.elapsed() >= SILENCE_MAX => {
                break Err(RecountError::Silent { topic: topic.clone(), partition });
            }
            None => {}
        }
    };
    // A consumer that is dropped while it is assigned can hang.
    consumer.unassign().map_err(failed)?;
    outcome
}

fn position(consumer: &BaseConsumer<ReaderContext>, topic: &str, partition: i32) -> i64 {
    let positions = consumer.position().ok();
    positions.and_then(|all| all.find_partition(topic, partition)?.offset().to_raw()).unwrap_or(-1)
}

/// One partition, folded.
#[derive(Default)]
struct Partition {
    clock: Option<Timestamp>,
    sessions: HashMap<(AccountId, SessionId), WatchTime>,
    accounts: HashMap<AccountId, Account>,
    refused: Vec<(AccountId, Decision)>,
}

impl Partition {
    fn take_up(&mut self, message: &BorrowedMessage<'_>, policies: &PolicySet) {
        let stamp = message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis);
        let at = self.clock.map_or(stamp, |clock| clock.max(stamp));
        self.clock = Some(at);
        let Ok(envelope) = event::decode::<PlaybackEvent>(message.payload().unwrap_or_default()) else { return };
        let account = envelope.event.account_id();
        if !key_matches(message.key(), account) {
            return;
        }
        if let Some(session) = counted_session(&envelope.event) {
            self.sessions.entry((account.clone(), session)).or_default().apply(&envelope.event, at);
        }
        let mut refusals = Refusals { account, refused: &mut self.refused };
        let place = Place { offset: message.offset(), at };
        let folded = self.accounts.entry(account.clone()).or_default();
        // An event whose policy nobody knows is skipped, as everywhere.
        drop(folded.apply(&envelope.id, &envelope.event, place, policies, &mut refusals));
    }
}

/// The session whose watch time an event may change.
fn counted_session(event: &PlaybackEvent) -> Option<SessionId> {
    let position_ms = match event {
        PlaybackEvent::Heartbeat(heartbeat) => heartbeat.position_ms,
        PlaybackEvent::Stopped(stopped) => stopped.position_ms.unwrap_or(0),
        PlaybackEvent::Started(_) | PlaybackEvent::Signal(_) => 0,
        PlaybackEvent::Evicted(_) => return None,
    };
    event.session_id().filter(|_| position_ms <= POSITION_MS_MAX)
}

/// Notes who was told no.
struct Refusals<'a> {
    account: &'a AccountId,
    refused: &'a mut Vec<(AccountId, Decision)>,
}

impl Observe for Refusals<'_> {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        let decision = decision();
        if decision.decision == DecisionKind::Refuse {
            self.refused.push((self.account.clone(), decision));
        }
    }
}

/// What a row is made of.
#[derive(Default)]
struct Made {
    figures: Figures,
    accounts: HashSet<AccountId>,
    intervals: Vec<(i64, i64)>,
}

struct Tally<'a> {
    about: &'a About,
    agreements: &'a Agreements,
    rows: BTreeMap<(Heading, Where), Made>,
    service_watched_ms: i64,
}

impl Tally<'_> {
    fn add(&mut self, partition: &Partition) {
        let is_in = |day: NaiveDate| (self.about.period.first..=self.about.period.last).contains(&day);
        for (account, decision) in &partition.refused {
            let day = decision.at.to_utc().date_naive();
            if !is_in(day) {
                continue;
            }
            let session = partition.sessions.get(&(account.clone(), decision.session_id));
            let territory = session.map_or_else(Default::default, WatchTime::began_in);
            let title = decision.title_id.as_ref().map_or("", |title| title.as_str());
            let place = (territory, decision.device_class.unwrap_or(DeviceClass::Other));
            for heading in headings(self.about, self.agreements, title, territory, day) {
                self.rows.entry((heading, place)).or_default().figures.blocked_attempts += 1;
            }
        }
        for ((account, _), session) in &partition.sessions {
            let Some(title) = session.title_id() else { continue };
            for fact in session.facts().iter().filter(|fact| is_in(fact.day)) {
                self.service_watched_ms += signed(fact.watched_ms);
                self.fact(account, title.as_str(), fact);
            }
        }
    }

    fn fact(&mut self, account: &AccountId, title: &str, fact: &Fact) {
        let place = (fact.territory, fact.device_class);
        for heading in headings(self.about, self.agreements, title, fact.territory, fact.day) {
            let agreement = self.agreements.contracts.get(heading.contract.as_str());
            let outside = agreement.is_none().then(|| self.agreements.outside(title, fact.day)).flatten();
            let threshold_ms = agreement.map_or(VIEW_THRESHOLD_MS, Agreement::threshold_ms);
            let watched_ms = signed(fact.watched_ms);
            let made = self.rows.entry((heading, place)).or_default();
            made.figures.plays += i64::from(fact.played);
            made.figures.qualified_views += i64::from(fact.qualifies(threshold_ms));
            made.figures.watched_ms += watched_ms;
            made.figures.aged_ms += signed(fact.aged_ms);
            made.figures.content_ms += signed(fact.content_ms);
            let (window_ms, territory_ms) = outside_ms(outside, watched_ms);
            made.figures.outside_window_ms += window_ms;
            made.figures.outside_territory_ms += territory_ms;
            if !made.accounts.contains(account) {
                made.accounts.insert(account.clone());
            }
            made.intervals.extend(fact.intervals.iter().map(|(from, to)| (from.millis(), to.millis())));
        }
    }

    fn used(self, as_of: Vec<AsOf>) -> Used {
        let mut used = Used::of(self.service_watched_ms, as_of);
        for ((heading, place), Made { mut figures, accounts, intervals }) in self.rows {
            figures.distinct_accounts = i64::try_from(accounts.len()).unwrap_or(i64::MAX);
            figures.peak_concurrent = peak(intervals);
            used.add(heading, place, figures);
        }
        used
    }
}

/// The most of these half-open intervals that cover one instant.
fn peak(intervals: Vec<(i64, i64)>) -> i64 {
    let mut edges: Vec<_> = intervals.into_iter().flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    // An end comes before a beginning at the same instant.
    edges.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in edges {
        now += step;
        most = most.max(now);
    }
    most
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_intervals_that_touch_do_not_meet() {
        assert_eq!(peak(vec![]), 0);
        assert_eq!(peak(vec![(0, 10), (10, 20)]), 1);
        assert_eq!(peak(vec![(0, 10), (9, 20), (5, 9)]), 2);
    }
}
