//! From a figure to the sessions behind it, and from a session to its records in the log.

use std::time::{Duration, Instant};

use chrono::NaiveDate;
use pulsegate_domain::account::key_matches;
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, ContractId, DeviceClass, PlayerState, SessionId, Territory, TitleId};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_domain::watch_time::{VIEW_THRESHOLD_MS, WatchTime};
use pulsegate_privacy::Who;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::agreements::Agreement;
use super::{About, Agreements, StatementError};
use crate::licensing::REGISTERED;
use crate::live::{self, AsOf};
use crate::reader::{POLL, ReaderSettings};

/// Most records of one session that are told.
const BEATS_MAX: usize = 20_000;
/// How long reading them may take.
const READ_MAX: Duration = Duration::from_secs(20);
/// How long the broker may take to say where the partition ends.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Which sessions are behind a row.
#[derive(Clone, Debug)]
pub struct SessionsQuestion {
    /// Of which statement.
    pub about: About,
    /// Under which contract; without one whatever holds.
    pub contract_id: Option<ContractId>,
    /// Of which title.
    pub title_id: TitleId,
    /// Where, where said.
    pub territory: Option<Territory>,
    /// On what, where said.
    pub device_class: Option<DeviceClass>,
    /// Only those behind this place, which the last one of a page has.
    pub after: Option<(i32, i64)>,
    /// At most so many.
    pub limit: u32,
}

/// A session behind a row: what of it falls there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct SessionBehind {
    /// Whose.
    pub account_id: String,
    /// Which.
    pub session_id: Uuid,
    /// The partition of its records.
    pub partition: i32,
    /// The offset of the first of them.
    pub first_offset: i64,
    /// The first day that falls there.
    pub first_day: NaiveDate,
    /// The last.
    pub last_day: NaiveDate,
    /// Whether its play falls there.
    pub played: bool,
    /// Whether its qualified view does.
    pub qualified: bool,
    /// Watched time.
    pub watched_ms: i64,
    /// The part of it that arrived late.
    pub aged_ms: i64,
    /// Content that it had not seen before.
    pub content_ms: i64,
}

/// A page of sessions, in the order of the log, with what it is as of.
pub async fn sessions_behind(
    pool: &PgPool,
    question: &SessionsQuestion,
    agreements: &Agreements,
) -> Result<(Vec<SessionBehind>, Vec<AsOf>), StatementError> {
    let Some((mut tx, as_of)) = live::begin(pool, &REGISTERED).await? else { return Err(StatementError::NothingLive) };
    let period = &question.about.period;
    let contract = question.contract_id.as_ref().and_then(|id| agreements.contracts.get(id));
    let days = match (&question.contract_id, contract) {
        (None, _) => Some((period.first, period.last)),
        (Some(_), contract) => contract.and_then(|contract| contract.days_in(period)),
    };
    let Some((first, last)) = days else { return Ok((Vec::new(), as_of)) };
    let threshold_ms = contract.map_or(VIEW_THRESHOLD_MS, Agreement::threshold_ms).max(1);
    let territories = contract.and_then(|contract| contract.contract.territories.as_ref());
    let territories = territories.map(|all| all.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>());
    let (partition, offset) = question.after.unwrap_or((-1, -1));
    let sessions = sqlx::query_as(
        "select sessions.account_id, sessions.session_id, partition, first_offset, min(day) as first_day,
                max(day) as last_day, bool_or(played) as played,
                bool_or(before_ms < $5 and $5 <= before_ms + facts.watched_ms) as qualified,
                sum(facts.watched_ms)::bigint as watched_ms, sum(aged_ms)::bigint as aged_ms,
                sum(content_ms)::bigint as content_ms
         from facts join sessions using (partition, first_offset)
         where day between $1 and $2 and facts.title_id = $3
           and ($4::text is null or facts.territory = $4)
           and ($6::text is null or device_class = $6)
           and ($7::text[] is null or facts.territory = any($7))
           and (partition, first_offset) > ($8, $9)
         group by partition, first_offset, sessions.account_id, sessions.session_id
         order by partition, first_offset limit $10",
    )
    .bind(first)
    .bind(last)
    .bind(question.title_id.as_str().to_owned())
    .bind(question.territory.map(|territory| territory.as_str().to_owned()))
    .bind(i64::try_from(threshold_ms).unwrap_or(i64::MAX))
    .bind(question.device_class.map(DeviceClass::as_str))
    .bind(territories)
    .bind(partition)
    .bind(offset)
    .bind(i64::from(question.limit))
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok((sessions, as_of))
}

/// A record of a session, and what it added to its watch time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beat {
    /// Where it stands in its partition.
    pub offset: i64,
    /// The log's time there.
    pub at: Timestamp,
    /// `started`, `heartbeat`, `stopped`, `evicted` or `signal`.
    pub kind: &'static str,
    /// As the player counted.
    pub sequence: Option<u64>,
    /// By the device's clock.
    pub elapsed_ms: Option<u64>,
    /// How late it came.
    pub age_ms: Option<u64>,
    /// Where in the title.
    pub position_ms: Option<u64>,
    /// What the player was doing.
    pub state: Option<PlayerState>,
    /// Watched time that it added.
    pub watched_ms: u64,
    /// The part of that which arrived late.
    pub aged_ms: u64,
    /// Content that it added.
    pub content_ms: u64,
    /// Whether the session's play fell on it.
    pub played: bool,
}

/// A session's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beats {
    /// The topic, without the prefix.
    pub topic: &'static str,
    /// The partition.
    pub partition: i32,
    /// In the order of the log.
    pub records: Vec<Beat>,
    /// Whether these are all there were when it was asked.
    pub is_whole: bool,
}

/// A session's records, read from the log; `None` if licensing doesn't know it.
pub async fn beats(
    pool: &PgPool,
    settings: &ReaderSettings,
    account: &AccountId,
    session: SessionId,
) -> Result<Option<Beats>, StatementError> {
    let place = sqlx::query_as::<_, (i32, i64)>(
        "select partition, first_offset from licensing.sessions where session_id = $1 and account_id = $2",
    )
    .bind(session.uuid())
    .bind(account.as_str())
    .fetch_optional(pool)
    .await?;
    let Some((partition, first_offset)) = place else { return Ok(None) };
    let (settings, account) = (settings.clone(), account.clone());
    let read = tokio::task::spawn_blocking(move || read(&settings, (partition, first_offset), &account, session)).await;
    let away = |error: &dyn std::fmt::Display| StatementError::LogAway(error.to_string());
    read.map_err(|error| away(&error))?.map(Some).map_err(|error| away(&error))
}

fn read(
    settings: &ReaderSettings,
    (partition, first_offset): (i32, i64),
    account: &AccountId,
    session: SessionId,
) -> Result<Beats, KafkaError> {
    let topic = settings.topics.name(Topic::Playback);
    let consumer = settings.consumer("drill-down")?;
    let (_, end) = consumer.fetch_watermarks(&topic, partition, ASK_MAX)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&topic, partition, Offset::Offset(first_offset))?;
    consumer.assign(&from)?;
    // Whose session it was nobody knows; its own id finds its records.
    let is_forgotten = Who::of_pseudonym(account.as_str()).is_some();
    let begun = Instant::now();
    let mut watch = WatchTime::default();
    let mut clock = Timestamp::MIN;
    let mut beats = Beats { topic: Topic::Playback.base_name(), partition, records: Vec::new(), is_whole: false };
    while begun.elapsed() < READ_MAX && beats.records.len() < BEATS_MAX {
        match consumer.poll(POLL) {
            Some(Ok(message)) if message.offset() < end => {
                clock = clock.max(message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis));
                let value = message.payload().unwrap_or_default();
                let is_of = |event: &PlaybackEvent| {
                    (event.account_id() == account || is_forgotten)
                        && event.session_id() == Some(session)
                        && key_matches(message.key(), event.account_id())
                };
                if let Some(envelope) = event::decode::<PlaybackEvent>(value).ok().filter(|one| is_of(&one.event)) {
                    beats.records.push(beat(&mut watch, &envelope.event, message.offset(), clock));
                }
                if message.offset() + 1 >= end {
                    beats.is_whole = true;
                }
            }
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => beats.is_whole = true,
            Some(Err(error)) => tracing::debug!(%error, "reading a session's records"),
            None => {}
        }
        if beats.is_whole {
            break;
        }
    }
    // A consumer that is dropped while it is assigned can hang.
    consumer.unassign()?;
    Ok(beats)
}

fn beat(watch: &mut WatchTime, event: &PlaybackEvent, offset: i64, at: Timestamp) -> Beat {
    let grown = watch.apply(event, at);
    let mut beat = Beat {
        offset,
        at,
        kind: "started",
        sequence: None,
        elapsed_ms: None,
        age_ms: None,
        position_ms: None,
        state: None,
        watched_ms: grown.watched_ms,
        aged_ms: grown.aged_ms,
        content_ms: grown.content_ms,
        played: grown.played,
    };
    match event {
        PlaybackEvent::Started(_) => {}
        PlaybackEvent::Heartbeat(one) => {
            beat.kind = "heartbeat";
            (beat.sequence, beat.elapsed_ms, beat.age_ms) =
                (Some(one.sequence), Some(one.elapsed_ms), Some(one.age_ms));
            (beat.position_ms, beat.state) = (Some(one.position_ms), Some(one.state));
        }
        PlaybackEvent::Stopped(one) => {
            beat.kind = "stopped";
            (beat.sequence, beat.elapsed_ms, beat.position_ms) = (one.sequence, one.elapsed_ms, one.position_ms);
        }
        PlaybackEvent::Evicted(_) => beat.kind = "evicted",
        PlaybackEvent::Signal(_) => beat.kind = "signal",
    }
    beat
}
